//! Metadata: sorted pairs of text on nodes and services.

/// Most pairs on one node or service.
const PAIRS_MAX: usize = 64;
/// Longest key, in octets.
const KEY_OCTETS_MAX: usize = 128;
/// Longest value, in octets.
const VALUE_OCTETS_MAX: usize = 512;

/// Metadata pairs, sorted by key, each key once. Cheap when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta(Box<[(Box<str>, Box<str>)]>);

/// Why pairs are no metadata; nothing was changed. The texts are those of the reference, which
/// clients show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// More than 64 pairs.
    #[error("Node metadata cannot contain more than 64 key/value pairs")]
    Pairs,
    /// One pair is not acceptable.
    #[error("Couldn't load metadata pair ('{key}', '{value}'): {reason}")]
    Pair {
        /// The pair's key.
        key: String,
        /// The pair's value.
        value: String,
        /// What is wrong with it, with the limit.
        reason: &'static str,
    },
}

impl Meta {
    /// Takes pairs as they are, later ones winning: for pairs that need no check (the catalog API
    /// accepts any).
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let boxed = |(key, value): (String, String)| (key.into(), value.into());
        let pairs: Box<[(Box<str>, Box<str>)]> = pairs.into_iter().map(boxed).collect();
        // As they come from a log or a snapshot, which hold millions of them.
        if pairs.is_sorted_by(|(left, _), (right, _)| left < right) {
            return Self(pairs);
        }
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }

    /// Takes pairs after the checks of the agent API: at most 64 pairs; keys of 1 to 128 octets of
    /// `[A-Za-z0-9_-]` without the reserved prefix `consul-`; values up to 512 octets.
    ///
    /// # Errors
    /// The first pair that breaks a rule.
    pub fn checked(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, MetaError> {
        let meta = Self::from_pairs(pairs);
        if meta.0.len() > PAIRS_MAX {
            return Err(MetaError::Pairs);
        }
        let wrong = meta.iter().find_map(|(key, value)| {
            let reason = complaint(key, value)?;
            Some(MetaError::Pair {
                key: key.to_owned(),
                value: value.to_owned(),
                reason,
            })
        });
        wrong.map_or(Ok(meta), Err)
    }

    /// The value of `key`, which is matched exactly.
    pub fn get(&self, key: &str) -> Option<&str> {
        let position = self
            .0
            .binary_search_by(|(have, _)| (**have).cmp(key))
            .ok()?;
        self.0.get(position).map(|(_, value)| &**value)
    }

    /// All pairs in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn complaint(key: &str, value: &str) -> Option<&'static str> {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    if key.is_empty() {
        Some("Key cannot be blank")
    } else if !key.bytes().all(allowed) {
        Some("Key contains invalid characters")
    } else if key.len() > KEY_OCTETS_MAX {
        Some("Key is too long (limit: 128 characters)")
    } else if key.starts_with("consul-") {
        Some("Key prefix 'consul-' is reserved for internal use")
    } else if value.len() > VALUE_OCTETS_MAX {
        Some("Value is too long (limit: 512 characters)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Meta, MetaError> {
        Meta::checked([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn limits_are_exact() {
        assert!(one(&"k".repeat(128), &"v".repeat(512)).is_ok());
        assert!(one(&"k".repeat(129), "").is_err());
        assert!(one("k", &"v".repeat(513)).is_err());
        assert!(one("a b", "x").is_err());
        assert!(one("consul-x", "x").is_err());
        let pairs = |count: usize| (0..count).map(|n| (n.to_string(), String::new()));
        assert!(Meta::checked(pairs(64)).is_ok());
        assert_eq!(Meta::checked(pairs(65)), Err(MetaError::Pairs));
    }

    #[test]
    fn pairs_are_found_by_key() {
        let meta = Meta::from_pairs([("b".into(), "2".into()), ("a".into(), "1".into())]);
        assert_eq!(meta.get("a"), Some("1"));
        assert_eq!(meta.get("c"), None);
        assert_eq!(meta.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    }
}
