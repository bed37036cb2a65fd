//! The language of `.hcl` files.

use serde_json::json;

use super::super::hcl::parse;
use super::*;

/// What a text says, as JSON.
fn read_hcl(text: &str) -> Result<serde_json::Value, String> {
    parse("c.hcl", text)
        .map(|node| node.to_json())
        .map_err(|problem| problem.to_string())
}

/// Says that `text` is refused with `complaint`.
fn refuses(text: &str, complaint: &str) {
    assert_eq!(read_hcl(text).unwrap_err(), complaint, "{text}");
}

#[test]
fn a_configuration_as_people_write_it() {
    let text = r#"
        # A client of dc1.
        datacenter = "dc1"
        data_dir   = "/opt/consul" // where it lives
        "log_level" = "INFO"
        client_addr = "127.0.0.1"
        /* several
           lines */
        ports { http = 8500, dns = -1 }
        node_meta = { rack = "7" "power-unit" = "b" }
        retry_join = ["10.0.0.1", "10.0.0.2",]
        ui = true
        telemetry {
          prometheus_retention_time = "30s"
          disable_hostname = true
        }
        dns_config {
          service_ttl {
            "*" = "5s"
            web.api = "1s"
          }
        }
    "#;
    let wanted = json!({
        "datacenter": "dc1", "data_dir": "/opt/consul", "log_level": "INFO",
        "client_addr": "127.0.0.1", "ports": {"http": 8500, "dns": -1},
        "node_meta": {"rack": "7", "power-unit": "b"},
        "retry_join": ["10.0.0.1", "10.0.0.2"], "ui": true,
        "telemetry": {"prometheus_retention_time": "30s", "disable_hostname": true},
        "dns_config": {"service_ttl": {"*": "5s", "web.api": "1s"}},
    });
    assert_eq!(read_hcl(text).unwrap(), wanted);
}

#[test]
fn services_in_blocks_add_up_and_a_label_is_a_name() {
    let text = r#"
        service {
          name = "web"
          check { id = "one", http = "http://localhost/", interval = "10s" }
          check = { id = "two" args = ["/bin/sh", "-c", "exit 0"] interval = "10s" }
        }
        service "db" { port = 5432 }
        services = [{ name = "x" }, { name = "y" }]
        services { name = "z" }
        check "memory" { ttl = "30s" }
    "#;
    let wanted = json!({
        "service": [
            {"name": "web", "check": [
                {"id": "one", "http": "http://localhost/", "interval": "10s"},
                {"id": "two", "args": ["/bin/sh", "-c", "exit 0"], "interval": "10s"},
            ]},
            {"name": "db", "port": 5432},
        ],
        "services": [{"name": "x"}, {"name": "y"}, {"name": "z"}],
        "check": {"name": "memory", "ttl": "30s"},
    });
    assert_eq!(read_hcl(text).unwrap(), wanted);
    refuses(
        "service \"web\" {\nname = \"db\" }",
        "c.hcl:2: service.name: differs from the block's label \"web\", give only one of them",
    );
}

#[test]
fn other_blocks_merge_and_their_labels_are_keys() {
    let text = r#"
        limits { a = 1 }
        limits { b { c = 1 } }
        limits { b { d = 2 } }
        tagged_addresses "lan" "v4" { port = 1 }
    "#;
    let wanted = json!({
        "limits": {"a": 1, "b": {"c": 1, "d": 2}},
        "tagged_addresses": {"lan": {"v4": {"port": 1}}},
    });
    assert_eq!(read_hcl(text).unwrap(), wanted);
}

#[test]
fn strings_have_escapes_and_keep_what_is_interpolated() {
    for (text, value) in [
        (r#""a\tb\\\"\n""#, "a\tb\\\"\n"),
        (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
        (r#""${HOME}/x""#, "${HOME}/x"),
        (r#""${a "b" {c}} $ {""#, "${a \"b\" {c}} $ {"),
        ("\"${a\nb}\"", "${a\nb}"),
        (r#""""#, ""),
        (r##""# // /* no comment""##, "# // /* no comment"),
    ] {
        assert_eq!(
            read_hcl(&format!("a = {text}")).unwrap(),
            json!({"a": value}),
            "{text}"
        );
    }
}

#[test]
fn heredocs_keep_their_lines() {
    for (text, value) in [
        ("a = <<EOF\none\n  two\nEOF\nb = 1", "one\n  two\n"),
        (
            "a = <<-EOF\n    one\n      two\n    EOF\nb = 1",
            "one\n  two\n",
        ),
        // A line that is less indented than the last keeps all as they are.
        (
            "a = <<-EOF\n  one\n    two\n    EOF\nb = 1",
            "  one\n    two\n",
        ),
        ("a = <<EOF\nEOF\nb = 1", ""),
        (
            "a = <<EOF\r\n#!/bin/sh \"${x}\"\r\nEOF\r\nb = 1",
            "#!/bin/sh \"${x}\"\r\n",
        ),
    ] {
        assert_eq!(
            read_hcl(text).unwrap(),
            json!({"a": value, "b": 1}),
            "{text:?}"
        );
    }
}

#[test]
fn numbers_are_whole_or_not() {
    for (text, value) in [
        ("0", json!(0)),
        ("-7", json!(-7)),
        ("0x1F", json!(31)),
        ("0755", json!(493)),
        ("18446744073709551615", json!(u64::MAX)),
        ("1.5", json!(1.5)),
        ("-2e3", json!(-2000.0)),
    ] {
        assert_eq!(read_hcl(&format!("a={text}")).unwrap(), json!({"a": value}));
    }
    for text in [
        "08",
        "1x",
        "0x",
        "-",
        "1.2.3",
        "18446744073709551616",
        "1e999",
    ] {
        refuses(
            &format!("a = {text}"),
            &format!("c.hcl:1: a: \"{text}\" is not a number that fits 64 bits"),
        );
    }
}

#[test]
fn a_text_that_begins_with_a_brace_is_json() {
    assert_eq!(read_hcl(" \n{\"a\": [1]}").unwrap(), json!({"a": [1]}));
    assert!(read_hcl("{a = 1}").unwrap_err().contains("not valid JSON"));
    assert_eq!(read_hcl("").unwrap(), json!({}));
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, complaint) in [
        (
            "a = 1\nb",
            "c.hcl:2: expected = or { after \"b\", found the end",
        ),
        ("a = 1\n= 2", "c.hcl:2: expected a key, found ="),
        ("a {\nb = 1\n", "c.hcl:3: a: expected a key, found the end"),
        ("a = 1\n}", "c.hcl:2: expected a key, found }"),
        ("a {\n b = yes }", "c.hcl:2: a.b: yes stands without quotes"),
        ("a =\n\n}", "c.hcl:3: a: expected a value, found }"),
        (
            "a = [1\n2]",
            "c.hcl:2: a: expected , or ] in a list, found 2",
        ),
        ("a = [1,,2]", "c.hcl:1: a: expected a value, found ,"),
        ("a \"b\" = 1", "c.hcl:1: expected { after \"a\", found ="),
        ("a: 1", "c.hcl:1: found :, write key = value"),
        ("\na = \"x", "c.hcl:2: a: the string does not end"),
        (
            "\na = \"x\n\"",
            "c.hcl:2: a: the string does not end in its line: write \\n or a heredoc",
        ),
        ("a = \"${x\"", "c.hcl:1: a: ${ has no closing }"),
        ("a = \"\\q\"", "c.hcl:1: a: \\q is no escape"),
        ("a = \"\\xff\"", "c.hcl:1: a: \\xff is no escape"),
        ("\n/* x", "c.hcl:2: the comment /* does not end"),
        ("a = <<EOF\nx", "c.hcl:1: a: the heredoc <<EOF does not end"),
        (
            "a = << EOF\nx\nEOF",
            "c.hcl:1: a: \"<< EOF\" begins no heredoc: write <<EOF",
        ),
        (
            "a = 1\nb = 2\na = 3",
            "c.hcl:3: a: is given twice, first in line 1",
        ),
        (
            "a { b = 1 }\na { b = 2 }",
            "c.hcl:2: a.b: is given twice, first in line 1",
        ),
        (
            "service = \"x\"\nservice {}",
            "c.hcl:2: service: is given twice, first in line 1",
        ),
        ("a = ~", "c.hcl:1: a: '~' does not belong here"),
    ] {
        refuses(text, complaint);
    }
}

#[test]
fn depth_is_bounded_however_it_is_made() {
    let labels = format!("a {} {{}}", "\"b\" ".repeat(100_000));
    for text in [
        "a {".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        labels,
    ] {
        let complaint = read_hcl(&text).unwrap_err();
        assert!(
            complaint.ends_with("nested deeper than 32 levels"),
            "{complaint:.200}"
        );
    }
}

#[test]
fn hcl_files_are_configuration_like_json_files() {
    let directory = Directory::new();
    directory.write(
        "a.json",
        r#"{"service": {"name": "one"}, "datacenter": "a"}"#,
    );
    directory.write(
        "b.hcl",
        "service {\n name = \"two\"\n}\ndatacenter = \"b\"\n",
    );
    directory.write("c.txt", "datacenter = \"c\"");
    let config = load(&[&directory.0], Vec::new()).unwrap();
    assert_eq!(config.identity.datacenter.as_str(), "b");
    let names = config.definitions.services.iter();
    let names: Vec<_> = names
        .map(|placed| placed.definition.service.name.as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let bad = directory.write("d.hcl", "service {\n name = \"two\"\n prot = 1\n}");
    let complaint = load(&[&bad], Vec::new()).unwrap_err().to_string();
    assert!(
        complaint.ends_with("d.hcl:3: invalid config key service.prot, did you mean port?"),
        "{complaint}"
    );
}

#[test]
fn the_format_may_be_given_for_all_files() {
    let directory = Directory::new();
    directory.write("c.conf", "datacenter = \"c\"");
    let flags = |format| Flags {
        development: true,
        files: vec![directory.0.clone()],
        format,
        ..Flags::default()
    };
    let datacenter = |format| Config::load(&flags(format)).unwrap().identity.datacenter;
    assert_eq!(datacenter(None).as_str(), "dc1");
    assert_eq!(datacenter(Some(Format::Hcl)).as_str(), "c");
    assert!(Config::load(&flags(Some(Format::Json))).is_err());
}

#[test]
fn fragments_win_over_files_and_flags() {
    let directory = Directory::new();
    let file = directory.write(
        "a.json",
        r#"{"datacenter": "a", "ports": {"dns": 1, "http": 2}}"#,
    );
    let fragments = |texts: &[&str]| {
        Config::load(&Flags {
            development: true,
            files: vec![file.clone()],
            settings: vec![flag(
                "datacenter",
                "datacenter",
                SettingValue::Text("b".into()),
            )],
            fragments: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..Flags::default()
        })
    };
    let config = fragments(&["datacenter = \"c\"", "ports { http = 3 }"]).unwrap();
    assert_eq!(config.identity.datacenter.as_str(), "c");
    let ports = (config.dns.unwrap().port, config.http.listen[0].port());
    assert_eq!(ports, (1, 3));
    let error = fragments(&["serevr = true"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "flag -hcl:1: invalid config key serevr, did you mean server?"
    );
}

mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    /// Writes JSON as HCL.
    fn written(value: &serde_json::Value, text: &mut String, tight: bool) {
        let separator = if tight { ", " } else { "\n" };
        match value {
            serde_json::Value::Object(members) => {
                text.push('{');
                text.push_str(if tight { " " } else { "\n" });
                for (key, value) in members {
                    text.push_str(&json!(key).to_string());
                    text.push_str(" = ");
                    written(value, text, tight);
                    text.push_str(separator);
                }
                text.push('}');
            }
            serde_json::Value::Array(items) => {
                text.push('[');
                for item in items {
                    written(item, text, tight);
                    text.push(',');
                }
                text.push(']');
            }
            other => text.push_str(&other.to_string()),
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            // Without what JSON escapes in a way of its own, and without "${".
            "[a-zA-Z0-9 #/*=<>\\[\\]~é😀-]{0,20}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[a-z#= ]{0,8}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_its_place(text in "(?s).{0,200}") {
            if let Err(problem) = parse("x", &text) {
                prop_assert!(problem.to_string().starts_with("x:"), "{problem}");
            }
        }

        #[test]
        fn pieces_of_the_language_are_read_or_refused(
            pieces in proptest::collection::vec(
                proptest::sample::select(&[
                    "a", "service", "\"b\"", "=", "{", "}", "[", "]", ",", "\n", "1", "-", "true",
                    "<<EOF\n", "<<-E\n", "EOF", "\"", "\\", "${", "#", "//", "/*", "*/", " ", "0x",
                ][..]),
                0..40,
            )
        ) {
            let text = pieces.concat();
            if let Err(problem) = parse("x", &text) {
                prop_assert!(problem.to_string().starts_with("x:"), "{problem}");
            }
        }

        #[test]
        fn what_is_written_is_read_back(value in value(), tight in any::<bool>()) {
            let mut text = "top = ".to_owned();
            written(&value, &mut text, tight);
            prop_assert_eq!(read_hcl(&text), Ok(json!({"top": value})), "{}", text);
        }
    }
}
