//! Connections through real sockets, with a small service; where time matters, through memory.

mod bounds;
mod calls;
mod random;
mod transcripts;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;

use super::*;
use crate::rpc::codec::{RequestHeader, ResponseHeader};
use crate::rpc::{Answered, Call, Fault, octet};

/// Longest wait for what must come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the recorded server answers to `Status.Leader`.
const LEADER: &[u8] = b"\xb0127.0.0.81:27300";

/// A service with one method for each way in which calls end.
struct TestService {
    /// Calls that wait for ever.
    parked: watch::Sender<usize>,
}

struct Parked<'a>(&'a watch::Sender<usize>);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|parked| *parked -= 1);
    }
}

impl TestService {
    async fn park(&self) -> Answered {
        self.parked.send_modify(|parked| *parked += 1);
        let _parked = Parked(&self.parked);
        std::future::pending().await
    }
}

impl Service for TestService {
    fn call<'a>(&'a self, call: Call<'a>) -> Pending<'a, Answered> {
        Box::pin(async move {
            match call.method {
                "Test.Echo" => Ok(call.body.to_vec()),
                "Test.Fail" => Err(Fault::Answer("no such node".to_owned())),
                "Test.Park" => self.park().await,
                "Test.Panic" => panic!("a defect of the service"),
                "Test.Large" => Ok(large(call.body)),
                "Status.Leader" => Ok(LEADER.to_vec()),
                method => Err(Fault::Call(format!("rpc: can't find method {method}"))),
            }
        })
    }

    fn snapshot<'a>(&'a self, request: &'a [u8]) -> Pending<'a, Vec<u8>> {
        Box::pin(async move { [b"\x92\x01", request].concat() })
    }
}

/// A value as long as `body`, a number of MiB, says.
fn large(body: &[u8]) -> Vec<u8> {
    let length = usize::from(body[0]) << 20;
    let mut value = vec![0xdb];
    value.extend(u32::try_from(length).unwrap().to_be_bytes());
    value.resize(5 + length, b'x');
    value
}

fn config() -> Config {
    Config {
        bind: ([127, 0, 0, 1], 0).into(),
        connections_max: 1_000,
        connections_of_client_max: 900,
        handshake_timeout: Duration::from_secs(5),
        streams_max: 100,
        request_octets_max: 1 << 20,
        tls: None,
        tls_only: false,
    }
}

/// A server, with what is needed to watch it.
struct Served {
    address: SocketAddr,
    of_client_max: Arc<AtomicUsize>,
    parked: watch::Receiver<usize>,
    counts: Counts,
    /// Serves connections that do not come through the socket.
    server: Arc<Server>,
    tasks: Tasks,
}

impl Served {
    fn start(config: Config) -> Self {
        let (sender, parked) = watch::channel(0);
        let handlers = Handlers {
            service: Arc::new(TestService { parked: sender }),
            raft: None,
        };
        let (tasks, counts) = (Tasks::new(), Counts::new(&Metrics::new()));
        let listener = Listener::bind(config.clone()).unwrap();
        let (address, of_client_max) = (listener.address(), listener.connections_of_client_max());
        listener.start(handlers.clone(), counts.clone(), &tasks);
        Self {
            address,
            of_client_max,
            parked,
            server: server(config, handlers, counts.clone(), &tasks),
            counts,
            tasks,
        }
    }

    async fn connect(&self, first: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(first).await.unwrap();
        stream
    }

    /// A connection in memory.
    async fn duplex(&self, first: &[u8]) -> DuplexStream {
        let (near, far) = duplex(1 << 20);
        let server = Arc::clone(&self.server);
        let peer = SocketAddr::from(([127, 0, 0, 9], 9));
        self.tasks
            .spawn(async move { server.serve(far, peer).await });
        let mut near = near;
        near.write_all(first).await.unwrap();
        near
    }

    /// Waits until so many calls wait for ever.
    async fn parked(&mut self, count: usize) {
        let parked = self.parked.wait_for(|parked| *parked == count);
        drop(
            tokio::time::timeout(PATIENCE, parked)
                .await
                .unwrap()
                .unwrap(),
        );
    }

    /// Whether a new connection and a new session answer.
    async fn assert_answers(&self) {
        let mut plain = self.connect(&[octet::CALLS]).await;
        plain
            .write_all(&request(1, "Test.Echo", b"\x2a"))
            .await
            .unwrap();
        let expected = response(1, "Test.Echo", "", b"\x2a");
        assert_eq!(take(&mut plain, expected.len()).await, expected);
    }
}

fn request(sequence: u64, method: &str, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let method = method.to_owned();
    RequestHeader { method, sequence }.write(&mut octets);
    octets.extend(body);
    octets
}

fn response(sequence: u64, method: &str, error: &str, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let header = ResponseHeader {
        error: error.to_owned(),
        method: method.to_owned(),
        sequence,
    };
    header.write(&mut octets);
    octets.extend(body);
    octets
}

/// The next octets.
async fn take(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut octets = vec![0; count];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut octets));
    read.await.expect("octets come in time").unwrap();
    octets
}

/// What comes until the other end closes, with or without grace.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut octets = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut octets));
    // A connection that is closed with octets unread is reset.
    let _ = read.await.expect("the connection is closed in time");
    octets
}

/// A frame of a session.
fn frame(kind: u8, flags: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0, kind];
    octets.extend(flags.to_be_bytes());
    octets.extend(stream.to_be_bytes());
    octets.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    octets.extend(payload);
    octets
}

const SYN: u16 = 1;
const FIN: u16 = 4;
const RST: u16 = 8;

/// Kind, flags, stream, octets.
type Frame = (u8, u16, u32, Vec<u8>);

/// The next frame that says something: acknowledgements and windows do not.
async fn next_frame(stream: &mut (impl AsyncRead + Unpin)) -> Frame {
    loop {
        let header = take(stream, 12).await;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let flags = u16::from_be_bytes([header[2], header[3]]);
        let length = if header[1] == 0 { word(8) } else { 0 };
        let payload = take(stream, usize::try_from(length).unwrap()).await;
        if header[1] != 1 || flags & (FIN | RST) != 0 {
            return (header[1], flags, word(4), payload);
        }
    }
}
