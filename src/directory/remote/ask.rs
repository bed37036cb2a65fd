//! What servers are asked besides the catalog: who leads, which datacenters there are, and where.

use std::net::SocketAddr;

use super::{HOP, Remote, RemoteError};
use crate::directory::wire::{DatacenterRecord, DatacenterRequest, Decode, QueryOptions, Text};
use crate::directory::{ReadError, ServerLocations};
use crate::msgpack::Reader;
use crate::types::{Datacenter, RequestContext};

impl Remote {
    /// The leader's address; `None` while there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn leader(&self) -> Result<Option<SocketAddr>, ReadError> {
        let octets = self.ask_plain("Status.Leader").await?;
        let text: Text<'_> = decoded(&octets)?;
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(address(&text)?))
    }

    /// Addresses of all servers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn peers(&self) -> Result<Vec<SocketAddr>, ReadError> {
        let octets = self.ask_plain("Status.Peers").await?;
        let texts: Vec<Text<'_>> = decoded(&octets)?;
        texts.iter().map(|text| address(text)).collect()
    }

    /// Names of all datacenters, in the order of the server.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn datacenters(&self) -> Result<Vec<Datacenter>, ReadError> {
        let octets = self.ask_plain("Catalog.ListDatacenters").await?;
        let texts: Vec<Text<'_>> = decoded(&octets)?;
        // What others call themselves may be no name at all.
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// Where the servers of each datacenter are, in the order of names.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(in crate::directory) async fn server_locations(
        &self,
    ) -> Result<Vec<ServerLocations>, ReadError> {
        let octets = self.ask_plain("Coordinate.ListDatacenters").await?;
        let rows: Vec<DatacenterRecord<'_>> = decoded(&octets)?;
        let mut found: Vec<_> = rows.into_iter().map(locations).collect();
        found.sort_by(|one, other| one.datacenter.cmp(&other.datacenter));
        Ok(found)
    }

    /// Asks what every server answers from what it knows itself.
    async fn ask_plain(&self, method: &str) -> Result<Vec<u8>, ReadError> {
        let context = RequestContext::default();
        let request = DatacenterRequest {
            datacenter: self.datacenter(&context).into(),
            options: QueryOptions::default(),
            ..DatacenterRequest::default()
        };
        self.ask_now(&context, method, &request).await
    }
}

fn locations(row: DatacenterRecord<'_>) -> ServerLocations {
    let servers = row.servers.into_iter();
    ServerLocations {
        datacenter: row.datacenter.into_owned(),
        servers: servers
            .filter_map(|server| Some((server.node.into_owned(), server.coordinate.into_model()?)))
            .collect(),
    }
}

fn decoded<'a, T: Decode<'a>>(octets: &'a [u8]) -> Result<T, ReadError> {
    Ok(T::read(&mut Reader::new(octets))?)
}

fn address(text: &str) -> Result<SocketAddr, ReadError> {
    let parsed = text.parse();
    parsed.map_err(|_| RemoteError::Failed(format!("{HOP}{text:?} is no address")).into())
}
