//! Why a question gets the answer that it gets: for operators, over HTTP and on the command line.
//!
//! The answers are those of the code that answers queries, asked as three kinds of client would
//! (`answers`); what the name denotes comes from the same readers of names (`rule`); why each
//! instance is in or out comes from the catalog's state and from the views that DNS is made of
//! (`instances`). Off the hot path: it allocates, and a service's instances are all looked at.
//!
//! **Invariant**: nothing here is decided a second time where the answering code can be asked. A
//! change of the catalog between the parts shows as a difference between them, never as a failure.

mod answers;
mod instances;
mod rule;

use std::str::FromStr;

use hickory_proto::rr::RecordType;
use prometheus_client::metrics::counter::Counter;

use crate::types::Index;

use super::answer::{Context, Sources, Tools};
use super::name::{DomainError, NAME_OCTETS_MAX, Name, wire_from_text};
use super::settings::Settings;
use super::slow::Help;

pub use self::answers::{ClientAnswer, Records};
pub use self::instances::{InstanceReport, Instances};

/// Most instances that are listed one by one.
pub const INSTANCES_MAX: usize = 1_000;

/// Why names get SERVFAIL before there is a catalog.
const NOT_LOADED: &str = "no state of the catalog is loaded yet: what needs one fails (not ready) \
                          until a server has been reached";

/// Where answers of client agents come from.
const PARTIAL: &str = "this client agent has what servers told it of names that were asked for, under \
                       an index of its own; it asks a server for others";

/// Explains answers. Clones are cheap and follow reloads.
#[derive(Clone)]
pub struct Explainer {
    sources: Sources,
    help: Help,
}

/// A question to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// In wire format and lower case, with the root.
    wire: Box<[u8]>,
    record_type: RecordType,
}

/// Why a text is no question; nothing was looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is no name.
    #[error("name is empty, a domain name like web.service.consul is needed")]
    Empty,
    /// The name is no domain name.
    #[error("name {0}")]
    Name(#[from] DomainError),
    /// The type is not known.
    #[error(
        "type {text:?} is no record type, one like A, AAAA, SRV, TXT or ANY is needed, or TYPE and a number"
    )]
    Type {
        /// The text that was refused.
        text: String,
    },
}

/// What a question gets, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The name as it was understood: complete, in lower case.
    pub name: String,
    /// The type asked for.
    pub record_type: String,
    /// Which rule the name fell under, in one word.
    pub rule: &'static str,
    /// What the name denotes, in a sentence.
    pub meaning: String,
    /// The service that the name denotes or would denote, where it is registered.
    pub service: Option<String>,
    /// Tags that the name asks for.
    pub tags: Vec<String>,
    /// The node that the name denotes.
    pub node: Option<String>,
    /// Index of the catalog's state that the instances are from.
    pub index: Index,
    /// Time to live of what is answered, where that comes from the configuration.
    pub ttl: Option<Ttl>,
    /// The instances of the service.
    pub instances: Option<Instances>,
    /// What each kind of client is answered.
    pub answers: Vec<ClientAnswer>,
    /// The records for a client that takes 1,232 octets.
    pub records: Records,
    /// What else decides about the answers.
    pub notes: Vec<String>,
}

/// A time to live and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// In seconds.
    pub seconds: u32,
    /// The configuration key.
    pub source: String,
}

impl Ttl {
    fn of_denial(settings: &Settings) -> Self {
        Self {
            seconds: settings.soa_ttl,
            source: "dns_config.soa.min_ttl".to_owned(),
        }
    }
}

impl Question {
    /// Reads a name, always taken as complete, and a type.
    ///
    /// # Errors
    /// [`QuestionError`].
    pub fn parse(name: &str, record_type: &str) -> Result<Self, QuestionError> {
        if name.is_empty() {
            return Err(QuestionError::Empty);
        }
        let wire = wire_from_text(name, NAME_OCTETS_MAX)?;
        let record_type = read_type(record_type).ok_or_else(|| QuestionError::Type {
            text: record_type.chars().take(64).collect(),
        })?;
        Ok(Self { wire, record_type })
    }

    fn name(&self) -> Name {
        let mut name = Name::default();
        name.read(&self.wire)
            .expect("`parse` makes whole names that are not too long");
        name
    }

    fn qtype(&self) -> u16 {
        self.record_type.into()
    }

    /// The name as people write it.
    fn text(&self) -> String {
        let labels = super::name::labels(&self.wire);
        let text: String = labels
            .map(|label| label.escape_ascii().to_string() + ".")
            .collect();
        if text.is_empty() {
            ".".to_owned()
        } else {
            text
        }
    }
}

/// A mnemonic in any case, or `TYPE65` (RFC 3597 §5).
fn read_type(text: &str) -> Option<RecordType> {
    let upper = text.to_ascii_uppercase();
    match upper.strip_prefix("TYPE") {
        Some(number) => number.parse::<u16>().ok().map(RecordType::from),
        None => RecordType::from_str(&upper).ok(),
    }
}

impl Explainer {
    /// Explains what is answered from these sources and with this help.
    pub fn new(sources: Sources, help: impl Into<Help>) -> Self {
        // What is explained was not asked: it does not count.
        let unencodable = Counter::default();
        Self {
            sources: Sources {
                unencodable,
                ..sources
            },
            help: help.into(),
        }
    }

    /// Explains what `question` is answered now. Takes as long as its service is large: not for a
    /// thread that must not block.
    pub async fn explain(&self, question: &Question) -> Explanation {
        let sources = Sources {
            unencodable: Counter::default(),
            ..self.sources.clone()
        };
        let settings = sources.settings.load_full();
        let name = question.name();
        let context = Context {
            settings: &settings,
            qtype: question.qtype(),
            answers_max: usize::MAX,
            scan_max: usize::MAX,
        };
        // First, so that what they ask servers for is in memory then.
        let replies = answers::ask_all(&sources, &self.help, question).await;
        let mut tools = Tools::new(sources.catalog.clone(), sources.unencodable.clone());
        let state = sources.catalog.state();
        let loaded = sources.freshness.is_loaded().then_some(&*state);
        let rule = rule::find(&context, &mut tools, loaded, &name);
        let instances = rule.service.as_ref().and_then(|denoted| {
            let asked = instances::Asked {
                denoted,
                settings: &settings,
                qtype: question.qtype(),
                type_text: question.record_type.to_string(),
            };
            instances::report(&state, &asked)
        });
        let possible = instances.as_ref().map(Instances::records);
        let (answers, records) = answers::describe(&replies, &settings, question.qtype(), possible);
        // RFC 2308 §5: that there is nothing may be believed as long as the SOA record says.
        let is_denied = records.answer.is_empty() && !records.authority.is_empty();
        let ttl = match rule.ttl {
            Some(_) if is_denied => Some(Ttl::of_denial(&settings)),
            ttl => ttl,
        };
        let mut notes = rule.notes;
        notes.extend(unencodable(&sources));
        notes.extend(staleness(&sources, &settings));
        if !sources.catalog.is_whole() {
            notes.push(PARTIAL.to_owned());
        }
        Explanation {
            name: question.text(),
            record_type: question.record_type.to_string(),
            rule: rule.word,
            meaning: rule.meaning,
            service: rule.service.as_ref().map(|denoted| denoted.name.clone()),
            tags: rule.service.map_or_else(Vec::new, |denoted| denoted.tags),
            node: rule.node,
            index: state.applied(),
            ttl,
            instances,
            answers,
            records,
            notes,
        }
    }
}

fn unencodable(sources: &Sources) -> Option<String> {
    let left_out = sources.unencodable.get() > 0;
    left_out.then(|| "records that no message can carry were left out".to_owned())
}

fn staleness(sources: &Sources, settings: &Settings) -> Option<String> {
    let freshness = &sources.freshness;
    if !freshness.is_loaded() {
        return Some(NOT_LOADED.to_owned());
    }
    if freshness.leads() {
        return None;
    }
    let age = freshness.age();
    let limit = settings.max_stale;
    Some(match settings.allow_stale {
        false => "dns_config.allow_stale is off, so that the leader is asked first".to_owned(),
        true if age > limit => format!(
            "the leader was last heard of {age:?} ago, longer than dns_config.max_stale ({limit:?})"
        ),
        true => format!("the leader was last heard of {age:?} ago"),
    })
}
