//! Binds the sockets of DNS and reads what the kernel dropped from them.
//!
//! Owns how a socket is made; who reads it is `server` for datagrams and `tcp` for connections.
//!
//! **Invariant**: the TCP listener of an address is bound before its UDP sockets, and without
//! `SO_REUSEPORT`. Workers share a UDP port, so two agents could share it without noticing; the
//! listener is what makes the second one fail.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::config::Config;
use super::handler::Transport;

/// A worker blocks in the kernel no longer than this before it looks whether it shall stop.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(100);

/// Ports tried where the system may pick one and UDP finds it taken.
const PORT_TRIES: usize = 16;

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 1_024;

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} port {port} ({transport}): {source}", address = .address.ip(), port = .address.port())]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// Why; `AddrInUse` is another program, or a second agent, on this port.
    #[source]
    pub source: io::Error,
}

/// The local address that a datagram was sent to, kept where the socket itself cannot know it.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "only Linux tells the address that was asked")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address and, for link-local ones, the interface.
    V6(Ipv6Addr, u32),
}

/// One worker's UDP socket on one address.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    #[cfg(target_os = "linux")]
    address: SocketAddr,
    inode: Option<u64>,
}

/// The sockets of one address.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The address, with the port that was picked.
    pub(crate) address: SocketAddr,
    /// The TCP listener, in non-blocking mode.
    pub(crate) listener: TcpListener,
    /// One socket for each worker.
    pub(crate) datagrams: Vec<Arc<Datagrams>>,
}

/// Binds every address of `config`, with a UDP socket for each of `workers` workers.
pub(crate) fn bind(config: &Config, workers: usize) -> Result<Vec<Bound>, BindError> {
    let mut tries = if config.port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_all(config, workers) {
            Err(error) if tries > 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

fn bind_all(config: &Config, workers: usize) -> Result<Vec<Bound>, BindError> {
    let mut port = config.port;
    let mut all = Vec::with_capacity(config.addresses.len());
    for ip in &config.addresses {
        let bound = bind_one(SocketAddr::new(*ip, port), config, workers)?;
        // All addresses share the port that the first one got.
        port = bound.address.port();
        all.push(bound);
    }
    Ok(all)
}

fn bind_one(address: SocketAddr, config: &Config, workers: usize) -> Result<Bound, BindError> {
    let failed = |transport, address| {
        move |source| BindError {
            address,
            transport,
            source,
        }
    };
    let only_v6 = address.is_ipv6() && !stands_for_both(address, config);
    let listener = listen(address, only_v6).map_err(failed("tcp", address))?;
    let address = listener.local_addr().map_err(failed("tcp", address))?;
    // A program that holds only the UDP port would share it silently: this bind, which does not
    // share, finds it.
    let probe = udp(address, only_v6).and_then(|socket| socket.bind(&address.into()));
    probe.map_err(failed("udp", address))?;
    let datagrams = (0..workers)
        .map(|_| Datagrams::bind(address, only_v6, config).map(Arc::new))
        .collect::<io::Result<_>>()
        .map_err(failed("udp", address))?;
    Ok(Bound {
        address,
        listener,
        datagrams,
    })
}

/// Whether `address` is `::` alone, which means every address of the machine, those of IPv4 too.
/// Beside an IPv4 address it means those of IPv6, since no two sockets can have the same one.
fn stands_for_both(address: SocketAddr, config: &Config) -> bool {
    address.ip().is_unspecified() && config.addresses.iter().all(IpAddr::is_ipv6)
}

fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Lets a restarted agent bind while old connections linger in TIME_WAIT; it does not let two
    // listeners share the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

impl Datagrams {
    fn bind(address: SocketAddr, only_v6: bool, config: &Config) -> io::Result<Self> {
        let socket = udp(address, only_v6)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        // Every option stands before the bind, so that no datagram arrives without its control
        // messages.
        system::prepare(&socket, address)?;
        socket.set_read_timeout(Some(WAIT_MAX))?;
        socket.set_write_timeout(Some(WAIT_MAX))?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let inode = system::inode(&socket);
        let this = Self {
            socket,
            #[cfg(target_os = "linux")]
            address,
            inode,
        };
        this.resize(config.receive_buffer_octets)?;
        Ok(this)
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Whether the address stands for several, so that a reply must name the one it leaves from.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// Whether its addresses are IPv6.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Bounds what the kernel queues to `octets`, as far as the system allows. Datagrams already
    /// queued stay.
    pub(crate) fn resize(&self, octets: usize) -> io::Result<()> {
        system::set_receive_buffer(&self.socket, octets)
    }

    /// Sends one datagram to `target`, from `local` where the address is a wildcard; never blocks.
    pub(crate) fn send(
        &self,
        octets: &[u8],
        target: SocketAddr,
        local: Option<Local>,
    ) -> io::Result<usize> {
        system::send(&self.socket, octets, target, local)
    }
}

/// Datagrams that the kernel dropped from `sockets` since they were bound: the queue was full.
/// 0 where the system does not tell.
pub(crate) fn kernel_drops(sockets: &[Arc<Datagrams>]) -> u64 {
    let inodes: Vec<u64> = sockets.iter().filter_map(|socket| socket.inode).collect();
    if inodes.is_empty() {
        return 0;
    }
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|table| drops_in(&table, &inodes))
        .sum()
}

/// Sums the last column of the lines whose tenth is one of `inodes` (proc(5)).
fn drops_in(table: &str, inodes: &[u64]) -> u64 {
    let mut sum = 0;
    for line in table.lines().skip(1) {
        let mut columns = line.split_ascii_whitespace();
        let inode = columns.nth(9).and_then(|text| text.parse().ok());
        if inode.is_some_and(|inode| inodes.contains(&inode)) {
            sum += columns
                .last()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
        }
    }
    sum
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        })
    }
}

impl Local {
    /// From the address of a received packet; the interface matters for link-local ones only,
    /// elsewhere the route decides.
    #[cfg(target_os = "linux")]
    pub(crate) fn v6(address: Ipv6Addr, interface: u32) -> Self {
        let scoped = address.is_unicast_link_local();
        Self::V6(address, if scoped { interface } else { 0 })
    }
}

#[cfg(target_os = "linux")]
mod system {
    //! What Linux offers beyond plain sockets.

    use std::io::{self, IoSlice};
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};

    use nix::sys::socket::{
        ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt,
    };
    use socket2::Socket;

    use super::super::batched::PacketInfo;
    use super::Local;

    pub(super) fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        if address.ip().is_unspecified() {
            if address.is_ipv6() {
                setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            } else {
                setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
            }
        }
        Ok(())
    }

    /// Above the system's limit only a privileged process gets what it asks for.
    pub(super) fn set_receive_buffer(socket: &UdpSocket, octets: usize) -> io::Result<()> {
        if setsockopt(socket, sockopt::RcvBufForce, &octets).is_err() {
            setsockopt(socket, sockopt::RcvBuf, &octets)?;
        }
        Ok(())
    }

    /// Finds the socket in `/proc/net/udp`.
    pub(super) fn inode(socket: &UdpSocket) -> Option<u64> {
        let fd: RawFd = socket.as_raw_fd();
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let text = link.to_str()?.strip_prefix("socket:[")?;
        text.strip_suffix(']')?.parse().ok()
    }

    pub(super) fn send(
        socket: &UdpSocket,
        octets: &[u8],
        target: SocketAddr,
        local: Option<Local>,
    ) -> io::Result<usize> {
        let slices = [IoSlice::new(octets)];
        let target = SockaddrStorage::from(target);
        let info = local.map(PacketInfo::from);
        let info: Option<ControlMessage> = info.as_ref().map(PacketInfo::control_message);
        Ok(sendmsg(
            socket.as_raw_fd(),
            &slices,
            info.as_slice(),
            MsgFlags::MSG_DONTWAIT,
            Some(&target),
        )?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! Plain sockets: no time stamps, and replies leave from the address that the route gives.

    use std::io;
    use std::net::{SocketAddr, UdpSocket};

    use socket2::{SockRef, Socket};

    use super::Local;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "has the signature of its Linux twin"
    )]
    pub(super) fn prepare(_: &Socket, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn set_receive_buffer(socket: &UdpSocket, octets: usize) -> io::Result<()> {
        SockRef::from(socket).set_recv_buffer_size(octets)
    }

    pub(super) fn inode(_: &UdpSocket) -> Option<u64> {
        None
    }

    pub(super) fn send(
        socket: &UdpSocket,
        octets: &[u8],
        target: SocketAddr,
        _: Option<Local>,
    ) -> io::Result<usize> {
        socket.send_to(octets, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addresses: &[&str], port: u16) -> Config {
        Config {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            port,
            ..Config::default()
        }
    }

    #[test]
    fn a_picked_port_is_the_same_for_all_addresses_and_transports() {
        let mut addresses = vec!["127.0.0.1", "127.0.0.2"];
        if UdpSocket::bind("[::1]:0").is_ok() {
            addresses.push("::1");
        } else {
            eprintln!("SKIPPED for ::1: this machine has no IPv6");
        }
        let bound = bind(&config(&addresses, 0), 2).unwrap();
        let port = bound[0].address.port();
        assert_ne!(port, 0);
        for address in &bound {
            assert_eq!(address.listener.local_addr().unwrap().port(), port);
            assert_eq!(address.datagrams.len(), 2);
            for datagrams in &address.datagrams {
                assert_eq!(datagrams.socket().local_addr().unwrap(), address.address);
            }
        }
    }

    #[test]
    fn a_second_agent_fails_and_names_address_and_port() {
        let first = bind(&config(&["127.0.0.1"], 0), 1).unwrap();
        let port = first[0].address.port();
        let error = bind(&config(&["127.0.0.1"], port), 1).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("127.0.0.1 port {port} (tcp)")),
            "{text}"
        );
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_program_on_the_udp_port_alone_is_found() {
        // An address of its own: on the usual one, somebody's connection may have the port over TCP.
        let other = UdpSocket::bind("127.0.0.97:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let error = bind(&config(&["127.0.0.97"], port), 1).unwrap_err();
        assert!(error.to_string().contains("(udp)"), "{error}");
    }

    #[test]
    fn drops_are_read_from_the_lines_of_the_own_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:2198 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41 2 0000000000000000 7\n\
            2: 0100007F:2198 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 5\n\
            3: 0100007F:2199 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43 2 0000000000000000 100\n";
        assert_eq!(drops_in(table, &[41, 42]), 12);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_queue_shows_as_kernel_drops() {
        let bound = bind(&config(&["127.0.0.1"], 0), 1).unwrap();
        let datagrams = &bound[0].datagrams;
        datagrams[0].resize(4_096).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            client.send_to(&[0; 100], bound[0].address).unwrap();
        }
        let mut octets = [0; 200];
        let mut queued = 0;
        datagrams[0].socket().set_nonblocking(true).unwrap();
        while datagrams[0].socket().recv(&mut octets).is_ok() {
            queued += 1;
        }
        assert!(queued < 200);
        assert_eq!(kernel_drops(datagrams), 200 - queued);
    }
}
