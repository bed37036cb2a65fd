//! The stored form of the model: which fields each type has, in which order, and the numbers of
//! its variants. What is here is for ever: see the invariants of `stored`.
//!
//! Reads whatever a type can hold, and judges no more: what one server has put into the log, every
//! server must read.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::catalog::command::{Deregistration, Location, Operation, Registration};
use crate::types::{
    Address, Check, CheckDefinition, CheckId, CheckType, Coordinate, Meta, Node, NodeId, NodeName,
    Service, ServiceId, ServiceName, Status, TaggedAddress, Weights,
};

use super::octets::{Decoder, Encoder, Stored};
use super::{StoredError, known};

macro_rules! name {
    ($($type:ty, $wrong:literal;)*) => { $(
        impl Stored for $type {
            fn put(&self, out: &mut Encoder) {
                out.text(self.as_str());
            }
            fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
                let name = from.text()?.parse();
                name.map_err(|_| from.malformed($wrong))
            }
        }
    )* };
}
name! {
    NodeName, "not a name of a node";
    ServiceName, "not a name of a service";
    ServiceId, "not an id of a service";
    CheckId, "not an id of a check";
}

/// Types whose values are numbered.
macro_rules! numbered {
    ($type:ty, $what:literal: $($number:literal = $value:ident),*) => {
        impl Stored for $type {
            fn put(&self, out: &mut Encoder) {
                let number: u16 = match self {
                    $(Self::$value => $number,)*
                };
                number.put(out);
            }
            fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
                match u16::take(from)? {
                    $($number => Ok(Self::$value),)*
                    number => Err(StoredError::Newer { what: $what, number: number.into() }),
                }
            }
        }
    };
}
numbered!(Status, "status of a check": 0 = Passing, 1 = Warning, 2 = Critical);
numbered!(
    CheckType, "type of a check":
    0 = Unknown, 1 = Ttl, 2 = Http, 3 = Tcp, 4 = Udp, 5 = Script, 6 = Grpc, 7 = H2Ping,
    8 = Docker, 9 = OsService, 10 = Alias, 11 = Maintenance
);

impl Stored for Address {
    fn put(&self, out: &mut Encoder) {
        match self {
            Self::None => 0_u16.put(out),
            Self::V4(ip) => {
                1_u16.put(out);
                out.raw(&ip.octets());
            }
            Self::V6(ip) => {
                2_u16.put(out);
                out.raw(&ip.octets());
            }
            Self::Text(text) => {
                3_u16.put(out);
                text.put(out);
            }
        }
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        Ok(match u16::take(from)? {
            0 => Self::None,
            1 => Self::V4(Ipv4Addr::from(from.array::<4>()?)),
            2 => Self::V6(Ipv6Addr::from(from.array::<16>()?)),
            3 => Self::Text(from.required()?),
            number => {
                let (what, number) = ("kind of address", number.into());
                return Err(StoredError::Newer { what, number });
            }
        })
    }
}

impl Stored for NodeId {
    fn put(&self, out: &mut Encoder) {
        self.as_u128().put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        u128::take(from).map(Self::from_u128)
    }
}

impl Stored for Meta {
    fn put(&self, out: &mut Encoder) {
        out.length(self.iter().count());
        for (key, value) in self.iter() {
            out.text(key);
            out.text(value);
        }
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        Vec::<(String, String)>::take(from).map(Self::from_pairs)
    }
}

impl Stored for Weights {
    fn put(&self, out: &mut Encoder) {
        self.passing.put(out);
        self.warning.put(out);
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        Ok(Self {
            passing: from.required()?,
            warning: from.required()?,
        })
    }
}

impl Stored for Coordinate {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            for number in &self.vector {
                fields.required(number);
            }
            fields.required(&self.error);
            fields.required(&self.adjustment);
            fields.required(&self.height);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of a coordinate", |fields| {
            let mut vector = [0.0; Self::DIMENSIONS];
            for number in &mut vector {
                *number = fields.required()?;
            }
            Ok(Self {
                vector,
                error: fields.required()?,
                adjustment: fields.required()?,
                height: fields.required()?,
            })
        })
    }
}

impl Stored for Node {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.required(&self.name);
            fields.field(&self.address);
            fields.field(&self.id);
            fields.field(&self.tagged_addresses);
            fields.field(&self.meta);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of a node", |fields| {
            Ok(Self {
                name: fields.required()?,
                address: fields.field()?,
                id: fields.field()?,
                tagged_addresses: fields.field()?,
                meta: fields.field()?,
            })
        })
    }
}

impl Stored for TaggedAddress {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.field(&self.address);
            fields.field(&self.port);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of an address", |fields| {
            Ok(Self {
                address: fields.field()?,
                port: fields.field()?,
            })
        })
    }
}

impl Stored for Service {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.required(&self.id);
            fields.required(&self.name);
            fields.field(&self.address);
            fields.field(&self.port);
            fields.field(&self.tags);
            fields.field(&self.meta);
            fields.field(&self.weights);
            fields.field(&self.enable_tag_override);
            fields.field(&self.tagged_addresses);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of a service", |fields| {
            Ok(Self {
                id: fields.required()?,
                name: fields.required()?,
                address: fields.field()?,
                port: fields.field()?,
                tags: fields.field()?,
                meta: fields.field()?,
                weights: fields.field()?,
                enable_tag_override: fields.field()?,
                tagged_addresses: fields.field()?,
            })
        })
    }
}

impl Stored for CheckDefinition {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.field(&self.interval);
            fields.field(&self.timeout);
            fields.field(&self.deregister_critical_service_after);
            fields.field(&self.http);
            fields.field(&self.header);
            fields.field(&self.method);
            fields.field(&self.tls_skip_verify);
            fields.field(&self.tcp);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let beyond = "octets after the last field of a definition of a check";
        from.record(beyond, |fields| {
            Ok(Self {
                interval: fields.field()?,
                timeout: fields.field()?,
                deregister_critical_service_after: fields.field()?,
                http: fields.field()?,
                header: fields.field()?,
                method: fields.field()?,
                tls_skip_verify: fields.field()?,
                tcp: fields.field()?,
            })
        })
    }
}

impl Stored for Check {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.required(&self.id);
            fields.required(&self.status);
            fields.field(&self.service_id);
            fields.field(&self.check_type);
            fields.field(&self.name);
            fields.field(&self.output);
            fields.field(&self.notes);
            fields.field(&self.definition);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of a check", |fields| {
            Ok(Self {
                id: fields.required()?,
                status: fields.required()?,
                service_id: fields.field()?,
                check_type: fields.field()?,
                name: fields.field()?,
                output: fields.field()?,
                notes: fields.field()?,
                definition: fields.field()?,
            })
        })
    }
}

impl Stored for Location {
    fn put(&self, out: &mut Encoder) {
        out.record(|fields| {
            fields.required(&self.node);
            fields.required(&self.coordinate);
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        from.record("octets after the last field of a location", |fields| {
            Ok(Self {
                node: fields.required()?,
                coordinate: fields.required()?,
            })
        })
    }
}

/// Its kind, then a record.
impl Stored for Operation {
    fn put(&self, out: &mut Encoder) {
        self.kind().put(out);
        out.record(|fields| match self {
            Self::Register(registration) => {
                fields.required(&registration.node);
                fields.field(&registration.skip_node_update);
                fields.field(&registration.service);
                fields.field(&registration.checks);
            }
            Self::Deregister(Deregistration::Node(node)) => {
                fields.required(&0_u16);
                fields.required(node);
            }
            Self::Deregister(Deregistration::Service(node, id)) => {
                fields.required(&1_u16);
                fields.required(node);
                fields.required(id);
            }
            Self::Deregister(Deregistration::Check(node, id)) => {
                fields.required(&2_u16);
                fields.required(node);
                fields.required(id);
            }
            Self::Locate(locations) => fields.required(locations),
        });
    }
    fn take(from: &mut Decoder<'_>) -> Result<Self, StoredError> {
        let kind = u16::take(from)?;
        known(
            "kind of an operation",
            kind.into(),
            Self::KIND_NEWEST.into(),
        )?;
        from.record(
            "octets after the last field of an operation",
            |fields| match kind {
                1 => registration(fields),
                2 => deregistration(fields).map(Self::Deregister),
                3 => fields.required().map(Self::Locate),
                _ => Err(fields.malformed("no operation has this kind")),
            },
        )
    }
}

fn registration(fields: &mut Decoder<'_>) -> Result<Operation, StoredError> {
    Ok(Operation::Register(Box::new(Registration {
        node: fields.required()?,
        skip_node_update: fields.field()?,
        service: fields.field()?,
        checks: fields.field()?,
    })))
}

fn deregistration(fields: &mut Decoder<'_>) -> Result<Deregistration, StoredError> {
    let what = u16::take(fields)?;
    let node = fields.required()?;
    Ok(match what {
        0 => Deregistration::Node(node),
        1 => Deregistration::Service(node, fields.required()?),
        2 => Deregistration::Check(node, fields.required()?),
        number => {
            let (what, number) = ("kind of deregistration", number.into());
            return Err(StoredError::Newer { what, number });
        }
    })
}
