use proptest::prelude::*;

use super::*;

fn interface(name: &str, address: &str, prefix: u8) -> Interface {
    let mut flags = InterfaceFlags::IFF_UP;
    match name {
        "lo" => flags |= InterfaceFlags::IFF_LOOPBACK,
        "tun0" => flags |= InterfaceFlags::IFF_POINTOPOINT,
        _ => flags |= InterfaceFlags::IFF_BROADCAST | InterfaceFlags::IFF_MULTICAST,
    }
    Interface {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        prefix,
        flags,
        default: name == "eth0",
    }
}

/// A machine with a public address, two private ones, a bridge that is down and a tunnel.
fn machine() -> Vec<Interface> {
    let mut down = interface("br0", "10.9.9.9", 30);
    down.flags.remove(InterfaceFlags::IFF_UP);
    vec![
        interface("lo", "127.0.0.1", 8),
        interface("lo", "::1", 128),
        interface("eth0", "8.8.4.4", 24),
        interface("eth0", "fe80::1", 64),
        interface("eth0", "2a00::7", 64),
        interface("eth1", "10.1.2.3", 8),
        interface("eth1", "fd00::3", 64),
        interface("docker0", "172.17.0.1", 16),
        down,
        interface("tun0", "100.64.0.5", 32),
    ]
}

fn chosen(template: &str) -> Result<String, String> {
    expand(template, &machine())
}

#[test]
fn templates_in_common_use_choose_an_address() {
    for (template, address) in [
        ("{{ GetInterfaceIP \"eth1\" }}", "10.1.2.3"),
        ("{{GetInterfaceIP `eth0`}}", "8.8.4.4"),
        ("{{ GetPublicIP }}", "8.8.4.4"),
        // Nothing private on the default route: the largest network comes first.
        ("{{ GetPrivateIP }}", "10.1.2.3"),
        (
            "{{ GetPrivateInterfaces | include \"network\" \"10.0.0.0/8\" | attr \"address\" }}",
            "10.1.2.3",
        ),
        (
            "{{ GetDefaultInterfaces | include \"type\" \"IPv4\" | attr \"address\" }}",
            "8.8.4.4",
        ),
        (
            "{{ GetAllInterfaces | include \"name\" \"^docker\" | limit 1 | join \"address\" \" \" }}",
            "172.17.0.1",
        ),
        (
            "{{ GetAllInterfaces | include \"RFC\" \"1918\" | include \"flags\" \"up|broadcast\" \
             | exclude \"name\" \"docker0\" | attr \"address\" }}",
            "10.1.2.3",
        ),
        (
            "{{ GetPrivateInterfaces | exclude \"type\" \"ipv6\" | sort \"-Size\" | attr \"address\" }}",
            "100.64.0.5",
        ),
        (
            "{{ GetPrivateInterfaces | sort \"type,-address\" | join \"address\" \" \" }}",
            "172.17.0.1 100.64.0.5 10.1.2.3 fd00::3",
        ),
        (
            "{{ GetAllInterfaces | sort \"default,type\" | attr \"name\" }}",
            "eth0",
        ),
        (
            "{{ GetAllInterfaces | include \"rfc\" \"6598\" | attr \"network\" }}",
            "100.64.0.5/32",
        ),
        (
            "{{ GetInterfaceIPs \"eth\" }}",
            "10.1.2.3 8.8.4.4 fe80::1 2a00::7 fd00::3",
        ),
        ("{{ GetPublicIPs }}", "8.8.4.4 2a00::7"),
        ("{{- GetPublicIP -}}", "8.8.4.4"),
        ("127.0.0.1 {{ GetPublicIP }} ::1", "127.0.0.1 8.8.4.4 ::1"),
        (
            "{{ GetAllInterfaces | include \"flag\" \"loopback\" | offset 1 | attr \"address\" }}",
            "::1",
        ),
    ] {
        assert_eq!(chosen(template).as_deref(), Ok(address), "{template}");
    }
}

/// Templates, and what each is refused with.
const REFUSED: &[(&str, &str)] = &[
    ("{{ GetNothing }}", "GetNothing is not supported here"),
    (
        "{{ GetInterfaceIP }}",
        "GetInterfaceIP is not supported here",
    ),
    (
        "{{ GetPrivateIP \"x\" }}",
        "GetPrivateIP \"x\" is not supported here",
    ),
    (
        "{{ GetAllInterfaces | math \"address\" \"+1\" }}",
        "math \"address\" \"+1\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | include \"port\" \"1\" }}",
        "filter \"port\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | include \"flags\" \"up|odd\" }}",
        "flag \"odd\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | include \"rfc\" \"1\" }}",
        "RFC \"1\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | include \"type\" \"unix\" }}",
        "type \"unix\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | include \"network\" \"x\" }}",
        "\"x\" is not a network",
    ),
    (
        "{{ GetAllInterfaces | include \"name\" \"(\" }}",
        "\"(\" is not a regular expression",
    ),
    (
        "{{ GetAllInterfaces | sort \"port\" }}",
        "sort key \"port\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | attr \"port\" }}",
        "attribute \"port\" is not supported",
    ),
    (
        "{{ GetAllInterfaces | limit \"1\" }}",
        "limit \"1\" is not supported",
    ),
    ("{{ GetAllInterfaces | limit x }}", "x is not a count"),
    (
        "{{ GetPrivateIP | attr \"address\" }}",
        "attr takes interfaces, not a text",
    ),
    ("{{ with $x := 1 }}", "'$' is not supported"),
    (
        "{{ \"10.0.0.1\" }}",
        "\"10.0.0.1\" stands where a function must",
    ),
    ("{{ GetAllInterfaces | }}", "a part between | is empty"),
    (
        "{{ GetAllInterfaces }}",
        "it ends with interfaces: add | attr \"address\"",
    ),
    ("{{ }}", "a part between | is empty"),
    (
        "{{ GetInterfaceIP \"eth9\" }}",
        "no address of this machine fits",
    ),
    ("{{ GetInterfaceIP \"eth0 }}", "has no closing quote"),
    ("{{ GetPrivateIP", "has no closing }}"),
];

#[test]
fn what_is_not_supported_is_named() {
    for (template, part) in REFUSED {
        let reason = chosen(template).unwrap_err();
        assert!(
            reason.contains(part) && reason.starts_with("address template \""),
            "{template}: {reason}"
        );
    }
    let long = format!("{{{{ {} }}}}", "x".repeat(OCTETS_MAX));
    assert!(chosen(&long).unwrap_err().contains("at most 4096"));
}

proptest! {
    #[test]
    fn any_text_is_expanded_or_refused(text in "(?s).{0,60}") {
        drop(chosen(&format!("{{{{ {text} }}}}")));
    }

    #[test]
    fn pieces_of_templates_are_expanded_or_refused(
        pieces in proptest::collection::vec(
            proptest::sample::select(&[
                "GetAllInterfaces", "GetPrivateIP", "GetInterfaceIP", "|", "include", "exclude",
                "sort", "limit", "offset", "attr", "join", "\"network\"", "\"name\"", "\"10.0.0.0/8\"",
                "\"address\"", "\"\"", "1", "99999999999999999999", "{{", "}}", "(", "`",
            ][..]),
            0..12,
        )
    ) {
        drop(chosen(&format!("{{{{ {} }}}}", pieces.join(" "))));
    }
}
