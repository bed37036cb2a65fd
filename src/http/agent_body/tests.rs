use std::time::Duration;

use proptest::prelude::*;

use crate::local::Mechanism;
use crate::types::{CheckType, Weights};

use super::super::arbitrary::body;
use super::super::extract::decode_body;
use super::*;

fn service(text: &str) -> Result<ServiceDefinition, String> {
    let body: Result<ServiceBody, _> = decode_body(text.as_bytes());
    body.and_then(ServiceBody::check)
        .map_err(|error| format!("{} {}", error.status().as_u16(), error.text()))
}

fn check(text: &str) -> Result<CheckDefinition, String> {
    let body: Result<CheckBody, _> = decode_body(text.as_bytes());
    body.and_then(CheckBody::check)
        .map_err(|error| format!("{} {}", error.status().as_u16(), error.text()))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_name_is_enough() {
    let definition = service(r#"{"Name":"web"}"#).unwrap();
    assert_eq!(definition.service.id.as_str(), "web");
    assert_eq!(definition.service.weights, Weights::default());
    assert_eq!(definition.service.tagged_addresses, None);
    assert!(definition.checks.is_empty());
}

#[test]
fn spring_cloud_consul_registers_with_an_http_check() {
    let definition = service(
        r#"{"ID":"app-8080","Name":"app","Tags":["v=1"],"Address":"10.0.0.1",
            "Meta":{"secure":"false"},"Port":8080,"EnableTagOverride":null,"Checks":null,
            "Check":{"Interval":"10s","HTTP":"http://10.0.0.1:8080/actuator/health","Timeout":"2s",
                "Header":{"X-Probe":["a","b"]},"TLSSkipVerify":null,
                "DeregisterCriticalServiceAfter":"90s"}}"#,
    )
    .unwrap();
    let [check] = &definition.checks[..] else {
        panic!("{:?}", definition.checks);
    };
    assert_eq!(check.mechanism.check_type(), CheckType::Http);
    assert_eq!(check.deregister_critical_service_after, Some(seconds(90)));
    assert_eq!(definition.service.meta.get("secure"), Some("false"));
}

#[test]
fn spring_cloud_consul_registers_with_a_ttl_check() {
    let definition =
        service(r#"{"ID":"app","Name":"app","Check":{"TTL":"30s","Status":null}}"#).unwrap();
    assert_eq!(definition.checks[0].mechanism, Mechanism::Ttl(seconds(30)));
}

#[test]
fn python_consul_writes_its_keys_in_lower_case() {
    let definition = service(
        r#"{"name":"foo","id":"f1","address":"10.0.0.2","port":5000,"tags":["a"],
            "enabletagoverride":true,"meta":{"k":"v"},"weights":{"passing":3,"warning":1},
            "check":{"http":"http://10.0.0.2:5000","interval":"10s","timeout":"5s",
                "DeregisterCriticalServiceAfter":"1m","header":{"x":["y"]},"TLSSkipVerify":true},
            "checks":[{"ttl":"20s","name":"beat","checkid":"b1","notes":"n"}]}"#,
    )
    .unwrap();
    assert!(definition.service.enable_tag_override);
    assert_eq!(definition.service.weights, Weights::checked(3, 1).unwrap());
    let [ttl, http] = &definition.checks[..] else {
        panic!("{:?}", definition.checks);
    };
    assert_eq!(ttl.id.as_ref().unwrap().as_str(), "b1");
    assert_eq!(ttl.mechanism, Mechanism::Ttl(seconds(20)));
    assert_eq!(http.mechanism.check_type(), CheckType::Http);
}

#[test]
fn python_consul_registers_checks_by_themselves() {
    let definition =
        check(r#"{"name":"disk","id":"d1","ttl":"10s","notes":"n","serviceid":"f1"}"#).unwrap();
    assert_eq!(definition.id.unwrap().as_str(), "d1");
    assert_eq!(definition.service_id.unwrap().as_str(), "f1");
}

#[test]
fn snake_case_is_taken_where_the_reference_does() {
    let definition = service(
        r#"{"name":"a","enable_tag_override":true,
            "tagged_addresses":{"lan":{"address":"10.0.0.1","port":1}},
            "check":{"ttl":"1s","deregister_critical_service_after":"2s"}}"#,
    )
    .unwrap();
    assert!(definition.service.enable_tag_override);
    let tagged = definition.service.tagged_addresses.unwrap();
    assert_eq!(tagged.get("lan").unwrap().port, 1);
    let after = definition.checks[0].deregister_critical_service_after;
    assert_eq!(after, Some(seconds(2)));
    let docker = check(
        r#"{"name":"a","script_args":["x"],"interval":"1s","docker_container_id":"c",
            "tls_skip_verify":true,"service_id":"s"}"#,
    );
    assert_eq!(docker.unwrap().mechanism.check_type(), CheckType::Docker);
}

#[test]
fn a_ping_uses_tls_unless_told_otherwise_and_grpc_only_if_told() {
    let tls = |fields: &str| {
        let body = format!(r#"{{"name":"a","interval":"1s",{fields}}}"#);
        match check(&body).unwrap().mechanism {
            Mechanism::H2Ping { tls, .. } | Mechanism::Grpc { tls, .. } => tls,
            other => panic!("{other:?}"),
        }
    };
    assert!(tls(r#""h2ping":"a:1""#));
    assert!(!tls(r#""h2ping":"a:1","h2pingusetls":false"#));
    assert!(!tls(r#""grpc":"a:1""#));
    assert!(tls(r#""grpc":"a:1","grpcusetls":true"#));
}

#[test]
fn empty_checks_are_no_checks() {
    let definition =
        service(r#"{"Name":"a","Check":{},"Checks":[{},null,{"Name":null}]}"#).unwrap();
    assert!(definition.checks.is_empty());
}

#[test]
fn checks_come_before_check() {
    let definition =
        service(r#"{"Name":"a","Check":{"TTL":"1s"},"Checks":[{"TTL":"2s"}]}"#).unwrap();
    let ttls: Vec<_> = definition
        .checks
        .iter()
        .filter_map(|check| check.mechanism.ttl())
        .collect();
    assert_eq!(ttls, [seconds(2), seconds(1)]);
}

#[test]
fn what_follows_the_body_is_ignored() {
    assert!(service(r#"{"Name":"a"} junk"#).is_ok());
}

/// Each body is refused with 400 and this text.
fn refuses(cases: &[(&str, &str)]) {
    for (body, expected) in cases {
        let expected = format!("400 {expected}");
        assert_eq!(service(body).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn bodies_that_cannot_be_decoded_are_refused() {
    refuses(&[
        ("", "Request decode failed: EOF"),
        (r#"{"Name":"a""#, "Request decode failed: unexpected EOF"),
        (
            r#"{"Name":"a","Bogus":null}"#,
            r#"Request decode failed: json: unknown field "Bogus""#,
        ),
        (
            r#"{"Name":"a","Datacenter":"dc1"}"#,
            r#"Request decode failed: json: unknown field "Datacenter""#,
        ),
        (
            r#"{"Name":"a","Namespace":"default"}"#,
            r#"Request decode failed: json: unknown field "Namespace""#,
        ),
        (
            r#"{"Name":"a","Check":{"ID":"x","TTL":"1s"}}"#,
            r#"Request decode failed: json: unknown field "Check.ID""#,
        ),
        (
            r#"{"Name":"a","Check":{"Script":"x","Interval":"1s"}}"#,
            r#"Request decode failed: json: unknown field "Check.Script""#,
        ),
        (
            r#"{"Name":"a","Port":70000}"#,
            "Request decode failed: field Port: expected an integer of 0 to 65535, got 70000",
        ),
        (
            r#"{"Name":"a","Port":-1}"#,
            "Request decode failed: field Port: expected an integer of 0 to 65535, got -1",
        ),
        (
            r#"{"Name":"a","Check":{"TTL":""}}"#,
            r#"Request decode failed: field Check.TTL: time: invalid duration """#,
        ),
        (
            r#"{"Name":"a","Check":{"TTL":"20"}}"#,
            r#"Request decode failed: field Check.TTL: time: missing unit in duration "20""#,
        ),
    ]);
}

#[test]
fn services_without_meaning_are_refused() {
    let label = "x".repeat(64);
    refuses(&[
        ("{}", "Missing service name"),
        (r#"{"Name":null}"#, "Missing service name"),
        (
            &format!(r#"{{"Name":"{label}"}}"#),
            &format!(
                "service name \"{label}\" has a label of 64 octets, 1 to 63 are allowed (RFC 1035 section 2.3.4)"
            ),
        ),
        (
            r#"{"Name":"a","Weights":{"Passing":0}}"#,
            "Invalid Weights: Passing must be greater than 0",
        ),
        (
            r#"{"Name":"a","Weights":{"Passing":1,"Warning":65536}}"#,
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
    ]);
}

#[test]
fn metadata_has_its_limits() {
    let (key, value) = ("k".repeat(129), "v".repeat(513));
    let many: Vec<_> = (0..65).map(|n| format!(r#""k{n}":"""#)).collect();
    let many = many.join(",");
    let pair = |key: &str, value: &str, reason: &str| {
        format!("Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {reason}")
    };
    refuses(&[
        (
            r#"{"Name":"a","Meta":{"a b":"x"}}"#,
            &pair("a b", "x", "Key contains invalid characters"),
        ),
        (
            &format!(r#"{{"Name":"a","Meta":{{"{key}":""}}}}"#),
            &pair(&key, "", "Key is too long (limit: 128 characters)"),
        ),
        (
            &format!(r#"{{"Name":"a","Meta":{{"k":"{value}"}}}}"#),
            &pair("k", &value, "Value is too long (limit: 512 characters)"),
        ),
        (
            &format!(r#"{{"Name":"a","Meta":{{{many}}}}}"#),
            "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs",
        ),
    ]);
}

#[test]
fn checks_of_services_without_meaning_are_refused() {
    refuses(&[
        (
            r#"{"Name":"a","Check":{"TTL":"1s","Status":"PASSING"}}"#,
            "Status for checks must 'passing', 'warning', 'critical'",
        ),
        (
            r#"{"Name":"a","Check":{"Notes":"n"}}"#,
            "Invalid check: TTL must be > 0 for TTL checks",
        ),
        (
            r#"{"Name":"a","Check":{"HTTP":"http://a/"}}"#,
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        ),
        (
            r#"{"Name":"a","Check":{"TTL":"1s","Interval":"1s"}}"#,
            "Invalid check: Interval and TTL cannot both be specified",
        ),
        (
            r#"{"Name":"a","Check":{"TTL":"1s","AliasNode":"n"}}"#,
            "Invalid check: TTL must be not be set for Alias checks",
        ),
    ]);
}

#[test]
fn bad_checks_are_refused_with_field_value_and_limit() {
    for (body, expected) in [
        (r#"{"TTL":"1s"}"#, "Missing check name"),
        (
            r#"{"Name":"a","CheckID":"x","TTL":"1s"}"#,
            r#"Request decode failed: json: unknown field "CheckID""#,
        ),
        (
            r#"{"Name":"a","TTL":"1s","Status":"bogus"}"#,
            "Bad check status",
        ),
        (
            r#"{"Name":"a","TTL":"-1s"}"#,
            r#"Request decode failed: field TTL: duration "-1s" is below zero"#,
        ),
    ] {
        assert_eq!(
            check(body).unwrap_err(),
            format!("400 {expected}"),
            "{body}"
        );
    }
}

const FIELDS: &[&str] = &[
    "ID",
    "Name",
    "Tags",
    "Address",
    "Port",
    "Meta",
    "EnableTagOverride",
    "TaggedAddresses",
    "Weights",
    "Passing",
    "Warning",
    "Check",
    "Checks",
    "CheckID",
    "ServiceID",
    "Notes",
    "Status",
    "Output",
    "TTL",
    "Interval",
    "Timeout",
    "HTTP",
    "Header",
    "Method",
    "TCP",
    "Args",
    "AliasNode",
    "OutputMaxSize",
    "FailuresBeforeCritical",
    "DeregisterCriticalServiceAfter",
    "lan",
];

/// 400 or nothing.
fn status<T>(result: Result<T, ApiError>) -> Option<u16> {
    result.err().map(|error| error.status().as_u16())
}

proptest! {
    #[test]
    fn any_json_is_taken_or_refused_with_400(text in body(FIELDS)) {
        let octets = text.as_bytes();
        let service = decode_body(octets).and_then(ServiceBody::check);
        let check = decode_body(octets).and_then(CheckBody::check);
        let update = decode_body::<UpdateBody>(octets);
        for status in [status(service), status(check), status(update)] {
            prop_assert!(matches!(status, None | Some(400)), "{status:?}");
        }
    }

    #[test]
    fn any_octets_are_taken_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
        drop(decode_body::<ServiceBody>(&octets));
        drop(decode_body::<CheckBody>(&octets));
    }

    #[test]
    fn what_is_taken_has_checked_values(name in ".{0,80}", port in any::<i32>()) {
        let body = serde_json::json!({"Name": name, "Port": port}).to_string();
        let is_label = (1..=63).contains(&name.len()) && !name.contains('.');
        let is_port = (0..=65_535).contains(&port);
        prop_assert!(service(&body).is_ok() || !(is_label && is_port));
        prop_assert!(service(&body).is_err() || is_port);
    }
}
