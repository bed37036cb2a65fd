//! Writes JSON answers the way clients of the reference expect them.
//!
//! Compact and without a final newline; `<`, `>`, `&`, U+2028 and U+2029 are escaped, so that an
//! answer is inert where a browser takes it for HTML. [`indent`] makes it readable afterwards.

use std::io;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::error::ApiError;

/// Media type of every JSON answer.
pub(crate) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/json");
const INDENT: &[u8] = b"    ";

/// A JSON answer with status 200. `?pretty` and development mode indent it on its way out.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match to_vec(&self.0) {
            Ok(body) => body_response(body),
            Err(error) => {
                ApiError::internal(format!("answer cannot be written: {error}")).into_response()
            }
        }
    }
}

/// A JSON answer whose text is already written.
pub(crate) fn body_response(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// Writes `value` compactly.
///
/// # Errors
/// A map key that is no text, or a value whose own serialisation fails.
pub(crate) fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut text, Escaping))?;
    Ok(text)
}

/// Spreads compact JSON over lines, indented by four spaces, with a newline at the end. Empty
/// lists and objects stay on their line.
pub(crate) fn indent(compact: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut octets = compact.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' => {
                text.push(octet);
                copy_string(&mut octets, &mut text);
            }
            b'{' | b'[' => {
                text.push(octet);
                if let Some(end) = octets.next_if(|next| matches!(next, b'}' | b']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(octet);
            }
            b',' => {
                text.push(octet);
                new_line(&mut text, depth);
            }
            b':' => text.extend_from_slice(b": "),
            _ => text.push(octet),
        }
    }
    text.push(b'\n');
    text
}

fn copy_string(octets: &mut impl Iterator<Item = u8>, text: &mut Vec<u8>) {
    while let Some(octet) = octets.next() {
        text.push(octet);
        match octet {
            b'"' => return,
            b'\\' => text.extend(octets.next()),
            _ => {}
        }
    }
}

fn new_line(text: &mut Vec<u8>, depth: usize) {
    text.push(b'\n');
    for _ in 0..depth {
        text.extend_from_slice(INDENT);
    }
}

/// Compact output with HTML escapes.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(position) = rest.find(|character| escape(character).is_some()) {
            let (plain, special) = rest.split_at(position);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            if let Some(escaped) = characters.next().and_then(escape) {
                writer.write_all(escaped.as_bytes())?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    /// As the reference does it: `0` and `1.5`, and an exponent for what is very large or small only.
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            write!(writer, "{value}")
        } else if size < 1.0 {
            write!(writer, "{value:e}")
        } else {
            let text = format!("{value:e}");
            write!(writer, "{}", text.replace('e', "e+"))
        }
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        character: CharEscape,
    ) -> io::Result<()> {
        let text = match character {
            CharEscape::Quote => "\\\"",
            CharEscape::ReverseSolidus => "\\\\",
            CharEscape::Solidus => "/",
            CharEscape::Backspace => "\\u0008",
            CharEscape::FormFeed => "\\u000c",
            CharEscape::LineFeed => "\\n",
            CharEscape::CarriageReturn => "\\r",
            CharEscape::Tab => "\\t",
            CharEscape::AsciiControl(octet) => return write!(writer, "\\u{octet:04x}"),
        };
        writer.write_all(text.as_bytes())
    }
}

fn escape(character: char) -> Option<&'static str> {
    match character {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &serde_json::Value) -> String {
        String::from_utf8(to_vec(value).unwrap()).unwrap()
    }

    #[test]
    fn html_is_escaped_in_values_and_keys() {
        let value = serde_json::json!({"<b>": "a&b\u{2028}\u{2029}\"\\\n\u{1}\u{8}é"});
        assert_eq!(
            written(&value),
            r#"{"\u003cb\u003e":"a\u0026b\u2028\u2029\"\\\n\u0001\u0008é"}"#
        );
    }

    #[test]
    fn numbers_look_as_in_the_reference() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1e-5, "0.00001"),
            (-2e-7, "-2e-7"),
            (1e20, "100000000000000000000"),
            (2.5e21, "2.5e+21"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(to_vec(&value).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn indented_answers_have_four_spaces_and_a_final_newline() {
        let value = serde_json::json!({"a": [], "b": {}, "c": [1, {"d": "x: [,\"]"}]});
        let expected = r#"{
    "a": [],
    "b": {},
    "c": [
        1,
        {
            "d": "x: [,\"]"
        }
    ]
}
"#;
        assert_eq!(
            String::from_utf8(indent(&to_vec(&value).unwrap())).unwrap(),
            expected
        );
        assert_eq!(indent(b"true"), b"true\n");
    }

    proptest! {
        #[test]
        fn escaping_and_indenting_keep_the_value(texts in proptest::collection::vec(".*", 0..5)) {
            let value = serde_json::json!({"k": texts});
            let compact = to_vec(&value).unwrap();
            let again: serde_json::Value = serde_json::from_slice(&indent(&compact)).unwrap();
            prop_assert_eq!(again, value);
        }
    }
}
