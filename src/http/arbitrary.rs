//! Arbitrary request bodies for property tests: JSON objects of known and unknown fields with
//! values of any kind.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A JSON object whose keys, at every level, are mostly taken from `names`, in any case.
pub(crate) fn body(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let value = leaf().prop_recursive(4, 64, 8, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array);
        prop_oneof![list, object(names, inner)]
    });
    object(names, value).prop_map(|value| value.to_string())
}

fn object(
    names: &'static [&'static str],
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    let known = (proptest::sample::select(names), any::<bool>()).prop_map(|(name, folded)| {
        if folded {
            name.to_ascii_lowercase()
        } else {
            name.to_owned()
        }
    });
    let key = prop_oneof![9 => known, 1 => ".{0,8}"];
    proptest::collection::vec((key, value), 0..8)
        .prop_map(|pairs| Value::Object(Map::from_iter(pairs)))
}

fn leaf() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,80}",
        Just("passing".to_owned()),
        Just("10s".to_owned()),
        Just("10.0.0.1".to_owned()),
        Just("::".to_owned()),
        Just("web".to_owned()),
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1..70_000_i64).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(Value::from),
    ]
}
