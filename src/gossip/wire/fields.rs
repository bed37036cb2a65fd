//! What the bodies of messages have in common: maps that are read by name, and their values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Source, Versions};
use crate::msgpack::{ReadError, Reader, Writer};

/// Octets of a node's name at most; a longer one is refused.
pub const NAME_OCTETS_MAX: usize = 255;

/// Octets that the layer above may say of a node at most.
pub const META_OCTETS_MAX: usize = 512;

/// Reads a map: `read` is given each key and either reads the value and says `true`, or leaves it
/// and says `false`; then it is skipped, so that fields of later releases do no harm.
pub(super) fn read_map<'a>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&[u8], &mut Reader<'a>) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    for _ in 0..reader.map()? {
        let key = reader.octets()?;
        if !read(key, reader)? {
            reader.skip()?;
        }
    }
    Ok(())
}

/// A node's name, or nothing.
pub(super) fn name_or_empty<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let name = reader.text()?;
    if name.len() > NAME_OCTETS_MAX {
        return Err(Malformed("node name is longer than 255 octets"));
    }
    Ok(name)
}

/// Refuses the name of nobody.
pub(super) fn named(name: &str) -> Result<&str, Malformed> {
    if name.is_empty() {
        return Err(Malformed("node name is empty"));
    }
    Ok(name)
}

/// An address of 4 or 16 octets. Go writes IPv4 addresses either way, so that the mapped form is
/// the same address.
pub(super) fn address(octets: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    let octets =
        <[u8; 16]>::try_from(octets).map_err(|_| Malformed("address must have 4 or 16 octets"))?;
    Ok(Ipv6Addr::from(octets).to_canonical())
}

/// Writes the octets of an address: 4 or 16.
pub(super) fn write_address(writer: &mut Writer<'_>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => writer.octets(&address.octets()),
        IpAddr::V6(address) => writer.octets(&address.octets()),
    }
}

/// What the layer above says of a node.
pub(super) fn meta(octets: &[u8]) -> Result<&[u8], Malformed> {
    if octets.len() > META_OCTETS_MAX {
        return Err(Malformed("meta is longer than 512 octets"));
    }
    Ok(octets)
}

/// Versions as six octets or an array of six numbers; `None` if there is nothing. Releases of Go's
/// encoder differ in how they write a list of octets.
pub(super) fn versions(reader: &mut Reader<'_>) -> Result<Option<Versions>, Malformed> {
    const LENGTH: Malformed = Malformed("versions must have 6 octets");
    let first = reader.rest().first().copied().unwrap_or_default();
    if !matches!(first, 0x90..=0x9f | 0xdc | 0xdd) {
        return match reader.octets()? {
            [] => Ok(None),
            octets => Ok(Some(Versions(octets.try_into().map_err(|_| LENGTH)?))),
        };
    }
    match reader.array()? {
        0 => Ok(None),
        6 => {
            let mut versions = [0; 6];
            for version in &mut versions {
                *version = reader.unsigned()?;
            }
            Ok(Some(Versions(versions)))
        }
        _ => Err(LENGTH),
    }
}

/// The fields of [`Source`] while a map is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SourceFields<'a> {
    address: &'a [u8],
    port: u16,
    node: &'a str,
}

impl<'a> SourceFields<'a> {
    /// Reads the field `key` if it is one of these.
    pub(super) fn read(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<bool, Malformed> {
        match key {
            b"SourceAddr" => self.address = reader.octets()?,
            b"SourcePort" => self.port = reader.unsigned()?,
            b"SourceNode" => self.node = name_or_empty(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An answer can only go to an address with a port: without both there is no source, and the
    /// answer goes where the packet came from.
    pub(super) fn source(self) -> Result<Option<Source<'a>>, Malformed> {
        if self.address.is_empty() {
            return Ok(None);
        }
        let address = address(self.address)?;
        let node = self.node;
        Ok((self.port != 0).then(|| Source {
            address: SocketAddr::new(address, self.port),
            node,
        }))
    }
}

impl Source<'_> {
    /// Pairs that [`Source::write`] writes.
    pub(super) fn pairs(source: Option<&Source<'_>>) -> usize {
        source.map_or(0, |source| 2 + usize::from(!source.node.is_empty()))
    }

    /// Writes the fields, which follow each other in every map; an empty name is left out.
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.text("SourceAddr");
        write_address(writer, self.address.ip());
        if !self.node.is_empty() {
            writer.text("SourceNode");
            writer.text(self.node);
        }
        writer.text("SourcePort");
        writer.unsigned(self.address.port());
    }
}

impl From<ReadError> for Malformed {
    fn from(error: ReadError) -> Self {
        Self(match error {
            ReadError::Truncated => "message ends inside a value",
            ReadError::Type { .. } => "value of another type",
            ReadError::Range => "number out of range",
            ReadError::Text => "text is not UTF-8",
            ReadError::Limit { .. } => "value is longer than the limit",
            ReadError::Depth => "values are nested too deeply",
        })
    }
}
