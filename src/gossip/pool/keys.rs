//! Key queries: what this node does with its own keyring, and what all members answer.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use super::shared::{Command, Shared};
use crate::gossip::keyring::{Key, Keyring, KeyringError};
use crate::gossip::serf::{KeyAnswer, KeyOperation, QueryId};
use crate::gossip::swim::Name;

/// Answer where packets are not encrypted; peers send the same text.
const NO_KEYRING: &str = "No keyring to modify (encryption not enabled)";

/// The same for a list.
const EMPTY_KEYRING: &str = "Keyring is empty (encryption not enabled)";

/// Answer to one query too many.
const BUSY: &str = "too many key operations at a time";

/// Operations on this node's keyring that may wait.
const WAITING_MAX: usize = 16;

/// Answers of all members to a key query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Members that were asked: all that are alive.
    pub members: usize,
    /// Each answer, by name.
    pub answers: Vec<(String, KeyAnswer)>,
}

/// All answers to a query of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Members that were asked.
    pub(super) members: usize,
    /// Who answered, and what.
    pub(super) answers: Vec<(Name, Vec<u8>)>,
}

/// What the answers say. One that cannot be read counts as an answer that says so.
pub(super) fn report(asked: Asked) -> KeyReport {
    let answers = asked.answers.into_iter();
    let mut answers: Vec<_> = answers
        .map(|(from, payload)| {
            let answer = KeyAnswer::decode(&payload);
            let answer = answer.unwrap_or_else(|error| failed(error.to_string()));
            (from.to_string(), answer)
        })
        .collect();
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    KeyReport {
        members: asked.members,
        answers,
    }
}

/// One operation for the keyring of this node, and whom to answer.
pub(super) type Operation = (QueryId, KeyOperation);

/// Hands operations to the task that owns the keyring.
#[derive(Debug)]
pub(super) struct Keys {
    operations: mpsc::Sender<Operation>,
}

impl Keys {
    /// The way to the task, and what [`work`] takes from it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Operation>) {
        let (operations, waiting) = mpsc::channel(WAITING_MAX);
        (Self { operations }, waiting)
    }

    /// Has `operation` done; an answer at once if it cannot be.
    pub(super) fn begin(&self, query: QueryId, operation: KeyOperation) -> Result<(), KeyAnswer> {
        let sent = self.operations.try_send((query, operation));
        sent.map_err(|_| failed(BUSY))
    }
}

/// Does operations one after the other: each works on what the one before left, and has its file
/// written before it holds and is answered.
pub(super) async fn work(
    shared: Arc<Shared>,
    file: Option<PathBuf>,
    mut waiting: mpsc::Receiver<Operation>,
) {
    while let Some((query, operation)) = waiting.recv().await {
        let pool = shared.scope.as_str();
        let answer = perform(&shared.keyring, file.as_ref(), &operation).await;
        if !answer.done {
            let message = &answer.message;
            tracing::warn!(
                pool,
                "a key operation that a member asked for failed: {message}"
            );
        } else if operation != KeyOperation::List {
            tracing::info!(pool, "{}", told(&operation));
        }
        shared.tell(Command::AnswerKeys { query, answer }).await;
    }
}

fn told(operation: &KeyOperation) -> &'static str {
    match operation {
        KeyOperation::Install(_) => "a gossip key was installed",
        KeyOperation::Use(_) => "another gossip key encrypts from now on",
        KeyOperation::Remove(_) => "a gossip key was removed",
        KeyOperation::List => "the gossip keys were listed",
    }
}

async fn perform(
    keyring: &ArcSwapOption<Keyring>,
    file: Option<&PathBuf>,
    operation: &KeyOperation,
) -> KeyAnswer {
    let Some(current) = keyring.load_full() else {
        return failed(match operation {
            KeyOperation::List => EMPTY_KEYRING,
            _ => NO_KEYRING,
        });
    };
    let next = match operation {
        KeyOperation::List => return listed(&current),
        KeyOperation::Install(octets) => with_key(octets, |key| current.install(key)),
        KeyOperation::Use(octets) => with_key(octets, |key| current.use_key(&key)),
        KeyOperation::Remove(octets) => with_key(octets, |key| current.remove(&key)),
    };
    let next = match next {
        Ok(next) => Arc::new(next),
        Err(message) => return failed(message),
    };
    if let Some(file) = file.cloned() {
        let to_keep = Arc::clone(&next);
        let saved = tokio::task::spawn_blocking(move || to_keep.save(&file)).await;
        let saved = saved.map_err(|_| "the agent is stopping".to_owned());
        if let Err(message) = saved.and_then(|saved| saved.map_err(|error| error.to_string())) {
            return failed(format!("cannot write the keyring file: {message}"));
        }
    }
    keyring.store(Some(next));
    KeyAnswer {
        done: true,
        ..KeyAnswer::default()
    }
}

fn with_key(
    octets: &[u8],
    change: impl FnOnce(Key) -> Result<Keyring, KeyringError>,
) -> Result<Keyring, String> {
    let key = Key::new(octets).map_err(|error| error.to_string())?;
    change(key).map_err(|error| error.to_string())
}

fn listed(keyring: &Keyring) -> KeyAnswer {
    let keys = keyring.keys().iter();
    KeyAnswer {
        done: true,
        message: String::new(),
        keys: keys.map(Key::to_base64).collect(),
        primary: keyring.primary().to_base64(),
    }
}

fn failed(message: impl Into<String>) -> KeyAnswer {
    KeyAnswer {
        message: message.into(),
        ..KeyAnswer::default()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    fn ring(first: u8) -> ArcSwapOption<Keyring> {
        ArcSwapOption::from_pointee(Keyring::new(Key::new(&[first; 16]).unwrap()))
    }

    async fn perform_all(
        keyring: &ArcSwapOption<Keyring>,
        operations: Vec<KeyOperation>,
    ) -> Vec<String> {
        let mut messages = Vec::new();
        for operation in operations {
            let answer = perform(keyring, None, &operation).await;
            assert_eq!(answer.done, answer.message.is_empty());
            messages.push(answer.message);
        }
        messages
    }

    #[tokio::test]
    async fn keys_are_rotated_by_install_use_remove() {
        let keyring = ring(1);
        let (one, two) = (vec![1; 16], vec![2; 32]);
        let operations = vec![
            KeyOperation::Install(two.clone()),
            KeyOperation::Use(two.clone()),
            KeyOperation::Remove(one),
        ];
        assert_eq!(perform_all(&keyring, operations).await, ["", "", ""]);
        let listed = perform(&keyring, None, &KeyOperation::List).await;
        assert_eq!(listed.keys, [BASE64.encode(&two)]);
        assert_eq!(listed.primary, BASE64.encode(&two));
    }

    #[tokio::test]
    async fn what_cannot_be_done_changes_nothing() {
        let keyring = ring(1);
        let before = keyring.load_full();
        let operations = vec![
            KeyOperation::Install(vec![1; 15]),
            KeyOperation::Use(vec![2; 16]),
            KeyOperation::Remove(vec![1; 16]),
        ];
        let messages = perform_all(&keyring, operations).await;
        assert_eq!(
            messages,
            [
                "key has 15 octets, it must have 16, 24 or 32",
                "requested key is not in the keyring",
                "removing the primary key is not allowed"
            ]
        );
        assert_eq!(keyring.load_full(), before);
    }

    #[tokio::test]
    async fn a_pool_without_encryption_has_no_keys() {
        let keyring = ArcSwapOption::empty();
        let operations = vec![KeyOperation::Install(vec![1; 16]), KeyOperation::List];
        let messages = perform_all(&keyring, operations).await;
        assert_eq!(messages, [NO_KEYRING, EMPTY_KEYRING]);
        assert!(keyring.load().is_none());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_changes_nothing() {
        let keyring = ring(1);
        let before = keyring.load_full();
        let file = PathBuf::from("/proc/no-such-directory/local.keyring");
        let operation = KeyOperation::Install(vec![2; 16]);
        let answer = perform(&keyring, Some(&file), &operation).await;
        assert!(!answer.done);
        assert!(
            answer
                .message
                .starts_with("cannot write the keyring file: ")
        );
        assert_eq!(keyring.load_full(), before);
    }
}
