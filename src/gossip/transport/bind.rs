//! Binds the two sockets of a pool.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// Ports tried where the system may pick one and UDP finds it taken.
const PORT_TRIES: usize = 64;

/// Streams that the kernel completes before they are accepted.
const BACKLOG: i32 = 256;

/// Octets that the kernel queues of datagrams, where it allows that many: the packets of some
/// thousand members that answer at once.
const RECEIVE_OCTETS: usize = 2 * 1_024 * 1_024;

/// The sockets of a pool.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Where both listen.
    pub(crate) address: SocketAddr,
    /// For packets.
    pub(crate) datagrams: Datagrams,
    /// For streams.
    pub(crate) listener: TcpListener,
}

/// The socket for packets.
#[derive(Debug)]
pub(crate) struct Datagrams {
    receiver: UdpSocket,
    /// The same socket once more. It never blocks, and what the kernel cannot take at once is lost,
    /// as packets may be: so nobody waits to send.
    sender: std::net::UdpSocket,
    is_ipv6: bool,
}

/// Binds UDP and TCP to `address`; a port of 0 stands for one that is free for both.
///
/// # Errors
/// Another program has the port, or the address is not of this machine.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Sockets> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_both(address) {
            Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

impl Datagrams {
    /// Waits until a datagram may be there.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        self.receiver.readable().await
    }

    /// Takes one datagram into `buffer`, if there is one: its octets and who sent it.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (octets, from) = self.receiver.try_recv_from(buffer)?;
        Ok((octets, canonical(from)))
    }

    /// Sends one datagram, if the kernel takes it at once.
    pub(crate) fn send(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match to {
            // A socket of IPv6 reaches addresses of IPv4 as mapped ones only.
            SocketAddr::V4(v4) if self.is_ipv6 => {
                let mapped = v4.ip().to_ipv6_mapped();
                SocketAddr::V6(SocketAddrV6::new(mapped, v4.port(), 0, 0))
            }
            to => to,
        };
        self.sender.send_to(octets, to).map(drop)
    }
}

/// The address as members know it: one of IPv4 that comes mapped into IPv6 is the former.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn bind_both(address: SocketAddr) -> io::Result<Sockets> {
    let listener = socket(address, Type::STREAM, Protocol::TCP)?;
    // Lets a restarted agent bind while old streams linger in TIME_WAIT; it does not let two
    // listeners share the port. The datagram socket shares with nobody at all.
    listener.set_reuse_address(true)?;
    listener.bind(&address.into())?;
    listener.listen(BACKLOG)?;
    let listener = TcpListener::from_std(listener.into())?;
    let address = listener.local_addr()?;
    let datagrams = socket(address, Type::DGRAM, Protocol::UDP)?;
    datagrams.bind(&address.into())?;
    // Best effort: an unprivileged process gets what the system allows.
    let _ = datagrams.set_recv_buffer_size(RECEIVE_OCTETS);
    let sender = std::net::UdpSocket::from(datagrams);
    let datagrams = Datagrams {
        receiver: UdpSocket::from_std(sender.try_clone()?)?,
        sender,
        is_ipv6: address.is_ipv6(),
    };
    Ok(Sockets {
        address,
        datagrams,
        listener,
    })
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `::` stands for all addresses of the machine, those of IPv4 too.
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_port_is_free_for_both() {
        let sockets = bind("127.0.21.200:0".parse().unwrap()).unwrap();
        assert_ne!(sockets.address.port(), 0);
        let datagrams = sockets.datagrams.receiver.local_addr().unwrap();
        assert_eq!(datagrams, sockets.address);
        assert_eq!(sockets.listener.local_addr().unwrap(), sockets.address);
    }

    #[tokio::test]
    async fn a_port_whose_datagrams_somebody_else_takes_is_refused() {
        let other = std::net::UdpSocket::bind("127.0.21.201:0").unwrap();
        let error = bind(other.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_second_pool_on_the_port_is_refused() {
        let first = bind("127.0.21.202:0".parse().unwrap()).unwrap();
        let error = bind(first.address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn the_unspecified_address_of_ipv6_reaches_ipv4() {
        let Ok(sockets) = bind("[::]:0".parse().unwrap()) else {
            return; // A machine without IPv6.
        };
        let peer = UdpSocket::bind("127.0.21.203:0").await.unwrap();
        let peer_address = peer.local_addr().unwrap();
        sockets.datagrams.send(b"x", peer_address).unwrap();
        let mut buffer = [0; 8];
        let (octets, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!(octets, 1);
        let to = SocketAddr::new("127.0.0.1".parse().unwrap(), sockets.address.port());
        peer.send_to(b"yz", to).await.unwrap();
        sockets.datagrams.ready().await.unwrap();
        let received = sockets.datagrams.receive(&mut buffer).unwrap();
        assert_eq!(received, (2, peer_address));
        assert_eq!(from.port(), sockets.address.port());
    }
}
