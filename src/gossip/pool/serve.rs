//! Streams that come in: one message, its answer, and the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::config::is_allowed;
use super::counts::StreamEnd;
use super::shared::{Command, Shared};
use crate::clients::Clients;
use crate::gossip::transport::{StreamError, canonical};
use crate::gossip::wire::{Ack, StreamMessage};

/// Streams of one address that are served at a time.
const STREAMS_OF_ONE_MAX: usize = 8;

/// Pause after the system refused to accept: descriptors are used up, and the next attempt would
/// be refused as well.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts streams until the pool closes, at most `streams_max` at a time.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, streams_max: usize) {
    let of_one = Arc::new(AtomicUsize::new(STREAMS_OF_ONE_MAX.min(streams_max)));
    let clients = Clients::new(streams_max, of_one);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok((stream, from)) => (stream, canonical(from)),
            Err(error) => {
                tracing::debug!("cannot accept a stream: {error}");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        if !is_allowed(&shared.allowed, from.ip()) {
            shared.counts.stream(StreamEnd::Network);
            continue;
        }
        let Ok(place) = clients.enter(from.ip()) else {
            shared.counts.stream(StreamEnd::TooMany);
            continue;
        };
        let of_task = Arc::clone(&shared);
        shared.spawn(async move {
            let served = timeout(of_task.stream_deadline, serve(&of_task, stream, from));
            let end = served.await.unwrap_or(StreamEnd::TimedOut);
            of_task.counts.stream(end);
            drop(place);
        });
    }
}

async fn serve(shared: &Shared, mut stream: TcpStream, from: SocketAddr) -> StreamEnd {
    let _ = stream.set_nodelay(true);
    let content = match shared.streams.read(&mut stream).await {
        Ok(content) => content,
        Err(StreamError::Io(_)) => return StreamEnd::Failed,
        Err(error) => return refuse(shared, stream, from, &error.to_string()).await,
    };
    let answer = match StreamMessage::decode(&content) {
        Ok(StreamMessage::PushPull(_)) => {
            let command = |reply| Command::Answer {
                from,
                content,
                reply,
            };
            match shared.ask(command).await {
                Some(answer) => answer,
                None => return StreamEnd::Failed,
            }
        }
        Ok(StreamMessage::Ping(ping)) if ping.node.is_empty() || *ping.node == *shared.name => {
            let mut answer = Vec::new();
            let ack = Ack {
                sequence: ping.sequence,
                payload: &[],
            };
            StreamMessage::Ack(ack).encode(&mut answer);
            answer
        }
        // Who is meant is not here: nobody answers, as over packets.
        Ok(StreamMessage::Ping(_)) => return StreamEnd::Served,
        Ok(StreamMessage::User(_)) => {
            shared.tell(Command::User { from, content }).await;
            return StreamEnd::Served;
        }
        // Answers belong to streams that this node opened.
        Ok(StreamMessage::Ack(_) | StreamMessage::Error(_)) => return StreamEnd::Unreadable,
        Err(malformed) => return refuse(shared, stream, from, &malformed.to_string()).await,
    };
    match shared.streams.write(&mut stream, &answer).await {
        Ok(()) => StreamEnd::Served,
        Err(_) => StreamEnd::Failed,
    }
}

/// Tells the other side why its message could not be read.
async fn refuse(
    shared: &Shared,
    mut stream: TcpStream,
    from: SocketAddr,
    error: &str,
) -> StreamEnd {
    tracing::debug!("stream from {from} could not be read: {error}");
    // Whether it hears it or not, the stream was no message.
    let _ = shared.streams.refuse(&mut stream, error).await;
    StreamEnd::Unreadable
}
