use proptest::prelude::*;

use super::*;

fn old(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::old(&mut out));
    out
}

fn new(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// Every form in which `number` may be written.
fn forms(number: i64) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let mut form = |marker: u8, octets: Option<Vec<u8>>| {
        forms.extend(octets.map(|octets| [vec![marker], octets].concat()));
    };
    macro_rules! width {
        ($marker:literal, $width:ty) => {
            let number = <$width>::try_from(number).ok();
            form($marker, number.map(|number| number.to_be_bytes().to_vec()));
        };
    }
    width!(0xcc, u8);
    width!(0xcd, u16);
    width!(0xce, u32);
    width!(0xcf, u64);
    width!(0xd0, i8);
    width!(0xd1, i16);
    width!(0xd2, i32);
    width!(0xd3, i64);
    if let Ok(number @ -32..) = i8::try_from(number) {
        forms.push(number.to_be_bytes().to_vec());
    }
    forms
}

const NUMBERS: [i64; 22] = [
    0,
    1,
    127,
    128,
    255,
    256,
    32_767,
    32_768,
    65_535,
    65_536,
    2_147_483_647,
    2_147_483_648,
    4_294_967_295,
    4_294_967_296,
    i64::MAX,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32_769,
    i64::MIN,
];

#[test]
fn a_number_is_read_in_every_width_and_signedness() {
    for number in NUMBERS {
        for form in forms(number) {
            let read = Reader::new(&form).signed::<i64>();
            assert_eq!(read, Ok(number), "{form:x?}");
            let read = Reader::new(&form).unsigned::<u64>();
            assert_eq!(read, u64::try_from(number).map_err(|_| ReadError::Range));
        }
    }
}

#[test]
fn a_number_is_written_in_the_shortest_form() {
    for number in NUMBERS {
        let shortest = forms(number).iter().map(Vec::len).min();
        let written = old(|writer| writer.signed(number));
        assert_eq!(Some(written.len()), shortest, "{number}");
        assert!(forms(number).contains(&written), "{number}");
        if let Ok(number) = u64::try_from(number) {
            assert_eq!(written, old(|writer| writer.unsigned(number)));
        }
    }
    let most = old(|writer| writer.unsigned(u64::MAX));
    assert_eq!(Reader::new(&most).unsigned(), Ok(u64::MAX));
    assert_eq!(Reader::new(&most).signed::<i64>(), Err(ReadError::Range));
}

#[test]
fn a_number_that_does_not_fit_is_refused() {
    let number = old(|writer| writer.unsigned(256_u32));
    assert_eq!(Reader::new(&number).unsigned::<u8>(), Err(ReadError::Range));
    assert_eq!(Reader::new(&number).unsigned(), Ok(256_u16));
    assert_eq!(Reader::new(&number).signed::<i8>(), Err(ReadError::Range));
    assert_eq!(
        Reader::new(&[0xff]).unsigned::<u32>(),
        Err(ReadError::Range)
    );
}

#[test]
fn nil_is_the_zero_value_of_every_type() {
    let nil = [0xc0];
    assert_eq!(Reader::new(&nil).map(), Ok(0));
    assert_eq!(Reader::new(&nil).array(), Ok(0));
    assert_eq!(Reader::new(&nil).octets(), Ok(&[][..]));
    assert_eq!(Reader::new(&nil).text(), Ok(""));
    assert_eq!(Reader::new(&nil).unsigned(), Ok(0_u8));
    assert_eq!(Reader::new(&nil).signed(), Ok(0_i64));
    assert_eq!(Reader::new(&nil).boolean(), Ok(false));
    assert_eq!(Reader::new(&nil).float(), Ok(0.0));
    assert!(Reader::new(&nil).nil());
    assert!(!Reader::new(&[0xc2]).nil() && !Reader::new(&[]).nil());
}

#[test]
fn the_dialects_differ_in_text_and_octets() {
    let long = "x".repeat(32);
    let first = |written: Vec<u8>| written[0];
    assert_eq!(first(old(|writer| writer.text(&long))), 0xda);
    assert_eq!(first(new(|writer| writer.text(&long))), 0xd9);
    assert_eq!(first(new(|writer| writer.text("x"))), 0xa1);
    assert_eq!(first(old(|writer| writer.octets(b"x"))), 0xa1);
    assert_eq!(first(new(|writer| writer.octets(b"x"))), 0xc4);
    assert_eq!(first(new(|writer| writer.octets(&[0; 256]))), 0xc5);
    assert_eq!(first(new(|writer| writer.octets(&vec![0; 65_536]))), 0xc6);
    assert_eq!(first(old(|writer| writer.octets(&vec![0; 65_536]))), 0xdb);
}

#[test]
fn text_and_octets_of_either_dialect_are_read_alike() {
    for octets in [0, 1, 31, 32, 255, 256, 65_535, 65_536, 70_000] {
        let text = "x".repeat(octets);
        for written in [
            old(|writer| writer.text(&text)),
            new(|writer| writer.text(&text)),
            old(|writer| writer.octets(text.as_bytes())),
            new(|writer| writer.octets(text.as_bytes())),
        ] {
            let mut reader = Reader::new(&written);
            assert_eq!(reader.text(), Ok(text.as_str()));
            assert!(reader.rest().is_empty());
        }
    }
    assert_eq!(Reader::new(b"\xa1\xff").text(), Err(ReadError::Text));
    assert_eq!(Reader::new(b"\xa1\xff").octets(), Ok(&[0xff][..]));
}

#[test]
fn counts_of_every_width_are_read_back() {
    for count in [0, 15, 16, 65_535, 65_536] {
        let mut map = old(|writer| writer.map(count));
        map.resize(map.len() + 2 * count, 0xc0);
        assert_eq!(Reader::new(&map).map(), Ok(count));
        let mut array = old(|writer| writer.array(count));
        array.resize(array.len() + count, 0xc0);
        assert_eq!(Reader::new(&array).array(), Ok(count));
        for whole in [map, array] {
            let mut reader = Reader::new(&whole);
            assert_eq!(reader.raw(), Ok(whole.as_slice()));
            assert!(reader.rest().is_empty());
        }
    }
}

#[test]
fn more_than_the_input_can_hold_is_refused_at_once() {
    let truncated = Some(ReadError::Truncated);
    let short = |count, pad: usize| [old(|writer| writer.array(count)), vec![0; pad]].concat();
    assert_eq!(Reader::new(&short(3, 2)).array().err(), truncated);
    assert_eq!(
        Reader::new(b"\xdd\xff\xff\xff\xff\x00").array().err(),
        truncated
    );
    assert_eq!(
        Reader::new(b"\xdf\xff\xff\xff\xff\x00").map().err(),
        truncated
    );
    assert_eq!(Reader::new(b"\x82\x00\x00\x00").map().err(), truncated);
    assert_eq!(
        Reader::new(b"\xdb\xff\xff\xff\xff\x00").octets().err(),
        truncated
    );
    assert_eq!(
        Reader::new(b"\xc9\xff\xff\xff\xff\x00").skip().err(),
        truncated
    );
}

#[test]
fn values_of_another_type_are_refused_by_name() {
    let error = Reader::new(&[0xc3]).map().unwrap_err();
    assert_eq!(error.to_string(), "octet 0xc3 does not begin a map");
    assert!(Reader::new(&[0x01]).array().is_err());
    assert!(Reader::new(&[0x01]).octets().is_err());
    assert!(Reader::new(&[0x02]).boolean().is_err());
    assert!(Reader::new(&[0xa0]).unsigned::<u64>().is_err());
    assert!(Reader::new(&[0xa0]).float().is_err());
    assert!(Reader::new(&[0xc1]).skip().is_err());
    assert!(Scanner::new(1, 9).advance(&[0xc1]).is_err());
}

#[test]
fn numbers_with_a_fraction_and_whole_ones_are_read_as_such() {
    let written = old(|writer| writer.float(-0.25));
    assert_eq!(Reader::new(&written).float(), Ok(-0.25));
    assert_eq!(Reader::new(b"\xca\x3f\x80\x00\x00").float(), Ok(1.0));
    assert_eq!(Reader::new(&[0xff]).float(), Ok(-1.0));
}

#[test]
fn extensions_are_skipped() {
    for (marker, octets) in [(0xd4, 2), (0xd5, 3), (0xd6, 5), (0xd7, 9), (0xd8, 17)] {
        let value = [vec![marker], vec![0; octets]].concat();
        let input = [value.clone(), vec![7]].concat();
        let mut reader = Reader::new(&input);
        assert_eq!(reader.raw(), Ok(value.as_slice()));
        assert_eq!(reader.unsigned(), Ok(7_u8));
    }
    for head in [&b"\xc7\x03"[..], b"\xc8\x00\x03", b"\xc9\x00\x00\x00\x03"] {
        let value = [head, b"type".as_slice()].concat();
        assert_eq!(Reader::new(&value).raw(), Ok(value.as_slice()));
        let scanned = Scanner::new(1, 99).advance(&value);
        assert_eq!(scanned, Ok(Some(value.len())));
    }
}

#[test]
fn values_nested_too_deeply_are_refused() {
    let nested = |depth| [vec![0x91; depth], vec![0xc0]].concat();
    assert_eq!(Reader::new(&nested(16)).skip(), Ok(()));
    assert_eq!(Reader::new(&nested(17)).skip(), Err(ReadError::Depth));
    assert_eq!(Reader::new(&nested(20_000)).skip(), Err(ReadError::Depth));
    let scan = |depth| Scanner::new(1, 99_999).advance(&nested(depth));
    assert_eq!(scan(16), Ok(Some(17)));
    assert_eq!(scan(17), Err(ReadError::Depth));
    assert_eq!(scan(20_000), Err(ReadError::Depth));
}

#[test]
fn a_scanner_refuses_what_is_announced_beyond_its_limit() {
    let limit = Err(ReadError::Limit { octets_max: 100 });
    let scan = |input: &[u8]| Scanner::new(1, 100).advance(input);
    assert_eq!(scan(b"\xda\x00\x62"), limit);
    assert_eq!(scan(b"\xda\x00\x61"), Ok(None));
    assert_eq!(scan(b"\xdd\xff\xff\xff\xff"), limit);
    assert_eq!(scan(b"\xdf\xff\xff\xff\xff"), limit);
    assert_eq!(scan(b"\xdb\xff\xff\xff\xff"), limit);
    assert_eq!(Scanner::new(0, 0).advance(b""), Ok(Some(0)));
}

/// A value of any type, up to a depth that is skipped.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| old(|writer| writer.signed(number))),
        any::<u64>().prop_map(|number| old(|writer| writer.unsigned(number))),
        any::<bool>().prop_map(|truth| old(|writer| writer.boolean(truth))),
        any::<f64>().prop_map(|number| old(|writer| writer.float(number))),
        Just(vec![0xc0]),
        ".{0,300}".prop_map(|text| new(|writer| writer.text(&text))),
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|octets| new(|writer| writer.octets(&octets))),
    ];
    leaf.prop_recursive(8, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(|values| {
                let head = old(|writer| writer.array(values.len()));
                [head, values.concat()].concat()
            }),
            prop::collection::vec((inner.clone(), inner), 0..20).prop_map(|pairs| {
                let head = old(|writer| writer.map(pairs.len()));
                let pairs: Vec<_> = pairs
                    .into_iter()
                    .flat_map(|(key, value)| [key, value])
                    .collect();
                [head, pairs.concat()].concat()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let reader = || Reader::new(&octets);
        let _ = (reader().map(), reader().array(), reader().octets(), reader().text());
        let _ = (reader().unsigned::<u32>(), reader().signed::<i16>(), reader().boolean());
        let _ = (reader().float(), reader().nil());
        if let Ok(raw) = reader().raw() {
            prop_assert!(octets.starts_with(raw));
        }
    }

    #[test]
    fn a_value_is_skipped_as_a_whole(value in value(), rest in any::<u8>()) {
        let input = [value.as_slice(), &[rest]].concat();
        let mut reader = Reader::new(&input);
        prop_assert_eq!(reader.raw(), Ok(value.as_slice()));
        prop_assert_eq!(reader.rest(), &[rest]);
        for octets in (0..value.len()).step_by(1 + value.len() / 32) {
            prop_assert!(Reader::new(&value[..octets]).skip().is_err());
        }
    }

    #[test]
    fn a_scanner_finds_the_end_that_the_reader_finds(
        octets in prop_oneof![value(), prop::collection::vec(any::<u8>(), 0..200)],
        piece in 1..50_usize,
    ) {
        let mut scanner = Scanner::new(1, 1 << 30);
        let mut scanned = Ok(None);
        for end in (piece..octets.len() + piece).step_by(piece) {
            scanned = scanner.advance(&octets[..end.min(octets.len())]);
            if scanned != Ok(None) {
                break;
            }
        }
        let raw = Reader::new(&octets).raw();
        match raw {
            Ok(raw) => prop_assert_eq!(scanned, Ok(Some(raw.len()))),
            Err(_) => prop_assert!(!matches!(scanned, Ok(Some(_)))),
        }
    }

    #[test]
    fn text_and_numbers_are_read_back_as_they_were_written(
        text in ".{0,400}", octets in prop::collection::vec(any::<u8>(), 0..400),
        number in any::<i64>(), fraction in any::<f64>(), truth in any::<bool>(),
    ) {
        for dialect in [Dialect::Old, Dialect::New] {
            let mut written = Vec::new();
            let mut writer = match dialect {
                Dialect::Old => Writer::old(&mut written),
                Dialect::New => Writer::new(&mut written),
            };
            writer.text(&text);
            writer.octets(&octets);
            writer.signed(number);
            writer.float(fraction);
            writer.boolean(truth);
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.octets(), Ok(octets.as_slice()));
            prop_assert_eq!(reader.signed(), Ok(number));
            let read = reader.float().unwrap();
            prop_assert_eq!(read.to_bits(), fraction.to_bits());
            prop_assert_eq!(reader.boolean(), Ok(truth));
            prop_assert!(reader.rest().is_empty());
        }
    }
}
