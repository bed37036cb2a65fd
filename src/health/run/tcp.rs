//! TCP: a connection can be made.

use super::dial::{Dialer, Target};
use super::{Deadline, critical, passing};
use crate::health::Report;

pub(super) async fn run(dialer: &Dialer, target: &str, deadline: Deadline) -> Report {
    let connected = match Target::parse(target) {
        Ok(parsed) => dialer.connect(&parsed, deadline).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(_) => passing(format!("TCP connect {target}: Success")),
        Err(error) => critical(error),
    }
}
