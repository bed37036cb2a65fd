//! The query string of a request, decoded once.

use std::borrow::Cow;

use super::error::ApiError;

/// Parameters in their order. Names are matched exactly; the first of several wins, unless a
/// parameter may be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b&c=%20+`: `+` is a space, a name without `=` has the empty value.
    ///
    /// # Errors
    /// 400: an escape that is none, or octets that are no UTF-8.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let pairs = text.split(['&', ';']).filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode_form(name)?, decode_form(value)?))
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    /// The first value of `name`; empty where it has none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of `name`, unless it is empty.
    pub(crate) fn get_filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a parameter that may be repeated.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether `name` is given, with whatever value: `?stale=false` is stale too.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A switch: absent or `0`, `f`, `false` is off; present without a value, or `1`, `t`, `true`
    /// is on (any usual spelling).
    ///
    /// # Errors
    /// 400 `Invalid value for ?name`: anything else.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(value) => parse_bool(value)
                .ok_or_else(|| ApiError::bad_request(format!("Invalid value for ?{name}"))),
        }
    }
}

/// A boolean as Go reads it.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn decode_form(text: &str) -> Result<String, ApiError> {
    let spaced = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    decode_percent(&spaced)
}

/// Replaces `%41` by `A` (RFC 3986 §2.1), once.
///
/// # Errors
/// 400: `%` without two hexadecimal digits, or octets that are no UTF-8.
pub(crate) fn decode_percent(text: &str) -> Result<String, ApiError> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        if octet == b'%' {
            let (escaped, after) = split_escape(after).ok_or_else(|| {
                ApiError::bad_request(format!("invalid URL escape in {}", cut(text)))
            })?;
            octets.push(escaped);
            rest = after;
        } else {
            octets.push(octet);
            rest = after;
        }
    }
    String::from_utf8(octets)
        .map_err(|_| ApiError::bad_request(format!("URL part {} is not UTF-8", cut(text))))
}

fn split_escape(octets: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = octets.split_at_checked(2)?;
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let value = digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?;
    Some((u8::try_from(value).ok()?, rest))
}

/// At most 64 characters of `text` in quotes, for error texts.
pub(crate) fn cut(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// At most 64 characters of `text`, control characters escaped, for error texts.
pub(crate) fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters
        .by_ref()
        .take(64)
        .flat_map(char::escape_debug)
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_kept_in_order() {
        let query = Query::parse("tag=a&stale=&tag=b+c%26&pretty&&x=%C3%A9").unwrap();
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c&"]);
        assert_eq!(query.get("stale"), Some(""));
        assert_eq!(query.get_filled("stale"), None);
        assert!(query.has("pretty"));
        assert_eq!(query.get("x"), Some("é"));
        assert_eq!(query.get("absent"), None);
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "%ff=1"] {
            assert_eq!(
                Query::parse(text).unwrap_err().status().as_u16(),
                400,
                "{text}"
            );
        }
    }

    #[test]
    fn switches_take_the_usual_spellings() {
        let switch = |text| Query::parse(text).unwrap().switch("passing").ok();
        assert_eq!(switch(""), Some(false));
        assert_eq!(switch("passing"), Some(true));
        assert_eq!(switch("passing=1"), Some(true));
        assert_eq!(switch("passing=false"), Some(false));
        assert_eq!(switch("passing=maybe"), None);
    }
}
