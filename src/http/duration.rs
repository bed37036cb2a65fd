//! Durations as Go writes them: `10s`, `1h30m`, `400ms`, `9.99s`, `-1s`.

use std::fmt::Write as _;
use std::time::Duration;

const NANOSECOND: u128 = 1;
const MICROSECOND: u128 = 1_000;
const MILLISECOND: u128 = 1_000_000;
const SECOND: u128 = 1_000_000_000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
/// Longest span, in nanoseconds: what 63 bits hold, about 292 years.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;
/// Digits after the point that still count; a nanosecond is 1e-9 of the second, 3e-13 of the hour.
const FRACTION_DIGITS_MAX: usize = 15;

/// A length of time with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// Zero or more.
    Forward(Duration),
    /// Less than zero; the length without the sign.
    Backward(Duration),
}

/// Why a text is no duration. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Not a number with a unit.
    #[error("time: invalid duration {text:?}")]
    Invalid {
        /// The text that was refused.
        text: String,
    },
    /// A number without a unit.
    #[error("time: missing unit in duration {text:?}")]
    MissingUnit {
        /// The text that was refused.
        text: String,
    },
    /// A unit other than ns, us, ms, s, m, h.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit found.
        unit: String,
        /// The text that was refused.
        text: String,
    },
}

/// Reads a duration: an optional sign, then numbers with units (`ns`, `us`, `ms`, `s`, `m`, `h`),
/// of at most 292 years in all. A bare `0` needs no unit.
///
/// # Errors
/// [`DurationError`].
pub(crate) fn parse(text: &str) -> Result<Span, DurationError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let nanoseconds = if unsigned == "0" {
        0
    } else {
        sum(text, unsigned)?
    };
    let seconds = u64::try_from(nanoseconds / SECOND).map_err(|_| invalid(text))?;
    let rest = u32::try_from(nanoseconds % SECOND).map_err(|_| invalid(text))?;
    let length = Duration::new(seconds, rest);
    Ok(if negative && nanoseconds > 0 {
        Span::Backward(length)
    } else {
        Span::Forward(length)
    })
}

/// Writes a duration the way Go prints it: `1h30m0s`, `5s`, `1.5s`, `400ms`, `0s`.
pub(crate) fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let mut text = String::new();
    let (unit, name) = match nanoseconds {
        0 => return "0s".to_owned(),
        1..MICROSECOND => (NANOSECOND, "ns"),
        MICROSECOND..MILLISECOND => (MICROSECOND, "µs"),
        MILLISECOND..SECOND => (MILLISECOND, "ms"),
        _ => (SECOND, "s"),
    };
    if nanoseconds >= HOUR {
        push(&mut text, nanoseconds / HOUR, "h");
    }
    if nanoseconds >= MINUTE {
        push(&mut text, nanoseconds % HOUR / MINUTE, "m");
    }
    let last = nanoseconds % MINUTE;
    push(&mut text, last / unit, "");
    if !last.is_multiple_of(unit) {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", last % unit);
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push_str(name);
    text
}

fn push(text: &mut String, number: u128, unit: &str) {
    write!(text, "{number}{unit}").expect("writing to a string does not fail");
}

fn invalid(text: &str) -> DurationError {
    DurationError::Invalid {
        text: text.to_owned(),
    }
}

/// Adds up `1h30m`; in nanoseconds.
fn sum(text: &str, unsigned: &str) -> Result<u128, DurationError> {
    let mut rest = unsigned;
    let mut total = 0_u128;
    if rest.is_empty() {
        return Err(invalid(text));
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |character| {
            character.is_ascii_digit() || character == '.'
        });
        let (unit, after) = split(after, |character| {
            !character.is_ascii_digit() && character != '.'
        });
        total += scaled(number, unit_of(unit, text, number)?).ok_or_else(|| invalid(text))?;
        if total > NANOSECONDS_MAX {
            return Err(invalid(text));
        }
        rest = after;
    }
    Ok(total)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text
        .find(|character| !belongs(character))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn unit_of(unit: &str, text: &str, number: &str) -> Result<u128, DurationError> {
    match unit {
        _ if number.is_empty() => Err(invalid(text)),
        "ns" => Ok(NANOSECOND),
        "us" | "µs" | "μs" => Ok(MICROSECOND),
        "ms" => Ok(MILLISECOND),
        "s" => Ok(SECOND),
        "m" => Ok(MINUTE),
        "h" => Ok(HOUR),
        "" => Err(DurationError::MissingUnit {
            text: text.to_owned(),
        }),
        _ => Err(DurationError::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        }),
    }
}

/// `1.5` × unit, in nanoseconds, cut off; `None` if it is no number or too large.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?
    };
    let fraction = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(fraction);
    let digits = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u64>().ok()?
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(u128::from(whole) * unit + u128::from(digits) * unit / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_real_clients_are_read() {
        let forward = |milliseconds| Ok(Span::Forward(Duration::from_millis(milliseconds)));
        assert_eq!(parse("10s"), forward(10_000));
        assert_eq!(parse("1h30m"), forward(5_400_000));
        assert_eq!(parse("400ms"), forward(400));
        assert_eq!(parse("120000ms"), forward(120_000));
        assert_eq!(parse("9.99s"), forward(9_990));
        assert_eq!(parse("15.0s"), forward(15_000));
        assert_eq!(parse(".5s"), forward(500));
        assert_eq!(parse("0"), forward(0));
        assert_eq!(parse("-0s"), forward(0));
        assert_eq!(parse("+2s"), forward(2_000));
        assert_eq!(parse("-1s"), Ok(Span::Backward(Duration::from_secs(1))));
        assert_eq!(parse("999999h"), forward(999_999 * 3_600_000));
    }

    #[test]
    fn texts_that_are_no_durations_say_why() {
        let text = |input: &str| parse(input).unwrap_err().to_string();
        assert_eq!(text("abc"), "time: invalid duration \"abc\"");
        assert_eq!(text(""), "time: invalid duration \"\"");
        assert_eq!(text("20"), "time: missing unit in duration \"20\"");
        assert_eq!(text("5x"), "time: unknown unit \"x\" in duration \"5x\"");
        for input in [
            "-",
            ".s",
            "1..s",
            "1.1.1s",
            "s",
            "9999999h",
            "99999999999999999999s",
            "1 s",
        ] {
            assert!(parse(input).is_err(), "{input:?}");
        }
    }

    #[test]
    fn durations_print_as_in_go() {
        for text in [
            "0s", "5s", "1m0s", "1h30m0s", "400ms", "1.5s", "1m0.25s", "24h0m0s", "7ns", "1.5µs",
        ] {
            let Ok(Span::Forward(duration)) = parse(text) else {
                panic!("{text:?} is a duration");
            };
            assert_eq!(format(duration), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.nuµmsh ]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_printed_is_read_back(nanoseconds in 0..i64::MAX.unsigned_abs()) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(Span::Forward(duration)));
        }
    }
}
