//! What drafts become: defaults, types of checks, and what is wrong with them.

use super::*;

fn draft() -> RegistrationDraft {
    RegistrationDraft {
        node: "n1".into(),
        address: "10.0.0.1".into(),
        ..RegistrationDraft::default()
    }
}

fn checked(draft: RegistrationDraft) -> Registration {
    draft.check().unwrap().1
}

fn service(draft: ServiceDraft) -> Result<Service, RegisterError> {
    let registration = RegistrationDraft {
        service: Some(draft),
        ..self::draft()
    };
    let (_, registration) = registration.check()?;
    Ok(registration.service.unwrap())
}

fn check(draft: CheckDraft) -> Result<Check, RegisterError> {
    let registration = RegistrationDraft {
        checks: vec![draft],
        ..self::draft()
    };
    let (_, mut registration) = registration.check()?;
    Ok(registration.checks.remove(0))
}

fn named(name: &str) -> ServiceDraft {
    ServiceDraft {
        name: name.into(),
        ..ServiceDraft::default()
    }
}

#[test]
fn an_empty_datacenter_is_the_local_one_and_an_empty_id_is_none() {
    let empty = RegistrationDraft {
        datacenter: Some(String::new()),
        id: Some(String::new()),
        ..draft()
    };
    let (datacenter, registration) = empty.check().unwrap();
    assert_eq!((datacenter, registration.node.id), (None, None));
    let named = RegistrationDraft {
        datacenter: Some("dc2".into()),
        ..draft()
    };
    let (datacenter, _) = named.check().unwrap();
    assert_eq!(datacenter, Some("dc2".parse().unwrap()));
}

#[test]
fn a_datacenter_that_cannot_exist_is_one_without_a_path() {
    let wrong = RegistrationDraft {
        datacenter: Some("no such name".into()),
        ..draft()
    };
    let error = wrong.check().unwrap_err();
    assert_eq!(error, RegisterError::NoPathToDatacenter);
}

#[test]
fn a_node_that_is_left_as_it_is_needs_no_address() {
    let nowhere = RegistrationDraft {
        address: String::new(),
        ..draft()
    };
    let error = nowhere.clone().check().unwrap_err();
    assert_eq!(error, RegisterError::NoAddress);
    let registration = checked(RegistrationDraft {
        skip_node_update: true,
        ..nowhere
    });
    assert_eq!(registration.node.address, Address::None);
    assert!(registration.skip_node_update);
}

#[test]
fn a_service_without_an_id_has_its_name_as_one() {
    assert_eq!(service(named("web")).unwrap().id.as_str(), "web");
    let own = ServiceDraft {
        id: "web-1".into(),
        ..named("web")
    };
    assert_eq!(service(own).unwrap().id.as_str(), "web-1");
    let nameless = ServiceDraft {
        id: "web-1".into(),
        ..ServiceDraft::default()
    };
    let error = service(nameless).unwrap_err();
    assert_eq!(error, RegisterError::NoServiceName);
}

#[test]
fn weights_that_are_not_set_are_one_and_wrong_ones_are_refused() {
    let weigh = |weights| {
        service(ServiceDraft {
            weights,
            ..named("web")
        })
        .map(|service| service.weights)
    };
    for unset in [None, Some((0, 0))] {
        assert_eq!(weigh(unset).unwrap(), Weights::default());
    }
    let (passing, warning) = (10, 0);
    let expected = Weights { passing, warning };
    assert_eq!(weigh(Some((10, 0))).unwrap(), expected);
    for wrong in [(0, 1), (-1, 1), (1, -1), (65_536, 1), (1, 65_536)] {
        let error = weigh(Some(wrong)).unwrap_err();
        assert!(matches!(error, RegisterError::Weights(_)), "{wrong:?}");
    }
}

#[test]
fn an_address_that_is_nowhere_is_refused() {
    for address in ["0.0.0.0", "::"] {
        let error = service(ServiceDraft {
            address: address.into(),
            ..named("web")
        });
        assert_eq!(error.unwrap_err(), RegisterError::ServiceAddress);
    }
}

#[test]
fn a_check_is_critical_until_it_is_told_otherwise_and_of_no_other_node() {
    let draft = CheckDraft {
        name: "c".into(),
        node: "N1".into(),
        ..CheckDraft::default()
    };
    let made = check(draft.clone()).unwrap();
    assert_eq!((made.id.as_str(), made.status), ("c", Status::Critical));
    let warning = CheckDraft {
        status: "warning".into(),
        ..draft.clone()
    };
    assert_eq!(check(warning).unwrap().status, Status::Warning);
    let unknown = CheckDraft {
        status: "Passing".into(),
        ..draft.clone()
    };
    assert!(matches!(check(unknown), Err(RegisterError::Status(_))));
    let other = CheckDraft {
        node: "n2".into(),
        ..draft
    };
    let text = check(other).unwrap_err().to_string();
    assert_eq!(text, "check node \"n2\" does not match node \"n1\"");
}

#[test]
fn a_type_that_is_told_goes_before_what_the_definition_says() {
    let http = CheckDefinition {
        http: "http://h/".into(),
        ..CheckDefinition::default()
    };
    let tcp = CheckDefinition {
        tcp: "h:1".into(),
        ..CheckDefinition::default()
    };
    for (told, definition, expected) in [
        (None, CheckDefinition::default(), CheckType::Unknown),
        (None, http.clone(), CheckType::Http),
        (None, tcp, CheckType::Tcp),
        (Some(CheckType::Ttl), http, CheckType::Ttl),
    ] {
        let is_defined = definition != CheckDefinition::default();
        let made = check(CheckDraft {
            name: "c".into(),
            check_type: told,
            definition,
            ..CheckDraft::default()
        });
        let made = made.unwrap();
        assert_eq!(made.check_type, expected);
        assert_eq!(made.definition.is_some(), is_defined);
    }
}

#[test]
fn a_removal_names_a_service_before_a_check_and_a_node_at_last() {
    let draft = |service: &str, check: &str| DeregistrationDraft {
        node: "n1".into(),
        service_id: service.into(),
        check_id: check.into(),
        ..DeregistrationDraft::default()
    };
    let removed = |service, check| draft(service, check).check().unwrap().1;
    assert!(matches!(removed("s", "c"), Deregistration::Service(..)));
    assert!(matches!(removed("", "c"), Deregistration::Check(..)));
    assert!(matches!(removed("", ""), Deregistration::Node(_)));
    let nameless = DeregistrationDraft::default().check();
    assert_eq!(nameless.unwrap_err(), RegisterError::NoNode);
}
