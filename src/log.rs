//! The log as lines: how an event is written, and who listens to what is written.
//!
//! Where events come from, and the agent's own log, are `agent::logging`'s.

mod monitor;

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tracing::Level;

use crate::clock::Utc;

pub use monitor::{ListenError, Listener, Monitor};

/// One event of the log.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// When it happened.
    pub time: Utc,
    /// How grave it is.
    pub level: Level,
    /// The part of the program that speaks.
    pub module: &'a str,
    /// What it says.
    pub message: &'a str,
    /// Names and values beside it.
    pub fields: &'a [(&'static str, String)],
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: time, level, part, text, fields.
    Plain,
    /// One JSON object.
    Json,
}

impl Event<'_> {
    /// The event as one line, with the newline at its end.
    pub fn line(&self, format: Format) -> String {
        match format {
            Format::Plain => {
                let (time, level) = (self.time, format!("[{}]", self.level));
                format!("    {time} {level:7} {}: {}\n", self.module, self.plain())
            }
            Format::Json => format!("{}\n", self.json()),
        }
    }

    /// One line: what others sent (names, paths) must not be able to begin a new one.
    fn plain(&self) -> String {
        let mut text = self.message.to_owned();
        for (position, (name, value)) in self.fields.iter().enumerate() {
            let separator = if position == 0 { ":" } else { "" };
            write!(text, "{separator} {name}={value}").expect("writing to a string does not fail");
        }
        if !text.contains(char::is_control) {
            return text;
        }
        text.chars()
            .flat_map(|letter| {
                let escaped = letter.is_control().then(|| letter.escape_default());
                let plain = (!letter.is_control()).then_some(letter);
                escaped.into_iter().flatten().chain(plain)
            })
            .collect()
    }

    fn json(&self) -> Value {
        let level = self.level.as_str().to_ascii_lowercase();
        let mut line = Map::new();
        line.insert("@level".to_owned(), level.into());
        line.insert("@message".to_owned(), self.message.into());
        line.insert("@module".to_owned(), self.module.into());
        line.insert("@timestamp".to_owned(), self.time.to_string().into());
        for (name, value) in self.fields {
            line.insert((*name).to_owned(), value.as_str().into());
        }
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_stays_one_line() {
        let fields = [("key", "v\u{1b}".to_owned()), ("other", "2".to_owned())];
        let event = Event {
            time: Utc::new(Duration::ZERO),
            level: Level::WARN,
            module: "http",
            message: "a\nb",
            fields: &fields,
        };
        assert_eq!(
            event.line(Format::Plain),
            "    1970-01-01T00:00:00.000Z [WARN]  http: a\\nb: key=v\\u{1b} other=2\n"
        );
        assert_eq!(
            event.line(Format::Json),
            "{\"@level\":\"warn\",\"@message\":\"a\\nb\",\"@module\":\"http\",\
             \"@timestamp\":\"1970-01-01T00:00:00.000Z\",\"key\":\"v\\u001b\",\"other\":\"2\"}\n"
        );
    }
}
