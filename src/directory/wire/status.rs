//! How far a server's log is, and snapshots.

use super::{QueryMeta, Text, record};

record! {
    /// How far a server's log is.
    #[expect(clippy::struct_field_names, reason = "fields are named as on the wire")]
    RaftStats<'a> {
        "LastContact" last_contact: Text<'a>,
        "LastIndex" last_index: u64,
        "LastTerm" last_term: u64,
    }
}

record! {
    /// Asks for a snapshot, or gives one.
    SnapshotRequest<'a> {
        "AllowStale" allow_stale: bool,
        "Datacenter" datacenter: Text<'a>,
        "Op" operation: i64,
        "Token" token: Text<'a>,
    }
}

record! {
    /// What comes of it; a snapshot follows if it was asked for and there is no error.
    SnapshotReply<'a> {
        "Error" error: Text<'a>,
        flatten { meta: QueryMeta<'a> }
    }
}
