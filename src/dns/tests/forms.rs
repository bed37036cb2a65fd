//! Forms of names, and what they denote.

use hickory_proto::op::ResponseCode;

use super::world::{World, ask, meta, tagged, tags, wire};
use crate::dns::Reply;
use crate::types::{Address, Status};

fn web() -> World {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .node("n2", "10.0.0.2")
        .instance("n1", "web-1", |service| {
            service.tags = tags(&["v1.0", "Prod"]);
            service.port = 8080;
        })
        .instance("n2", "web-2", |service| {
            service.tags = tags(&["tcp2"]);
            service.address = Address::from_text("10.1.0.2");
        });
    world
}

#[test]
fn a_service_is_asked_for_its_addresses_and_endpoints() {
    let mut world = web();
    let answer = world.ask(&ask("web.service.consul", "A"));
    assert!(answer.is_authoritative() && !answer.is_truncated());
    assert_eq!(
        answer.answers(),
        [
            "web.service.consul. A 10.0.0.1",
            "web.service.consul. A 10.1.0.2"
        ]
    );
    let answer = world.ask(&ask("web.service.consul", "SRV"));
    assert_eq!(
        answer.answers(),
        [
            "web.service.consul. SRV 1 1 80 0a010002.addr.dc1.consul.",
            "web.service.consul. SRV 1 1 8080 n1.node.dc1.consul.",
        ]
    );
    assert_eq!(
        answer.additionals(),
        [
            "0a010002.addr.dc1.consul. A 10.1.0.2",
            "n1.node.dc1.consul. A 10.0.0.1",
        ]
    );
}

#[test]
fn the_questions_letter_case_comes_back() {
    let mut world = web();
    let answer = world.ask(&ask("wEb.SeRvIcE.dC1.ConSul", "SRV"));
    assert_eq!(
        answer.message.queries[0].name.to_string(),
        "wEb.SeRvIcE.dC1.ConSul."
    );
    assert_eq!(answer.answers().len(), 2);
    assert!(answer.answers()[0].starts_with("wEb.SeRvIcE.dC1.ConSul. SRV"));
    // Names that herald makes keep their own case.
    assert!(answer.answers()[0].ends_with("0a010002.addr.dc1.consul."));
}

#[test]
fn tags_and_datacenters_narrow_a_service() {
    let mut world = web();
    for (name, address) in [
        ("v1.0.web.service.consul", "10.0.0.1"),
        ("PROD.web.service.dc1.consul", "10.0.0.1"),
        ("_web._tcp2.service.consul", "10.1.0.2"),
        ("_web._prod.service.DC1.consul", "10.0.0.1"),
    ] {
        let answer = world.ask(&ask(name, "A"));
        assert_eq!(answer.answers(), [format!("{name}. A {address}")]);
    }
    for name in [
        "_web._tcp.service.consul",
        "_web._TCP.service.consul",
        "_web._.service.consul",
    ] {
        assert_eq!(world.ask(&ask(name, "A")).answers().len(), 2, "{name}");
    }
    for name in [
        "nosuch.web.service.consul",
        "_web._udp.service.consul",
        "nosuch.service.consul",
        "_._tcp.service.consul",
        "web.service.dc9.consul",
        "web.service.x.dc1.consul",
        "v1\\.0.web.service.consul",
        "a.b.c.d.e.service.consul",
    ] {
        assert!(world.ask(&ask(name, "A")).is_nxdomain(), "{name}");
    }
}

#[test]
fn srv_names_may_leave_out_the_service_keyword() {
    let mut world = web();
    for name in [
        "_web._tcp.consul",
        "_web._tcp.dc1.consul",
        "_web._prod.consul",
    ] {
        assert!(!world.ask(&ask(name, "SRV")).answers().is_empty(), "{name}");
        assert!(world.ask(&ask(name, "A")).is_nodata(), "{name}");
    }
    assert!(world.ask(&ask("_nosuch._tcp.consul", "SRV")).is_nxdomain());
    assert!(world.ask(&ask("_nosuch._tcp.consul", "A")).is_nxdomain());
}

#[test]
fn forms_that_are_not_built_do_not_exist() {
    let mut world = web();
    for name in [
        "web.connect.consul",
        "web.ingress.consul",
        "web.virtual.consul",
        "web.query.consul",
        "web.query.dc1.consul",
    ] {
        assert!(world.ask(&ask(name, "A")).is_nxdomain(), "{name}");
    }
}

#[test]
fn only_names_without_dots_are_services_over_dns() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .instance("n1", "web", |service| {
            service.name = "a.b".parse().unwrap();
        });
    assert!(world.ask(&ask("a.b.service.consul", "A")).is_nxdomain());
    assert!(world.ask(&ask("a\\.b.service.consul", "A")).is_nxdomain());
}

#[test]
fn nodes_answer_address_and_metadata() {
    let mut world = World::new();
    world.node_with("Foo.Bar", "10.0.0.9", |node| {
        node.meta = meta(&[("rack", "7"), ("rfc1035-text", "plain")]);
    });
    let name = "foo.bar.node.consul";
    assert_eq!(
        world.ask(&ask(name, "A")).answers(),
        [format!("{name}. A 10.0.0.9")]
    );
    let texts = [format!("{name}. TXT plain"), format!("{name}. TXT rack=7")];
    assert_eq!(world.ask(&ask(name, "A")).additionals(), texts);
    assert_eq!(world.ask(&ask(name, "TXT")).answers(), texts);
    assert_eq!(world.ask(&ask(name, "ANY")).answers().len(), 3);
    assert!(world.ask(&ask("foo\\.bar.node.consul", "A")).is_nxdomain());
    let answer = world.ask(&ask(name, "AAAA"));
    assert!(answer.is_nodata());
    assert_eq!(answer.additionals(), texts);

    world.reload(|options| options.enable_additional_node_meta_txt = false);
    assert!(world.ask(&ask(name, "A")).additionals().is_empty());
    assert_eq!(world.ask(&ask(name, "TXT")).answers(), texts);
}

#[test]
fn the_health_of_a_node_does_not_hide_its_name() {
    let mut world = web();
    world.check("n1", "serfHealth", None, Status::Critical);
    assert_eq!(world.ask(&ask("n1.node.consul", "A")).answers().len(), 1);
    assert_eq!(
        world.ask(&ask("web.service.consul", "A")).answers().len(),
        1
    );
}

#[test]
fn addresses_are_names() {
    let mut world = World::new();
    let v4 = "0A000001.addr.consul";
    assert_eq!(
        world.ask(&ask(v4, "A")).answers(),
        [format!("{v4}. A 10.0.0.1")]
    );
    let v6 = "20010db8000000000000000000000001.addr.anywhere.consul";
    assert_eq!(
        world.ask(&ask(v6, "AAAA")).answers(),
        [format!("{v6}. AAAA 2001:db8::1")]
    );
    assert_eq!(world.ask(&ask(v6, "ANY")).answers().len(), 1);
    assert!(world.ask(&ask("x.0a000001.addr.consul", "A")).is_nxdomain());
}

#[test]
fn reverse_names_find_nodes_before_services() {
    let mut world = web();
    world
        .node("N0", "10.0.0.1")
        .instance("n2", "db", |service| {
            service.address = Address::from_text("2001:db8::1");
        });
    world.check("n1", "serfHealth", None, Status::Critical);
    let answer = world.ask(&ask("1.0.0.10.IN-addr.arpa", "PTR"));
    assert_eq!(
        answer.answers(),
        ["1.0.0.10.IN-addr.arpa. PTR N0.node.dc1.consul."]
    );
    let answer = world.ask(&ask("2.0.1.10.in-addr.arpa", "PTR"));
    assert_eq!(
        answer.answers(),
        ["2.0.1.10.in-addr.arpa. PTR web.service.dc1.consul."]
    );
    let digits = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
    let answer = world.ask(&ask(&format!("{digits}.ip6.arpa"), "ANY"));
    assert_eq!(
        answer.answers(),
        [format!("{digits}.ip6.arpa. PTR db.service.dc1.consul.")]
    );
}

#[test]
fn names_outside_every_zone_are_refused() {
    let mut world = World::new();
    for name in [".", "com", "xconsul", "foo.service", "consul.example"] {
        let answer = world.ask(&ask(name, "A"));
        assert_eq!(answer.rcode(), ResponseCode::Refused, "{name}");
        assert!(!answer.is_authoritative() && answer.authorities().is_empty());
        assert!(answer.message.edns.is_some());
    }
}

#[test]
fn names_of_the_slow_path_leave_the_buffer_as_it_was() {
    let mut world = World::with(|options| {
        options.slow_zones = vec!["example.".to_owned(), "static.consul.".to_owned()];
    });
    for name in ["www.example", "example", "a.STATIC.consul"] {
        let query = ask(name, "A").octets();
        assert_eq!(
            world.raw(&query, crate::dns::Transport::Udp),
            Err(Reply::Slow)
        );
    }
    assert_eq!(world.ask(&ask("com", "A")).rcode(), ResponseCode::Refused);
}

#[test]
fn recursors_set_ra_and_take_unknown_reverse_names() {
    let mut world = World::with(|options| {
        options.slow_zones = vec![".".to_owned()];
        options.recursion_available = true;
    });
    world.node("n1", "10.0.0.1");
    let answer = world.ask(&ask("n1.node.consul", "A"));
    assert!(answer.flag(3, 0x80) && answer.is_authoritative());
    let unknown = ask("9.9.9.9.in-addr.arpa", "PTR").octets();
    assert_eq!(
        world.raw(&unknown, crate::dns::Transport::Udp),
        Err(Reply::Slow)
    );
    assert_eq!(
        world
            .ask(&ask("1.0.0.10.in-addr.arpa", "PTR"))
            .answers()
            .len(),
        1
    );
}

#[test]
fn a_service_that_went_and_came_back_is_found() {
    let mut world = web();
    let question = ask("web.service.consul", "A");
    assert_eq!(world.ask(&question).answers().len(), 2);
    world.remove("n1", "web-1").remove("n2", "web-2");
    assert!(world.ask(&question).is_nxdomain());
    world.instance("n1", "web-9", |_| {});
    assert_eq!(world.ask(&question).answers().len(), 1);
}

#[test]
fn tagged_lan_addresses_override_the_address() {
    let mut world = World::new();
    world
        .node("n1", "10.0.0.1")
        .instance("n1", "web", |service| {
            service.address = Address::from_text("192.0.2.1");
            tagged(service, "lan_ipv4", "10.9.0.1");
            tagged(service, "lan_ipv6", "2001:db8::9");
        });
    let name = "web.service.consul";
    assert_eq!(
        world.ask(&ask(name, "A")).answers(),
        [format!("{name}. A 10.9.0.1")]
    );
    assert_eq!(
        world.ask(&ask(name, "AAAA")).answers(),
        [format!("{name}. AAAA 2001:db8::9")]
    );
    assert_eq!(
        world.ask(&ask(name, "ANY")).answers(),
        [format!("{name}. AAAA 2001:db8::9")]
    );
    let hex = "20010db8000000000000000000000009.addr.dc1.consul.";
    assert_eq!(
        world.ask(&ask(name, "SRV")).answers(),
        [format!("{name}. SRV 1 1 80 {hex}")]
    );
}

#[test]
fn labels_and_names_are_accepted_up_to_their_limits() {
    let mut world = World::new();
    let label = "a".repeat(63);
    assert!(
        world
            .ask(&ask(&format!("{label}.service.consul"), "A"))
            .is_nxdomain()
    );
    // 255 octets: three labels of 63, one of 46, and the rest.
    let name = format!("{}.{label}.{label}.{label}.service.consul", "b".repeat(46));
    assert_eq!(wire(&name).len(), 255);
    assert!(world.ask(&ask(&name, "A")).is_nxdomain());
    let answer = world.ask(&ask("\u{0}\u{7f}\u{e9} .service.consul", "A"));
    assert!(answer.is_nxdomain());
}
