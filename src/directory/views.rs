//! What a client agent keeps of the catalog for its DNS: a view of each name that was asked for.
