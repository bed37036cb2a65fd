//! What all reads have in common: options, where the caller is, and what is said of a result.

use super::{Text, record};

record! {
    /// How a read is to be served.
    QueryOptions<'a> {
        "AllowStale" allow_stale: bool,
        "Filter" filter: Text<'a>,
        "MaxAge" max_age: i64,
        "MaxQueryTime" max_query_time: i64,
        "MaxStaleDuration" max_stale_duration: i64,
        "MinQueryIndex" min_query_index: u64,
        "MustRevalidate" must_revalidate: bool,
        "RequireConsistent" require_consistent: bool,
        "StaleIfError" stale_if_error: i64,
        "Token" token: Text<'a>,
        "UseCache" use_cache: bool,
    }
}

record! {
    /// Where a caller is: results are sorted by their distance from this node.
    QuerySource<'a> {
        "Datacenter" datacenter: Text<'a>,
        "Ip" ip: Text<'a>,
        "Node" node: Text<'a>,
        "Segment" segment: Text<'a>,
    }
}

record! {
    /// What is said of the result of a read.
    QueryMeta<'a> {
        "ConsistencyLevel" consistency_level: Text<'a>,
        "Index" index: u64,
        "KnownLeader" known_leader: bool,
        "LastContact" last_contact: i64,
    }
}
