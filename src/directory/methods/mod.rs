//! The methods that agents call on a server: the same reads and writes as over HTTP, in the words of
//! the agent RPC.
//!
//! Owns the table of methods and what all of them have in common; each group has a file. What herald
//! does not have (`absent`) answers with the text by which agents know that.
//!
//! Source: recorded calls, `tests/vectors/rpc`.

mod absent;
mod catalog;
mod coordinate;
#[cfg(test)]
mod fixture;
mod health;
mod internal;
mod register;
mod select;
mod status;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::turns::in_turn;
use super::wire::{Decode, Encode, Fields as _, QueryMeta, QueryOptions, Text};
use super::{Answer, Directory, ReadError, WriteError};
use crate::catalog::{State, WatchKey};
use crate::filter::{Filter, RowKind};
use crate::gossip::membership::Membership;
use crate::msgpack::{Reader, Writer};
use crate::rpc::{Answered, Call, Fault, Pending, Service};
use crate::types::{Consistency, Datacenter, Index, RequestContext};

/// Rows that are written at once: about a millisecond.
const SMALL_ROWS_MAX: usize = 200;
/// An empty map: the result of what has none.
const EMPTY: u8 = 0x80;

/// The methods of one server.
#[derive(Clone, Debug)]
pub struct Methods {
    directory: Directory,
    membership: Membership,
    /// Turns to write large answers.
    large: Arc<Semaphore>,
}

impl Methods {
    /// Methods on this server's catalog and pools. `large_max` answers of many rows are written at a
    /// time.
    pub fn new(directory: Directory, membership: Membership, large_max: usize) -> Self {
        Self {
            directory,
            membership,
            large: Arc::new(Semaphore::new(large_max)),
        }
    }

    async fn dispatch(&self, call: Call<'_>) -> Answered {
        match call.method {
            "Status.Ping" => Ok(vec![EMPTY]),
            "Status.Leader" => status::leader(self),
            "Status.Peers" => status::peers(self),
            "Status.RaftStats" => status::raft_stats(self),
            "Catalog.ListDatacenters" => catalog::list_datacenters(self),
            "Catalog.Register" => register::register(self, call).await,
            "Catalog.Deregister" => register::deregister(self, call).await,
            "Catalog.ListNodes" => catalog::list_nodes(self, call).await,
            "Catalog.ListServices" => catalog::list_services(self, call).await,
            "Catalog.ServiceList" => catalog::service_list(self, call).await,
            "Catalog.ServiceNodes" => catalog::service_nodes(self, call).await,
            "Catalog.NodeServices" => catalog::node_services(self, call).await,
            "Catalog.NodeServiceList" => catalog::node_service_list(self, call).await,
            "Catalog.GatewayServices" => catalog::gateway_services(self, call).await,
            "Health.ServiceNodes" => health::service_nodes(self, call).await,
            "Health.NodeChecks" => health::node_checks(self, call).await,
            "Health.ServiceChecks" => health::service_checks(self, call).await,
            "Health.ChecksInState" => health::checks_in_state(self, call).await,
            "Coordinate.Update" => coordinate::update(self, call),
            "Coordinate.ListNodes" => coordinate::list_nodes(self, call).await,
            "Coordinate.Node" => coordinate::node(self, call).await,
            "Coordinate.ListDatacenters" => coordinate::list_datacenters(self),
            "Internal.EventFire" => internal::event_fire(self, call).await,
            "Internal.NodeInfo" => internal::node_info(self, call).await,
            "Internal.NodeDump" => internal::node_dump(self, call).await,
            "Internal.ServiceDump" => internal::service_dump(self, call).await,
            "Internal.KeyringOperation" => internal::keyring_operation(self, call).await,
            method => absent::answer(method),
        }
    }

    /// How `options` ask for a read, or a write, in `datacenter`, which must be named. Asked before
    /// all else, since agents take its error for a name that does not exist.
    ///
    /// # Errors
    /// `No path to datacenter`.
    fn context(
        &self,
        datacenter: &str,
        options: &QueryOptions<'_>,
        call: Call<'_>,
    ) -> Result<RequestContext, Fault> {
        let asked = datacenter.parse::<Datacenter>().ok();
        let local = asked.filter(|asked| asked == self.directory.datacenter());
        let datacenter = local.ok_or(ReadError::NoPathToDatacenter)?;
        let consistency = match (options.require_consistent, options.allow_stale) {
            (true, _) => Consistency::Consistent,
            (false, true) => Consistency::Stale,
            (false, false) => Consistency::Default,
        };
        let token = Some(&*options.token).filter(|token| !token.is_empty());
        let wait = u64::try_from(options.max_query_time).ok();
        Ok(RequestContext {
            token: token.map(Into::into),
            datacenter: Some(datacenter),
            consistency,
            index: Some(Index(options.min_query_index)),
            wait: wait.map(Duration::from_nanos),
            deadline: None,
            source: Some(call.peer.to_canonical()),
        })
    }

    /// Reads what `keys` cover.
    async fn read(&self, context: &RequestContext, keys: &[WatchKey]) -> Result<Answer, Fault> {
        Ok(self.directory.read_several(context, keys).await?)
    }

    /// Writes an answer of about `rows` rows, which stand under `name`; one of many on a thread of its
    /// own, in turn.
    ///
    /// # Errors
    /// Too many large answers wait, or the server stops.
    async fn write<F>(&self, answer: Answer, rows: usize, name: &'static str, write: F) -> Answered
    where
        F: FnOnce(&State, &mut Writer<'_>) + Send + 'static,
    {
        let write = move || {
            let mut out = Vec::new();
            let state = Arc::clone(&answer.state);
            with_meta(&answer, name, &mut out, |writer| write(&state, writer));
            out
        };
        if rows <= SMALL_ROWS_MAX {
            return Ok(write());
        }
        in_turn(&self.large, write).await.map_err(refused)
    }
}

impl Service for Methods {
    fn call<'a>(&'a self, call: Call<'a>) -> Pending<'a, Answered> {
        Box::pin(self.dispatch(call))
    }

    fn snapshot<'a>(&'a self, request: &'a [u8]) -> Pending<'a, Vec<u8>> {
        Box::pin(async move { absent::snapshot(self, request) })
    }
}

/// The request of a call.
///
/// # Errors
/// It cannot be read; the stream ends after that.
fn decode<'a, T: Decode<'a>>(call: Call<'a>) -> Result<T, Fault> {
    let mut reader = Reader::new(call.body);
    T::read(&mut reader).map_err(|error| Fault::Call(error.to_string()))
}

/// A result that is one value.
fn encode(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut Writer::old(&mut out));
    out
}

/// Writes the result of a read: rows under their name, and what is said of them.
fn with_meta(
    answer: &Answer,
    name: &'static str,
    out: &mut Vec<u8>,
    rows: impl FnOnce(&mut Writer<'_>),
) {
    let meta = QueryMeta {
        consistency_level: Text::default(),
        index: answer.index.0,
        known_leader: answer.known_leader,
        last_contact: i64::try_from(answer.last_contact.as_nanos()).unwrap_or(i64::MAX),
    };
    let mut fields: Vec<(&'static str, &dyn Encode)> = Vec::with_capacity(4);
    meta.give(&mut fields);
    let mut writer = Writer::old(out);
    writer.map(fields.len() + 1);
    let mut rows = Some(rows);
    for (key, value) in fields {
        if key > name
            && let Some(rows) = rows.take()
        {
            writer.text(name);
            rows(&mut writer);
        }
        writer.text(key);
        value.write(&mut writer);
    }
    if let Some(rows) = rows {
        writer.text(name);
        rows(&mut writer);
    }
}

/// Writes a list of rows; nil where there are none, as agents know it.
fn write_rows<'a, T, R: Encode + 'a>(
    rows: impl Iterator<Item = T>,
    writer: &mut Writer<'_>,
    shape: impl Fn(T) -> R,
) {
    let rows: Vec<T> = rows.collect();
    if rows.is_empty() {
        return writer.nil();
    }
    writer.array(rows.len());
    for row in rows {
        shape(row).write(writer);
    }
}

/// A filter on rows of this kind; `None` where there is none.
///
/// # Errors
/// It cannot be read, or does not suit the rows.
fn filter(options: &QueryOptions<'_>, rows: RowKind) -> Result<Option<Filter>, Fault> {
    if options.filter.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse(&options.filter, rows);
    let told = |error| format!("Failed to create boolean expression evaluator: {error}");
    filter.map(Some).map_err(|error| refused(told(error)))
}

/// An error of the method itself.
fn refused(error: impl Display) -> Fault {
    Fault::Answer(error.to_string())
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        refused(error)
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        refused(error)
    }
}

#[cfg(test)]
mod tests;
