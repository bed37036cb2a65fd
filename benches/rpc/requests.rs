//! Requests of the agent RPC, as agents send them.

use herald::msgpack::{ReadError, Reader, Writer};

/// A node that a service is registered on.
pub(crate) const NODE: &str = "bench-node";

/// One value, written by `write`.
fn value(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::old(&mut out));
    out
}

/// `Catalog.Register` of a service with a check that passes, on a node that need not be there.
pub(crate) fn register(service: &str, port: u16) -> Vec<u8> {
    value(|writer| {
        writer.map(5);
        writer.text("Address");
        writer.text("10.0.0.1");
        writer.text("Check");
        check(writer, service);
        writer.text("Datacenter");
        writer.text("dc1");
        writer.text("Node");
        writer.text(NODE);
        writer.text("Service");
        writer.map(4);
        writer.text("ID");
        writer.text(service);
        writer.text("Port");
        writer.unsigned(port);
        writer.text("Service");
        writer.text(name_of(service));
        writer.text("Tags");
        writer.array(1);
        writer.text("bench");
    })
}

fn check(writer: &mut Writer<'_>, service: &str) {
    writer.map(5);
    writer.text("CheckID");
    writer.text(&format!("service:{service}"));
    writer.text("Name");
    writer.text("Service check");
    writer.text("Output");
    writer.text("TCP connect 10.123.123.123:20000: Success");
    writer.text("ServiceID");
    writer.text(service);
    writer.text("Status");
    writer.text("passing");
}

/// The name of a service is its id up to the last `:`.
fn name_of(id: &str) -> &str {
    id.rsplit_once(':').map_or(id, |(name, _)| name)
}

/// `Catalog.Deregister` of the node with all that is on it.
pub(crate) fn deregister() -> Vec<u8> {
    value(|writer| {
        writer.map(2);
        writer.text("Datacenter");
        writer.text("dc1");
        writer.text("Node");
        writer.text(NODE);
    })
}

/// `Health.ServiceNodes`, as the DNS of an agent asks; with an index it waits for what is newer.
pub(crate) fn health(service: &str, index: u64) -> Vec<u8> {
    value(|writer| {
        writer.map(5);
        writer.text("AllowStale");
        writer.boolean(index == 0);
        writer.text("Datacenter");
        writer.text("dc1");
        writer.text("MaxQueryTime");
        writer.signed(600_000_000_000);
        writer.text("MinQueryIndex");
        writer.unsigned(index);
        writer.text("ServiceName");
        writer.text(service);
    })
}

/// Index and number of rows of an answer to [`health`].
///
/// # Errors
/// It is none.
pub(crate) fn health_answer(octets: &[u8]) -> Result<(u64, usize), ReadError> {
    let mut reader = Reader::new(octets);
    let (mut index, mut rows) = (0, 0);
    for _ in 0..reader.map()? {
        match reader.text()? {
            "Index" => index = reader.unsigned()?,
            "Nodes" => {
                rows = reader.array()?;
                for _ in 0..rows {
                    reader.skip()?;
                }
            }
            _ => reader.skip()?,
        }
    }
    Ok((index, rows))
}
