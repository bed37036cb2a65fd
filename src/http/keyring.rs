//! `/v1/operator/keyring`: the keys that encrypt gossip, on all members of both pools.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::directory::{KeyAsking, PoolKeys, RelayFactorError, mistakes, several};
use crate::gossip::keyring::Key;
use crate::gossip::serf::KeyOperation;

use super::error::ApiError;
use super::extract::{ApiBody, ApiJson};
use super::fields::{FieldError, Fields, Unknown};
use super::json::Json;
use super::query::{Query, cut, parse_bool};
use super::routes::Routes;
use super::{Api, Shared};

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
struct PoolShape<'a> {
    #[serde(rename = "WAN")]
    wan: bool,
    datacenter: &'a str,
    segment: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    messages: &'a BTreeMap<String, String>,
    /// Members that have each key.
    keys: &'a BTreeMap<String, usize>,
    /// Members that encrypt with each key.
    primary_keys: BTreeMap<&'a str, usize>,
    #[serde(rename = "NumNodes")]
    members: usize,
}

impl<'a> PoolShape<'a> {
    fn new(answer: &'a PoolKeys) -> Self {
        let primary_keys = answer.primary_keys.iter();
        let named = primary_keys.filter(|(key, _)| !key.is_empty());
        Self {
            wan: answer.wan,
            datacenter: answer.datacenter.as_str(),
            segment: "",
            messages: &answer.messages,
            keys: &answer.keys,
            primary_keys: named.map(|(key, count)| (key.as_str(), *count)).collect(),
            members: answer.members,
        }
    }
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

/// Reads `?relay-factor=` and `?local-only=`.
///
/// # Errors
/// 400: they are not a number up to 5 and a truth value.
fn asking(query: &Query) -> Result<KeyAsking, ApiError> {
    let relay_factor = match query.get_filled("relay-factor") {
        None => 0,
        Some(text) => relay_factor(text)?,
    };
    KeyAsking::new(relay_factor, local_only(query)?).map_err(out_of_range)
}

/// The same for a change, which both pools must take.
///
/// # Errors
/// 400: also where only the LAN pool is asked for.
fn asking_for_change(query: &Query) -> Result<KeyAsking, ApiError> {
    let asking = asking(query)?;
    if local_only(query)? {
        let text = "Bad request: local-only is only for a list of the keys";
        return Err(ApiError::bad_request(text));
    }
    Ok(asking)
}

fn local_only(query: &Query) -> Result<bool, ApiError> {
    let Some(text) = query.get_filled("local-only") else {
        return Ok(false);
    };
    parse_bool(text).ok_or_else(|| {
        let text = format!("Bad request: Error parsing local-only: {}", cut(text));
        ApiError::bad_request(text)
    })
}

fn relay_factor(text: &str) -> Result<u8, ApiError> {
    let number: i64 = text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Bad request: Error parsing relay factor: strconv.Atoi: parsing {}: invalid syntax",
            cut(text)
        ))
    })?;
    u8::try_from(number).map_err(|_| out_of_range(RelayFactorError))
}

fn out_of_range(error: RelayFactorError) -> ApiError {
    ApiError::bad_request(format!("Bad request: Invalid relay-factor: {error}"))
}

/// `GET /v1/operator/keyring[?relay-factor=&local-only=]`: the keys of each pool, and how many
/// members have them.
///
/// # Errors
/// 400: a bad parameter. 500: not a server, or not all members answered with their keys.
async fn list(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let answers = api.ask(&KeyOperation::List, asking(&query)?).await?;
    let shown: Vec<_> = answers.iter().map(PoolShape::new).collect();
    Ok(Json(shown).into_response())
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
        self.ask(operation, asking_for_change(query)?).await?;
        Ok(StatusCode::OK)
    }

    /// Asks the members of both pools.
    async fn ask(
        &self,
        operation: &KeyOperation,
        asking: KeyAsking,
    ) -> Result<Vec<PoolKeys>, ApiError> {
        if !self.control.description().server {
            let text = "keyring operations must run against a server node";
            return Err(ApiError::internal(text));
        }
        let membership = self.membership()?;
        let asked = self.directory.ask_keys(membership, operation, asking);
        let answers = asked.await;
        match mistakes(&answers) {
            lines if lines.is_empty() => Ok(answers),
            lines => Err(ApiError::internal(several(&lines))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, count)| ((*key).to_owned(), *count))
            .collect()
    }

    fn shown(answers: &[PoolKeys]) -> String {
        let shown: Vec<_> = answers.iter().map(PoolShape::new).collect();
        String::from_utf8(json::to_vec(&shown).unwrap()).unwrap()
    }

    fn answer(wan: bool, members: usize) -> PoolKeys {
        PoolKeys {
            wan,
            datacenter: "dc1".parse().unwrap(),
            messages: BTreeMap::new(),
            keys: counts(&[("YQ==", members)]),
            primary_keys: counts(&[("YQ==", members)]),
            members,
            error: None,
        }
    }

    #[test]
    fn keys_are_shown_as_the_reference_shows_them() {
        let mut lan = answer(false, 2);
        lan.keys.insert("Yg==".to_owned(), 1);
        assert_eq!(
            shown(&[answer(true, 1), lan]),
            "[{\"WAN\":true,\"Datacenter\":\"dc1\",\"Segment\":\"\",\"Keys\":{\"YQ==\":1},\
             \"PrimaryKeys\":{\"YQ==\":1},\"NumNodes\":1},{\"WAN\":false,\"Datacenter\":\"dc1\",\
             \"Segment\":\"\",\"Keys\":{\"YQ==\":2,\"Yg==\":1},\"PrimaryKeys\":{\"YQ==\":2},\
             \"NumNodes\":2}]"
        );
    }

    #[test]
    fn messages_are_shown_and_members_without_a_primary_key_are_not_counted() {
        let mut lan = answer(false, 1);
        let text = "truncated key list response, showing first 2 of 9 keys";
        lan.messages.insert("n1".to_owned(), text.to_owned());
        lan.primary_keys = counts(&[("", 1)]);
        let text = shown(&[lan]);
        let part =
            "\"Messages\":{\"n1\":\"truncated key list response, showing first 2 of 9 keys\"}";
        assert!(text.contains(part), "{text}");
        assert!(text.contains("\"PrimaryKeys\":{}"), "{text}");
    }

    #[test]
    fn the_relay_factor_has_a_range() {
        let asking = |text| match asking(&Query::parse(text).unwrap()) {
            Ok(asking) => Ok(asking),
            Err(error) => Err(error.text().to_owned()),
        };
        assert_eq!(asking(""), Ok(KeyAsking::default()));
        assert_eq!(
            asking("relay-factor=5&local-only=true"),
            Ok(KeyAsking::new(5, true).unwrap())
        );
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
        let change = asking_for_change(&Query::parse("local-only=1").unwrap());
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
