//! The log: one line for each event, plain or as JSON, in the layouts that operators' log pipelines
//! already read. Lines are held back until the start banner is printed.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::config::{Level, Log};

/// Most octets held back; a start that says more loses the rest.
const HELD_OCTETS_MAX: usize = 256 * 1024;

/// Holds lines back until it is opened. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    held: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            held: Arc::new(Mutex::new(Some(Vec::new()))),
        }
    }
}

impl Gate {
    /// Writes what was held back; from now on lines go straight to standard output.
    pub fn open(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = held.take() {
            write_out(&lines);
        }
    }
}

impl io::Write for &Gate {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(lines) if lines.len() + line.len() <= HELD_OCTETS_MAX => {
                lines.extend_from_slice(line);
            }
            Some(_) => {}
            None => write_out(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log that nobody reads any more must not stop the agent.
fn write_out(lines: &[u8]) {
    let mut out = io::stdout().lock();
    drop(out.write_all(lines).and_then(|()| out.flush()));
}

impl<'a> MakeWriter<'a> for Gate {
    type Writer = &'a Gate;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Sends the events of this process to `gate`. Works once in a process; whether it did.
pub fn install(log: Log, gate: Gate) -> bool {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_target("herald", level)
        .with_default(level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Layout { json: log.json })
        .with_writer(gate);
    let subscriber = tracing_subscriber::registry().with(targets).with(lines);
    tracing::subscriber::set_global_default(subscriber).is_ok()
}

struct Layout {
    json: bool,
}

impl<S, N> FormatEvent<S, N> for Layout
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let module = module(event.metadata().target());
        let time = clock::Utc::new(clock::since_epoch()).to_string();
        let level = *event.metadata().level();
        if self.json {
            return writeln!(writer, "{}", fields.json(level, module, &time));
        }
        let level = format!("[{level}]");
        writeln!(writer, "    {time} {level:7} {module}: {}", fields.plain())
    }
}

/// The part of the program that speaks: `herald::http::server` is `http`.
fn module(target: &str) -> &str {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some("herald"), Some(part)) => part,
        (Some(other), _) => other,
        (None, _) => target,
    }
}

/// Fields of one event.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.others.push((name, format!("{value:?}"))),
        }
    }
}

impl Fields {
    /// One line: what others sent (names, paths) must not be able to begin a new one.
    fn plain(&self) -> String {
        let mut text = self.message.clone();
        for (position, (name, value)) in self.others.iter().enumerate() {
            let separator = if position == 0 { ":" } else { "" };
            write!(text, "{separator} {name}={value}").expect("writing to a string does not fail");
        }
        text.chars()
            .flat_map(|letter| {
                let escaped = letter.is_control().then(|| letter.escape_default());
                let plain = (!letter.is_control()).then_some(letter);
                escaped.into_iter().flatten().chain(plain)
            })
            .collect()
    }

    fn json(self, level: tracing::Level, module: &str, time: &str) -> Value {
        let level = level.as_str().to_ascii_lowercase();
        let mut line = Map::new();
        line.insert("@level".to_owned(), level.into());
        line.insert("@message".to_owned(), self.message.into());
        line.insert("@module".to_owned(), module.into());
        line.insert("@timestamp".to_owned(), time.into());
        for (name, value) in self.others {
            line.insert(name.to_owned(), value.into());
        }
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_one_line() {
        let fields = Fields {
            message: "a\nb".to_owned(),
            others: vec![("key", "v\u{1b}".to_owned()), ("other", "2".to_owned())],
        };
        assert_eq!(fields.plain(), "a\\nb: key=v\\u{1b} other=2");
    }
}
