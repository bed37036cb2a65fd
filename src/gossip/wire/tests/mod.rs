mod messages;
mod packets;
mod streams;

use std::sync::Arc;

use super::*;
use crate::gossip::keyring::{Key, Keyring};

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn settings(label: &str) -> Settings {
    Settings {
        label: label.as_bytes().into(),
        compress: true,
        verify_incoming: true,
        verify_outgoing: true,
    }
}

fn key(octet: u8) -> Key {
    Key::new(&[octet; 32]).unwrap()
}

fn keyring(octet: u8) -> Arc<Keyring> {
    Arc::new(Keyring::new(key(octet)))
}

fn alive<'a>() -> Alive<'a> {
    Alive {
        incarnation: 7,
        node: "s1",
        address: "127.0.0.9:8301".parse().unwrap(),
        meta: &[0xff, 0x80],
        versions: Versions::OWN,
    }
}
