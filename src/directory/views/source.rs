//! What views are made of: reads of one thing at a time, and what they tell.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Wanted;
use crate::catalog::State;
use crate::catalog::state::AddressOwner;
use crate::directory::ReadError;
use crate::types::{Consistency, Index, Node};

/// How a read is made.
#[derive(Clone, Debug)]
pub(in crate::directory) struct How {
    /// How fresh it must be.
    pub(in crate::directory) consistency: Consistency,
    /// It waits for an index above this one, unless that is zero.
    pub(in crate::directory) index: Index,
    /// Longest such wait.
    pub(in crate::directory) wait: Duration,
    /// Longest time for an answer besides the wait.
    pub(in crate::directory) limit: Duration,
    /// Whether it keeps a view current.
    pub(in crate::directory) follows: bool,
}

/// What a server says of one thing.
#[derive(Clone, Debug)]
pub(in crate::directory) struct Picture {
    /// Last index that changed what the read can see. What it tells is as new as this or newer.
    pub(in crate::directory) index: Index,
    /// How long ago the server had last heard from the leader.
    pub(in crate::directory) last_contact: Duration,
    /// Whether the server knew a leader, and had heard from it lately: else what it says may be old
    /// however often it says so.
    pub(in crate::directory) follows: bool,
    /// What there is; `None` if it does not exist.
    pub(in crate::directory) content: Option<Content>,
}

/// What there is of something that exists.
#[derive(Clone, Debug)]
pub(in crate::directory) enum Content {
    /// A service: all of its instances, with their nodes and all checks that decide about them.
    Service(Box<State>),
    /// A node.
    Node(Arc<Node>),
    /// Who has an address.
    Owner(AddressOwner),
}

impl Picture {
    /// The same with something in it.
    pub(in crate::directory) fn of(self, content: Option<Content>) -> Self {
        Self { content, ..self }
    }
}

/// A read under way.
pub(in crate::directory) type Reading<'a> =
    Pin<Box<dyn Future<Output = Result<Picture, ReadError>> + Send + 'a>>;

/// Whoever can be asked: servers, or what stands for them in tests.
pub(in crate::directory) trait Source: Debug + Send + Sync + 'static {
    /// Reads one thing.
    fn read<'a>(&'a self, wanted: &'a Wanted, how: &'a How) -> Reading<'a>;
}
