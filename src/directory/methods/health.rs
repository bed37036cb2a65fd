//! `Health`: checks, and instances with the checks that decide about them.

use super::select::{self, Asked};
use super::{Methods, decode, filter, refused, write_rows};
use crate::catalog::{CheckEntry, Instance, NodeEntry, WatchKey};
use crate::directory::Selection;
use crate::directory::wire::{
    CheckServiceNode, HealthCheck, NodeRequest, ServiceRequest, StateRequest,
};
use crate::filter::{HealthRow, RowKind, check_row};
use crate::rpc::{Answered, Call};
use crate::types::{NodeName, Status};

/// `Health.ServiceNodes`: the instances of a service with nodes and checks, failing ones too; blocks.
///
/// # Errors
/// No service is named.
pub(super) async fn service_nodes(methods: &Methods, call: Call<'_>) -> Answered {
    let request: ServiceRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    if request.service_name.is_empty() {
        return Err(refused("Must provide service name"));
    }
    let selection = Selection {
        filter: filter(options, RowKind::Health)?,
        ..select::instances(&request)
    };
    let asked = Asked::service(&request);
    let keys = [asked.key(WatchKey::ServiceHealth)];
    let answer = methods.read(&context, &keys).await?;
    let rows = select::weigh(&selection, asked.rows(&answer.state));
    let datacenter = methods.directory.datacenter().clone();
    methods
        .write(answer, rows, "Nodes", move |state, writer| {
            let rows = asked.instances(state).filter(|&(node, instance)| {
                selection.takes_instance(&node.node, instance)
                    && selection.takes_row(&HealthRow {
                        node,
                        instance,
                        datacenter: &datacenter,
                    })
            });
            let rows = selection.in_order(state, None, rows, |(node, _)| node);
            write_rows(rows, writer, |(node, instance)| {
                CheckServiceNode::new(node, instance, &datacenter)
            });
        })
        .await
}

/// `Health.NodeChecks`: the checks of a node and of its services; blocks.
///
/// # Errors
/// No node is named.
pub(super) async fn node_checks(methods: &Methods, call: Call<'_>) -> Answered {
    let request: NodeRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    if request.node.is_empty() {
        return Err(refused("Must provide node"));
    }
    let selection = Selection {
        filter: filter(options, RowKind::Check)?,
        ..Selection::default()
    };
    let name = request.node.parse::<NodeName>().ok();
    let key = name.clone().map_or(WatchKey::Nodes, WatchKey::NodeChecks);
    let answer = methods.read(&context, &[key]).await?;
    let entry = name.as_ref().and_then(|name| answer.state.node(name));
    let rows = entry.map_or(0, |entry| entry.checks().count());
    let rows = select::weigh(&selection, rows);
    methods
        .write(answer, rows, "HealthChecks", move |state, writer| {
            let entry = name.and_then(|name| state.node(&name)).into_iter();
            let rows = entry.flat_map(|node| node.checks().map(move |check| on(node, check)));
            write_rows(rows.filter(|row| takes(&selection, row)), writer, shape);
        })
        .await
}

/// `Health.ServiceChecks`: the checks of a service's instances; blocks.
///
/// # Errors
/// No service is named.
pub(super) async fn service_checks(methods: &Methods, call: Call<'_>) -> Answered {
    let request: ServiceRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    if request.service_name.is_empty() {
        return Err(refused("Must provide service name"));
    }
    let selection = Selection {
        filter: filter(options, RowKind::Check)?,
        ..select::nodes(request.node_meta.as_ref(), &request.source)
    };
    let asked = Asked::service(&request);
    let keys = selection.keys(asked.key(WatchKey::ServiceChecks));
    let answer = methods.read(&context, &keys).await?;
    let rows = select::weigh(&selection, asked.rows(&answer.state));
    methods
        .write(answer, rows, "HealthChecks", move |state, writer| {
            let rows = asked.instances(state);
            let rows = rows.filter(|(node, _)| selection.takes_node(&node.node));
            let rows = rows.flat_map(|(node, instance)| {
                let checks = instance.checks.iter();
                checks.map(move |check| (node, &**check, Some(instance)))
            });
            let rows = rows.filter(|row| takes(&selection, row));
            let rows = selection.in_order(state, None, rows, |(node, ..)| node);
            write_rows(rows, writer, shape);
        })
        .await
}

/// `Health.ChecksInState`: the checks in a state, or all for `any`; blocks. There are none in a
/// state that does not exist.
pub(super) async fn checks_in_state(methods: &Methods, call: Call<'_>) -> Answered {
    let request: StateRequest<'_> = decode(call)?;
    let context = methods.context(&request.datacenter, &request.options, call)?;
    let options = &request.options;
    let selection = Selection {
        filter: filter(options, RowKind::Check)?,
        ..select::nodes(request.node_meta.as_ref(), &request.source)
    };
    let status = match &*request.state {
        "any" => Some(None),
        state => state.parse::<Status>().ok().map(Some),
    };
    let keys = selection.keys(WatchKey::Checks);
    let answer = methods.read(&context, &keys).await?;
    let rows = status.map_or(0, |_| usize::MAX);
    methods
        .write(answer, rows, "HealthChecks", move |state, writer| {
            let rows = status
                .into_iter()
                .flat_map(|status| state.checks_in(status));
            let rows =
                rows.map(|(node, check, owner)| (&**node, &**check, owner.map(AsRef::as_ref)));
            let rows = rows.filter(|row| selection.takes_node(&row.0.node));
            let rows = rows.filter(|row| takes(&selection, row));
            let rows = selection.in_order(state, None, rows, |(node, ..)| node);
            write_rows(rows, writer, shape);
        })
        .await
}

/// A check on its node, with the instance that it belongs to.
type Owned<'a> = (&'a NodeEntry, &'a CheckEntry, Option<&'a Instance>);

fn on<'a>(node: &'a NodeEntry, check: &'a CheckEntry) -> Owned<'a> {
    (node, check, node.owner_of(check).map(AsRef::as_ref))
}

fn takes(selection: &Selection, (node, check, owner): &Owned<'_>) -> bool {
    selection.takes_row(&check_row(node, &check.check, *owner))
}

fn shape((node, check, owner): Owned<'_>) -> HealthCheck<'_> {
    HealthCheck::new(node, check, owner)
}
