//! `/v1/operator/keyring`: the keys that encrypt gossip, on all members of both pools.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::gossip::keyring::Key;
use crate::gossip::pool::{KeyReport, Pool, PoolError};
use crate::gossip::serf::KeyOperation;

use super::error::{ApiError, several};
use super::extract::{ApiBody, ApiJson};
use super::fields::{FieldError, Fields, Unknown};
use super::json::Json;
use super::query::{Query, cut, parse_bool};
use super::routes::Routes;
use super::{Api, Shared};

/// Most members that repeat each answer.
const RELAY_FACTOR_MAX: u8 = 5;

/// Adds the path of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    let methods = get(list).post(install).put(make_primary).delete(remove);
    routes.methods(
        "/v1/operator/keyring",
        methods,
        "OPTIONS,GET,POST,PUT,DELETE",
    )
}

/// What the members of one pool answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PoolAnswer {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: String,
    segment: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: BTreeMap<String, String>,
    /// Members that have each key.
    keys: BTreeMap<String, usize>,
    /// Members that encrypt with each key.
    primary_keys: BTreeMap<String, usize>,
    #[serde(rename = "NumNodes")]
    members: usize,
    /// Why it did not succeed everywhere.
    #[serde(skip)]
    error: Option<String>,
}

/// A key in the body of a request.
struct KeyBody {
    text: String,
}

impl ApiBody for KeyBody {
    const UNKNOWN: Unknown = Unknown::Refused;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        let text = fields.text("Key")?.unwrap_or_default();
        Ok(Self { text })
    }
}

impl KeyBody {
    /// The octets of the key.
    ///
    /// # Errors
    /// 400: it is none.
    fn check(&self) -> Result<Vec<u8>, ApiError> {
        match self.text.parse::<Key>() {
            Ok(key) => Ok(key.octets().to_owned()),
            Err(error) => Err(ApiError::bad_request(format!("Bad request: {error}"))),
        }
    }
}

/// How members are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asking {
    /// Members that repeat each answer.
    relay_factor: u8,
    /// Whether only the LAN pool is asked.
    local_only: bool,
}

impl Asking {
    /// Reads `?relay-factor=` and `?local-only=`.
    ///
    /// # Errors
    /// 400: they are not a number up to 5 and a truth value.
    fn of(query: &Query) -> Result<Self, ApiError> {
        let relay_factor = match query.get_filled("relay-factor") {
            None => 0,
            Some(text) => relay_factor(text)?,
        };
        let local_only = match query.get_filled("local-only") {
            None => false,
            Some(text) => parse_bool(text).ok_or_else(|| {
                let text = format!("Bad request: Error parsing local-only: {}", cut(text));
                ApiError::bad_request(text)
            })?,
        };
        Ok(Self {
            relay_factor,
            local_only,
        })
    }

    /// The same for a change, which both pools must take.
    ///
    /// # Errors
    /// 400: also where only the LAN pool is asked for.
    fn of_change(query: &Query) -> Result<Self, ApiError> {
        let asking = Self::of(query)?;
        if asking.local_only {
            let text = "Bad request: local-only is only for a list of the keys";
            return Err(ApiError::bad_request(text));
        }
        Ok(asking)
    }
}

fn relay_factor(text: &str) -> Result<u8, ApiError> {
    let number: i64 = text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Bad request: Error parsing relay factor: strconv.Atoi: parsing {}: invalid syntax",
            cut(text)
        ))
    })?;
    let factor = u8::try_from(number).ok();
    factor
        .filter(|factor| *factor <= RELAY_FACTOR_MAX)
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "Bad request: Invalid relay-factor: Relay factor must be in range: \
                 [0, {RELAY_FACTOR_MAX}]"
            ))
        })
}

/// `GET /v1/operator/keyring[?relay-factor=&local-only=]`: the keys of each pool, and how many
/// members have them.
///
/// # Errors
/// 400: a bad parameter. 500: not a server, or not all members answered with their keys.
async fn list(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let answers = api.ask(&KeyOperation::List, Asking::of(&query)?).await?;
    Ok(Json(answers).into_response())
}

/// `POST /v1/operator/keyring`: adds a key on all members.
///
/// # Errors
/// 400: no key. 500: not a server, or not all members did it; others may have.
async fn install(
    State(api): State<Shared>,
    query: Query,
    ApiJson(body): ApiJson<KeyBody>,
) -> Result<StatusCode, ApiError> {
    let operation = KeyOperation::Install(body.check()?);
    api.change(&operation, &query).await
}

/// `PUT /v1/operator/keyring`: all members encrypt with a key that they have.
///
/// # Errors
/// As [`install`].
async fn make_primary(
    State(api): State<Shared>,
    query: Query,
    ApiJson(body): ApiJson<KeyBody>,
) -> Result<StatusCode, ApiError> {
    let operation = KeyOperation::Use(body.check()?);
    api.change(&operation, &query).await
}

/// `DELETE /v1/operator/keyring`: all members forget a key.
///
/// # Errors
/// As [`install`].
async fn remove(
    State(api): State<Shared>,
    query: Query,
    ApiJson(body): ApiJson<KeyBody>,
) -> Result<StatusCode, ApiError> {
    let operation = KeyOperation::Remove(body.check()?);
    api.change(&operation, &query).await
}

impl Api {
    async fn change(
        &self,
        operation: &KeyOperation,
        query: &Query,
    ) -> Result<StatusCode, ApiError> {
        self.ask(operation, Asking::of_change(query)?).await?;
        Ok(StatusCode::OK)
    }

    /// Asks the members of both pools.
    async fn ask(
        &self,
        operation: &KeyOperation,
        asking: Asking,
    ) -> Result<Vec<PoolAnswer>, ApiError> {
        let description = self.control.description();
        if !description.server {
            let text = "keyring operations must run against a server node";
            return Err(ApiError::internal(text));
        }
        let membership = self.membership()?;
        let wan = membership.wan.as_ref().filter(|_| !asking.local_only);
        let ask = async |pool: &Pool| pool.keys(operation.clone(), asking.relay_factor).await;
        let ask_wan = async {
            match wan {
                Some(pool) => Some(ask(pool).await),
                None => None,
            }
        };
        let (wan, lan) = tokio::join!(ask_wan, ask(&membership.lan));
        let answer = |wan, report| PoolAnswer::new(wan, description.datacenter.as_str(), report);
        let wan = wan.map(|report| answer(true, report));
        let answers: Vec<_> = wan.into_iter().chain([answer(false, lan)]).collect();
        match mistakes(&answers) {
            lines if lines.is_empty() => Ok(answers),
            lines => Err(ApiError::internal(several(&lines))),
        }
    }
}

impl PoolAnswer {
    fn new(wan: bool, datacenter: &str, report: Result<KeyReport, PoolError>) -> Self {
        let mut answer = Self {
            wan,
            datacenter: datacenter.to_owned(),
            segment: "",
            messages: BTreeMap::new(),
            keys: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
            members: 0,
            error: None,
        };
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                answer.error = Some(error.to_string());
                return answer;
            }
        };
        answer.members = report.members;
        let failures = report.answers.iter().filter(|(_, own)| !own.done).count();
        answer.error = match report.answers.len() {
            _ if failures > 0 => Some(format!(
                "{failures}/{} nodes reported failure",
                report.members
            )),
            answered if answered != report.members => Some(format!(
                "{answered}/{} nodes reported success",
                report.members
            )),
            _ => None,
        };
        for (name, own) in report.answers {
            if !own.message.is_empty() {
                answer.messages.insert(name, own.message);
            }
            for key in own.keys {
                *answer.keys.entry(key).or_default() += 1;
            }
            if !own.primary.is_empty() {
                *answer.primary_keys.entry(own.primary).or_default() += 1;
            }
        }
        answer
    }
}

/// What did not succeed, a line for each pool and each member that says why.
fn mistakes(answers: &[PoolAnswer]) -> Vec<String> {
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
    use crate::gossip::serf::KeyAnswer;
    use crate::http::json;

    fn report(members: usize, answers: &[(&str, KeyAnswer)]) -> KeyReport {
        let answers = answers.iter();
        KeyReport {
            members,
            answers: answers
                .map(|(name, answer)| ((*name).to_owned(), answer.clone()))
                .collect(),
        }
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

    #[test]
    fn keys_are_counted_over_the_members_and_shown_as_the_reference_shows_them() {
        let wan = report(1, &[("n1.dc1", keys(&["YQ=="]))]);
        let lan = report(
            2,
            &[("n1", keys(&["YQ==", "Yg=="])), ("n2", keys(&["YQ=="]))],
        );
        let answers = [
            PoolAnswer::new(true, "dc1", Ok(wan)),
            PoolAnswer::new(false, "dc1", Ok(lan)),
        ];
        assert_eq!(mistakes(&answers), [""; 0]);
        assert_eq!(
            String::from_utf8(json::to_vec(&answers).unwrap()).unwrap(),
            "[{\"WAN\":true,\"Datacenter\":\"dc1\",\"Segment\":\"\",\"Keys\":{\"YQ==\":1},\
             \"PrimaryKeys\":{\"YQ==\":1},\"NumNodes\":1},{\"WAN\":false,\"Datacenter\":\"dc1\",\
             \"Segment\":\"\",\"Keys\":{\"YQ==\":2,\"Yg==\":1},\"PrimaryKeys\":{\"YQ==\":2},\
             \"NumNodes\":2}]"
        );
    }

    #[test]
    fn a_list_that_was_cut_is_no_mistake_but_says_so() {
        let cut = KeyAnswer {
            message: "truncated key list response, showing first 2 of 9 keys".to_owned(),
            ..keys(&["YQ==", "Yg=="])
        };
        let answers = [PoolAnswer::new(false, "dc1", Ok(report(1, &[("n1", cut)])))];
        assert_eq!(mistakes(&answers), [""; 0]);
        let text = String::from_utf8(json::to_vec(&answers).unwrap()).unwrap();
        let part =
            "\"Messages\":{\"n1\":\"truncated key list response, showing first 2 of 9 keys\"}";
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn pools_without_encryption_answer_with_the_errors_of_the_reference() {
        let message = "Keyring is empty (encryption not enabled)";
        let wan = report(1, &[("p1.dc1", refusal(message))]);
        let lan = report(3, &[("p1", refusal(message)), ("a-serf", refusal(message))]);
        let answers = [
            PoolAnswer::new(true, "dc1", Ok(wan)),
            PoolAnswer::new(false, "dc1", Ok(lan)),
        ];
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
        let lan = report(2, &[("n1", keys(&["YQ=="]))]);
        let silent = [
            PoolAnswer::new(false, "dc1", Ok(lan)),
            PoolAnswer::new(true, "dc1", Err(PoolError::Stopped)),
        ];
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
        let asking = |text| match Asking::of(&Query::parse(text).unwrap()) {
            Ok(asking) => Ok((asking.relay_factor, asking.local_only)),
            Err(error) => Err(error.text().to_owned()),
        };
        assert_eq!(asking(""), Ok((0, false)));
        assert_eq!(asking("relay-factor=5&local-only=true"), Ok((5, true)));
        let range = "Bad request: Invalid relay-factor: Relay factor must be in range: [0, 5]";
        for text in ["relay-factor=6", "relay-factor=-1", "relay-factor=300"] {
            assert_eq!(asking(text), Err(range.to_owned()), "{text}");
        }
        assert_eq!(
            asking("relay-factor=x").unwrap_err(),
            "Bad request: Error parsing relay factor: strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            asking("local-only=x").unwrap_err(),
            "Bad request: Error parsing local-only: \"x\""
        );
        let change = Asking::of_change(&Query::parse("local-only=1").unwrap());
        assert_eq!(change.unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_is_no_key_is_refused_before_anybody_is_asked() {
        let check = |text: &str| {
            let body = KeyBody {
                text: text.to_owned(),
            };
            body.check().map_err(|error| error.text().to_owned())
        };
        assert_eq!(check("YmJiYmJiYmJiYmJiYmJiYg=="), Ok(vec![b'b'; 16]));
        assert_eq!(
            check("AAAA"),
            Err("Bad request: key has 3 octets, it must have 16, 24 or 32".to_owned())
        );
        assert_eq!(
            check("zz!"),
            Err("Bad request: key is not base64 text".to_owned())
        );
    }
}
