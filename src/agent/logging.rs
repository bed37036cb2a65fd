//! The log: one line for each event, to standard output and to whoever listens, in the layouts of
//! [`log`], which operators' log pipelines already read. Lines are held back until the start banner
//! is printed.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level as EventLevel, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use crate::clock::{self, Utc};
use crate::config::{Level, Log};
use crate::log::{self, Format, Monitor};

/// Most octets held back; a start that says more loses the rest.
const HELD_OCTETS_MAX: usize = 256 * 1024;

/// Most that is heard of libraries.
const OTHERS_LEVEL_MAX: EventLevel = EventLevel::WARN;

/// The consensus library, which warns of each request that a server did not answer, several times a
/// second while one is away, and has errors when it is stopped. What an operator must know of that,
/// `raft` and `gossip` say once.
const CONSENSUS: &str = "openraft";

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

/// Sets how much is logged. Clones set the same log.
#[derive(Clone, Debug)]
pub struct Dial(reload::Handle<Targets, Registry>);

impl Dial {
    /// From now on `level` is logged.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.0.reload(targets(level)) {
            tracing::warn!("the log level stays as it is: {error}");
        }
    }
}

/// The log of this process as an agent may use it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// How much is written; `None` where the log is not the agent's to set.
    pub dial: Option<Dial>,
    /// Whoever listens. Without a log that feeds it, it is silent.
    pub monitor: Monitor,
}

/// Sends the events of this process to `gate`, and to those who listen, whatever the level of the
/// log itself. Works once in a process; if there is a log already, nothing is heard of it.
pub fn install(log: Log, gate: Gate) -> Access {
    let monitor = Monitor::default();
    let (subscriber, dial) = subscriber(log, gate, &monitor);
    let installed = tracing::subscriber::set_global_default(subscriber).is_ok();
    Access {
        dial: installed.then_some(dial),
        monitor,
    }
}

/// What takes the events: each of its two layers has a filter of its own.
fn subscriber(
    log: Log,
    gate: Gate,
    monitor: &Monitor,
) -> (impl Subscriber + Send + Sync + use<>, Dial) {
    let (wanted, handle) = reload::Layer::new(targets(log.level));
    let format = if log.json {
        Format::Json
    } else {
        Format::Plain
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Layout { format })
        .with_writer(gate)
        .with_filter(wanted);
    let heard = Heard(monitor.clone()).with_filter(Wanted(monitor.clone()));
    let subscriber = tracing_subscriber::registry().with(lines).with(heard);
    (subscriber, Dial(handle))
}

fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let consensus = if level < LevelFilter::DEBUG {
        LevelFilter::OFF
    } else {
        LevelFilter::WARN
    };
    Targets::new()
        .with_target("herald", level)
        .with_target(CONSENSUS, consensus)
        .with_default(level.min(LevelFilter::from_level(OTHERS_LEVEL_MAX)))
}

struct Layout {
    format: Format,
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
        let line = with_event(event, |event| event.line(self.format));
        writer.write_str(&line)
    }
}

/// Hands each event to those who listen.
struct Heard(Monitor);

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        with_event(event, |event| self.0.publish(event));
    }
}

/// Lets through what somebody listens to; asked again whenever that changes.
struct Wanted(Monitor);

impl Wanted {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let grave = *metadata.level() <= OTHERS_LEVEL_MAX;
        self.0.wants(*metadata.level()) && (grave || is_own(metadata.target()))
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let verbosity = self.0.verbosity();
        Some(verbosity.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }
}

/// Whether herald itself speaks, and no library.
fn is_own(target: &str) -> bool {
    target == "herald" || target.starts_with("herald::")
}

/// Hands an event over as the log knows it.
fn with_event<R>(event: &Event<'_>, take: impl FnOnce(&log::Event<'_>) -> R) -> R {
    let mut fields = Fields::default();
    event.record(&mut fields);
    take(&log::Event {
        time: Utc::new(clock::since_epoch()),
        level: *event.metadata().level(),
        module: module(event.metadata().target()),
        message: &fields.message,
        fields: &fields.others,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_events_are_made_only_while_somebody_listens() {
        let (monitor, log) = (
            Monitor::default(),
            Log {
                level: Level::Error,
                json: false,
            },
        );
        let (subscriber, _dial) = subscriber(log, Gate::default(), &monitor);
        // Libraries may always warn, at most as much as the agent itself.
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::ERROR));
        let listener = monitor.listen(EventLevel::TRACE, Format::Plain).unwrap();
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::TRACE));
        drop(listener);
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::ERROR));
    }

    #[test]
    fn only_herald_itself_is_heard_at_verbose_levels() {
        assert!(is_own("herald") && is_own("herald::http::server"));
        assert!(!is_own("heralds") && !is_own("hyper"));
        assert_eq!(module("herald::http::server"), "http");
        assert_eq!(module("hyper::proto"), "hyper");
    }
}
