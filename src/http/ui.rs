//! `/ui/`: one page for people, made on the server, without scripts.
//!
//! **Invariant**: every text from outside goes through [`escape_html`], and the content policy
//! allows neither scripts nor inline styles, so that a name like `<script>` is only a name.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};

use crate::catalog::{self, Instance, NodeEntry, ServiceEntry, WatchKey};
use crate::types::{Consistency, Member, RequestContext, Status};

use super::Shared;
use super::error::ApiError;
use super::path::escape_html;
use super::query::Query;
use super::routes::Routes;
use super::server::moved;

/// Most services, nodes and members shown.
const ROWS_MAX: usize = 500;
/// Most instances looked at for the health of all services together.
const INSTANCES_MAX: usize = 50_000;
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");

/// Adds the page where it is on, and what `/` answers.
pub(crate) fn routes(routes: Routes, on: bool) -> Routes {
    if !on {
        return routes.read("/", async || "herald agent");
    }
    routes
        .read("/", to_page)
        .read("/ui", to_page)
        .read("/ui/", page)
        .read("/ui/style.css", async || {
            ([(CONTENT_TYPE, CSS)], include_str!("ui.css"))
        })
}

async fn to_page(method: Method) -> Response {
    moved(&method, "/ui/")
}

/// `GET /ui/`: services, nodes, members, the leader. `?name=` shows only names that contain it.
///
/// # Errors
/// 500: a client agent reaches no server.
async fn page(State(api): State<Shared>, query: Query) -> Result<Response, ApiError> {
    let context = RequestContext {
        consistency: Consistency::Stale,
        ..RequestContext::default()
    };
    let keys = [WatchKey::Nodes, WatchKey::Services, WatchKey::Checks];
    let shown = api.directory.read_several(&context, &keys).await;
    let leader = api.directory.find_leader().await.map_err(ApiError::plain)?;
    let page = Page {
        state: shown.map_err(ApiError::plain)?.state,
        wanted: query.get("name").unwrap_or_default().to_ascii_lowercase(),
        title: format!(
            "{} in {}",
            api.control.description().node,
            api.directory.datacenter()
        ),
        leader: leader.map(|address| address.to_string()),
        members: api.control.members(false),
    };
    let stops = |_| ApiError::internal("agent is stopping").retry();
    let html = tokio::task::spawn_blocking(move || page.write())
        .await
        .map_err(stops)?;
    let mut response = Body::from(html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// What the page shows.
struct Page {
    state: Arc<catalog::State>,
    wanted: String,
    title: String,
    leader: Option<String>,
    members: Vec<Member>,
}

impl Page {
    fn write(&self) -> String {
        let title = escape_html(&self.title);
        let leader = self
            .leader
            .as_deref()
            .map_or("none".to_owned(), escape_html);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} - herald</title>\n<link rel=\"stylesheet\" href=\"/ui/style.css\">\n\
             </head>\n<body>\n<header><h1>herald</h1><p>{title}, leader {leader}, index {index}</p>\n\
             <form action=\"/ui/\"><input type=\"search\" name=\"name\" value=\"{wanted}\" \
             placeholder=\"part of a name\" aria-label=\"part of a name\"> \
             <button>show</button></form></header>\n<main>\n{services}{nodes}{members}</main>\n\
             </body>\n</html>\n",
            index = self.state.applied(),
            wanted = escape_html(&self.wanted),
            services = self.services(),
            nodes = self.nodes(),
            members = self.members(),
        )
    }

    fn is_wanted(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.wanted)
    }

    fn services(&self) -> String {
        let mut budget = INSTANCES_MAX;
        let wanted = self
            .state
            .services()
            .filter(|entry| self.is_wanted(entry.name.as_str()));
        let row = |entry: &Arc<ServiceEntry>| {
            let health = match budget.checked_sub(entry.len()) {
                None => [const { String::new() }; 3].map(|_| "?".to_owned()),
                Some(rest) => {
                    budget = rest;
                    self.health(entry).map(|count| count.to_string())
                }
            };
            let tags = entry.tags().join(", ");
            let [passing, warning, critical] = health;
            vec![
                escape_html(entry.name.as_str()),
                entry.len().to_string(),
                mark("passing", &passing),
                mark("warning", &warning),
                mark("critical", &critical),
                escape_html(&tags),
            ]
        };
        let heads = [
            "Service",
            "Instances",
            "Passing",
            "Warning",
            "Critical",
            "Tags",
        ];
        table("Services", &heads, wanted.map(row))
    }

    /// Passing, warning and critical instances.
    fn health(&self, entry: &ServiceEntry) -> [usize; 3] {
        let mut counts = [0; 3];
        let [passing, warning, critical] = &mut counts;
        for instance in entry.instances() {
            let node = self.state.node(&instance.node);
            match worst(node.map(|node| &**node), instance) {
                Status::Passing => *passing += 1,
                Status::Warning => *warning += 1,
                Status::Critical => *critical += 1,
            }
        }
        counts
    }

    fn nodes(&self) -> String {
        let wanted = self
            .state
            .nodes()
            .filter(|entry| self.is_wanted(entry.node.name.as_str()));
        let row = |entry: &Arc<NodeEntry>| {
            let checks = entry.checks().map(|entry| entry.check.status);
            let health = checks.max().unwrap_or(Status::Passing).as_str();
            vec![
                escape_html(entry.node.name.as_str()),
                escape_html(&entry.node.address.to_string()),
                entry.instances().count().to_string(),
                format!("<span class=\"{health}\">{health}</span>"),
            ]
        };
        table(
            "Nodes",
            &["Node", "Address", "Services", "Worst check"],
            wanted.map(row),
        )
    }

    fn members(&self) -> String {
        let wanted = self
            .members
            .iter()
            .filter(|member| self.is_wanted(&member.name));
        let row = |member: &Member| {
            let role = member.tags.get("role").map_or("", String::as_str);
            vec![
                escape_html(&member.name),
                SocketAddr::new(member.address, member.port).to_string(),
                member.status.as_str().to_owned(),
                escape_html(if role == "consul" { "server" } else { "client" }),
            ]
        };
        table(
            "Members",
            &["Member", "Address", "Status", "Role"],
            wanted.map(row),
        )
    }
}

/// The worst status over the instance's checks and those of its node.
fn worst(node: Option<&NodeEntry>, instance: &Instance) -> Status {
    let of_node = node.into_iter().flat_map(NodeEntry::node_checks);
    let statuses = of_node
        .chain(&instance.checks)
        .map(|entry| entry.check.status);
    statuses.max().unwrap_or(Status::Passing)
}

/// A count in the colour of its status, pale when it is zero.
fn mark(status: &str, count: &str) -> String {
    let class = if count == "0" { "zero" } else { status };
    format!("<span class=\"{class}\">{count}</span>")
}

/// A table of cells that are HTML already; says so when it shows only the first rows.
fn table(title: &str, heads: &[&str], mut rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut html = String::new();
    let mut shown = 0_usize;
    let mut body = String::new();
    for row in rows.by_ref().take(ROWS_MAX) {
        shown += 1;
        body.push_str("<tr>");
        for cell in row {
            put(&mut body, format_args!("<td>{cell}</td>"));
        }
        body.push_str("</tr>\n");
    }
    let mut head = String::new();
    for name in heads {
        put(&mut head, format_args!("<th>{name}</th>"));
    }
    let total = shown + rows.count();
    put(
        &mut html,
        format_args!("<section><h2>{title} <small>{total}</small></h2>\n"),
    );
    if total == 0 {
        html.push_str("<p>none</p>");
    } else {
        put(
            &mut html,
            format_args!("<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"),
        );
    }
    if total > shown {
        put(
            &mut html,
            format_args!(
                "<p>the first {shown} of {total}; ask for a part of a name to see others</p>"
            ),
        );
    }
    html.push_str("</section>\n");
    html
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text)
        .expect("writing to a string does not fail");
}
