//! One message of a stream, read until it is whole or written: senders do not half-close, so its
//! end follows from what it holds.
//!
//! Time is bounded by whoever calls; what a message may take of memory by [`Assembler`] for one
//! stream, and here for all streams of a pool together.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dial::reason;
use crate::gossip::keyring::Keyring;
use crate::gossip::wire::{Assembler, Dropped, Settings, StreamMessage, seal_stream};

/// Octets that one read takes at most.
const READ_OCTETS: usize = 64 * 1_024;

/// Octets of messages that arrive or wait to be taken in, unwrapped, over all streams of a pool: a
/// few members may send the largest there can be, but 128 strangers together cannot take the memory
/// of the machine.
const HELD_OCTETS_MAX: usize = 128 * 1_024 * 1_024;

/// Why a stream ended without its message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The other side closed, or the network failed.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
    /// What came is no message: the other side is told so.
    #[error(transparent)]
    Dropped(#[from] Dropped),
    /// All streams together hold too much: the other side is told so.
    #[error("streams hold more than {HELD_OCTETS_MAX} octets")]
    Memory,
}

/// How the streams of a pool are wrapped. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    settings: Settings,
    keyring: Arc<ArcSwapOption<Keyring>>,
    held: Arc<AtomicUsize>,
}

impl Streams {
    /// With these settings and, if there are any, the keys of the time.
    pub(crate) fn new(settings: Settings, keyring: Arc<ArcSwapOption<Keyring>>) -> Self {
        Self {
            settings,
            keyring,
            held: Arc::default(),
        }
    }

    /// Reads one message; what is given back is its plain content.
    ///
    /// # Errors
    /// It did not become whole.
    pub(crate) async fn read(&self, stream: &mut TcpStream) -> Result<Content, StreamError> {
        let keyring = self.keyring.load_full();
        let mut assembler = Assembler::new(self.settings.clone(), keyring.as_ref());
        let mut held = Held {
            octets: 0,
            of: Arc::clone(&self.held),
        };
        let mut buffer = vec![0; READ_OCTETS];
        loop {
            let octets = stream.read(&mut buffer).await?;
            if octets == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            held.add(octets)?;
            let arrived = buffer.get(..octets).unwrap_or_default();
            if let Some(content) = assembler.push(arrived)? {
                // A few octets may stand for very many.
                held.add(content.len())?;
                let octets = content.to_vec();
                return Ok(Content { octets, held });
            }
        }
    }

    /// Writes one message whose plain content is `content`.
    ///
    /// # Errors
    /// The other side closed, or the network failed.
    pub(crate) async fn write(&self, stream: &mut TcpStream, content: &[u8]) -> io::Result<()> {
        let keyring = self.keyring.load_full();
        let sealed = seal_stream(content, &self.settings, keyring.as_ref());
        stream.write_all(&sealed).await?;
        stream.flush().await
    }

    /// Tells the other side that its message could not be read.
    pub(crate) async fn refuse(&self, stream: &mut TcpStream, error: &str) -> io::Result<()> {
        let mut content = Vec::new();
        StreamMessage::Error(error).encode(&mut content);
        self.write(stream, &content).await?;
        stream.shutdown().await
    }
}

/// The plain content of a message; counts towards the bound on all streams until it is dropped.
#[derive(Debug)]
pub(crate) struct Content {
    octets: Vec<u8>,
    #[expect(dead_code, reason = "gives back its share when it is dropped")]
    held: Held,
}

impl Deref for Content {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

/// What one stream holds of the bound on all; free again when this is dropped.
#[derive(Debug)]
struct Held {
    octets: usize,
    of: Arc<AtomicUsize>,
}

impl Held {
    fn add(&mut self, octets: usize) -> Result<(), StreamError> {
        let before = self.of.fetch_add(octets, Ordering::Relaxed);
        self.octets += octets;
        if before.saturating_add(octets) > HELD_OCTETS_MAX {
            return Err(StreamError::Memory);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.octets, Ordering::Relaxed);
    }
}
