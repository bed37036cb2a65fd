//! `herald version`.

use super::{Exit, VERSION, flags, print};

/// Prints the version.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let Options {} = flags::parse("version", arguments)?;
    print(&format!(
        "herald v{VERSION}\nHTTP API, DNS and configuration as of release 1.8.7 of the reference\n"
    ));
    Ok(())
}
