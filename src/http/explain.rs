//! `/v1/dns/explain`: why a DNS question gets the answer that it gets.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::dns::explain::{
    ClientAnswer, Explanation, InstanceReport, Instances, Question, Records, Ttl,
};
use crate::types::RequestContext;

use super::Shared;
use super::error::ApiError;
use super::json::Json;
use super::query::Query;
use super::reply;
use super::routes::Routes;

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.read("/v1/dns/explain", explain)
}

/// `GET /v1/dns/explain?name=&type=`: the type is A unless given. The agent's own DNS is explained,
/// whatever its age.
async fn explain(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Response, ApiError> {
    api.check_local(&context)?;
    let name = query.get("name").unwrap_or_default();
    let record_type = query.get_filled("type").unwrap_or("A");
    let question = Question::parse(name, record_type)
        .map_err(|error| ApiError::bad_request(format!("query parameter {error}")))?;
    let explainer = api.explainer.clone().ok_or_else(|| {
        ApiError::not_found(
            "this agent does not answer DNS (ports.dns), so there is nothing to explain",
        )
    })?;
    // A service may have any number of instances, all of which are looked at.
    let turn = reply::in_turn(&api.large, move || {
        let runtime = tokio::runtime::Handle::current();
        runtime.block_on(explainer.explain(&question))
    });
    let explanation = turn.await?;
    Ok(Json(ExplanationShape::from(&explanation)).into_response())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExplanationShape<'a> {
    name: &'a str,
    #[serde(rename = "Type")]
    record_type: &'a str,
    rule: &'a str,
    meaning: &'a str,
    service: Option<&'a str>,
    tags: &'a [String],
    node: Option<&'a str>,
    index: u64,
    #[serde(rename = "TTL")]
    ttl: Option<TtlShape<'a>>,
    instances: Option<InstancesShape<'a>>,
    answers: Vec<AnswerShape<'a>>,
    records: RecordsShape<'a>,
    notes: &'a [String],
}

impl<'a> From<&'a Explanation> for ExplanationShape<'a> {
    fn from(explanation: &'a Explanation) -> Self {
        Self {
            name: &explanation.name,
            record_type: &explanation.record_type,
            rule: explanation.rule,
            meaning: &explanation.meaning,
            service: explanation.service.as_deref(),
            tags: &explanation.tags,
            node: explanation.node.as_deref(),
            index: explanation.index.0,
            ttl: explanation.ttl.as_ref().map(Into::into),
            instances: explanation.instances.as_ref().map(Into::into),
            answers: explanation.answers.iter().map(Into::into).collect(),
            records: (&explanation.records).into(),
            notes: &explanation.notes,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TtlShape<'a> {
    seconds: u32,
    source: &'a str,
}

impl<'a> From<&'a Ttl> for TtlShape<'a> {
    fn from(ttl: &'a Ttl) -> Self {
        Self {
            seconds: ttl.seconds,
            source: &ttl.source,
        }
    }
}

/// `List` holds the first ones only; `Registered` counts all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstancesShape<'a> {
    registered: usize,
    included: usize,
    list: Vec<InstanceShape<'a>>,
}

impl<'a> From<&'a Instances> for InstancesShape<'a> {
    fn from(instances: &'a Instances) -> Self {
        Self {
            registered: instances.registered,
            included: instances.included,
            list: instances.shown.iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceShape<'a> {
    node: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    address: &'a str,
    port: u16,
    included: bool,
    reason: &'a str,
}

impl<'a> From<&'a InstanceReport> for InstanceShape<'a> {
    fn from(report: &'a InstanceReport) -> Self {
        Self {
            node: &report.node,
            id: &report.id,
            address: &report.address,
            port: report.port,
            included: report.included,
            reason: &report.reason,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AnswerShape<'a> {
    client: &'a str,
    status: &'a str,
    records: usize,
    octets: usize,
    truncated: bool,
    extended_errors: &'a [String],
    limit: Option<&'a str>,
}

impl<'a> From<&'a ClientAnswer> for AnswerShape<'a> {
    fn from(answer: &'a ClientAnswer) -> Self {
        Self {
            client: answer.client,
            status: &answer.status,
            records: answer.records,
            octets: answer.octets,
            truncated: answer.truncated,
            extended_errors: &answer.errors,
            limit: answer.limit.as_deref(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsShape<'a> {
    answer: &'a [String],
    authority: &'a [String],
    additional: &'a [String],
}

impl<'a> From<&'a Records> for RecordsShape<'a> {
    fn from(records: &'a Records) -> Self {
        Self {
            answer: &records.answer,
            authority: &records.authority,
            additional: &records.additional,
        }
    }
}
