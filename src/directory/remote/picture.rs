//! What servers say of one thing that DNS wants: the source of the views.

use std::net::IpAddr;
use std::time::Duration;

use super::plan::Step;
use super::{Remote, encoded, options};
use crate::catalog::fragment::Fragment;
use crate::catalog::state::AddressOwner;
use crate::catalog::{State, WatchKey};
use crate::clock;
use crate::directory::ReadError;
use crate::directory::views::{Content, How, Picture, Reading, Source, Wanted};
use crate::directory::wire::{
    DatacenterRequest, QueryOptions, Rows, ServiceDumpRequest, read_answer,
};
use crate::types::{Consistency, Index, NodeName, RequestContext, ServiceName};

/// Longest time without a word from a leader after which a server still counts as following one.
const CONTACT_MAX: Duration = Duration::from_secs(5);

impl Source for Remote {
    fn read<'a>(&'a self, wanted: &'a Wanted, how: &'a How) -> Reading<'a> {
        Box::pin(async move {
            let picture = self.picture_of(wanted, how).await?;
            let missing = picture.content.is_none() && !how.follows;
            if missing && !picture.follows && how.consistency == Consistency::Stale {
                // A server that is cut off from the others does not know what is missing.
                let fresh = How {
                    consistency: Consistency::Default,
                    ..how.clone()
                };
                return self.picture_of(wanted, &fresh).await;
            }
            Ok(picture)
        })
    }
}

impl Remote {
    async fn picture_of(&self, wanted: &Wanted, how: &How) -> Result<Picture, ReadError> {
        match wanted {
            Wanted::Service(name) => self.picture_service(name, how).await,
            Wanted::Node(name) => self.picture_node(name, how).await,
            Wanted::Address(ip) => self.picture_owner(*ip, how).await,
        }
    }

    async fn picture_service(&self, name: &ServiceName, how: &How) -> Result<Picture, ReadError> {
        let key = WatchKey::ServiceHealth(name.clone());
        let (state, picture) = self.picture(&Step::of(&key), how).await?;
        let exists = state.service(name).is_some();
        Ok(picture.of(exists.then(|| Content::Service(Box::new(state)))))
    }

    async fn picture_node(&self, name: &NodeName, how: &How) -> Result<Picture, ReadError> {
        let key = WatchKey::NodeServices(name.clone());
        let (state, picture) = self.picture(&Step::of(&key), how).await?;
        let node = state.node(name).map(|entry| entry.node.clone());
        Ok(picture.of(node.map(Content::Node)))
    }

    /// Who has an address: the first node by name, else a service one of whose instances has it.
    /// Servers look for it, so that not all that they have travels. Never waits.
    async fn picture_owner(&self, ip: IpAddr, how: &How) -> Result<Picture, ReadError> {
        let how = &How {
            index: Index::ZERO,
            ..how.clone()
        };
        let context = context(how);
        let datacenter = self.datacenter(&context);
        let filter = spellings(ip, "Address");
        let request = encoded(&DatacenterRequest {
            datacenter: datacenter.into(),
            options: QueryOptions {
                filter: filter.as_str().into(),
                ..options(&context, Index::ZERO, Duration::ZERO)
            },
            ..DatacenterRequest::default()
        });
        let asked = self.ask_picture("Catalog.ListNodes", &request, Rows::Nodes, how);
        let (state, picture) = asked.await?;
        if let Some(entry) = state.nodes().next() {
            let owner = AddressOwner::Node(entry.node.name.clone());
            return Ok(picture.of(Some(Content::Owner(owner))));
        }
        let filter = spellings(ip, "Service.Address");
        let request = encoded(&ServiceDumpRequest {
            datacenter: datacenter.into(),
            options: QueryOptions {
                filter: filter.as_str().into(),
                ..options(&context, Index::ZERO, Duration::ZERO)
            },
            ..ServiceDumpRequest::default()
        });
        let asked = self.ask_picture("Internal.ServiceDump", &request, Rows::Health, how);
        let (state, picture) = asked.await?;
        let service = state.services().next();
        let owner = service.map(|entry| AddressOwner::Service(entry.name.clone()));
        Ok(picture.of(owner.map(Content::Owner)))
    }

    async fn picture(&self, step: &Step<'_>, how: &How) -> Result<(State, Picture), ReadError> {
        let context = context(how);
        let options = options(&context, how.index, how.wait);
        let request = step.request(self.datacenter(&context), options);
        let rows = step.rows.unwrap_or(Rows::Health);
        self.ask_picture(step.method, &request, rows, how).await
    }

    async fn ask_picture(
        &self,
        method: &str,
        request: &[u8],
        rows: Rows,
        how: &How,
    ) -> Result<(State, Picture), ReadError> {
        let servers = &self.servers;
        let (caller, wait) = if how.follows {
            (&servers.follows, how.wait + how.wait / 16)
        } else {
            (&servers.calls, Duration::ZERO)
        };
        let deadline = clock::now() + wait + how.limit;
        let octets = self.ask(caller, method, request, deadline).await?;
        let mut fragment = Fragment::default();
        let meta = read_answer(&octets, Some(rows), &mut fragment)?;
        let index = Index(meta.index).max(Index(1));
        let contact = u64::try_from(meta.last_contact).unwrap_or(0);
        let last_contact = Duration::from_nanos(contact);
        let picture = Picture {
            index,
            last_contact,
            follows: meta.known_leader && last_contact <= CONTACT_MAX,
            content: None,
        };
        Ok((fragment.finish(index), picture))
    }
}

fn context(how: &How) -> RequestContext {
    RequestContext {
        consistency: how.consistency,
        ..RequestContext::default()
    }
}

/// A filter for rows in which `field` is this address: as it is written, and for IPv4 as part of
/// IPv6, which counts as the same.
fn spellings(ip: IpAddr, field: &str) -> String {
    match ip {
        IpAddr::V4(v4) => format!("{field} == `{v4}` or {field} == `::ffff:{v4}`"),
        IpAddr::V6(v6) => format!("{field} == `{v6}`"),
    }
}
