//! First octets of messages and of the layers around them.

pub(super) const PING: u8 = 0;
pub(super) const INDIRECT_PING: u8 = 1;
pub(super) const ACK: u8 = 2;
pub(super) const SUSPECT: u8 = 3;
pub(super) const ALIVE: u8 = 4;
pub(super) const DEAD: u8 = 5;
pub(super) const PUSH_PULL: u8 = 6;
pub(super) const COMPOUND: u8 = 7;
pub(super) const USER: u8 = 8;
pub(super) const COMPRESSED: u8 = 9;
pub(super) const ENCRYPTED: u8 = 10;
pub(super) const NACK: u8 = 11;
pub(super) const CHECKSUM: u8 = 12;
pub(super) const ERROR: u8 = 13;
pub(super) const LABEL: u8 = 244;
