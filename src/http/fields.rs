//! Reads checked values out of a decoded JSON object, field by field.
//!
//! Keys are matched without regard to ASCII case and the later of two equal ones wins; `null` is
//! the same as absent, except for a field that is not known. Every error names the field with its
//! path, the value and the limit.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::decode::Value;
use super::duration::{self, Span};
use super::query::{cut, shown};
use crate::local::LIST_LENGTH_MAX;

/// What becomes of fields that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// They are an error, even when null: registration at the agent.
    Refused,
    /// They are skipped: catalog endpoints.
    Ignored,
}

/// Lists of texts by key, in the order given.
pub(crate) type TextsMap = Vec<(String, Vec<String>)>;

/// Why a field has no acceptable value. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// A field that the endpoint does not know.
    #[error("json: unknown field \"{path}\"")]
    Unknown {
        /// The field with its path.
        path: String,
    },
    /// A value that is not allowed there.
    #[error("field {path}: {problem}")]
    Invalid {
        /// The field with its path, as in `Checks[1].Interval`.
        path: String,
        /// The value and the limit.
        problem: String,
    },
    /// The whole body is no object.
    #[error("expected an object, got {found}")]
    NoObject {
        /// What was found.
        found: String,
    },
}

/// The fields of one object that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    path: String,
    unknown: Unknown,
    left: Vec<(String, Value)>,
}

/// Reads a whole body through `read`, which takes every field it knows.
///
/// # Errors
/// The body is no object (`null` counts as an empty one), `read` fails, or an unknown field is
/// left where those are refused.
pub(crate) fn read_body<T>(
    body: Value,
    unknown: Unknown,
    read: impl FnOnce(&mut Fields) -> Result<T, FieldError>,
) -> Result<T, FieldError> {
    match body {
        Value::Object(fields) => read_whole(String::new(), unknown, fields, read),
        Value::Null => read_whole(String::new(), unknown, Vec::new(), read),
        other => Err(FieldError::NoObject {
            found: other.describe(),
        }),
    }
}

fn read_whole<T>(
    path: String,
    unknown: Unknown,
    fields: Vec<(String, Value)>,
    read: impl FnOnce(&mut Fields) -> Result<T, FieldError>,
) -> Result<T, FieldError> {
    let mut fields = Fields {
        path,
        unknown,
        left: fields,
    };
    let value = read(&mut fields)?;
    fields.finish()?;
    Ok(value)
}

impl Fields {
    /// Takes `alias` for `name` from here on: snake-case spellings. Call before reading.
    pub(crate) fn rename(&mut self, aliases: &[(&str, &str)]) {
        for (key, _) in &mut self.left {
            let found = aliases
                .iter()
                .find(|(alias, _)| key.eq_ignore_ascii_case(alias));
            if let Some((_, name)) = found {
                (*name).clone_into(key);
            }
        }
    }

    /// An error about `name`; `problem` gives the value and the limit.
    pub(crate) fn error(&self, name: &str, problem: impl Into<String>) -> FieldError {
        FieldError::Invalid {
            path: self.path_of(name),
            problem: problem.into(),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.kind(name, "a string", &other)),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.kind(name, "true or false", &other)),
        }
    }

    /// An integer within `range`.
    ///
    /// # Errors
    /// Another kind of value (a fraction, even `80.0`, is no integer), or outside the range.
    pub(crate) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, FieldError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Integer(number) => i64::try_from(number).ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.kind(
                name,
                &format!("an integer of {} to {}", range.start(), range.end()),
                &value,
            )),
        }
    }

    /// Any number.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, FieldError> {
        let value = self.take(name);
        value.map(|value| self.as_number(name, &value)).transpose()
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// Another kind of value, in the list or instead of it.
    pub(crate) fn numbers(&mut self, name: &str) -> Result<Option<Vec<f64>>, FieldError> {
        let Some(values) = self.list(name)? else {
            return Ok(None);
        };
        let numbers = values.iter().enumerate();
        numbers
            .map(|(position, value)| self.as_number(&format!("{name}[{position}]"), value))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A TCP or UDP port: 0 (none) to 65,535.
    ///
    /// # Errors
    /// As [`Fields::integer`].
    pub(crate) fn port(&mut self, name: &str) -> Result<Option<u16>, FieldError> {
        let port = self.integer(name, 0..=i64::from(u16::MAX))?;
        Ok(port.and_then(|port| u16::try_from(port).ok()))
    }

    /// A length of time: a Go duration, or an integer of nanoseconds.
    ///
    /// # Errors
    /// Another kind of value, no duration, or less than zero. The empty text is no duration.
    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<Duration>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => match duration::parse(&text) {
                Ok(Span::Forward(duration)) => Ok(Some(duration)),
                Ok(Span::Backward(_)) => {
                    Err(self.error(name, format!("duration {} is below zero", cut(&text))))
                }
                Err(error) => Err(self.error(name, error.to_string())),
            },
            Some(Value::Integer(nanoseconds)) if (0..=i64::MAX.into()).contains(&nanoseconds) => {
                let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
                Ok(Some(Duration::from_nanos(nanoseconds)))
            }
            Some(other) => {
                let wanted = "a duration like \"10s\" or an integer of nanoseconds of at least 0";
                Err(self.kind(name, wanted, &other))
            }
        }
    }

    /// Like [`Fields::duration`], with the empty text as absent.
    ///
    /// # Errors
    /// As [`Fields::duration`].
    pub(crate) fn duration_or_blank(&mut self, name: &str) -> Result<Option<Duration>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) if text.is_empty() => Ok(None),
            Some(value) => {
                self.left.push((name.to_owned(), value));
                self.duration(name)
            }
        }
    }

    /// A list of texts; a null in it is an empty text.
    ///
    /// # Errors
    /// Another kind of value, in the list or instead of it.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, FieldError> {
        let Some(values) = self.list(name)? else {
            return Ok(None);
        };
        let texts = values.into_iter().enumerate();
        texts
            .map(|(position, value)| self.element(name, position, value))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An object whose values are texts, in the order given; a null value is an empty text.
    ///
    /// # Errors
    /// Another kind of value, in the object or instead of it.
    pub(crate) fn text_map(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<(String, String)>>, FieldError> {
        let Some(pairs) = self.pairs(name)? else {
            return Ok(None);
        };
        let texts = pairs.into_iter().map(|(key, value)| match value {
            Value::Text(text) => Ok((key, text)),
            Value::Null => Ok((key, String::new())),
            other => Err(self.kind(&format!("{name}.{key}"), "a string", &other)),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// An object whose values are lists of texts (headers), in the order given.
    ///
    /// # Errors
    /// Another kind of value, at any level.
    pub(crate) fn texts_map(&mut self, name: &str) -> Result<Option<TextsMap>, FieldError> {
        let Some(pairs) = self.pairs(name)? else {
            return Ok(None);
        };
        let lists = pairs.into_iter().map(|(key, value)| {
            let path = format!("{name}.{key}");
            let values = match value {
                Value::List(values) => values,
                Value::Null => Vec::new(),
                other => return Err(self.kind(&path, "a list of strings", &other)),
            };
            let texts = values.into_iter().enumerate();
            let texts = texts.map(|(position, value)| self.element(&path, position, value));
            Ok((key, texts.collect::<Result<_, _>>()?))
        });
        lists.collect::<Result<_, _>>().map(Some)
    }

    /// An object, read whole by `read`.
    ///
    /// # Errors
    /// Another kind of value, an unknown field where those are refused, or `read` fails.
    pub(crate) fn object<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Fields) -> Result<T, FieldError>,
    ) -> Result<Option<T>, FieldError> {
        let Some(fields) = self.pairs(name)? else {
            return Ok(None);
        };
        read_whole(self.path_of(name), self.unknown, fields, read).map(Some)
    }

    /// A list of objects, each read whole by `read`; nulls in it are skipped.
    ///
    /// # Errors
    /// As [`Fields::object`], and for a value that is no list.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields) -> Result<T, FieldError>,
    ) -> Result<Option<Vec<T>>, FieldError> {
        let Some(values) = self.list(name)? else {
            return Ok(None);
        };
        let mut objects = Vec::with_capacity(values.len());
        for (position, value) in values.into_iter().enumerate() {
            let name = format!("{name}[{position}]");
            match value {
                Value::Null => {}
                Value::Object(fields) => {
                    let path = self.path_of(&name);
                    objects.push(read_whole(path, self.unknown, fields, &mut read)?);
                }
                other => return Err(self.kind(&name, "an object", &other)),
            }
        }
        Ok(Some(objects))
    }

    /// An object whose values are objects, each read whole by `read`; nulls are skipped.
    ///
    /// # Errors
    /// As [`Fields::object`].
    pub(crate) fn object_map<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields) -> Result<T, FieldError>,
    ) -> Result<Option<Vec<(String, T)>>, FieldError> {
        let Some(pairs) = self.pairs(name)? else {
            return Ok(None);
        };
        let mut objects = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let path = format!("{name}.{key}");
            match value {
                Value::Null => {}
                Value::Object(fields) => {
                    let path = self.path_of(&path);
                    let object = read_whole(path, self.unknown, fields, &mut read)?;
                    objects.push((key, object));
                }
                other => return Err(self.kind(&path, "an object", &other)),
            }
        }
        Ok(Some(objects))
    }

    /// Takes a field that is known but of no use here, whatever its value.
    pub(crate) fn skip(&mut self, name: &str) {
        drop(self.take(name));
    }

    fn finish(self) -> Result<(), FieldError> {
        match (self.unknown, self.left.first()) {
            (Unknown::Refused, Some((name, _))) => Err(FieldError::Unknown {
                path: self.path_of(name),
            }),
            _ => Ok(()),
        }
    }

    /// Removes every field of this name; the last one that is not null counts.
    fn take(&mut self, name: &str) -> Option<Value> {
        let mut found = None;
        self.left.retain_mut(|(key, value)| {
            let taken = key.eq_ignore_ascii_case(name);
            if taken && !matches!(value, Value::Null) {
                found = Some(std::mem::replace(value, Value::Null));
            }
            !taken
        });
        found
    }

    fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::List(values)) if values.len() > LIST_LENGTH_MAX => Err(self.error(
                name,
                format!(
                    "{} elements, at most {LIST_LENGTH_MAX} are allowed",
                    values.len()
                ),
            )),
            Some(Value::List(values)) => Ok(Some(values)),
            Some(other) => Err(self.kind(name, "a list", &other)),
        }
    }

    fn pairs(&mut self, name: &str) -> Result<Option<Vec<(String, Value)>>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(pairs)) => Ok(Some(pairs)),
            Some(other) => Err(self.kind(name, "an object", &other)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a float is what is asked for")]
    fn as_number(&self, name: &str, value: &Value) -> Result<f64, FieldError> {
        match value {
            Value::Integer(number) => Ok(*number as f64),
            Value::Float(number) => Ok(*number),
            other => Err(self.kind(name, "a number", other)),
        }
    }

    fn element(&self, name: &str, position: usize, value: Value) -> Result<String, FieldError> {
        match value {
            Value::Text(text) => Ok(text),
            Value::Null => Ok(String::new()),
            other => Err(self.kind(&format!("{name}[{position}]"), "a string", &other)),
        }
    }

    fn kind(&self, name: &str, wanted: &str, found: &Value) -> FieldError {
        self.error(name, format!("expected {wanted}, got {}", found.describe()))
    }

    fn path_of(&self, name: &str) -> String {
        let name = shown(name);
        if self.path.is_empty() {
            name
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::*;

    fn read<T>(
        text: &str,
        unknown: Unknown,
        read: impl FnOnce(&mut Fields) -> Result<T, FieldError>,
    ) -> Result<T, String> {
        let value = decode(text.as_bytes()).unwrap();
        read_body(value, unknown, read).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_are_bounded() {
        let read = |length: usize| {
            let tags = vec![Value::Text("a".to_owned()); length];
            let body = Value::Object(vec![("Tags".to_owned(), Value::List(tags))]);
            read_body(body, Unknown::Refused, |fields| fields.texts("Tags"))
        };
        assert!(read(LIST_LENGTH_MAX).is_ok());
        let error = read(LIST_LENGTH_MAX + 1).unwrap_err().to_string();
        assert_eq!(error, "field Tags: 1025 elements, at most 1024 are allowed");
    }

    #[test]
    fn keys_ignore_case_and_the_later_one_wins() {
        let port = read(r#"{"port":1,"PORT":2}"#, Unknown::Refused, |fields| {
            fields.port("Port")
        });
        assert_eq!(port, Ok(Some(2)));
    }

    #[test]
    fn null_is_absent_but_only_for_a_known_field() {
        let name = |text| read(text, Unknown::Refused, |fields| fields.text("Name"));
        assert_eq!(name(r#"{"Name":null}"#), Ok(None));
        assert_eq!(
            name(r#"{"Bogus":null}"#),
            Err("json: unknown field \"Bogus\"".to_owned())
        );
        let ignored = read(r#"{"Bogus":1}"#, Unknown::Ignored, |fields| {
            fields.text("Name")
        });
        assert_eq!(ignored, Ok(None));
    }

    #[test]
    fn unknown_fields_are_found_at_every_level() {
        let deep = read(
            r#"{"Checks":[null,{"TTL":"1s","X":1}]}"#,
            Unknown::Refused,
            |fields| fields.objects("Checks", |check| check.duration("TTL")),
        );
        assert_eq!(deep, Err("json: unknown field \"Checks[1].X\"".to_owned()));
    }

    #[test]
    fn numbers_outside_the_range_name_field_value_and_limit() {
        for (value, shown) in [
            ("-1", "-1"),
            ("65536", "65536"),
            ("9223372036854775808", "9223372036854775808"),
            ("80.5", "80.5"),
            ("\"80\"", "the string \"80\""),
            ("[80]", "a list"),
        ] {
            let text = format!(r#"{{"Service":{{"Port":{value}}}}}"#);
            let error = read(&text, Unknown::Ignored, |fields| {
                fields.object("Service", |service| service.port("Port"))
            });
            let expected =
                format!("field Service.Port: expected an integer of 0 to 65535, got {shown}");
            assert_eq!(error, Err(expected));
        }
    }

    #[test]
    fn durations_are_texts_or_nanoseconds() {
        let duration = |value: &str| {
            read(
                &format!("{{\"TTL\":{value}}}"),
                Unknown::Refused,
                |fields| fields.duration("TTL"),
            )
        };
        assert_eq!(duration("\"15.0s\""), Ok(Some(Duration::from_secs(15))));
        assert_eq!(duration("1000000000"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(duration("null"), Ok(None));
        assert_eq!(
            duration("\"\""),
            Err("field TTL: time: invalid duration \"\"".to_owned())
        );
        for bad in ["-1", "\"-1s\"", "1.5", "true", "9223372036854775808"] {
            assert!(
                duration(bad).unwrap_err().starts_with("field TTL: "),
                "{bad}"
            );
        }
    }

    #[test]
    fn aliases_lead_to_the_field() {
        let script = read(
            r#"{"script_args":["a",null]}"#,
            Unknown::Refused,
            |fields| {
                fields.rename(&[("script_args", "Args"), ("ScriptArgs", "Args")]);
                fields.texts("Args")
            },
        );
        assert_eq!(script, Ok(Some(vec!["a".to_owned(), String::new()])));
    }

    #[test]
    fn maps_of_texts_and_lists_are_read_in_order() {
        let maps = read(
            r#"{"Meta":{"b":"1","a":null},"Header":{"X":["1","2"],"Y":null}}"#,
            Unknown::Refused,
            |fields| Ok((fields.text_map("Meta")?, fields.texts_map("Header")?)),
        );
        let (meta, header) = maps.unwrap();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            meta,
            Some(vec![(text("b"), text("1")), (text("a"), String::new())])
        );
        let header = header.unwrap();
        assert_eq!(
            header.first(),
            Some(&(text("X"), vec![text("1"), text("2")]))
        );
    }
}
