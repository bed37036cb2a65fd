//! UDP: nobody says that the port is closed.
//!
//! An empty datagram is sent, which no service can mistake for a request. An answer is passing, and
//! so is silence; only the refusal that the peer's system sends for a closed port is critical.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::dial::{Dialer, Target};
use super::{Deadline, critical, passing};
use crate::client::http::reason;
use crate::health::Report;

/// How long a refusal is waited for: it takes one round trip, and silence is not worth more.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(dialer: &Dialer, target: &str, deadline: Deadline) -> Report {
    let asked = match Target::parse(target) {
        Ok(parsed) => {
            let late = |_| format!("dial udp {parsed}: i/o timeout");
            let addresses = deadline.or_late(dialer.addresses(&parsed), late).await;
            addresses.map(|addresses| addresses.first().copied())
        }
        Err(error) => Err(error),
    };
    match asked {
        Ok(Some(address)) => match probe(address, deadline).await {
            Ok(()) => passing(format!("UDP connect {target}: Success")),
            Err(error) => critical(format!("udp {address}: {}", reason(&error))),
        },
        Ok(None) => critical(format!("dial udp {target}: no such host")),
        Err(error) => critical(error.replace("dial tcp", "dial udp")),
    }
}

async fn probe(address: SocketAddr, deadline: Deadline) -> io::Result<()> {
    let own = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(own).await?;
    // Connected, so that the system hands over refusals.
    socket.connect(address).await?;
    socket.send(&[]).await?;
    let mut answer = [0];
    let heard = tokio::time::timeout(SILENCE, socket.recv(&mut answer));
    match deadline.within(heard).await {
        Some(Ok(Err(error))) => Err(error),
        _ => Ok(()),
    }
}
