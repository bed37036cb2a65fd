//! `herald monitor`: an agent's log as it is written.

use std::io::Write as _;
use std::ops::ControlFlow;

use anyhow::{Context, Result, bail};

use super::connection::Connection;
use super::interruption::Interruption;
use super::text::Stream;
use super::{Exit, block_on, flags};
use crate::client::http::{HttpClient, encode};

/// Shows the log of an agent as it is written, until interrupted.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Show JSON.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    log_json: bool,
    /// How much to show: trace, debug, info, warn or error. Default info. What the agent itself
    /// logs is not changed.
    #[arg(long, value_name = "level", default_value = "info")]
    log_level: String,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("monitor", arguments)?;
    let client = options.connection.client()?;
    let json = if options.log_json { "&logjson" } else { "" };
    let level = encode(&options.log_level.to_lowercase());
    let path = format!("/v1/agent/monitor?loglevel={level}{json}");
    block_on(follow(&client, &path, options.log_json))??;
    Ok(())
}

/// Shows what comes until an interruption, or until nobody reads it any more.
async fn follow(client: &HttpClient, path: &str, json: bool) -> Result<()> {
    let mut interruption = Interruption::listen()?;
    let mut reader_gone = false;
    let mut log = Stream::default();
    let ended = client.follow(path, |octets| {
        let mut out = std::io::stdout().lock();
        let written = if json {
            // It escapes by rules of its own.
            out.write_all(octets)
        } else {
            out.write_all(log.escape_lines(octets).as_bytes())
        };
        if written.and_then(|()| out.flush()).is_err() {
            reader_gone = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    tokio::select! {
        ended = ended => ended.context("Error starting monitor")?,
        () = interruption.wait() => return Ok(()),
    }
    if !reader_gone {
        bail!("The agent ended the log: it has stopped or crashed.");
    }
    Ok(())
}
