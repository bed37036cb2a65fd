//! Static zones: RFC 1035 §5 master files, loaded at start and served by hickory-server.
//!
//! A directory holds a file for each zone, `<origin>.zone`. Owns reading the files and the size
//! of an answer; when a query comes here is decided by `answer`, that it is answered in time is
//! `slow`.
//!
//! **Invariant**: what the parser cannot digest is refused before or while it parses; a bad file
//! is an error at start and never a panic.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hickory_proto::op::Edns;
use hickory_proto::rr::{Name, Record};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::file::{FileConfig, FileZoneHandler};
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponse, ZoneType};

use super::handler::{Received, Transport};

/// Ending of a zone file's name.
const EXTENSION: &str = "zone";

/// Longest line, in octets. No record's text needs more than a few hundred.
const LINE_OCTETS_MAX: usize = 4_095;

/// Longest file.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

/// The EDNS size that answers advertise: what fits common paths without fragments.
const EDNS_OCTETS: u16 = 1_232;

/// Largest UDP answer, whatever the client offers.
const UDP_OCTETS_MAX: u16 = 65_000;

/// Largest answer to a client without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP_OCTETS: u16 = 512;

/// The loaded zones. Clones share them.
#[derive(Clone, Default)]
pub struct StaticZones {
    catalog: Arc<Catalog>,
    origins: Vec<String>,
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A message for the client.
    Made(Vec<u8>),
    /// The answer could not be encoded.
    Failed,
    /// It asks for no name of these zones.
    NotCovered,
}

/// Why zones were not loaded. Nothing of the directory is served then.
#[derive(Debug, thiserror::Error)]
pub enum ZonesError {
    /// The directory or a file cannot be read.
    #[error("cannot read zones in {path}: {source}", path = .path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not a zone.
    #[error("bad zone file {path}: {reason}", path = .path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StaticZones {
    /// No zones.
    pub fn none() -> Self {
        Self::default()
    }

    /// Loads every `<origin>.zone` of `directory`; other files are left alone. Reads files, so
    /// not for async code.
    ///
    /// # Errors
    /// The directory or a zone file cannot be read, or a zone file is malformed: it names file and
    /// reason.
    pub fn load(directory: &Path) -> Result<Self, ZonesError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ZonesError::Read { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == EXTENSION)
            {
                paths.push(path);
            }
        }
        paths.sort();
        let mut catalog = Catalog::new();
        let mut origins = Vec::new();
        for path in paths {
            check(&path)
                .map_err(unreadable(&path))?
                .map_err(|reason| ZonesError::Bad {
                    path: path.clone(),
                    reason,
                })?;
            let (origin, zone) = parse(&path).map_err(|reason| ZonesError::Bad {
                path: path.clone(),
                reason,
            })?;
            origins.push(origin.to_ascii());
            catalog.upsert(origin.into(), vec![Arc::new(zone)]);
        }
        Ok(Self {
            catalog: Arc::new(catalog),
            origins,
        })
    }

    /// Names of the zones, fully qualified and in lower case, like `example.`: what goes to
    /// `slow_zones` of the answers' settings.
    pub fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Answers `query`, in no more octets than its client takes.
    pub(crate) async fn answer(&self, query: &[u8], received: &Received) -> Answer {
        let protocol = match received.transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
        };
        let request = match Request::from_bytes(query.to_vec(), received.source, protocol) {
            Ok(request) if self.covers(&request) => request,
            // What is malformed is for the one to judge who judges all queries.
            _ => return Answer::NotCovered,
        };
        let limit = match received.transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => request.edns.as_ref().map_or(PLAIN_UDP_OCTETS, |edns| {
                edns.max_payload().clamp(PLAIN_UDP_OCTETS, UDP_OCTETS_MAX)
            }),
        };
        let collect = Collect {
            limit,
            encoded: Arc::default(),
        };
        self.catalog
            .handle_request::<_, TokioTime>(&request, collect.clone())
            .await;
        let mut encoded = collect
            .encoded
            .lock()
            .expect("no holder of this lock panics");
        match std::mem::take(&mut *encoded) {
            octets if octets.is_empty() => Answer::Failed,
            octets => Answer::Made(octets),
        }
    }

    fn covers(&self, request: &Request) -> bool {
        let info = request.request_info();
        info.is_ok_and(|info| self.catalog.find(info.query.name()).is_some())
    }
}

impl fmt::Debug for StaticZones {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StaticZones")
            .field(&self.origins)
            .finish()
    }
}

/// Refuses what the parser cannot be trusted with: lines, and so tokens, of great length, and
/// files that pull in others.
fn check(path: &Path) -> io::Result<Result<(), String>> {
    let octets = std::fs::metadata(path)?.len();
    if octets > FILE_OCTETS_MAX {
        return Ok(Err(format!(
            "{octets} octets long, at most {FILE_OCTETS_MAX} are read"
        )));
    }
    let text = std::fs::read(path)?;
    for (line, number) in text.split(|octet| *octet == b'\n').zip(1_usize..) {
        let octets = line.len();
        if octets > LINE_OCTETS_MAX {
            return Ok(Err(format!(
                "line {number} has {octets} octets, at most {LINE_OCTETS_MAX} are read"
            )));
        }
        if line.starts_with(b"$INCLUDE") {
            return Ok(Err(format!("line {number}: $INCLUDE is not supported")));
        }
    }
    Ok(Ok(()))
}

fn parse(path: &Path) -> Result<(Name, FileZoneHandler), String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.ok_or("its name is not text")?;
    let mut origin = Name::from_str(stem)
        .map_err(|error| format!("{stem:?} is not a domain name: {error}"))?
        .to_lowercase();
    origin.set_fqdn(true);
    let file = FileConfig {
        zone_path: path.to_owned(),
    };
    let load = || {
        let deny = AxfrPolicy::Deny;
        FileZoneHandler::try_from_config(origin.clone(), ZoneType::Primary, deny, None, &file)
    };
    // The parser has met inputs before that it paniced on.
    let zone = catch_unwind(AssertUnwindSafe(load))
        .map_err(|_| "the parser failed on it".to_owned())??;
    Ok((origin, zone))
}

/// Takes the response that the catalog makes.
#[derive(Clone)]
struct Collect {
    limit: u16,
    encoded: Arc<Mutex<Vec<u8>>>,
}

#[async_trait]
impl ResponseHandler for Collect {
    async fn send_response<'a>(
        &mut self,
        mut response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let edns: Option<Edns> = response.edns().cloned().map(|mut edns| {
            edns.set_max_payload(EDNS_OCTETS);
            edns
        });
        if let Some(edns) = &edns {
            response.set_edns(edns);
        }
        let mut octets = Vec::with_capacity(usize::from(PLAIN_UDP_OCTETS));
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(self.limit);
        let info = response.destructive_emit(&mut encoder)?;
        *self.encoded.lock().expect("no holder of this lock panics") = octets;
        Ok(info)
    }
}
