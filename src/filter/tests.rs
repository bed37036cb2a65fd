//! The grammar, every operator on every type, every error, and arbitrary texts.
//!
//! Long, since it is mostly tables: what a filter says beside what it takes or is told.

use std::sync::Arc;

use proptest::prelude::*;

use super::syntax::{Condition, Expression, Operator, Selector};
use super::*;
use crate::catalog::{Command, Operation, Registration, State, open_server};
use crate::types::{
    Address, Check, CheckType, Datacenter, Index, Meta, Node, Service, Status, TaggedAddress,
    Weights,
};

fn pairs(pairs: &[(&str, &str)]) -> Meta {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Meta::from_pairs(pairs.iter().map(owned))
}

fn check(id: &str, status: Status, service: Option<&str>) -> Check {
    Check {
        id: id.parse().unwrap(),
        name: "alive".into(),
        status,
        notes: "".into(),
        output: "HTTP GET: 200 OK".into(),
        service_id: service.map(|id| id.parse().unwrap()),
        check_type: CheckType::Http,
        definition: None,
    }
}

/// Node `n1` with service `web` (id `web-1`) and the given checks.
fn state(checks: Vec<Check>) -> Arc<State> {
    let (mut writer, reader) = open_server();
    let id = "40e4a748-2192-161a-0510-9bf59fe950b5";
    let node = Node {
        id: Some(id.parse().unwrap()),
        name: "n1".parse().unwrap(),
        address: Address::from_text("10.0.0.7"),
        tagged_addresses: [("lan".into(), Address::from_text("2001:db8::7"))].into(),
        meta: pairs(&[("rack", "7"), ("a.b", "dotted")]),
    };
    let lan = TaggedAddress {
        address: Address::from_text("10.1.0.7"),
        port: 8081,
    };
    let service = Service {
        id: "web-1".parse().unwrap(),
        name: "web".parse().unwrap(),
        tags: ["v1".into(), "Blue".into()].into(),
        address: Address::from_text("web.example.net"),
        port: 8080,
        meta: Meta::default(),
        weights: Weights {
            passing: 5,
            warning: 0,
        },
        enable_tag_override: true,
        tagged_addresses: Some(Box::new([("lan".into(), lan)].into())),
    };
    let registration = Registration {
        node,
        skip_node_update: false,
        service: Some(service),
        checks,
    };
    let command = Command {
        request: 0,
        operations: vec![Operation::Register(Box::new(registration))],
    };
    writer.apply(vec![(Index(1), command)]).unwrap();
    reader.state()
}

fn takes(checks: &[Status], text: &str) -> bool {
    let number =
        |(number, status): (usize, &Status)| check(&format!("c{number}"), *status, Some("web-1"));
    takes_with(checks.iter().enumerate().map(number).collect(), text)
}

fn takes_with(checks: Vec<Check>, text: &str) -> bool {
    let state = state(checks);
    let datacenter: Datacenter = "dc1".parse().unwrap();
    let node = state.nodes().next().unwrap();
    let instance = node.instances().next().unwrap();
    let filter = Filter::parse(text, RowKind::Health);
    let filter = filter.unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.takes(&HealthRow {
        node,
        instance,
        datacenter: &datacenter,
    })
}

/// Checks what one passing row makes of each text.
fn assert_each(cases: &[(&str, bool)]) {
    for (text, expected) in cases {
        assert_eq!(takes(&[Status::Passing], text), *expected, "{text}");
    }
}

fn error(text: &str) -> String {
    match Filter::parse(text, RowKind::Health) {
        Ok(_) => panic!("{text} is a filter"),
        Err(error) => error.to_string(),
    }
}

mod grammar {
    use super::*;

    #[test]
    fn not_binds_tighter_than_and_and_that_tighter_than_or() {
        let (yes, no) = ("Node.Node == n1", "Node.Node == n2");
        for (text, expected) in [
            (format!("{yes} or {no} and {no}"), true),
            (format!("({yes} or {no}) and {no}"), false),
            (format!("not {no} and {no}"), false),
            (format!("not ({no} and {no})"), true),
            (format!("not not {yes}"), true),
            (format!("not {yes} or {yes}"), true),
            (format!("( ( {yes} ) )"), true),
            (format!("{no} or {no} or {yes}"), true),
            (format!("{yes} and {yes} and {no}"), false),
        ] {
            assert_eq!(takes(&[], &text), expected, "{text}");
        }
    }

    #[test]
    fn values_have_every_form() {
        assert_each(&[
            ("Service.Port==8080", true),
            ("Service.Port\n!=\t8080", false),
            (r#"Service.ID == "web-1""#, true),
            ("Service.ID == `web-1`", true),
            ("Service.Service == web", true),
            ("Service.Address == web.example.net", true),
            (r#"Node.Node == "\x6e\u0031""#, true),
            (r#"Node.Node == "\n1""#, false),
            (r"Node.Node matches `\w\d`", true),
            (r#"Node.Node matches "\\w\\d""#, true),
            ("Node.Node == and or Node.Node == n1", true),
        ]);
    }

    #[test]
    fn selectors_take_keys_in_dots_and_brackets() {
        assert_each(&[
            ("Node.Meta.rack == 7", true),
            (r#"Node.Meta["rack"] == 7"#, true),
            (r"Node.Meta[ `a.b` ] == dotted", true),
            (r#"Node["Meta"].rack == 7"#, true),
            ("Service.TaggedAddresses.lan.Port == 8081", true),
        ]);
    }

    #[test]
    fn what_breaks_it_is_named_with_its_place() {
        let after = r#"no match found, expected: "and", "or", [ \t\r\n] or EOF"#;
        let start = r#"no match found, expected: "(", "not", [ \t\r\n], selector or value"#;
        let operators = "no match found, expected: \"!=\", \"==\", \"contains\", \"in\", \"is\", \
                         \"matches\" or \"not\"";
        for (text, place, expected) in [
            ("", "1:1 (0)", start),
            ("   ", "1:4 (3)", start),
            (r#"Node.Node == "web 1" x"#, "1:22 (21)", after),
            ("Node.Node == n1 AND a == b", "1:17 (16)", after),
            ("Node.Node == web-1", "1:17 (16)", after),
            ("Node.Node == 'web'", "1:14 (13)", VALUE),
            ("Node.Node ==", "1:13 (12)", VALUE),
            ("Node.Node", "1:10 (9)", operators),
            ("Service.EnableTagOverride", "1:26 (25)", operators),
            ("Node.Node < 3", "1:11 (10)", operators),
            ("Node.Node ==\n\n  )", "3:3 (16)", VALUE),
            ("\"é\" in Tags )", "1:13 (13)", after),
            (
                "(Node.Node == n1",
                "1:17 (16)",
                r#"no match found, expected: ")", "and", "or" or [ \t\r\n]"#,
            ),
        ] {
            assert_eq!(error(text), format!("{place}: {expected}"), "{text}");
        }
    }

    const VALUE: &str = "no match found, expected: number, string or word";

    /// Texts of which a part is broken: where, and the complaint.
    const BROKEN_PARTS: &[(&str, &str, &str)] = &[
        (
            "Node.Node = n1",
            "1:12 (11)",
            "no match found, expected: \"=\"",
        ),
        (
            "Service.Port == 80x",
            "1:19 (18)",
            r#"no match found, expected: ")", [ \t\r\n] or EOF"#,
        ),
        (
            "Service.Port == -",
            "1:18 (17)",
            "no match found, expected: [0-9]",
        ),
        (
            "Service.Port == 080",
            "1:20 (19)",
            "a number does not begin with 0; put other values in quotes",
        ),
        (
            "Node. == a",
            "1:6 (5)",
            "no match found, expected: [a-zA-Z]",
        ),
        (
            "Node.Meta[a] == a",
            "1:11 (10)",
            "no match found, expected: string",
        ),
        (
            r#"Node.Meta["a" == a"#,
            "1:15 (14)",
            "no match found, expected: \"]\"",
        ),
        (r#"Node.Node == Meta["a"]"#, "1:14 (13)", VALUE),
        (
            r#"Node.Node == "a"#,
            "1:14 (13)",
            "string has no closing quote",
        ),
        (
            r#"Node.Node == "\d""#,
            "1:15 (14)",
            "a backslash begins an escape here: double it, or use backticks",
        ),
        (
            r#"Node.Node == "\ud800""#,
            "1:15 (14)",
            "the escape is no character",
        ),
        (
            r#"Node.Node == "\xff""#,
            "1:15 (14)",
            "the escape is no character",
        ),
        (
            r#""a" contains Tags"#,
            "1:5 (4)",
            "no match found, expected: \"in\" or \"not\"",
        ),
        ("a not in", "1:9 (8)", "no match found, expected: selector"),
        (
            "a not b",
            "1:7 (6)",
            "no match found, expected: \"contains\", \"in\" or \"matches\"",
        ),
        (
            "Tags is nothing",
            "1:9 (8)",
            "no match found, expected: \"empty\" or \"not\"",
        ),
        (
            "Tags is not a",
            "1:13 (12)",
            "no match found, expected: \"empty\"",
        ),
    ];

    #[test]
    fn what_breaks_a_part_of_it_is_named_with_its_place() {
        for (text, place, expected) in BROKEN_PARTS {
            assert_eq!(error(text), format!("{place}: {expected}"), "{text}");
        }
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let condition = "Node.Node == n1";
        let nested = |depth| format!("{}{condition}{}", "(".repeat(depth), ")".repeat(depth));
        assert!(takes(&[], &nested(NESTING_MAX)));
        assert!(error(&nested(NESTING_MAX + 1)).ends_with("nested more than 64 deep"));
        let negated = |times| format!("{}{condition}", "not ".repeat(times));
        assert!(takes(&[], &negated(NESTING_MAX)));
        assert!(error(&negated(NESTING_MAX + 1)).ends_with("nested more than 64 deep"));

        let joined = |count| vec![condition; count].join(" or ");
        assert!(takes(&[], &joined(CONDITIONS_MAX)));
        assert!(error(&joined(CONDITIONS_MAX + 1)).ends_with("more than 256 conditions"));

        let padded = |octets: usize| format!("{condition:octets$}");
        assert!(takes(&[], &padded(OCTETS_MAX)));
        let expected = "filter has 8193 octets, at most 8192 are allowed";
        assert_eq!(error(&padded(OCTETS_MAX + 1)), expected);

        let matching = |count| vec!["Node.Node matches n"; count].join(" and ");
        assert!(takes(&[], &matching(EXPRESSIONS_MAX)));
        let expected = "filter has more than 16 regular expressions";
        assert_eq!(error(&matching(EXPRESSIONS_MAX + 1)), expected);
    }
}

mod operators {
    use super::*;

    #[test]
    fn texts_are_compared_searched_and_matched() {
        assert_each(&[
            ("Node.Datacenter == dc1", true),
            ("Node.Datacenter == DC1", false),
            ("Node.Datacenter != dc1", false),
            ("Node.Datacenter != dc2", true),
            ("c in Node.Datacenter", true),
            ("x in Node.Datacenter", false),
            ("c not in Node.Datacenter", false),
            ("Node.Datacenter contains c1", true),
            ("Node.Datacenter not contains c1", false),
            ("Node.Datacenter matches `c\\d`", true),
            ("Node.Datacenter matches `^c`", false),
            ("Node.Datacenter not matches `^c`", true),
            ("Service.Kind == \"\"", true),
            ("Checks.Output contains 200", true),
        ]);
    }

    #[test]
    fn addresses_and_ids_are_texts_too() {
        assert_each(&[
            ("Node.ID == `40e4a748-2192-161a-0510-9bf59fe950b5`", true),
            ("Node.ID matches `^40e4`", true),
            ("Node.Address == `10.0.0.7`", true),
            ("Node.Address contains `10.0.`", true),
            ("Node.TaggedAddresses.lan == `2001:db8::7`", true),
            ("Service.Address contains example", true),
            ("Service.TaggedAddresses[`lan`].Address == `10.1.0.7`", true),
        ]);
    }

    #[test]
    fn numbers_are_equal_or_not() {
        assert_each(&[
            ("Service.Port == 8080", true),
            ("Service.Port == \"8080\"", true),
            ("Service.Port == \"0x1f90\"", true),
            ("Service.Port == \"017620\"", true),
            ("Service.Port == \"+8080\"", true),
            ("Service.Port == -8080", false),
            ("Service.Port != 8080", false),
            ("Service.Port != 80", true),
            ("Service.Weights.Passing == 5", true),
            ("Service.Weights.Warning == 0", true),
            ("Service.Proxy.LocalServicePort == 0", true),
            ("Service.TaggedAddresses.lan.Port != 8081", false),
        ]);
    }

    #[test]
    fn switches_are_equal_or_not() {
        assert_each(&[
            ("Service.EnableTagOverride == true", true),
            ("Service.EnableTagOverride == T", true),
            ("Service.EnableTagOverride == 1", true),
            ("Service.EnableTagOverride != true", false),
            ("Service.EnableTagOverride == false", false),
            ("Service.Connect.Native == false", true),
        ]);
    }

    #[test]
    fn lists_have_elements() {
        assert_each(&[
            ("v1 in Service.Tags", true),
            ("v in Service.Tags", false),
            ("blue in Service.Tags", false),
            ("v1 not in Service.Tags", false),
            ("v2 not in Service.Tags", true),
            ("Service.Tags contains Blue", true),
            ("Service.Tags not contains Blue", false),
            ("Service.Tags is empty", false),
            ("Service.Tags is not empty", true),
            ("Service.Proxy.Upstreams is empty", true),
        ]);
    }

    #[test]
    fn maps_have_keys() {
        assert_each(&[
            ("rack in Node.Meta", true),
            ("Node.Meta contains rack", true),
            ("Rack in Node.Meta", false),
            ("room not in Node.Meta", true),
            ("Node.Meta is empty", false),
            ("Service.Meta is empty", true),
            ("Service.Meta is not empty", false),
            ("lan in Node.TaggedAddresses", true),
            ("Node.TaggedAddresses is not empty", true),
            ("lan in Service.TaggedAddresses", true),
            ("wan in Service.TaggedAddresses", false),
        ]);
    }

    #[test]
    fn a_missing_key_equals_nothing() {
        assert_each(&[
            ("Node.Meta.room == 1", false),
            ("Node.Meta.room == \"\"", false),
            ("Node.Meta.room != 1", true),
            ("Node.Meta.room matches `.*`", false),
            ("Node.Meta.room not matches `.*`", true),
            ("a in Node.Meta.room", false),
            ("a not in Node.Meta.room", true),
            ("Node.TaggedAddresses.wan != x", true),
            ("Service.TaggedAddresses.wan.Port == 0", false),
            ("Service.TaggedAddresses.wan.Port != 0", true),
        ]);
    }

    #[test]
    fn a_condition_on_checks_holds_if_it_does_for_any() {
        let mixed = [Status::Passing, Status::Critical];
        for (checks, text, expected) in [
            (&mixed[..], "Checks.Status == passing", true),
            (&mixed, "Checks.Status != passing", true),
            (&mixed, "Checks.Status == critical", true),
            (&mixed, "Checks.Status not matches pass", true),
            (&mixed, "not Checks.Status != passing", false),
            (&mixed[..1], "not Checks.Status != passing", true),
            (&mixed[..1], "Checks.Status != passing", false),
            (&mixed, "v1 in Checks.ServiceTags", true),
            (&mixed, "Checks.ServiceTags is empty", false),
            (&mixed, "Checks is empty", false),
            (&mixed, "Checks is not empty", true),
        ] {
            assert_eq!(takes(checks, text), expected, "{text} on {checks:?}");
        }
    }

    #[test]
    fn an_empty_list_of_checks_satisfies_nothing() {
        for text in [
            "Checks.Status == passing",
            "Checks.Status != passing",
            "Checks.Output not matches x",
            "Checks.ServiceTags is empty",
            "x not in Checks.Name",
        ] {
            assert!(!takes(&[], text), "{text}");
        }
        assert!(takes(&[], "Checks is empty"));
        assert!(!takes(&[], "Checks is not empty"));
    }

    #[test]
    fn checks_of_the_node_belong_to_each_of_its_instances() {
        let checks = || {
            let of_node = check("serfHealth", Status::Critical, None);
            vec![of_node, check("c", Status::Passing, Some("web-1"))]
        };
        for (text, expected) in [
            ("Checks.CheckID == serfHealth", true),
            ("Checks.ServiceTags is empty", true),
            ("Checks.ServiceID == `web-1`", true),
            ("Checks.ServiceName == \"\"", true),
            ("not Checks.Node != n1", true),
            ("Checks.Type == http", true),
            ("Checks.ServiceID == `web-2`", false),
        ] {
            assert_eq!(takes_with(checks(), text), expected, "{text}");
        }
    }
}

mod errors {
    use super::*;

    #[test]
    fn a_field_that_does_not_exist_is_no_selector() {
        for (text, selector) in [
            ("Bogus == 1", "Bogus"),
            ("Node.node == n1", "Node.node"),
            ("Node == n1", "Node"),
            ("Service.ModifyIndex == 1", "Service.ModifyIndex"),
            ("Checks.Definition is empty", "Checks.Definition"),
            ("Node.Meta.a.b == 1", "Node.Meta.a.b"),
            (
                "Service.TaggedAddresses.lan.Host == 1",
                "Service.TaggedAddresses.lan.Host",
            ),
            ("a in Node.Node.x", "Node.Node.x"),
            ("not == 1", "not"),
        ] {
            let expected = format!("Selector {selector:?} is not valid");
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn an_operator_that_the_type_does_not_have_is_named() {
        for (text, operator, selector) in [
            ("Service.Address is empty", "Is Empty", "Service.Address"),
            (
                "Service.Address is not empty",
                "Is Not Empty",
                "Service.Address",
            ),
            ("Service.Tags == v1", "Equal", "Service.Tags"),
            ("Service.Tags != v1", "Not Equal", "Service.Tags"),
            ("Service.Tags matches v1", "Matches", "Service.Tags"),
            ("Node.Meta == a", "Equal", "Node.Meta"),
            ("Node.Meta not matches a", "Not Matches", "Node.Meta"),
            ("8 in Service.Port", "In", "Service.Port"),
            ("8 not in Service.Port", "Not In", "Service.Port"),
            ("Service.Port contains 8", "In", "Service.Port"),
            ("Service.Port matches 8", "Matches", "Service.Port"),
            (
                "Service.EnableTagOverride is empty",
                "Is Empty",
                "Service.EnableTagOverride",
            ),
            ("Checks == a", "Equal", "Checks"),
            ("a in Checks", "In", "Checks"),
            (
                "Service.TaggedAddresses.lan == a",
                "Equal",
                "Service.TaggedAddresses.lan",
            ),
        ] {
            let expected = format!("Invalid match operator {operator:?} for selector {selector:?}");
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_form_is_named() {
        let port = r#"for selector "Service.Port": strconv.ParseInt"#;
        for (text, expected) in [
            ("Service.Port == abc", format!(r#""abc" {port}: parsing "abc": invalid syntax"#)),
            ("Service.Port == 80.5", format!(r#""80.5" {port}: parsing "80.5": invalid syntax"#)),
            ("Service.Port == \"\"", format!(r#""" {port}: parsing "": invalid syntax"#)),
            ("Service.Port == \"0x\"", format!(r#""0x" {port}: parsing "0x": invalid syntax"#)),
            ("Service.Port == \"-+1\"", format!(r#""-+1" {port}: parsing "-+1": invalid syntax"#)),
            (
                "Service.Port == 9223372036854775808",
                format!(
                    r#""9223372036854775808" {port}: parsing "9223372036854775808": value out of range"#
                ),
            ),
            (
                "Service.EnableTagOverride == yes",
                r#""yes" for selector "Service.EnableTagOverride": strconv.ParseBool: parsing "yes": invalid syntax"#
                    .to_owned(),
            ),
        ] {
            assert_eq!(error(text), format!("Failed to coerce value {expected}"), "{text}");
        }
    }

    #[test]
    fn a_regular_expression_must_be_one_and_small() {
        let found = error("Node.Node matches `[`");
        let expected = r#"Failed to compile regular expression "[": error parsing regexp: "#;
        assert!(found.starts_with(expected), "{found}");
        assert!(
            found.len() > expected.len() && !found.contains('\n'),
            "{found}"
        );
        let found = error("Node.Node matches `(\\w{100}){100}`");
        assert!(
            found.ends_with("compiled it takes more than 262144 octets"),
            "{found}"
        );
    }

    #[test]
    fn each_kind_of_row_has_its_own_selectors() {
        use RowKind as Rows;
        let catalog = [
            "ID",
            "Node",
            "Address",
            "Datacenter",
            "ServiceKind",
            "ServiceID",
            "ServiceName",
            "ServiceAddress",
            "NodeMeta.a",
            "TaggedAddresses.lan",
            "ServiceMeta.a",
            "ServiceTaggedAddresses.lan.Address",
            "ServiceProxy.DestinationServiceName",
        ];
        let checks = [
            "Node",
            "CheckID",
            "Name",
            "Status",
            "Notes",
            "Output",
            "ServiceID",
        ];
        let service = [
            "ID",
            "Service",
            "Kind",
            "Address",
            "Meta.a",
            "Proxy.MeshGateway.Mode",
        ];
        let is_known =
            |rows, selector: &str| Filter::parse(&format!("{selector} == a"), rows).is_ok();
        let all = |rows, selectors: &[&str]| selectors.iter().all(|text| is_known(rows, text));
        assert!(all(Rows::Catalog, &catalog));
        assert!(all(Rows::Check, &checks));
        assert!(all(Rows::Service, &service));
        assert!(all(
            Rows::Node,
            &["ID", "Node", "Address", "Datacenter", "Meta.a"]
        ));
        for (rows, selector) in [
            (Rows::Catalog, "Meta.a"),
            (Rows::Catalog, "Service"),
            (Rows::Catalog, "ServiceService"),
            (Rows::Catalog, "Service.ID"),
            (Rows::Service, "Node"),
            (Rows::Service, "Service.ID"),
            (Rows::Check, "Service"),
            (Rows::Node, "ServiceID"),
            (Rows::Health, "ID"),
        ] {
            assert!(!is_known(rows, selector), "{selector} of {rows:?}");
        }
    }
}

mod properties {
    use super::*;

    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z][a-zA-Z0-9_]{0,8}"
    }

    fn condition() -> impl Strategy<Value = Expression> {
        let selector = (
            word(),
            proptest::collection::vec(prop_oneof![word(), ".{0,6}"], 0..3),
        );
        let operator = (0..4_usize, ".{0,12}").prop_map(|(choice, value)| match choice {
            0 => Operator::Equal(value),
            1 => Operator::Matches(value),
            2 => Operator::In(value),
            _ => Operator::Empty,
        });
        let parts = (selector, operator, any::<bool>());
        parts.prop_map(|((first, rest), operator, negated)| {
            let selector = Selector(std::iter::once(first).chain(rest).collect());
            Expression::Condition(Condition {
                selector,
                operator,
                negated,
            })
        })
    }

    /// The word `not` begins a negation, unless a sign follows.
    fn is_writable(expression: &Expression) -> bool {
        match expression {
            Expression::All(parts) | Expression::Any(parts) => parts.iter().all(is_writable),
            Expression::Not(part) => is_writable(part),
            Expression::Condition(condition) => condition.selector.0 != ["not"],
        }
    }

    fn expression() -> impl Strategy<Value = Expression> {
        let tree = condition().prop_recursive(5, 24, 4, |inner| {
            let several = || proptest::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                several().prop_map(Expression::All),
                several().prop_map(Expression::Any),
                inner
                    .clone()
                    .prop_map(|part| Expression::Not(Box::new(part))),
            ]
        });
        tree.prop_filter("`not` cannot be written as a selector", is_writable)
    }

    /// Texts that are often almost filters.
    fn almost() -> impl Strategy<Value = String> {
        let token = proptest::sample::select(vec![
            "Node.Node",
            "Service.Port",
            "Service.Tags",
            "Checks.Status",
            "Node.Meta",
            "[\"a\"]",
            "==",
            "!=",
            "in",
            "not",
            "is",
            "empty",
            "contains",
            "matches",
            "and",
            "or",
            "(",
            ")",
            "80",
            "-1",
            "\"a\"",
            "`[a-z]+`",
            "\"",
            "`",
            ".",
            "[",
            "]",
            "\\",
            "é",
            "'",
            "=",
        ]);
        let parts = proptest::collection::vec((token, any::<bool>()), 0..12);
        parts.prop_map(|parts| {
            let spaced = |(token, spaced): (&str, bool)| {
                let space = if spaced { " " } else { "" };
                format!("{token}{space}")
            };
            parts.into_iter().map(spaced).collect()
        })
    }

    proptest! {
        #[test]
        fn a_written_expression_reads_as_the_same(expression in expression()) {
            let text = expression.to_string();
            prop_assert_eq!(parser::parse(&text), Ok(expression), "{}", text);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in prop_oneof![".{0,64}", almost()]) {
            for kind in [RowKind::Health, RowKind::Catalog, RowKind::Check] {
                if let Err(FilterError::Syntax(error)) = Filter::parse(&text, kind) {
                    prop_assert!(error.position.offset <= text.len());
                    prop_assert!(text.is_char_boundary(error.position.offset));
                }
            }
        }

        #[test]
        fn not_turns_the_outcome_round(expression in almost()) {
            if Filter::parse(&expression, RowKind::Health).is_ok() {
                let plain = takes(&[Status::Warning], &expression);
                let negated = format!("not ({expression})");
                prop_assert_eq!(takes(&[Status::Warning], &negated), !plain);
            }
        }
    }
}
