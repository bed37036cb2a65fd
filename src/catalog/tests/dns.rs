//! What DNS sees: slots, views, their order and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::catalog::index::{Family, ServiceView, Subset, Target};

fn view(catalog: &Catalog, service: &str) -> Arc<ServiceView> {
    let slot = catalog.reader.dns().service(service.as_bytes()).unwrap();
    slot.load().clone().unwrap()
}

fn ids(subset: &Subset) -> Vec<&str> {
    let instances = subset.instances().iter();
    instances.map(|view| view.id.as_str()).collect()
}

fn one(address: &str, tagged: &[(&str, &str)], node_address: &str) -> Catalog {
    let mut catalog = Catalog::new();
    let mut web = service("a", "web", &[], address);
    for (label, address) in tagged {
        web = with_tagged(web, label, address);
    }
    catalog.change([registration(node("n1", node_address), Some(web), vec![])]);
    catalog
}

#[test]
fn instances_are_in_order_of_their_records() {
    let mut catalog = Catalog::new();
    let instances = [
        ("host", "db.example.com"),
        ("v6", "2001:db8::1"),
        ("v4-9", "10.0.0.9"),
        ("both", "10.0.0.1"),
        ("v4-1", "10.0.0.1"),
        ("warns", "10.0.0.5"),
    ];
    for (id, address) in instances {
        let mut own = service(id, "web", &[], address);
        if id == "both" {
            own = with_tagged(own, "lan_ipv6", "2001:db8::9");
        }
        let status = match id {
            "warns" => Status::Warning,
            _ => Status::Passing,
        };
        let checks = vec![check(id, Some(id), status)];
        catalog.change([registration(node("n1", "10.0.0.200"), Some(own), checks)]);
    }
    let view = view(&catalog, "web");
    let all = &view.all;
    assert_eq!(ids(all), ["v4-1", "v4-9", "warns", "both", "v6", "host"]);
    assert_eq!(all.range(Family::V4, false), 0..2);
    assert_eq!(all.range(Family::V4, true), 2..3);
    assert_eq!(all.range(Family::Both, false), 3..4);
    assert_eq!(all.range(Family::V6, false), 4..5);
    assert_eq!(all.range(Family::Host, false), 5..6);
    assert_eq!(all.range(Family::Host, true), 6..6);
    let weights: Vec<_> = all.instances().iter().map(|view| view.weight).collect();
    assert_eq!(weights, [3, 3, 2, 3, 3, 3]);
}

#[test]
fn those_left_out_are_counted_once() {
    let mut catalog = Catalog::new();
    let mut register = |id: &str, address: &str, checks| {
        let own = Some(service(id, "web", &["x"], address));
        catalog.change([registration(node("n1", "10.0.0.1"), own, checks)]);
    };
    register("ok", "", vec![]);
    register(
        "critical",
        "",
        vec![check("c1", Some("critical"), Status::Critical)],
    );
    let maintenance = "_service_maintenance:m";
    register(
        "m",
        "",
        vec![
            check("c2", Some("m"), Status::Critical),
            check(maintenance, Some("m"), Status::Critical),
        ],
    );
    register("long", &"a".repeat(64), vec![]);
    let web = view(&catalog, "web");
    for subset in [&web.all, web.tagged(b"x").unwrap()] {
        assert_eq!(ids(subset), ["ok"]);
        let counts = (
            subset.critical(),
            subset.maintenance(),
            subset.unencodable(),
        );
        assert_eq!(counts, (1, 1, 1));
        assert_eq!(subset.registered(), 4);
    }
    let node_maintenance = vec![check("_node_maintenance", None, Status::Critical)];
    catalog.change([on("n1", None, node_maintenance)]);
    let all = &view(&catalog, "web").all;
    assert_eq!((all.maintenance(), all.registered()), (4, 4));
}

#[test]
fn a_name_whose_instances_all_fail_still_has_its_tags() {
    let mut catalog = Catalog::new();
    let own = Some(service("a", "web", &["Blue"], ""));
    let failing = vec![check("c", Some("a"), Status::Critical)];
    catalog.change([registration(node("n1", "10.0.0.1"), own, failing)]);
    let view = view(&catalog, "web");
    assert_eq!(view.tagged(b"blue").unwrap().critical(), 1);
    assert!(view.tagged(b"red").is_none());
    assert!(view.tagged(&[b'x'; 300]).is_none());
}

#[test]
fn dotted_names_have_empty_non_terminals() {
    let mut catalog = Catalog::new();
    let own = Some(service("a", "web", &["V1.2.b"], ""));
    catalog.change([registration(node("Rack.A.n1", "10.0.0.1"), own, vec![])]);
    let dns = catalog.reader.dns();
    let web = view(&catalog, "web");
    for (suffix, expected) in [(&b"b"[..], true), (b"2.b", true), (b".b", false)] {
        assert_eq!(web.is_tag_suffix(suffix), expected, "{suffix:?}");
    }
    assert!(!web.is_tag_suffix(b"v1.2.b"));
    assert!(dns.is_node_suffix(b"n1") && dns.is_node_suffix(b"a.n1"));
    assert!(!dns.is_node_suffix(b"rack.a.n1") && !dns.is_node_suffix(b"1"));
    assert!(dns.is_tag(b"v1.2.b") && !dns.is_tag(b"b"));
    catalog.change([deregister_node("rack.a.n1")]);
    let dns = catalog.reader.dns();
    assert!(!dns.is_node_suffix(b"n1") && !dns.is_tag(b"v1.2.b"));
}

#[test]
fn equal_addresses_are_known_as_possible_duplicates() {
    let mut catalog = Catalog::new();
    let mut put = |id: &str, address: &str, status| {
        let own = Some(service(id, "web", &[], address));
        let checks = vec![check(id, Some(id), status)];
        catalog.change([registration(node("n1", "10.0.0.1"), own, checks)]);
        view(&catalog, "web").all.duplicates()
    };
    assert_eq!(put("a", "10.0.0.5", Status::Passing), 0);
    assert_eq!(put("b", "10.0.0.6", Status::Passing), 0);
    assert_eq!(put("c", "10.0.0.5", Status::Passing), 1);
    assert_eq!(put("c", "10.0.0.5", Status::Warning), 1);
    assert_eq!(put("c", "10.0.0.5", Status::Critical), 0);
    assert_eq!(put("h", "a.example", Status::Passing), 0);
    assert_eq!(put("i", "A.example.", Status::Passing), 1);
}

#[test]
fn an_instance_without_an_address_has_its_nodes() {
    let web = view(&one("", &[], "10.0.0.1"), "web");
    let instance = &web.all.instances()[0];
    assert_eq!(instance.target, Target::Node);
    assert_eq!(instance.v4, Some([10, 0, 0, 1].into()));
    assert_eq!(instance.any(), Some([10, 0, 0, 1].into()));
    let web = view(&one("", &[], "host.example"), "web");
    let instance = &web.all.instances()[0];
    assert_eq!(instance.target, Target::Node);
    assert_eq!(instance.host(), Some(&b"\x04host\x07example\0"[..]));
    let web = view(&one("", &[], ""), "web");
    assert_eq!(web.all.unencodable(), 1);
}

#[test]
fn tagged_addresses_override_the_address() {
    let tagged = [("lan_ipv4", "10.0.0.4"), ("lan_ipv6", "2001:db8::6")];
    let web = view(&one("10.0.0.1", &tagged, "10.0.0.9"), "web");
    let instance = &web.all.instances()[0];
    assert_eq!(instance.v4, Some([10, 0, 0, 4].into()));
    assert_eq!(instance.target, Target::V6("2001:db8::6".parse().unwrap()));
    assert_eq!(instance.v6, Some("2001:db8::6".parse().unwrap()));
    let web = view(&one("2001:db8::1", &tagged[..1], "10.0.0.9"), "web");
    let instance = &web.all.instances()[0];
    assert_eq!(instance.target, Target::V4([10, 0, 0, 4].into()));
    assert_eq!(instance.v6, Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let web = view(&one("::ffff:10.0.0.1", &[], "10.0.0.9"), "web");
    let instance = &web.all.instances()[0];
    assert_eq!(instance.target, Target::V4([10, 0, 0, 1].into()));
    assert_eq!(instance.family(), Family::V4);
}

#[test]
fn a_slot_lives_until_its_name_goes() {
    let mut catalog = one("", &[], "10.0.0.1");
    let slot = catalog.reader.dns().service(b"web").unwrap();
    catalog.change([on("n1", Some(service("b", "WEB", &[], "")), vec![])]);
    assert_eq!(slot.load().as_ref().unwrap().all.registered(), 2);
    // Gone and back within one command: the name never went.
    catalog.change([
        deregister_node("n1"),
        registration(
            node("n1", "10.0.0.2"),
            Some(service("a", "web", &[], "")),
            vec![],
        ),
    ]);
    let now = catalog.reader.dns().service(b"web").unwrap();
    assert!(Arc::ptr_eq(&slot, &now));
    assert_eq!(slot.load().as_ref().unwrap().all.registered(), 1);
    catalog.change([deregister_service("n1", "a")]);
    assert!(slot.load().is_none());
    assert!(catalog.reader.dns().service(b"web").is_none());
    catalog.change([on("n1", Some(service("a", "web", &[], "")), vec![])]);
    let back = catalog.reader.dns().service(b"web").unwrap();
    assert!(!Arc::ptr_eq(&slot, &back) && slot.load().is_none());
}

#[test]
fn an_output_alone_publishes_no_view() {
    let mut catalog = Catalog::new();
    let checks = vec![check("c", Some("a"), Status::Passing)];
    let own = Some(service("a", "web", &[], ""));
    catalog.change([registration(node("n1", "10.0.0.1"), own, checks)]);
    let before = view(&catalog, "web");
    let mut output = check("c", Some("a"), Status::Passing);
    output.output = "other".into();
    catalog.change([on("n1", None, vec![output])]);
    assert!(Arc::ptr_eq(&before, &view(&catalog, "web")));
}

#[test]
fn node_views_carry_metadata_and_follow_the_node() {
    let mut catalog = Catalog::new();
    let mut own = node("N1", "10.0.0.1");
    own.meta = Meta::from_pairs([("k".to_owned(), "v".to_owned())]);
    own.tagged_addresses
        .insert("lan_ipv6".into(), Address::from_text("2001:db8::1"));
    catalog.change([registration(
        own,
        Some(service("a", "web", &[], "")),
        vec![],
    )]);
    let slot = catalog.reader.dns().node(b"n1").unwrap();
    let first = slot.load().clone().unwrap();
    assert_eq!(first.labels.as_deref(), Some(&b"\x02N1"[..]));
    assert_eq!(*first.txt, [Box::from(&b"\x03k=v"[..])]);
    assert_eq!(first.any, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(first.v4, Some([10, 0, 0, 1].into()));
    catalog.change([registration(node("N1", "10.0.0.2"), None, vec![])]);
    let second = slot.load().clone().unwrap();
    assert_eq!(second.v4, Some([10, 0, 0, 2].into()));
    let instance = Arc::clone(&view(&catalog, "web").all.instances()[0]);
    assert!(Arc::ptr_eq(&instance.node, &second));
}

#[test]
fn a_lookup_does_not_wait_for_the_writer() {
    let catalog = one("", &[], "10.0.0.1");
    let dns = catalog.reader.dns();
    let (web, n1) = (dns.service(b"web").unwrap(), dns.node(b"n1").unwrap());
    let _shards = (dns.services.hold(b"web"), dns.nodes.hold(b"n1"));
    assert!(Arc::ptr_eq(&dns.service(b"web").unwrap(), &web));
    assert!(Arc::ptr_eq(&dns.node(b"n1").unwrap(), &n1));
    assert!(dns.service(b"\xff").is_none() && dns.node(b"").is_none());
}

#[test]
fn a_name_that_stays_is_found_while_others_come_and_go() {
    let mut catalog = one("", &[], "10.0.0.1");
    let (reader, stop) = (catalog.reader.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let lookups = std::thread::spawn(move || {
        let mut lookups = 0_u32;
        while !stopped.load(Ordering::Relaxed) || lookups == 0 {
            let web = reader.dns().service(b"web").expect("web stays");
            let n1 = reader.dns().node(b"n1").expect("n1 stays");
            assert!(web.load().is_some() && n1.load().is_some());
            lookups += 1;
        }
        lookups
    });
    for number in 0..500 {
        let other = format!("other-{number}");
        let own = Some(service("b", &other, &[], ""));
        catalog.change([registration(node(&other, "10.0.0.2"), own, vec![])]);
        catalog.change([deregister_node(&other)]);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(lookups.join().unwrap() > 0);
}
