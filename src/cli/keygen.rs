//! `herald keygen`: a key for the encryption of gossip.

use anyhow::Context;
use data_encoding::BASE64;
use rand::TryRng;
use rand::rngs::SysRng;

use super::{Exit, flags, print};

/// Length of a key: the longest that the membership protocol takes (AES-256).
const KEY_OCTETS: usize = 32;

/// Prints a new key for the encryption of gossip: 32 random octets in base64.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let Options {} = flags::parse("keygen", arguments)?;
    let mut key = [0; KEY_OCTETS];
    SysRng
        .try_fill_bytes(&mut key)
        .context("Error reading random data")?;
    print(&format!("{}\n", BASE64.encode(&key)));
    Ok(())
}
