use proptest::prelude::*;

use super::*;
use crate::health::{Mechanism, Settings};
use crate::local::definition::tests::service;
use crate::types::{Address, Meta, Status, TaggedAddress, TaggedAddresses, Weights};

fn settings() -> impl Strategy<Value = Settings> {
    let interval = (1..1_000_000_000_000_u64).prop_map(Duration::from_nanos);
    let texts = || proptest::collection::vec(".{0,12}", 1..4);
    let kinds = (0..11_u8, "[^\0]{1,24}", texts(), any::<[bool; 3]>());
    (interval, kinds).prop_map(|(time, (kind, text, args, [tls, skip, redirects]))| {
        let mut settings = Settings {
            tls_skip_verify: skip,
            ..Settings::default()
        };
        match kind {
            0 => settings.ttl = time,
            1 => settings.alias_service = text,
            2 => (settings.alias_node, settings.alias_service) = (text.clone(), text),
            _ => {
                settings.interval = time;
                settings.timeout = time / 2;
                match kind {
                    3 => {
                        settings.header = vec![(text.clone(), args)];
                        (settings.method, settings.body) = ("purge".into(), text.clone());
                        settings.disable_redirects = redirects;
                        (settings.http, settings.tls_server_name) = (text.clone(), text);
                    }
                    4 => settings.tcp = text,
                    5 => settings.udp = text,
                    6 => (settings.grpc, settings.grpc_use_tls) = (text, tls),
                    7 => (settings.h2ping, settings.h2ping_use_tls) = (text, tls),
                    8 => settings.args = args,
                    9 => {
                        settings.shell = text.clone();
                        (settings.docker_container_id, settings.args) = (text, args);
                    }
                    _ => settings.os_service = text,
                }
            }
        }
        settings
    })
}

fn checks() -> impl Strategy<Value = CheckDefinition> {
    let numbers = (
        any::<[u32; 3]>(),
        any::<Option<u32>>(),
        any::<Option<u16>>(),
    );
    (settings(), ".{0,20}", numbers, any::<bool>()).prop_map(
        |(settings, text, (counts, after, octets), of_service)| CheckDefinition {
            name: text.clone().into(),
            notes: text.into(),
            status: of_service.then_some(Status::Warning),
            service_id: of_service.then(|| "web-1".parse().unwrap()),
            deregister_critical_service_after: after.map(|secs| Duration::from_secs(secs.into())),
            success_before_passing: counts[0],
            failures_before_warning: counts[1],
            failures_before_critical: counts[2],
            output_octets_max: octets.map(usize::from),
            ..CheckDefinition::new(Mechanism::checked(settings).unwrap())
        },
    )
}

fn services() -> impl Strategy<Value = Service> {
    let meta = proptest::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..4);
    let tags = proptest::collection::vec("[^\0]{0,12}", 0..4);
    let address = prop_oneof![Just("10.0.0.1"), Just("2001:db8::1"), Just("db.example")];
    let numbers = (any::<u16>(), 1..u16::MAX, any::<u16>(), any::<bool>());
    (meta, tags, address, numbers).prop_map(|(meta, tags, at, (port, passing, warning, open))| {
        let mut web = service("web", "web-1");
        let address = Address::from_text(at);
        let tagged = TaggedAddress { address, port };
        let tagged = TaggedAddresses::from([("lan".into(), tagged)]);
        web.tagged_addresses = open.then(|| Box::new(tagged));
        web.meta = Meta::from_pairs(meta);
        web.tags = tags.into_iter().map(Into::into).collect();
        (web.address, web.port) = (Address::from_text(at), port);
        web.weights = Weights { passing, warning };
        web.enable_tag_override = open;
        web
    })
}

fn round_trip(records: &[Record]) -> Vec<Record> {
    let mut line = Vec::new();
    write(records, &mut line).unwrap();
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "a line has no line break within");
    read(&line).unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        service in services(), check in checks(), output in ".{0,40}", until in any::<Option<u32>>(),
    ) {
        let id: CheckId = "service:web-1".parse().unwrap();
        let report = Report { status: Status::Critical, output: output.into() };
        let until = until.map(|secs| Duration::from_secs(secs.into()));
        let records = [
            Record::Service(Arc::new(service)),
            Record::Check(id.clone(), Arc::new(check)),
            Record::NoService("web-1".parse().unwrap()),
            Record::NoCheck(id.clone()),
            Record::State(id.clone(), Known { report, until }),
            Record::NoState(id),
        ];
        prop_assert_eq!(round_trip(&records), records);
    }

    #[test]
    fn arbitrary_octets_are_refused_or_read(line in any::<Vec<u8>>()) {
        drop(read(&line));
        // The same with the right checksum, so that what is behind it is reached.
        let mut summed = format!("{:08x} ", crc32c::crc32c(&line)).into_bytes();
        summed.extend_from_slice(&line);
        drop(read(&summed));
    }

    #[test]
    fn a_changed_octet_is_noticed(check in checks(), place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let records = [Record::Check("c".parse().unwrap(), Arc::new(check))];
        let mut line = Vec::new();
        write(&records, &mut line).unwrap();
        line.pop();
        let place = place.index(line.len());
        line[place] ^= 1_u8 << bit;
        // A digit of the checksum means the same in upper case.
        prop_assert!(read(&line).map_or(true, |found| found == records));
    }
}

#[test]
fn maintenance_is_read_back() {
    let check = Arc::new(CheckDefinition {
        name: "Node Maintenance Mode".into(),
        ..CheckDefinition::new(Mechanism::Maintenance)
    });
    let records = [Record::Check("_node_maintenance".parse().unwrap(), check)];
    assert_eq!(round_trip(&records), records);
}
