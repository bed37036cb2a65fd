//! Answers as clients see them: a catalog is filled, octets are asked, and every reply is read back
//! with another implementation.

mod deviations;
mod forms;
mod packets;
mod properties;
mod records;
mod sizes;
pub(in crate::dns) mod world;
