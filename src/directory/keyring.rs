//! The keys that encrypt gossip: how the members of both pools are asked, and what their answers
//! come to.

use std::collections::BTreeMap;

use super::Directory;
use crate::gossip::membership::Membership;
use crate::gossip::pool::{KeyReport, Pool, PoolError};
use crate::gossip::serf::KeyOperation;
use crate::types::Datacenter;

/// Most members that repeat each answer.
pub const RELAY_FACTOR_MAX: u8 = 5;

/// More members than [`RELAY_FACTOR_MAX`] were to repeat each answer. Nobody was asked. The text is
/// that of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]")]
pub struct RelayFactorError;

/// How members are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyAsking {
    /// Members that repeat each answer: 0 to [`RELAY_FACTOR_MAX`].
    relay_factor: u8,
    /// Whether only the LAN pool is asked.
    lan_only: bool,
}

impl KeyAsking {
    /// Asks so that `relay_factor` members repeat each answer; only the LAN pool if `lan_only`.
    ///
    /// # Errors
    /// [`RelayFactorError`].
    pub fn new(relay_factor: u8, lan_only: bool) -> Result<Self, RelayFactorError> {
        if relay_factor > RELAY_FACTOR_MAX {
            return Err(RelayFactorError);
        }
        Ok(Self {
            relay_factor,
            lan_only,
        })
    }
}

/// What the members of one pool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolKeys {
    /// Whether it is the pool of all datacenters.
    pub wan: bool,
    /// The datacenter of the server that asked.
    pub datacenter: Datacenter,
    /// What members say besides, by name.
    pub messages: BTreeMap<String, String>,
    /// Members that have each key, in base64.
    pub keys: BTreeMap<String, usize>,
    /// Members that encrypt with each key; those that name none, which is all of them unless they
    /// were asked for a list, are counted under the empty text.
    pub primary_keys: BTreeMap<String, usize>,
    /// Members that were asked.
    pub members: usize,
    /// Why it did not succeed everywhere.
    pub error: Option<String>,
}

impl Directory {
    /// Has the members of both pools do something with their keys, and gives their answers: those
    /// of the WAN pool first, if it was asked.
    pub async fn ask_keys(
        &self,
        membership: &Membership,
        operation: &KeyOperation,
        asking: KeyAsking,
    ) -> Vec<PoolKeys> {
        let wan = membership.wan.as_ref().filter(|_| !asking.lan_only);
        let ask = async |pool: &Pool| pool.keys(operation.clone(), asking.relay_factor).await;
        let ask_wan = async {
            match wan {
                Some(pool) => Some(ask(pool).await),
                None => None,
            }
        };
        let (wan, lan) = tokio::join!(ask_wan, ask(&membership.lan));
        let answer = |wan, report| PoolKeys::new(wan, self.datacenter(), report);
        let wan = wan.map(|report| answer(true, report));
        wan.into_iter().chain([answer(false, lan)]).collect()
    }
}

impl PoolKeys {
    fn new(wan: bool, datacenter: &Datacenter, report: Result<KeyReport, PoolError>) -> Self {
        let mut answer = Self {
            wan,
            datacenter: datacenter.clone(),
            messages: BTreeMap::new(),
            keys: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
            members: 0,
            error: None,
        };
        match report {
            Ok(report) => answer.count(report),
            Err(error) => answer.error = Some(error.to_string()),
        }
        answer
    }

    fn count(&mut self, report: KeyReport) {
        let asked = report.members;
        self.members = asked;
        let failures = report.answers.iter().filter(|(_, own)| !own.done).count();
        self.error = match report.answers.len() {
            _ if failures > 0 => Some(format!("{failures}/{asked} nodes reported failure")),
            answered if answered != asked => {
                Some(format!("{answered}/{asked} nodes reported success"))
            }
            _ => None,
        };
        for (name, own) in report.answers {
            if !own.message.is_empty() {
                self.messages.insert(name, own.message);
            }
            for key in own.keys {
                *self.keys.entry(key).or_default() += 1;
            }
            *self.primary_keys.entry(own.primary).or_default() += 1;
        }
    }
}

/// What did not succeed, a line for each pool and each member that says why.
pub fn mistakes(answers: &[PoolKeys]) -> Vec<String> {
    let mut lines = Vec::new();
    for answer in answers {
        let Some(error) = &answer.error else {
            continue;
        };
        lines.push(if answer.wan {
            format!("WAN error: {error}")
        } else {
            format!("{} (LAN) error: {error}", answer.datacenter)
        });
        let messages = answer.messages.iter();
        lines.extend(messages.map(|(name, message)| format!("{name}: {message}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::several;
    use crate::gossip::serf::KeyAnswer;

    fn answered(wan: bool, members: usize, answers: &[(&str, KeyAnswer)]) -> PoolKeys {
        let answers = answers.iter();
        let report = KeyReport {
            members,
            answers: answers
                .map(|(name, answer)| ((*name).to_owned(), answer.clone()))
                .collect(),
        };
        PoolKeys::new(wan, &"dc1".parse().unwrap(), Ok(report))
    }

    fn keys(keys: &[&str]) -> KeyAnswer {
        KeyAnswer {
            done: true,
            message: String::new(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            primary: keys
                .first()
                .map(|key| (*key).to_owned())
                .unwrap_or_default(),
        }
    }

    fn refusal(message: &str) -> KeyAnswer {
        KeyAnswer {
            message: message.to_owned(),
            ..KeyAnswer::default()
        }
    }

    fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, count)| ((*key).to_owned(), *count))
            .collect()
    }

    #[test]
    fn keys_are_counted_over_the_members() {
        let answers = [("n1", keys(&["YQ==", "Yg=="])), ("n2", keys(&["YQ=="]))];
        let lan = answered(false, 2, &answers);
        assert_eq!(mistakes(std::slice::from_ref(&lan)), [""; 0]);
        assert_eq!(lan.keys, counts(&[("YQ==", 2), ("Yg==", 1)]));
        assert_eq!(lan.primary_keys, counts(&[("YQ==", 2)]));
        assert_eq!((lan.members, lan.messages), (2, BTreeMap::new()));
    }

    #[test]
    fn a_list_that_was_cut_is_no_mistake_but_says_so() {
        let text = "truncated key list response, showing first 2 of 9 keys";
        let cut = KeyAnswer {
            message: text.to_owned(),
            ..keys(&["YQ==", "Yg=="])
        };
        let lan = answered(false, 1, &[("n1", cut)]);
        assert_eq!(mistakes(std::slice::from_ref(&lan)), [""; 0]);
        assert_eq!(lan.messages["n1"], text);
    }

    #[test]
    fn pools_without_encryption_answer_with_the_errors_of_the_reference() {
        let message = "Keyring is empty (encryption not enabled)";
        let silent = refusal(message);
        let answers = [
            answered(true, 1, &[("p1.dc1", silent.clone())]),
            answered(false, 3, &[("p1", silent.clone()), ("a-serf", silent)]),
        ];
        assert_eq!(answers[1].primary_keys, counts(&[("", 2)]));
        assert_eq!(
            several(&mistakes(&answers)),
            "5 errors occurred:\n\
             \t* WAN error: 1/1 nodes reported failure\n\
             \t* p1.dc1: Keyring is empty (encryption not enabled)\n\
             \t* dc1 (LAN) error: 2/3 nodes reported failure\n\
             \t* a-serf: Keyring is empty (encryption not enabled)\n\
             \t* p1: Keyring is empty (encryption not enabled)\n\n"
        );
    }

    #[test]
    fn members_that_do_not_answer_are_counted() {
        let stopped = PoolKeys::new(true, &"dc1".parse().unwrap(), Err(PoolError::Stopped));
        let silent = [answered(false, 2, &[("n1", keys(&["YQ=="]))]), stopped];
        assert_eq!(
            mistakes(&silent),
            [
                "dc1 (LAN) error: 1/2 nodes reported success",
                "WAN error: the agent is stopping"
            ]
        );
    }

    #[test]
    fn the_relay_factor_has_a_range() {
        assert!(KeyAsking::new(RELAY_FACTOR_MAX, true).is_ok());
        let more = KeyAsking::new(RELAY_FACTOR_MAX + 1, false);
        assert_eq!(more, Err(RelayFactorError));
    }
}
