//! Normalises the path of a request once, before anything is looked up by it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The path without empty, `.` and `..` segments, also where those dots are percent-encoded
/// (RFC 3986 §6.2.2.2); a trailing slash stays. Borrowed when it is clean already. Encoded slashes
/// are data and stay as they are.
pub(crate) fn clean(path: &str) -> Cow<'_, str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let (segments, trailing) = match inner.strip_suffix('/') {
        Some(segments) => (segments, true),
        None => (inner, false),
    };
    let is_clean = |segment: &str| !segment.is_empty() && dots(segment) == 0;
    if path == "/" || (path.starts_with('/') && segments.split('/').all(is_clean)) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in segments.split('/') {
        match dots(segment) {
            _ if segment.is_empty() => {}
            0 => kept.push(segment),
            1 => {}
            _ => drop(kept.pop()),
        }
    }
    let mut cleaned = String::with_capacity(path.len());
    for segment in &kept {
        cleaned.push('/');
        cleaned.push_str(segment);
    }
    if cleaned.is_empty() || trailing {
        cleaned.push('/');
    }
    Cow::Owned(cleaned)
}

/// 1 for `.`, 2 for `..`, in any encoding; 0 for anything else.
fn dots(segment: &str) -> usize {
    let is_encoded = |text: &str| {
        text.get(..3)
            .is_some_and(|head| head.eq_ignore_ascii_case("%2e"))
    };
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        let length = match rest {
            _ if rest.starts_with('.') => 1,
            _ if is_encoded(rest) => 3,
            _ => return 0,
        };
        rest = rest.get(length..).unwrap_or_default();
        count += 1;
    }
    if count > 2 { 0 } else { count }
}

/// `text` with the characters that mean something in HTML, in text or in an attribute, escaped.
pub(crate) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            // Control and direction characters would change how the rest is shown.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                write!(escaped, "\\u{{{:x}}}", u32::from(character))
                    .expect("writing to a string does not fail");
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, cleaned) in [
            ("/", "/"),
            ("//", "/"),
            ("", "/"),
            ("//x", "/x"),
            ("/a/../b", "/b"),
            ("/../../etc", "/etc"),
            ("/v1/kv/%2e%2E/acl", "/v1/acl"),
            ("/a/./b/", "/a/b/"),
            ("/a/.%2e", "/"),
            ("/a/.../b", "/a/.../b"),
            ("/v1/catalog/nodes/", "/v1/catalog/nodes/"),
            ("/a/x%2F..%2Fy", "/a/x%2F..%2Fy"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_is_final(path in "(/|\\.|%2e|a|%){0,12}") {
            let once = clean(&path).into_owned();
            prop_assert!(once.starts_with('/') && !once.starts_with("//"));
            prop_assert_eq!(clean(&once), once.as_str());
        }
    }
}
