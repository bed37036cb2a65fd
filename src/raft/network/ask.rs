//! What a follower asks the leader, and a server that has no cluster yet asks others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::bounded::COMMANDS_MAX;
use super::link::{Answer, LinkError};
use super::message::{Purpose, Request, Response};
use super::target::{Dialler, Target};
use crate::catalog::Outcome;
use crate::raft::peer::{AskError, Asks};
use crate::raft::types::{Proposal, ServerId};
use crate::raft::{FreshError, ProposeError};
use crate::rpc::Pending;
use crate::types::{Consistency, Index};

/// Octets of commands in one message, unless one alone has more.
const COMMANDS_OCTETS: usize = 1 << 20;

impl From<LinkError> for AskError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotSent(text) => Self::NotSent(text),
            LinkError::Broken => Self::Unknown(error.to_string()),
        }
    }
}

/// Asks other servers, the leader on one connection that is kept. Clones share it.
#[derive(Clone)]
pub(in crate::raft) struct Ask {
    dialler: Arc<Dialler>,
    leader: Arc<Mutex<Option<Arc<Target>>>>,
}

impl Ask {
    pub(super) fn new(dialler: &Arc<Dialler>) -> Self {
        Self {
            dialler: Arc::clone(dialler),
            leader: Arc::default(),
        }
    }

    /// Brings commands in their stored form to the leader, in this order. One result each.
    ///
    /// # Errors
    /// [`AskError::NotSent`], [`AskError::Unknown`].
    pub(in crate::raft) async fn propose(
        &self,
        leader: ServerId,
        address: SocketAddr,
        commands: Vec<Bytes>,
    ) -> Result<Vec<Result<Outcome, ProposeError>>, AskError> {
        let target = self.leader(leader, address);
        let link = target.link().await;
        let link = link.map_err(|error| AskError::NotSent(error.to_string()))?;
        let expected = commands.len();
        let mut answers: Vec<Answer> = Vec::new();
        for part in parts(commands) {
            match link.send(&Request::Propose(part)).await {
                Ok((_, answer)) => answers.push(answer),
                Err(error) if answers.is_empty() => return Err(error.into()),
                Err(error) => return Err(AskError::Unknown(error.to_string())),
            }
        }
        let mut outcomes = Vec::with_capacity(expected);
        for mut answer in answers {
            match answer.wait().await? {
                Response::Propose(results) => {
                    let results = results.into_iter();
                    outcomes.extend(results.map(|it| it.map(Outcome::from).map_err(Into::into)));
                }
                other => return Err(AskError::Unknown(unexpected(&other))),
            }
        }
        if outcomes.len() != expected {
            let text = format!("{} results for {expected} commands", outcomes.len());
            return Err(AskError::Unknown(text));
        }
        Ok(outcomes)
    }

    /// Asks the leader for the position that a read must have seen.
    ///
    /// # Errors
    /// [`AskError::NotSent`]; the leader cannot say.
    pub(in crate::raft) async fn read_index(
        &self,
        leader: ServerId,
        address: SocketAddr,
        consistency: Consistency,
    ) -> Result<Result<Index, FreshError>, AskError> {
        let target = self.leader(leader, address);
        let link = target.link().await;
        let link = link.map_err(|error| AskError::NotSent(error.to_string()))?;
        // A read changes nothing: it is as if it had not been sent.
        let answer = link.call(&Request::ReadIndex(consistency.into())).await;
        match answer.map_err(|error| AskError::NotSent(error.to_string()))? {
            Response::ReadIndex(Ok(index)) => Ok(Ok(Index(index))),
            Response::ReadIndex(Err(stale)) => Ok(Err(FreshError::from(stale))),
            other => Err(AskError::NotSent(unexpected(&other))),
        }
    }

    /// Whether the server there is in a cluster already.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer.
    pub(in crate::raft) async fn is_in_cluster(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<bool> {
        let met = self.dialler.meet(address, None, Purpose::Inquiry).await;
        met.map(|met| met.initialized)
            .map_err(std::io::Error::other)
    }

    /// The connection to the leader, wherever that is now.
    fn leader(&self, id: ServerId, address: SocketAddr) -> Arc<Target> {
        let mut kept = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = kept.as_ref().filter(|target| target.id == id) {
            target.set_known(address);
            return Arc::clone(target);
        }
        let target = Target::new(&self.dialler, id, address, Purpose::Asks);
        Arc::clone(kept.insert(target))
    }
}

impl Asks for Ask {
    fn propose(
        &self,
        leader: ServerId,
        address: SocketAddr,
        commands: Vec<Bytes>,
    ) -> Pending<'_, Result<Vec<Result<Outcome, ProposeError>>, AskError>> {
        Box::pin(self.propose(leader, address, commands))
    }

    fn read_index(
        &self,
        leader: ServerId,
        address: SocketAddr,
        consistency: Consistency,
    ) -> Pending<'_, Result<Result<Index, FreshError>, AskError>> {
        Box::pin(self.read_index(leader, address, consistency))
    }

    fn is_in_cluster(&self, address: SocketAddr) -> Pending<'_, std::io::Result<bool>> {
        Box::pin(self.is_in_cluster(address))
    }
}

fn unexpected(response: &Response) -> String {
    match response {
        Response::Failed(text) => text.clone(),
        _ => "the answer is one to another question".to_owned(),
    }
}

/// Commands in messages of a moderate length.
fn parts(commands: Vec<Bytes>) -> Vec<Vec<Proposal>> {
    let mut parts: Vec<Vec<Proposal>> = Vec::new();
    let mut room = 0;
    for command in commands {
        let octets = command.len();
        let full = |part: &Vec<_>| part.len() == COMMANDS_MAX;
        if octets > room || parts.last().is_none_or(full) {
            parts.push(Vec::new());
            room = COMMANDS_OCTETS;
        }
        room = room.saturating_sub(octets);
        if let Some(part) = parts.last_mut() {
            part.push(Proposal(command));
        }
    }
    parts
}
