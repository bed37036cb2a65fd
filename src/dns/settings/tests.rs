use super::*;
use crate::dns::DomainError;

fn options() -> Options {
    Options::new("dc1".parse().unwrap(), "n1".parse().unwrap())
}

fn name(text: &str) -> Name {
    let mut name = Name::default();
    name.read(&wire_from_text(text, 255).unwrap()).unwrap();
    name
}

#[test]
fn the_longest_service_ttl_prefix_wins_and_a_whole_name_wins_over_it() {
    let mut options = options();
    let ttl = |key: &str, seconds| (key.to_owned(), Duration::from_secs(seconds));
    options.service_ttl = [ttl("*", 5), ttl("web*", 23), ttl("Web", 31)].into();
    let settings = Settings::new(options).unwrap();
    assert_eq!(settings.service_ttl(b"web"), 31);
    assert_eq!(settings.service_ttl(b"web2"), 23);
    assert_eq!(settings.service_ttl(b"we"), 5);
}

#[test]
fn a_service_ttl_key_without_a_star_is_no_prefix() {
    let mut options = options();
    options.service_ttl = [("web".to_owned(), Duration::from_secs(31))].into();
    let settings = Settings::new(options).unwrap();
    assert_eq!(settings.service_ttl(b"web2"), 0);
}

#[test]
fn the_longest_zone_is_a_names_home() {
    let mut options = options();
    options.alt_domain = Some("sub.consul".to_owned());
    options.slow_zones = vec!["static.consul.".to_owned(), "10.in-addr.arpa".to_owned()];
    options.reverse_zones = vec!["168.192.in-addr.arpa.".to_owned()];
    let settings = Settings::new(options).unwrap();
    let zone = |text: &str| match settings.home(&name(text)) {
        Home::Catalog(zone) => format!("catalog {}", zone.labels),
        Home::Reverse(zone) => format!("reverse {}", zone.labels),
        Home::Slow => "slow".to_owned(),
        Home::Outside => "outside".to_owned(),
    };
    assert_eq!(zone("web.service.CONSUL"), "catalog 1");
    assert_eq!(zone("web.service.sub.consul"), "catalog 2");
    assert_eq!(zone("consul"), "catalog 1");
    assert_eq!(zone("www.static.consul"), "slow");
    assert_eq!(zone("xconsul"), "outside");
    assert_eq!(zone("."), "outside");
    assert_eq!(zone("1.0.0.10.in-addr.arpa"), "slow");
    assert_eq!(zone("1.0.0.11.in-addr.arpa"), "reverse 2");
    assert_eq!(zone("1.0.168.192.in-addr.arpa"), "reverse 4");
    assert_eq!(zone("e164.arpa"), "reverse 1");
}

#[test]
fn recursors_take_what_no_zone_covers() {
    let mut options = options();
    options.slow_zones = vec![".".to_owned()];
    let settings = Settings::new(options).unwrap();
    assert!(matches!(settings.home(&name("example.com")), Home::Slow));
    assert!(matches!(settings.home(&name(".")), Home::Slow));
    assert!(matches!(settings.home(&name("a.consul")), Home::Catalog(_)));
    assert!(matches!(
        settings.home(&name("10.in-addr.arpa")),
        Home::Reverse(_)
    ));
}

#[test]
fn a_zone_that_leaves_no_room_for_an_address_is_refused() {
    let mut options = options();
    let label = "a".repeat(60);
    options.domain = [label.as_str(); 4].join(".");
    assert!(matches!(
        Settings::new(options.clone()),
        Err(SettingsError::Domain {
            key: "domain",
            source: DomainError::Length { .. }
        })
    ));
    options.domain = ".".to_owned();
    assert_eq!(
        Settings::new(options).unwrap_err().to_string(),
        "domain is empty or \".\", at least one label is needed"
    );
}

#[test]
fn numbers_out_of_range_are_refused_with_their_key() {
    let refused = |change: fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        Settings::new(options).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|options| options.udp_response_max = 511),
        "dns_config.udp_response_max is 511, 512 to 65000 are allowed"
    );
    assert!(refused(|options| options.udp_answer_limit = 0).starts_with("dns_config.udp_answer"));
    assert!(refused(|options| options.edns_size = 100).contains("EDNS"));
    assert_eq!(
        refused(|options| options.node_ttl = Duration::from_secs(1 << 31)),
        "dns_config.node_ttl is 2147483648 s, at most 2147483647 s are allowed \
         (RFC 2181 section 8)"
    );
    assert!(
        refused(|options| options.reverse_zones = vec!["example.com".to_owned()])
            .contains("example.com")
    );
}

#[test]
fn a_datacenter_named_like_the_zone_is_no_doubled_zone() {
    let doubled = |settings: &Settings| settings.is_doubled(&name("web.consul.consul"), 2);
    assert!(doubled(&Settings::new(options()).unwrap()));
    let mut options = options();
    options.datacenter = "consul".parse().unwrap();
    assert!(!doubled(&Settings::new(options).unwrap()));
}
