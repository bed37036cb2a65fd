//! Records from any octets: what is read is written in one form only, and what is wrong is named.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::msgpack::{Reader, Writer};

fn read<'a, T: Decode<'a>>(octets: &'a [u8]) -> Result<T, DecodeError> {
    T::read(&mut Reader::new(octets))
}

fn written(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut Writer::old(&mut out));
    out
}

/// A map of one field.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::old(&mut out);
    writer.map(1);
    writer.text(name);
    writer.raw(value);
    out
}

/// A list of `count` nils.
fn nils(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::old(&mut out);
    writer.array(count);
    for _ in 0..count {
        writer.nil();
    }
    out
}

/// Reads a record from octets; where there is one, writes it, and sees to it that reading this gives
/// the same octets again. Octets are compared, since some numbers are not equal to themselves.
fn settle<'a, T: Decode<'a> + Encode>(octets: &'a [u8]) -> Option<Vec<u8>> {
    Some(written(&read::<T>(octets).ok()?))
}

macro_rules! settle_all {
    ($octets:ident: $($record:ty),* $(,)?) => {
        $(
            if let Some(first) = settle::<$record>($octets) {
                assert_eq!(settle::<$record>(&first), Some(first.clone()), stringify!($record));
            }
        )*
    };
}

/// Every record of this module.
fn settle_each(octets: &[u8]) {
    settle_all!(octets:
        CheckServiceNode<'_>, CheckServiceNodesReply<'_>, CoordinateRecord, CoordinateUpdate<'_>,
        DatacenterRecord<'_>, DatacenterRequest<'_>, DeregisterRequest<'_>, EventFireRequest<'_>,
        HealthCheck<'_>, HealthCheckDefinition<'_>, HealthChecksReply<'_>, KeyringReply<'_>,
        KeyringRequest<'_>, KeyringResponse<'_>, LocationRecord<'_>, LocationsReply<'_>,
        Named<'_>, Node<'_>, NodeDumpReply<'_>, NodeInfo<'_>, NodeRequest<'_>, NodeService<'_>,
        NodeServiceList<'_>, NodeServiceListReply<'_>, NodeServices<'_>, NodeServicesReply<'_>,
        NodesReply<'_>, Proxy<'_>, QueryMeta<'_>, QueryOptions<'_>, QuerySource<'_>,
        RaftStats<'_>, RegisterRequest<'_>, ServiceAddress<'_>, ServiceConnect<'_>,
        ServiceDumpRequest<'_>, ServiceNode<'_>, ServiceNodesReply<'_>, ServiceRequest<'_>,
        ServicesReply<'_>, SnapshotReply<'_>, SnapshotRequest<'_>, StateRequest<'_>, Weights,
    );
}

/// Names of fields of all kinds.
const NAMES: &[&str] = &[
    "Address",
    "AllowStale",
    "Check",
    "CheckID",
    "Checks",
    "Config",
    "Connect",
    "Coord",
    "Coordinates",
    "CreateIndex",
    "Datacenter",
    "Definition",
    "Dump",
    "Error",
    "Expose",
    "Header",
    "HealthChecks",
    "Height",
    "ID",
    "Index",
    "Interval",
    "Keys",
    "KnownLeader",
    "LastContact",
    "MaxQueryTime",
    "Messages",
    "Meta",
    "MinQueryIndex",
    "Name",
    "Node",
    "NodeMeta",
    "NodeMetaFilters",
    "NodeServices",
    "Nodes",
    "Op",
    "Output",
    "Passing",
    "Paths",
    "Payload",
    "Port",
    "Proxy",
    "RelayFactor",
    "Responses",
    "ScriptArgs",
    "Service",
    "ServiceAddress",
    "ServiceID",
    "ServiceNodes",
    "ServicePort",
    "ServiceTags",
    "ServiceWeights",
    "Services",
    "SidecarService",
    "SkipNodeUpdate",
    "Source",
    "Status",
    "TTL",
    "TagFilter",
    "TaggedAddresses",
    "Tags",
    "Timeout",
    "Upstreams",
    "Vec",
    "WAN",
    "Weights",
];

fn plain() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        vec(any::<u8>(), 0..9)
    ];
    prop_oneof![
        Just(vec![0xc0]),
        any::<bool>().prop_map(|it| vec![if it { 0xc3 } else { 0xc2 }]),
        any::<i64>().prop_map(|it| [&[0xd3][..], &it.to_be_bytes()].concat()),
        (0..3_u8).prop_map(|it| vec![it]),
        any::<u64>().prop_map(|it| [&[0xcf][..], &it.to_be_bytes()].concat()),
        any::<u64>().prop_map(|it| [&[0xcb][..], &it.to_be_bytes()].concat()),
        text.prop_map(|octets| {
            let mut out = Vec::new();
            Writer::old(&mut out).octets(&octets);
            out
        }),
    ]
}

/// One value with names of fields in its maps.
fn value() -> impl Strategy<Value = Vec<u8>> {
    plain().prop_recursive(4, 48, 6, |inner| {
        let pair = (0..NAMES.len(), inner.clone());
        let list = vec(inner, 0..4).prop_map(|items| {
            let mut out = Vec::new();
            let mut writer = Writer::old(&mut out);
            writer.array(items.len());
            for item in &items {
                writer.raw(item);
            }
            out
        });
        let map = vec(pair, 0..7).prop_map(|pairs| {
            let mut out = Vec::new();
            let mut writer = Writer::old(&mut out);
            writer.map(pairs.len());
            for (name, value) in pairs {
                writer.text(NAMES[name]);
                writer.raw(&value);
            }
            out
        });
        prop_oneof![1 => list, 3 => map]
    })
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets in vec(any::<u8>(), 0..120)) {
        settle_each(&octets);
    }

    #[test]
    fn any_values_are_read_or_refused(octets in value()) {
        settle_each(&octets);
    }

    #[test]
    fn a_cut_record_is_refused(length in any::<prop::sample::Index>()) {
        let whole = written(&RegisterRequest {
            node: "n1".into(),
            service: Some(NodeService::default()),
            checks: Some(vec![HealthCheck::default()]),
            ..RegisterRequest::default()
        });
        let length = length.index(whole.len());
        prop_assert!(read::<RegisterRequest<'_>>(&whole[..length]).is_err());
    }
}

#[test]
fn a_record_takes_nil_for_every_field_and_for_itself() {
    for empty in [&[0xc0][..], &[0x80]] {
        let request: RegisterRequest<'_> = read(empty).unwrap();
        assert_eq!(request, RegisterRequest::default());
    }
    let mut octets = Vec::new();
    let mut writer = Writer::old(&mut octets);
    writer.map(NAMES.len());
    for name in NAMES {
        writer.text(name);
        writer.nil();
    }
    let request: RegisterRequest<'_> = read(&octets).unwrap();
    assert_eq!(request, RegisterRequest::default());
    let coordinate: CoordinateRecord = read(&octets).unwrap();
    assert_eq!(coordinate, CoordinateRecord::default());
}

#[test]
fn names_of_fields_are_told_apart_by_case_and_unknown_ones_are_skipped() {
    let octets = field("node", b"\xa1x");
    let request: NodeRequest<'_> = read(&octets).unwrap();
    assert_eq!(request.node, "");
    let octets = field("QueryOptions", b"\x81\xa5Token\xa1x");
    let request: NodeRequest<'_> = read(&octets).unwrap();
    assert_eq!(request.options.token, "");
}

#[test]
fn fields_of_embedded_records_stand_beside_the_others_in_order() {
    let octets = written(&NodeRequest::default());
    let mut reader = Reader::new(&octets);
    let mut names = Vec::new();
    for _ in 0..reader.map().unwrap() {
        names.push(reader.text().unwrap());
        reader.skip().unwrap();
    }
    assert!(names.is_sorted() && names.contains(&"Node") && names.contains(&"Token"));
    assert_eq!(names.len(), 13);
}

#[test]
fn numbers_may_stand_for_truth_values_and_nothing_else_may() {
    for (value, expected) in [(0x00, false), (0x01, true), (0xc2, false), (0xc3, true)] {
        let octets = field("SkipNodeUpdate", &[value]);
        let request: RegisterRequest<'_> = read(&octets).unwrap();
        assert_eq!(request.skip_node_update, expected);
    }
    let octets = field("SkipNodeUpdate", &[0xa0]);
    assert_eq!(
        read::<RegisterRequest<'_>>(&octets).unwrap_err().field,
        "SkipNodeUpdate"
    );
}

#[test]
fn text_and_octets_of_the_new_dialect_are_read() {
    let long = "x".repeat(40);
    let mut text = vec![0xd9, 40];
    text.extend_from_slice(long.as_bytes());
    let octets = field("Node", &text);
    assert_eq!(read::<NodeRequest<'_>>(&octets).unwrap().node, long);
    let octets = field("Payload", b"\xc4\x02\xff\xfe");
    let event: EventFireRequest<'_> = read(&octets).unwrap();
    assert_eq!(event.payload, [0xff, 0xfe]);
}

#[test]
fn text_that_is_no_utf_8_is_replaced() {
    let octets = field("Output", b"\xa4ok \xff");
    let check: HealthCheck<'_> = read(&octets).unwrap();
    assert_eq!(check.output, "ok \u{fffd}");
}

#[test]
fn the_innermost_field_that_is_wrong_is_named() {
    let service = field("Weights", &field("Passing", b"\xa1x"));
    let octets = field("Service", &service);
    let error = read::<RegisterRequest<'_>>(&octets).unwrap_err();
    assert_eq!(error.field, "Passing");
    assert!(error.to_string().starts_with("codec.decoder: "));
    // What is no map at all has no field.
    assert_eq!(read::<RegisterRequest<'_>>(b"\xa1x").unwrap_err().field, "");
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (name, value) in [
        ("MinQueryIndex", &[0xff][..]),
        ("MinQueryIndex", &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ("MaxQueryTime", &[0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let octets = field(name, value);
        assert_eq!(read::<NodeRequest<'_>>(&octets).unwrap_err().field, name);
    }
}

#[test]
fn lists_and_maps_have_a_bound_that_is_named_with_the_field() {
    let octets = field("Checks", &nils(4_096));
    let request: RegisterRequest<'_> = read(&octets).unwrap();
    assert_eq!(request.checks.map(|checks| checks.len()), Some(4_096));
    let octets = field("Checks", &nils(4_097));
    let error = read::<RegisterRequest<'_>>(&octets).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Checks") && text.contains("4097") && text.contains("4096"));
    let mut map = vec![0xde, 0x10, 0x01];
    map.resize(map.len() + 2 * 4_097, 0xc0);
    let octets = field("NodeMeta", &map);
    assert_eq!(
        read::<RegisterRequest<'_>>(&octets).unwrap_err().field,
        "NodeMeta"
    );
}

#[test]
fn a_count_that_the_input_cannot_hold_is_refused() {
    for count in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdc, 0x0f, 0xff]] {
        let octets = field("Checks", count);
        assert!(read::<RegisterRequest<'_>>(&octets).is_err());
    }
}

#[test]
fn deep_values_are_refused_where_they_are_skipped_or_carried() {
    let deep = [vec![0x91; 10_000], vec![0xc0]].concat();
    let octets = field("Nobody knows", &deep);
    assert!(read::<RegisterRequest<'_>>(&octets).is_err());
    let octets = field("Service", &field("Proxy", &field("Config", &deep)));
    let error = read::<RegisterRequest<'_>>(&octets).unwrap_err();
    assert_eq!(error.field, "Config");
}

#[test]
fn what_is_said_of_a_mesh_is_carried_as_it_came() {
    let config = b"\x82\xa1b\x01\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00";
    let octets = field("Config", config);
    let proxy: Proxy<'_> = read(&octets).unwrap();
    let octets = written(&proxy);
    assert!(octets.windows(config.len()).any(|part| part == config));
}

#[test]
fn the_later_of_two_fields_of_one_name_counts() {
    let octets = b"\x82\xa4Node\xa1a\xa4Node\xa1b";
    assert_eq!(read::<NodeRequest<'_>>(octets).unwrap().node, "b");
}

#[test]
fn maps_are_written_in_the_order_of_their_keys() {
    let map: Map<'_, Text<'_>> = Map(vec![("b".into(), "1".into()), ("a".into(), "2".into())]);
    assert_eq!(written(&map), b"\x82\xa1a\xa12\xa1b\xa11");
}
