//! Writes: one call for each operation.

use std::collections::HashSet;

use super::together::{Boxed, all};
use super::{Remote, encoded};
use crate::catalog::{Deregistration, Location, Operation};
use crate::directory::ReadError;
use crate::directory::wire::{
    CoordinateRecord, CoordinateUpdate, DeregisterRequest, RegisterRequest,
};
use crate::types::{NodeName, RequestContext};

/// Calls that are under way at a time.
const UNDER_WAY_MAX: usize = 16;

/// What an operation changes: a node, and one of its entries. `None` stands for the node itself,
/// and with it for all on it.
type Touched = (NodeName, Option<String>);

impl Remote {
    /// Carries out operations in their order; those next to each other that change different
    /// entries go together. Each one is done whole or not at all, but those before one that fails
    /// are done.
    ///
    /// # Errors
    /// [`ReadError`] of the first that failed; those beside it may be done too.
    pub(in crate::directory) async fn write(
        &self,
        context: &RequestContext,
        operations: &[Operation],
    ) -> Result<(), ReadError> {
        let mut rest = operations;
        while !rest.is_empty() {
            let (together, later) = rest.split_at(independent(rest));
            rest = later;
            let calls = together
                .iter()
                .map(|operation| -> Boxed<'_, _> { Box::pin(self.carry_out(context, operation)) });
            all(calls.collect()).await?;
        }
        Ok(())
    }

    /// Says where a node is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn locate(
        &self,
        context: &RequestContext,
        location: &Location,
    ) -> Result<(), ReadError> {
        let request = CoordinateUpdate {
            coordinate: Some(CoordinateRecord::from(&location.coordinate)),
            datacenter: self.datacenter(context).into(),
            node: location.node.as_str().into(),
            token: token(context).into(),
            ..CoordinateUpdate::default()
        };
        self.tell(context, "Coordinate.Update", &encoded(&request))
            .await
    }

    async fn carry_out(
        &self,
        context: &RequestContext,
        operation: &Operation,
    ) -> Result<(), ReadError> {
        let datacenter = self.datacenter(context);
        match operation {
            Operation::Register(registration) => {
                let request = RegisterRequest {
                    datacenter: datacenter.into(),
                    token: token(context).into(),
                    ..RegisterRequest::new(registration)
                };
                self.tell(context, "Catalog.Register", &encoded(&request))
                    .await
            }
            Operation::Deregister(what) => {
                let request = DeregisterRequest {
                    datacenter: datacenter.into(),
                    token: token(context).into(),
                    ..DeregisterRequest::new(what)
                };
                self.tell(context, "Catalog.Deregister", &encoded(&request))
                    .await
            }
            Operation::Locate(locations) => {
                for location in locations {
                    self.locate(context, location).await?;
                }
                Ok(())
            }
        }
    }
}

fn token(context: &RequestContext) -> &str {
    context.token.as_deref().unwrap_or_default()
}

/// How many of the first operations change different entries; at least one, at most
/// [`UNDER_WAY_MAX`].
fn independent(operations: &[Operation]) -> usize {
    let mut seen: HashSet<Touched> = HashSet::new();
    let mut nodes: HashSet<NodeName> = HashSet::new();
    for (count, operation) in operations.iter().enumerate() {
        let touched = touched(operation);
        let clashes = |(node, entry): &Touched| match entry {
            None => nodes.contains(node),
            Some(_) => {
                seen.contains(&(node.clone(), entry.clone()))
                    || seen.contains(&(node.clone(), None))
            }
        };
        if count == UNDER_WAY_MAX || touched.iter().any(clashes) {
            return count.max(1);
        }
        nodes.extend(touched.iter().map(|(node, _)| node.clone()));
        seen.extend(touched);
    }
    operations.len()
}

/// What an operation changes. Ids are told apart without regard to case, as the catalog does.
fn touched(operation: &Operation) -> Vec<Touched> {
    let service = |id: &str| Some(format!("service {}", id.to_ascii_lowercase()));
    let check = |id: &str| Some(format!("check {}", id.to_ascii_lowercase()));
    match operation {
        Operation::Register(registration) => {
            let node = || registration.node.name.clone();
            let of_service = registration.service.as_ref();
            let mut touched: Vec<Touched> = of_service
                .map(|it| (node(), service(it.id.as_str())))
                .into_iter()
                .collect();
            for it in &registration.checks {
                touched.push((node(), check(it.id.as_str())));
                let owner = it.service_id.as_ref();
                touched.extend(owner.map(|id| (node(), service(id.as_str()))));
            }
            if touched.is_empty() {
                touched.push((node(), None));
            }
            touched
        }
        // Whose check it is, is not known here.
        Operation::Deregister(Deregistration::Node(node) | Deregistration::Check(node, _)) => {
            vec![(node.clone(), None)]
        }
        Operation::Deregister(Deregistration::Service(node, id)) => {
            vec![(node.clone(), service(id.as_str()))]
        }
        Operation::Locate(locations) => {
            let nodes = locations.iter().map(|location| &location.node);
            nodes.map(|node| (node.clone(), None)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(node: &str, id: &str) -> Operation {
        Operation::Deregister(Deregistration::Service(
            node.parse().unwrap(),
            id.parse().unwrap(),
        ))
    }

    fn node(node: &str) -> Operation {
        Operation::Deregister(Deregistration::Node(node.parse().unwrap()))
    }

    #[test]
    fn operations_on_different_entries_go_together() {
        assert_eq!(independent(&[service("a", "x"), service("a", "y")]), 2);
        assert_eq!(independent(&[node("a"), node("b"), service("c", "x")]), 3);
        let many: Vec<_> = (0..40).map(|n| service("a", &format!("s{n}"))).collect();
        assert_eq!(independent(&many), UNDER_WAY_MAX);
    }

    #[test]
    fn operations_on_one_entry_keep_their_order() {
        assert_eq!(independent(&[service("a", "x"), service("A", "X")]), 1);
        assert_eq!(independent(&[node("a"), service("a", "x")]), 1);
        assert_eq!(independent(&[service("a", "x"), node("a")]), 1);
        assert_eq!(
            independent(&[service("b", "x"), service("a", "x"), node("b")]),
            2
        );
    }
}
