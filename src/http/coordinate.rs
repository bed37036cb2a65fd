//! `/v1/coordinate`: where nodes are in the network, from which round-trip times are estimated.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::catalog::{NodeEntry, WatchKey};
use crate::directory::{CoordinateDraft, LocationDraft, LocationError, ServerLocations};
use crate::types::{Coordinate, NodeName, RequestContext};

use super::Shared;
use super::error::ApiError;
use super::extract::{ApiBody, ApiJson, Tail};
use super::fields::{FieldError, Fields, Unknown};
use super::json::{self, Json};
use super::query::Query;
use super::reply::{self, Size};
use super::routes::Routes;
use super::select::Selection;
use super::shape::Sequence;

/// Adds the paths of this group.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .read("/v1/coordinate/datacenters", datacenters)
        .read("/v1/coordinate/nodes", nodes)
        .read_below("/v1/coordinate/node/", node)
        .write("/v1/coordinate/update", update)
}

/// A coordinate, in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CoordinateShape {
    vec: [f64; Coordinate::DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl From<&Coordinate> for CoordinateShape {
    fn from(coordinate: &Coordinate) -> Self {
        Self {
            vec: coordinate.vector,
            error: coordinate.error,
            adjustment: coordinate.adjustment,
            height: coordinate.height,
        }
    }
}

/// Where a node is. There are no network segments, so that the name of one is always empty.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LocationShape<'a> {
    node: &'a str,
    segment: &'static str,
    coord: CoordinateShape,
}

impl<'a> LocationShape<'a> {
    fn new(node: &'a str, coordinate: &Coordinate) -> Self {
        Self {
            node,
            segment: "",
            coord: coordinate.into(),
        }
    }

    /// `None` for a node whose coordinate nobody has told.
    fn of(entry: &'a NodeEntry) -> Option<Self> {
        let location = entry.location.as_ref()?;
        Some(Self::new(entry.node.name.as_str(), &location.coordinate))
    }
}

/// A datacenter with its servers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DatacenterShape<'a> {
    datacenter: &'a str,
    #[serde(rename = "AreaID")]
    area_id: &'static str,
    coordinates: Vec<LocationShape<'a>>,
}

impl<'a> DatacenterShape<'a> {
    fn new(known: &'a ServerLocations) -> Self {
        let servers = known.servers.iter();
        Self {
            datacenter: &known.datacenter,
            area_id: "wan",
            coordinates: servers
                .map(|(node, coordinate)| LocationShape::new(node, coordinate))
                .collect(),
        }
    }
}

/// `GET /v1/coordinate/datacenters`: the servers of each datacenter, as far as the WAN pool knows
/// where they are; no index.
///
/// # Errors
/// 500: a client agent reaches no server.
async fn datacenters(State(api): State<Shared>) -> Result<Response, ApiError> {
    let known = api.directory.find_server_locations(api.wan()).await;
    let known = known.map_err(ApiError::plain)?;
    let shown: Vec<_> = known.iter().map(DatacenterShape::new).collect();
    Ok(Json(shown).into_response())
}

/// `GET /v1/coordinate/nodes`: all nodes whose coordinates are known; blocks.
async fn nodes(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
) -> Result<Response, ApiError> {
    Selection::without_filter(&query)?;
    let nowhere = query.get_filled("segment").is_some();
    let answer = api.read(&context, &WatchKey::Locations).await?;
    let response = reply::build(&api, answer, &context, Size::Large, move |state| {
        let rows = || {
            let nodes = state.nodes().filter(|_| !nowhere);
            nodes.filter_map(|entry| LocationShape::of(entry))
        };
        json::to_vec(&Sequence(rows))
    });
    Ok(reply::without_consistency(response.await?))
}

/// `GET /v1/coordinate/node/:node`: a list of its one coordinate; blocks. 404 if that is not known.
async fn node(
    State(api): State<Shared>,
    context: RequestContext,
    query: Query,
    Tail(name): Tail,
) -> Result<Response, ApiError> {
    if name.is_empty() {
        return Err(ApiError::bad_request("Missing node name"));
    }
    Selection::without_filter(&query)?;
    let nowhere = query.get_filled("segment").is_some();
    let name = name.parse::<NodeName>().ok();
    let key = name
        .clone()
        .map_or(WatchKey::Locations, WatchKey::NodeLocation);
    let answer = api.read(&context, &key).await?;
    let entry = name.and_then(|name| answer.state.node(&name).cloned());
    let location = entry
        .as_deref()
        .filter(|_| !nowhere)
        .and_then(LocationShape::of);
    let Some(location) = location else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let written = json::to_vec(&[location]);
    let response = reply::build(&api, answer, &context, Size::Small, move |_| written);
    Ok(reply::without_consistency(response.await?))
}

impl From<LocationError> for ApiError {
    fn from(error: LocationError) -> Self {
        let text = error.to_string();
        match error {
            // As clients know it.
            LocationError::Coordinate(_) => Self::internal(text),
            LocationError::NoNode
            | LocationError::Name(_)
            | LocationError::Segment { .. }
            | LocationError::NoCoordinate
            | LocationError::NoPathToDatacenter => Self::bad_request(text),
        }
    }
}

/// Body of `PUT /v1/coordinate/update`.
impl ApiBody for LocationDraft {
    const UNKNOWN: Unknown = Unknown::Ignored;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        Ok(Self {
            datacenter: fields.text("Datacenter")?.unwrap_or_default(),
            node: fields.text("Node")?.unwrap_or_default(),
            segment: fields.text("Segment")?.unwrap_or_default(),
            coordinate: fields.object("Coord", read_numbers)?,
        })
    }
}

fn read_numbers(fields: &mut Fields) -> Result<CoordinateDraft, FieldError> {
    Ok(CoordinateDraft {
        vector: fields.numbers("Vec")?.unwrap_or_default(),
        error: fields.number("Error")?.unwrap_or_default(),
        adjustment: fields.number("Adjustment")?.unwrap_or_default(),
        height: fields.number("Height")?.unwrap_or_default(),
    })
}

/// `PUT /v1/coordinate/update`: says where a node is. It takes up to five seconds to show, and
/// nothing comes of it if there is no such node.
///
/// # Errors
/// 400: a field is missing or wrong. 429: too many wait. 500: the coordinate does not fit the
/// others, or a client agent reaches no server.
async fn update(
    State(api): State<Shared>,
    mut context: RequestContext,
    ApiJson(body): ApiJson<LocationDraft>,
) -> Result<StatusCode, ApiError> {
    let (datacenter, location) = body.check()?;
    context.datacenter = context.datacenter.or(datacenter);
    api.directory.tell_location(&context, location).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::super::extract::decode_body;
    use super::*;
    use crate::catalog::Location;

    fn checked(text: &str) -> Result<Location, (u16, String)> {
        let refused = |error: ApiError| (error.status().as_u16(), error.text().to_owned());
        let body: LocationDraft = decode_body(text.as_bytes()).map_err(refused)?;
        let checked = body.check().map_err(ApiError::from).map_err(refused)?;
        Ok(checked.1)
    }

    #[test]
    fn numbers_may_be_integers_and_others_than_the_vector_may_be_missing() {
        let location = checked(r#"{"node":"N1","Coord":{"Vec":[1,0.5,0,0,0,0,0,-2e-3]}}"#);
        let location = location.unwrap();
        assert_eq!(location.node.as_str(), "N1");
        let vector = [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, -0.002];
        let expected = Coordinate::new(&vector, 0.0, 0.0, 0.0);
        assert_eq!(Ok(location.coordinate), expected);
    }

    #[test]
    fn what_is_no_coordinate_is_refused() {
        for (text, status, part) in [
            ("{}", 400, "Must provide node"),
            (r#"{"Node":"a"}"#, 400, "Coord"),
            (r#"{"Node":"a","Coord":null}"#, 400, "Coord"),
            (r#"{"Node":"a","Coord":{}}"#, 500, "incompatible coordinate"),
            (
                r#"{"Node":"a","Coord":{"Vec":[0,0]}}"#,
                500,
                "incompatible coordinate",
            ),
            (
                r#"{"Node":"a","Coord":{"Vec":["0"]}}"#,
                400,
                "field Coord.Vec[0]: ",
            ),
            (
                r#"{"Node":"a","Coord":{"Error":true}}"#,
                400,
                "field Coord.Error: ",
            ),
            (r#"{"Node":"a","Segment":"x","Coord":{}}"#, 400, "Segment"),
            (
                r#"{"Node":"a","Datacenter":"a.b"}"#,
                400,
                "No path to datacenter",
            ),
        ] {
            let (found, message) = checked(text).unwrap_err();
            assert_eq!(found, status, "{text}: {message}");
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
