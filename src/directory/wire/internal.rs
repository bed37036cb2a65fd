//! Events and keys.

use super::{Map, QueryMeta, QueryOptions, Text, record};

record! {
    /// Sends an event to all agents.
    EventFireRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "Name" name: Text<'a>,
        "Payload" payload: &'a [u8],
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// Has the members of the pools do something with their keys.
    KeyringRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "Forwarded" forwarded: bool,
        "Key" key: Text<'a>,
        "LocalOnly" local_only: bool,
        "Operation" operation: Text<'a>,
        "RelayFactor" relay_factor: u8,
        flatten { options: QueryOptions<'a> }
    }
}

record! {
    /// What the members of one pool answered.
    KeyringResponse<'a> {
        "Datacenter" datacenter: Text<'a>,
        "Error" error: Text<'a>,
        "Keys" keys: Option<Map<'a, u64>>,
        "Messages" messages: Option<Map<'a, Text<'a>>>,
        "NumNodes" members: u64,
        "PrimaryKeys" primary_keys: Option<Map<'a, u64>>,
        "Segment" segment: Text<'a>,
        "WAN" wan: bool,
    }
}

record! {
    /// What the members of all pools answered.
    KeyringReply<'a> {
        "Responses" responses: Vec<KeyringResponse<'a>>,
        flatten { meta: QueryMeta<'a> }
    }
}

record! {
    /// A read of all services.
    ServiceDumpRequest<'a> {
        "Datacenter" datacenter: Text<'a>,
        "ServiceKind" kind: Text<'a>,
        "Source" source: super::QuerySource<'a>,
        "UseServiceKind" use_kind: bool,
        flatten { options: QueryOptions<'a> }
    }
}
