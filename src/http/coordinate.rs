//! `/v1/coordinate`: where nodes are in the network, from which round-trip times are estimated.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::catalog::{Location, NodeEntry, WatchKey};
use crate::gossip::pool::Pool;
use crate::types::{
    Coordinate, CoordinateError, Datacenter, Member, MemberStatus, NameError, NodeName,
    RequestContext,
};

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

/// `GET /v1/coordinate/datacenters`: the servers of each datacenter, as far as the WAN pool knows
/// where they are; no index.
///
/// # Errors
/// 500: a client agent knows no server.
async fn datacenters(State(api): State<Shared>) -> Result<Response, ApiError> {
    let wan = api.wan();
    let known = api.directory.datacenters(wan)?;
    let members = wan.map(Pool::members);
    let description = api.control.description();
    let own = format!("{}.{}", description.node, description.datacenter);
    let coordinate_of = |name: &str| {
        let pool = wan?;
        if name == own {
            return Some(pool.coordinate());
        }
        pool.coordinate_of(name)
    };
    let members = members.as_deref().unwrap_or_default();
    Ok(Json(by_datacenter(&known, members, coordinate_of)).into_response())
}

/// Where the servers of each datacenter are, in the order of names. Those that have left are not.
fn by_datacenter<'a>(
    known: &'a [Datacenter],
    members: &'a [Member],
    coordinate_of: impl Fn(&str) -> Option<Coordinate>,
) -> Vec<DatacenterShape<'a>> {
    let known = known.iter().map(|name| (name.as_str(), Vec::new()));
    let mut found: BTreeMap<&str, Vec<LocationShape<'a>>> = known.collect();
    let is_there =
        |member: &&Member| !matches!(member.status, MemberStatus::None | MemberStatus::Left);
    for member in members.iter().filter(is_there) {
        let Some(datacenter) = member.tags.get("dc") else {
            continue;
        };
        let servers = found.entry(datacenter).or_default();
        if let Some(coordinate) = coordinate_of(&member.name) {
            servers.push(LocationShape::new(
                short_name(member, datacenter),
                &coordinate,
            ));
        }
    }
    let found = found.into_iter();
    found
        .map(|(datacenter, mut coordinates)| {
            coordinates.sort_unstable_by_key(|location| location.node);
            DatacenterShape {
                datacenter,
                area_id: "wan",
                coordinates,
            }
        })
        .collect()
}

/// The name of a server's node: in the WAN pool its datacenter follows after a dot.
fn short_name<'a>(member: &'a Member, datacenter: &str) -> &'a str {
    let name = member.name.as_str();
    let node = name.strip_suffix(datacenter);
    node.and_then(|node| node.strip_suffix('.')).unwrap_or(name)
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

/// Body of `PUT /v1/coordinate/update`, decoded but not checked.
#[derive(Debug)]
struct UpdateBody {
    datacenter: Option<String>,
    node: String,
    segment: String,
    coordinate: Option<NumbersBody>,
}

#[derive(Debug)]
struct NumbersBody {
    vector: Vec<f64>,
    error: f64,
    adjustment: f64,
    height: f64,
}

/// Why a coordinate is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum UpdateError {
    #[error("Must provide node")]
    NoNode,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("field Segment: {segment:?}, but there are no network segments")]
    Segment { segment: String },
    #[error("field Coord: it is missing")]
    NoCoordinate,
    #[error(transparent)]
    Coordinate(#[from] CoordinateError),
    #[error("No path to datacenter")]
    NoPathToDatacenter,
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        let text = error.to_string();
        match error {
            // As clients know it.
            UpdateError::Coordinate(_) => Self::internal(text),
            UpdateError::NoNode
            | UpdateError::Name(_)
            | UpdateError::Segment { .. }
            | UpdateError::NoCoordinate
            | UpdateError::NoPathToDatacenter => Self::bad_request(text),
        }
    }
}

impl ApiBody for UpdateBody {
    const UNKNOWN: Unknown = Unknown::Ignored;

    fn read(fields: &mut Fields) -> Result<Self, FieldError> {
        Ok(Self {
            datacenter: fields.text("Datacenter")?,
            node: fields.text("Node")?.unwrap_or_default(),
            segment: fields.text("Segment")?.unwrap_or_default(),
            coordinate: fields.object("Coord", read_numbers)?,
        })
    }
}

fn read_numbers(fields: &mut Fields) -> Result<NumbersBody, FieldError> {
    Ok(NumbersBody {
        vector: fields.numbers("Vec")?.unwrap_or_default(),
        error: fields.number("Error")?.unwrap_or_default(),
        adjustment: fields.number("Adjustment")?.unwrap_or_default(),
        height: fields.number("Height")?.unwrap_or_default(),
    })
}

impl UpdateBody {
    fn check(self) -> Result<(Option<Datacenter>, Location), UpdateError> {
        let named = self.datacenter.filter(|name| !name.is_empty());
        let datacenter = named.map(|name| name.parse()).transpose();
        let datacenter = datacenter.map_err(|_| UpdateError::NoPathToDatacenter)?;
        if self.node.is_empty() {
            return Err(UpdateError::NoNode);
        }
        if !self.segment.is_empty() {
            let segment = self.segment.chars().take(64).collect();
            return Err(UpdateError::Segment { segment });
        }
        let numbers = self.coordinate.ok_or(UpdateError::NoCoordinate)?;
        let location = Location {
            node: self.node.parse()?,
            coordinate: Coordinate::new(
                &numbers.vector,
                numbers.error,
                numbers.adjustment,
                numbers.height,
            )?,
        };
        Ok((datacenter, location))
    }
}

/// `PUT /v1/coordinate/update`: says where a node is. It takes up to five seconds to show, and
/// nothing comes of it if there is no such node.
///
/// # Errors
/// 400: a field is missing or wrong. 429: too many wait. 500: the coordinate does not fit the
/// others, or a client agent knows no server.
async fn update(
    State(api): State<Shared>,
    mut context: RequestContext,
    ApiJson(body): ApiJson<UpdateBody>,
) -> Result<StatusCode, ApiError> {
    let (datacenter, location) = body.check()?;
    context.datacenter = context.datacenter.or(datacenter);
    api.directory.locate(&context, location)?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::super::extract::decode_body;
    use super::*;

    fn member(name: &str, datacenter: Option<&str>, status: MemberStatus) -> Member {
        let tag = datacenter.map(|name| ("dc".to_owned(), name.to_owned()));
        Member {
            name: name.to_owned(),
            address: [127, 0, 0, 1].into(),
            port: 8302,
            tags: tag.into_iter().collect(),
            status,
            versions: [1, 5, 2, 2, 5, 4],
        }
    }

    #[test]
    fn servers_are_listed_by_datacenter_without_it_in_their_names() {
        let known = ["dc1".parse().unwrap()];
        let members = [
            member("b.dc2", Some("dc2"), MemberStatus::Failed),
            member("a.dc2", Some("dc2"), MemberStatus::Alive),
            member("gone.dc2", Some("dc2"), MemberStatus::Left),
            member("silent.dc3", Some("dc3"), MemberStatus::Alive),
            member("odd", Some("dc2"), MemberStatus::Alive),
            member("untagged.dc2", None, MemberStatus::Alive),
        ];
        let coordinate_of = |name: &str| (name != "silent.dc3").then_some(Coordinate::START);
        let shown = by_datacenter(&known, &members, coordinate_of);
        let shown: Vec<_> = shown
            .iter()
            .map(|one| {
                let nodes: Vec<_> = one.coordinates.iter().map(|found| found.node).collect();
                (one.datacenter, nodes.join(" "))
            })
            .collect();
        let expected = [("dc1", ""), ("dc2", "a b odd"), ("dc3", "")];
        assert_eq!(
            shown,
            expected.map(|(name, nodes)| (name, nodes.to_owned()))
        );
    }

    fn checked(text: &str) -> Result<Location, (u16, String)> {
        let refused = |error: ApiError| (error.status().as_u16(), error.text().to_owned());
        let body: UpdateBody = decode_body(text.as_bytes()).map_err(refused)?;
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
