//! The engine through real sockets, with handlers that need no catalog.
//!
//! Long, since datagrams, TCP, the slow path and zones share one running engine and its clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::*;
use crate::clock;
use crate::dns::StaticZones;
use crate::dns::config::{SlowLimits, TcpLimits};
use crate::dns::handler::{Asked, Received, Reply};

/// Says yes to everything: the query comes back as a response.
struct Identity;

impl Handler for Identity {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        if buffer[2] & 0x80 != 0 {
            return Reply::Drop;
        }
        buffer[2] |= 0x80;
        Reply::Send(received.length)
    }
}

/// Hands everything to the slow path; alone it answers YXDOMAIN to what is longer than 20 octets.
struct Hand;

impl Handler for Hand {
    fn handle(&mut self, _: &Received, _: &mut [u8]) -> Reply {
        Reply::Slow
    }

    fn handle_alone(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        if received.length < 20 {
            return Reply::Slow;
        }
        buffer[2] |= 0x80;
        buffer[3] |= 6;
        Reply::Send(received.length)
    }
}

/// Leaves everything to the slow path, whose answers are stale; asked for SRV, whatever it is.
#[derive(Default)]
struct Stale(Asked);

impl Handler for Stale {
    fn handle(&mut self, _: &Received, _: &mut [u8]) -> Reply {
        self.0 = Asked {
            qtype: Some(33),
            stale: false,
        };
        Reply::Slow
    }

    fn handle_alone(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.0.stale = true;
        Identity.handle(received, buffer)
    }

    fn asked(&self) -> Asked {
        self.0
    }
}

/// Waits for leave before it answers as [`Identity`].
struct Gate {
    met: SyncSender<()>,
    leave: Arc<Mutex<Receiver<()>>>,
}

impl Handler for Gate {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.met.send(()).unwrap();
        self.leave.lock().unwrap().recv().unwrap();
        Identity.handle(received, buffer)
    }
}

/// Panics at the message id 13, and would go on to panic for ever after.
#[derive(Default)]
struct Fragile {
    broken: bool,
}

impl Handler for Fragile {
    fn handle(&mut self, received: &Received, buffer: &mut [u8]) -> Reply {
        self.broken |= buffer[1] == 13;
        assert!(!self.broken, "as the test wants");
        Identity.handle(received, buffer)
    }
}

struct Running {
    handle: Handle,
    metrics: Metrics,
    tasks: Tasks,
}

fn config() -> Config {
    Config {
        port: 0,
        workers: NonZeroUsize::new(1),
        ..Config::default()
    }
}

fn begin<H: Handler>(
    config: &Config,
    zones: StaticZones,
    handlers: impl Fn() -> H + Send + Sync + 'static,
) -> Running {
    let (metrics, tasks) = (Metrics::new(), Tasks::new());
    let handle = start(config, zones, handlers, &metrics, &tasks).unwrap();
    Running {
        handle,
        metrics,
        tasks,
    }
}

fn identity(config: &Config) -> Running {
    begin(config, StaticZones::none(), || Identity)
}

impl Running {
    fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    fn client(&self) -> UdpSocket {
        client(self.address())
    }

    /// The counts, once those of the last batch are in: they follow its answers.
    fn settled(&self) -> Totals {
        let start = clock::monotonic();
        loop {
            let totals = self.handle.totals();
            let done = totals.answered + totals.shed + totals.dropped;
            if done == totals.received || clock::monotonic() - start > Duration::from_secs(10) {
                return totals;
            }
            std::thread::yield_now();
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    async fn stop(self) {
        assert!(self.tasks.stop(Duration::from_secs(2)).await);
    }
}

/// A socket that takes answers from `server` alone.
fn client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv6() {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn query(id: u16) -> Vec<u8> {
    let mut octets = vec![0; 12];
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets
}

fn ask_udp(socket: &UdpSocket, octets: &[u8]) -> Vec<u8> {
    socket.send(octets).unwrap();
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

fn framed(octets: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(octets.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(octets);
    framed
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Whether the peer has closed, within the read time-out.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(octets) => octets == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn assert_answers(address: SocketAddr, id: u16) {
    let answer = ask_udp(&client(address), &query(id));
    assert_eq!(answer[..3], [id.to_be_bytes().as_slice(), &[0x80]].concat());
}

/// Whether this machine can be asked over IPv6; says so if not.
fn has_ipv6() -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("SKIPPED for IPv6: this machine has none");
    }
    has
}

/// Every test of datagrams also runs without batched calls.
fn both(test: impl Fn(Config)) {
    for batching in [true, false] {
        test(Config {
            batching,
            ..config()
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_is_answered_over_udp_and_tcp() {
    both(|config| {
        let mut addresses: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2"]
            .map(|text| text.parse().unwrap())
            .into();
        if has_ipv6() {
            addresses.push("::1".parse().unwrap());
        }
        let running = identity(&Config {
            addresses,
            workers: NonZeroUsize::new(2),
            ..config
        });
        for address in running.handle.addresses() {
            for id in 0..50 {
                assert_answers(*address, id);
            }
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&framed(&query(7))).unwrap();
            assert_eq!(read_framed(&mut stream)[..3], [0, 7, 0x80]);
        }
    });
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_socket_replies_from_the_address_that_was_asked() {
    let running = identity(&Config {
        addresses: vec!["0.0.0.0".parse().unwrap()],
        ..config()
    });
    let port = running.address().port();
    for host in ["127.0.0.1", "127.0.0.5", "127.9.9.9"] {
        assert_answers(SocketAddr::new(host.parse().unwrap(), port), 1);
    }
    running.stop().await;

    if !has_ipv6() {
        return;
    }
    let running = identity(&Config {
        addresses: vec!["::".parse().unwrap()],
        ..config()
    });
    let port = running.address().port();
    assert_answers(SocketAddr::new("::1".parse().unwrap(), port), 2);
    // Alone it stands for IPv4 too.
    for host in ["127.0.0.1", "127.0.0.5"] {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        assert_answers(address, 3);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&framed(&query(4))).unwrap();
        assert_eq!(read_framed(&mut stream)[..3], [0, 4, 0x80]);
    }
    running.stop().await;

    let running = identity(&Config {
        addresses: ["0.0.0.0", "::"].map(|text| text.parse().unwrap()).into(),
        ..config()
    });
    let port = running.address().port();
    for host in ["127.0.0.5", "::1"] {
        assert_answers(SocketAddr::new(host.parse().unwrap(), port), 5);
    }
    running.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_batch_may_hold_queries_to_many_addresses() {
    let (met, leave, running) = gated(&Config {
        addresses: vec!["0.0.0.0".parse().unwrap()],
        queue_deadline: Duration::from_secs(60),
        ..config()
    });
    let port = running.address().port();
    let clients: Vec<_> = (1..=9)
        .map(|host| {
            client(SocketAddr::new(
                format!("127.0.0.{host}").parse().unwrap(),
                port,
            ))
        })
        .collect();
    // While the first is held, the others queue up and make one batch.
    clients[0].send(&query(0)).unwrap();
    met.recv().unwrap();
    for id in 1..27 {
        clients[usize::from(id) % 9].send(&query(id)).unwrap();
    }
    leave.send(()).unwrap();
    for _ in 1..27 {
        met.recv().unwrap();
        leave.send(()).unwrap();
    }
    let mut ids = Vec::new();
    for id in 0..27 {
        let mut answer = [0; 64];
        clients[id % 9].recv(&mut answer).unwrap();
        ids.push(answer[1]);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..27).collect::<Vec<u8>>());
    running.stop().await;
}

fn gated(config: &Config) -> (Receiver<()>, SyncSender<()>, Running) {
    let (met_sender, met) = sync_channel(100);
    let (leave, leave_receiver) = sync_channel(100);
    let leave_receiver = Arc::new(Mutex::new(leave_receiver));
    let running = begin(config, StaticZones::none(), move || Gate {
        met: met_sender.clone(),
        leave: Arc::clone(&leave_receiver),
    });
    (met, leave, running)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn no_query_older_than_the_deadline_is_answered() {
    let deadline = Duration::from_millis(50);
    let (met, leave, running) = gated(&Config {
        queue_deadline: deadline,
        ..config()
    });
    let client = running.client();
    // One query is in hand and two are queued when time stands still for longer than the deadline.
    client.send(&query(1)).unwrap();
    met.recv().unwrap();
    client.send(&query(2)).unwrap();
    client.send(&query(3)).unwrap();
    let start = clock::monotonic();
    while clock::monotonic() - start < deadline * 2 {
        std::thread::yield_now();
    }
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    assert_eq!(ask_udp(&client, &query(4))[..2], [0, 4]);
    let totals = running.settled();
    assert_eq!((totals.received, totals.shed, totals.answered), (4, 3, 1));
    assert!(
        running
            .metrics
            .text()
            .contains("herald_dns_shed_total{transport=\"udp\"} 3")
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_query_gets_no_answer_and_the_next_good_one_does() {
    both(|config| {
        let running = identity(&config);
        let client = running.client();
        for length in 0..12 {
            client.send(&query(9)[..length]).unwrap();
        }
        let mut response = query(9);
        response[2] = 0x80;
        client.send(&response).unwrap();
        assert_eq!(ask_udp(&client, &query(10))[..2], [0, 10]);
        let totals = running.settled();
        assert_eq!(
            (totals.received, totals.dropped, totals.answered),
            (14, 13, 1)
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_of_any_length_comes_back_whole() {
    let running = identity(&config());
    let client = running.client();
    for length in [12, 512, 4_096, 9_000, 65_507] {
        let mut octets = vec![0x5a; length];
        octets[2] = 0;
        assert_eq!(ask_udp(&client, &octets).len(), length);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_when_the_agent_stops_is_still_answered() {
    let (met, leave, running) = gated(&Config {
        queue_deadline: Duration::from_secs(60),
        ..config()
    });
    let client = running.client();
    client.send(&query(0)).unwrap();
    met.recv().unwrap();
    for id in 1..100 {
        client.send(&query(id)).unwrap();
    }
    let tasks = running.tasks.clone();
    let stop = async { assert!(tasks.stop(Duration::from_secs(10)).await) };
    let answers = tokio::task::spawn_blocking(move || {
        for _ in 0..100 {
            leave.send(()).unwrap();
        }
        for _ in 0..100 {
            client.recv(&mut [0; 64]).unwrap();
        }
    });
    let ((), answers) = tokio::join!(stop, answers);
    answers.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_with_address_and_port() {
    let first = identity(&config());
    let port = first.address().port();
    let second = Config { port, ..config() };
    let (metrics, tasks) = (Metrics::new(), Tasks::new());
    let error = start(&second, StaticZones::none(), || Identity, &metrics, &tasks).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on 127.0.0.1 port {port} (tcp): ")),
        "{text}"
    );
    first.stop().await;
}

mod tcp {
    use super::*;

    fn quick(limits: TcpLimits) -> Running {
        identity(&Config {
            tcp: limits,
            ..config()
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_thousand_pipelined_queries_get_a_thousand_answers() {
        let running = identity(&config());
        let mut stream = running.connect();
        let queries: Vec<u8> = (0..1_000).flat_map(|id| framed(&query(id))).collect();
        stream.write_all(&queries).unwrap();
        for id in 0..1_000 {
            assert_eq!(read_framed(&mut stream)[..2], u16::to_be_bytes(id));
        }
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_may_come_octet_by_octet_and_may_be_the_longest() {
        let running = identity(&config());
        let mut stream = running.connect();
        stream.set_nodelay(true).unwrap();
        for octet in framed(&query(3)) {
            stream.write_all(&[octet]).unwrap();
        }
        assert_eq!(read_framed(&mut stream)[..2], [0, 3]);
        let mut octets = vec![0x5a; 65_535];
        octets[2] = 0;
        stream.write_all(&framed(&octets)).unwrap();
        assert_eq!(read_framed(&mut stream).len(), 65_535);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_length_too_short_for_a_query_closes_after_the_answers_before_it() {
        let running = identity(&config());
        for length in [0, 11] {
            let mut stream = running.connect();
            stream.write_all(&framed(&query(4))).unwrap();
            stream.write_all(&framed(&query(5)[..length])).unwrap();
            assert_eq!(read_framed(&mut stream)[..2], [0, 4]);
            assert!(is_closed(&mut stream));
        }
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_connection_and_an_idle_one_are_closed() {
        let short = Duration::from_millis(50);
        let running = quick(TcpLimits {
            first_octet: short,
            ..TcpLimits::default()
        });
        assert!(is_closed(&mut running.connect()));
        running.stop().await;

        let running = quick(TcpLimits {
            idle: short,
            ..TcpLimits::default()
        });
        let mut stream = running.connect();
        stream.write_all(&framed(&query(6))).unwrap();
        assert_eq!(read_framed(&mut stream)[..2], [0, 6]);
        assert!(is_closed(&mut stream));
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_that_never_ends_is_closed_however_it_trickles() {
        let running = quick(TcpLimits {
            message: Duration::from_millis(100),
            ..TcpLimits::default()
        });
        // A length larger than the body.
        let mut stream = running.connect();
        stream.write_all(&[0, 100, 1, 2, 3]).unwrap();
        assert!(is_closed(&mut stream));
        // One octet at a time, for ever: at some time it cannot be written any more.
        let mut stream = running.connect();
        stream.write_all(&[0xff]).unwrap();
        while stream.write_all(&[0xff]).is_ok() {
            std::thread::yield_now();
        }
        assert_answers(running.address(), 8);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_never_pauses_is_served_for_longer_than_one_message_may_take() {
        let running = quick(TcpLimits {
            message: Duration::from_millis(200),
            ..TcpLimits::default()
        });
        let mut stream = running.connect();
        // From now on the server always holds a part of a message.
        let octets = framed(&query(7));
        let (head, tail) = octets.split_at(5);
        stream.write_all(head).unwrap();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(&[tail, head].concat()).unwrap();
            assert_eq!(read_framed(&mut stream)[..2], [0, 7]);
        }
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_takes_no_answers_is_closed() {
        let running = quick(TcpLimits {
            write: Duration::from_millis(50),
            ..TcpLimits::default()
        });
        let mut stream = running.connect();
        let mut octets = vec![0; 60_000];
        octets[2] = 0;
        let framed = framed(&octets);
        while stream.write_all(&framed).is_ok() {}
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_over_the_limit_is_closed_and_the_others_live() {
        over_the_limit(TcpLimits {
            connections_max: 2,
            ..TcpLimits::default()
        })
        .await;
        over_the_limit(TcpLimits {
            client_connections_max: 2,
            ..TcpLimits::default()
        })
        .await;
    }

    async fn over_the_limit(limits: TcpLimits) {
        let running = quick(limits);
        let mut kept: Vec<_> = (0..2).map(|_| running.connect()).collect();
        for stream in &mut kept {
            stream.write_all(&framed(&query(1))).unwrap();
            read_framed(stream);
        }
        assert!(is_closed(&mut running.connect()));
        let text = running.metrics.text();
        assert!(
            text.contains("herald_dns_tcp_turned_away_total 1"),
            "{text}"
        );
        assert!(text.contains("herald_dns_tcp_connections 2"), "{text}");
        kept[0].write_all(&framed(&query(2))).unwrap();
        assert_eq!(read_framed(&mut kept[0])[..2], [0, 2]);
        running.stop().await;
        assert!(is_closed(&mut kept[1]));
    }
}

mod slow {
    use std::fmt::Write as _;

    use super::*;

    fn zones() -> StaticZones {
        StaticZones::load(Path::new("zones")).unwrap()
    }

    fn question(name: &str, record: RecordType, edns: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.parse::<Name>().unwrap(), record));
        if let Some(octets) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(octets);
            message.edns = Some(edns);
        }
        message.to_vec().unwrap()
    }

    fn read(octets: &[u8]) -> Message {
        Message::from_vec(octets).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_static_zone_is_answered_over_udp_and_tcp() {
        let running = begin(&config(), zones(), || Hand);
        let octets = question("www.example.", RecordType::A, Some(1_232));
        let answer = read(&ask_udp(&running.client(), &octets));
        assert_eq!(answer.metadata.id, 77);
        assert!(answer.metadata.authoritative);
        assert_eq!(answer.answers.len(), 2);
        let mut stream = running.connect();
        stream.write_all(&framed(&octets)).unwrap();
        assert_eq!(read(&read_framed(&mut stream)).answers.len(), 2);
        let missing = question("nowhere.example.", RecordType::A, None);
        let answer = read(&ask_udp(&running.client(), &missing));
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(matches!(answer.authorities[0].data, RData::SOA(_)));
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_question_counts_once_and_its_stale_answer_too() {
        let running = begin(&config(), StaticZones::none(), Stale::default);
        ask_udp(&running.client(), &query(7));
        let mut stream = running.connect();
        for _ in 0..2 {
            stream.write_all(&framed(&query(7))).unwrap();
            read_framed(&mut stream);
        }
        let text = running.metrics.text();
        for line in [
            "herald_dns_questions_total{transport=\"udp\",type=\"SRV\"} 1",
            "herald_dns_questions_total{transport=\"tcp\",type=\"SRV\"} 2",
            "herald_dns_slow_total{transport=\"udp\"} 1",
            "herald_dns_slow_total{transport=\"tcp\"} 2",
            "herald_dns_stale_answers_total{transport=\"udp\"} 1",
            "herald_dns_stale_answers_total{transport=\"tcp\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        running.stop().await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_answer_leaves_from_the_address_that_was_asked() {
        let addresses = vec!["0.0.0.0".parse().unwrap()];
        let running = begin(
            &Config {
                addresses,
                ..config()
            },
            zones(),
            || Hand,
        );
        let asked = SocketAddr::new("127.0.0.5".parse().unwrap(), running.address().port());
        let octets = question("www.example.", RecordType::AAAA, None);
        assert_eq!(read(&ask_udp(&client(asked), &octets)).answers.len(), 1);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_gets_no_more_octets_than_it_takes() {
        let directory = tempfile("limits");
        let mut text =
            String::from("@ 60 IN SOA ns host 1 1 1 1 1\n@ IN NS ns\nns IN A 192.0.2.1\n");
        for host in 0..100 {
            writeln!(text, "big IN A 192.0.2.{host}").unwrap();
        }
        std::fs::write(directory.join("limits.test.zone"), text).unwrap();
        let zones = StaticZones::load(&directory).unwrap();
        assert_eq!(zones.origins(), ["limits.test."]);
        let running = begin(&config(), zones, || Hand);
        for (edns, most) in [(None, 512), (Some(100), 512), (Some(1_000), 1_000)] {
            let octets = question("big.limits.test.", RecordType::A, edns);
            let octets = ask_udp(&running.client(), &octets);
            assert!(octets.len() <= most, "{} of {most}", octets.len());
            assert!(read(&octets).metadata.truncation);
        }
        let mut stream = running.connect();
        let octets = question("big.limits.test.", RecordType::A, None);
        stream.write_all(&framed(&octets)).unwrap();
        let answer = read(&read_framed(&mut stream));
        assert_eq!(
            (answer.answers.len(), answer.metadata.truncation),
            (100, false)
        );
        running.stop().await;
        std::fs::remove_dir_all(directory).unwrap();
    }

    fn assert_failure(octets: &[u8], edns: bool) {
        let answer = read(octets);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(answer.metadata.id, 77);
        assert!(answer.metadata.recursion_desired);
        assert_eq!(answer.queries.len(), 1);
        assert_eq!(answer.edns.is_some(), edns);
        if edns {
            // Option 15, two octets, code 22 (RFC 8914 §2).
            assert!(octets.ends_with(&[0, 15, 0, 2, 0, 22]));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_is_late_or_finds_no_room_gets_servfail() {
        let late = SlowLimits {
            concurrent_max: 0,
            deadline: Duration::from_millis(20),
            ..SlowLimits::default()
        };
        let full = SlowLimits {
            queries_max: 0,
            ..SlowLimits::default()
        };
        for (limits, metric) in [(late, "dns_slow_late"), (full, "dns_slow_full")] {
            let running = begin(
                &Config {
                    slow: limits,
                    ..config()
                },
                zones(),
                || Hand,
            );
            for edns in [None, Some(1_232)] {
                let octets = question("www.example.", RecordType::A, edns);
                assert_failure(&ask_udp(&running.client(), &octets), edns.is_some());
                let mut stream = running.connect();
                stream.write_all(&framed(&octets)).unwrap();
                assert_failure(&read_framed(&mut stream), edns.is_some());
            }
            let text = running.metrics.text();
            assert!(text.contains(&format!("herald_{metric}_total 4")), "{text}");
            running.stop().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_no_zone_covers_is_answered_from_memory() {
        let running = begin(&config(), zones(), || Hand);
        let octets = question("web.service.consul.", RecordType::A, None);
        let answer = read(&ask_udp(&running.client(), &octets));
        assert_eq!(answer.metadata.response_code, ResponseCode::YXDomain);
        let mut stream = running.connect();
        stream.write_all(&framed(&octets)).unwrap();
        let answer = read(&read_framed(&mut stream));
        assert_eq!(answer.metadata.response_code, ResponseCode::YXDomain);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_malformed_query_that_nobody_answers_gets_servfail_with_its_header() {
        let running = begin(&config(), zones(), || Hand);
        let mut octets = query(77);
        octets[5] = 1;
        octets.extend_from_slice(&[60, 1, 2]);
        let answer = ask_udp(&running.client(), &octets);
        assert_eq!(answer, [0, 77, 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        running.stop().await;
    }
}

mod zones {
    use super::*;

    fn load(file: &str, text: &str) -> String {
        let directory = tempfile(file);
        std::fs::write(directory.join(file), text).unwrap();
        let error = StaticZones::load(&directory).unwrap_err().to_string();
        std::fs::remove_dir_all(directory).unwrap();
        error
    }

    #[test]
    fn a_bad_file_is_named_with_its_reason() {
        for (file, text, reason) in [
            (
                "soa.zone",
                "@ 60 IN A 192.0.2.1\n",
                "SOA record must be present",
            ),
            ("type.zone", "@ IN WHAT 1\n", "WHAT"),
            (
                "long.zone",
                &format!("@ IN TXT {}\n", "x".repeat(5_000)),
                "line 1 has 5009 octets",
            ),
            (
                "include.zone",
                "$INCLUDE /etc/passwd\n",
                "$INCLUDE is not supported",
            ),
            ("a..b.zone", "", "not a domain name"),
        ] {
            let error = load(file, text);
            assert!(error.contains(file) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = StaticZones::load(Path::new("/nonexistent/zones")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read zones in /nonexistent/zones: ")
        );
    }

    #[test]
    fn the_shipped_example_loads() {
        assert_eq!(
            StaticZones::load(Path::new("zones")).unwrap().origins(),
            ["example."]
        );
    }
}

/// An empty directory of its own for a test.
fn tempfile(name: &str) -> std::path::PathBuf {
    let unique = format!("herald-{name}-{}", uuid::Uuid::new_v4());
    let directory = std::env::temp_dir().join(unique);
    std::fs::create_dir(&directory).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_query_and_is_counted() {
    both(|config| {
        // Printing the panic may take longer than the deadline of the queries behind it.
        let config = Config {
            queue_deadline: Duration::from_secs(60),
            ..config
        };
        let running = begin(&config, StaticZones::none(), Fragile::default);
        let client = running.client();
        for id in [1, 13, 2, 3] {
            client.send(&query(id)).unwrap();
        }
        let ids = [(); 3].map(|()| {
            let mut answer = [0; 64];
            client.recv(&mut answer).unwrap();
            answer[1]
        });
        assert_eq!(ids, [1, 2, 3]);
        let totals = running.settled();
        assert_eq!((totals.answered, totals.dropped), (3, 1));
        let text = running.metrics.text();
        assert!(text.contains("herald_dns_panics_total{transport=\"udp\"} 1"));
    });
}
