//! Streams as they travel, around their plain content: label, encryption, compression.
//!
//! A peer does not close its side when it has said all; the end is known from the content.
//! [`Assembler`] finds it, and refuses what is too long before it is read.

use std::sync::Arc;

use super::compression::{Inflater, append_stream, read_compressed};
use super::encryption::{Ciphers, SEAL_OCTETS};
use super::packet::append_label;
use super::stream::{PushPullHeader, USER_OCTETS_MAX, read_user_header};
use super::{Dropped, Malformed, Settings, kind};
use crate::gossip::keyring::Keyring;
use crate::msgpack::{Reader, Scanner};

/// Octets at most that a stream may have as it travels, if it is encrypted or compressed.
pub const STREAM_OCTETS_MAX: usize = 20 << 20;

/// Octets at most of the plain content of a stream.
pub const CONTENT_OCTETS_MAX: usize = 40 << 20;

/// Octets at most of a message that is not as long as the pool is large.
const SMALL_OCTETS_MAX: usize = 64 << 10;

/// Octets of the type and the length before what is encrypted.
const ENCRYPTED_HEAD_OCTETS: usize = 5;

/// Wraps the plain content of a stream.
///
/// # Panics
/// The content is longer than 4 GiB.
pub fn seal_stream(plain: &[u8], settings: &Settings, keyring: Option<&Arc<Keyring>>) -> Vec<u8> {
    let mut content = Vec::new();
    if settings.compress {
        append_stream(plain, &mut content);
    }
    let content = if settings.compress { &content } else { plain };
    let ciphers = Ciphers::new(keyring.filter(|_| settings.verify_outgoing));
    let mut out = Vec::with_capacity(content.len() + 2 * SEAL_OCTETS + settings.label.len());
    append_label(&settings.label, &mut out);
    if ciphers.is_empty() {
        out.extend_from_slice(content);
        return out;
    }
    let length = u32::try_from(content.len() + SEAL_OCTETS)
        .expect("the state of a pool is shorter than 4 GiB");
    let mut along = vec![kind::ENCRYPTED];
    along.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&along);
    along.extend_from_slice(&settings.label);
    ciphers.seal(&along, &mut out, |out| out.extend_from_slice(content));
    out
}

/// Takes one side of a stream as it arrives, until its plain content is complete.
#[derive(Debug)]
pub struct Assembler {
    settings: Settings,
    ciphers: Ciphers,
    stage: Stage,
    /// What has arrived of the layer that is being read; the layers around it are gone.
    octets: Vec<u8>,
    /// Whether no more octets can come, as this layer came out of another.
    whole: bool,
}

#[derive(Debug)]
enum Stage {
    Label,
    Outside,
    Encrypted { octets: usize },
    Content,
    Compressed { scanner: Scanner },
    Message(Ending),
    Complete { octets: usize },
    Dropped(Dropped),
}

/// How the end of a message is found. All scanners begin behind the type octet.
#[derive(Debug)]
enum Ending {
    /// It is a single map.
    Map { scanner: Scanner },
    /// A map says what follows.
    Head { kind: u8, scanner: Scanner },
    /// Behind `head_octets` there are nodes, then `user_octets`.
    Body {
        head_octets: usize,
        nodes: Scanner,
        user_octets: usize,
    },
}

impl Assembler {
    /// Waits for the first octet.
    pub fn new(settings: Settings, keyring: Option<&Arc<Keyring>>) -> Self {
        Self {
            settings,
            ciphers: Ciphers::new(keyring),
            stage: Stage::Label,
            octets: Vec::new(),
            whole: false,
        }
    }

    /// Takes what has arrived. Returns the plain content once it is complete; what arrives after
    /// that is ignored.
    ///
    /// # Errors
    /// Why the stream is dropped. No more octets can make it good.
    pub fn push(&mut self, arrived: &[u8]) -> Result<Option<&[u8]>, Dropped> {
        if !matches!(self.stage, Stage::Complete { .. } | Stage::Dropped(_)) {
            self.octets.extend_from_slice(arrived);
            if let Err(dropped) = self.advance() {
                self.octets = Vec::new();
                self.stage = Stage::Dropped(dropped);
            }
        }
        match &self.stage {
            Stage::Complete { octets } => Ok(self.octets.get(..*octets)),
            Stage::Dropped(dropped) => Err(*dropped),
            _ => Ok(None),
        }
    }

    /// Why a stream is dropped that ends before it is complete.
    pub fn cut() -> Dropped {
        Dropped::Malformed("stream ends inside the message")
    }

    /// Goes from stage to stage until there is no next one yet.
    fn advance(&mut self) -> Result<(), Dropped> {
        loop {
            let next = match &mut self.stage {
                Stage::Label => self.strip_label()?,
                Stage::Outside => self.outside()?,
                Stage::Encrypted { octets } => {
                    let octets = *octets;
                    self.decrypt(octets)?
                }
                Stage::Content => begin(&self.octets, true)?,
                Stage::Compressed { scanner } => {
                    let body = self.octets.get(1..).unwrap_or_default();
                    match scanner.advance(body).map_err(Malformed::from)? {
                        Some(octets) => Some(self.inflate(octets)?),
                        None => None,
                    }
                }
                Stage::Message(ending) => ending.advance(&self.octets)?,
                Stage::Complete { .. } | Stage::Dropped(_) => return Ok(()),
            };
            match next {
                Some(stage) => self.stage = stage,
                None if self.whole => return Err(Self::cut()),
                None => return Ok(()),
            }
        }
    }

    fn strip_label(&mut self) -> Result<Option<Stage>, Dropped> {
        let mut head = Vec::new();
        append_label(&self.settings.label, &mut head);
        if head.is_empty() {
            return match self.octets.first() {
                Some(&kind::LABEL) => Err(Dropped::Label),
                Some(_) => Ok(Some(Stage::Outside)),
                None => Ok(None),
            };
        }
        if let Some(rest) = self.octets.strip_prefix(head.as_slice()) {
            self.octets = rest.to_vec();
            return Ok(Some(Stage::Outside));
        }
        if head.starts_with(&self.octets) {
            return Ok(None);
        }
        Err(Dropped::Label)
    }

    fn outside(&mut self) -> Result<Option<Stage>, Dropped> {
        let Some((kind, rest)) = self.octets.split_first() else {
            return Ok(None);
        };
        if *kind != kind::ENCRYPTED {
            if !self.ciphers.is_empty() && self.settings.verify_incoming {
                return Err(Dropped::Malformed(
                    "encryption is configured but remote state is not encrypted",
                ));
            }
            return Ok(Some(Stage::Content));
        }
        if self.ciphers.is_empty() {
            return Err(Dropped::Malformed(
                "remote state is encrypted and encryption is not configured",
            ));
        }
        let Some(length) = rest.first_chunk() else {
            return Ok(None);
        };
        let octets = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if octets > STREAM_OCTETS_MAX {
            return Err(Dropped::Malformed(
                "remote node state is larger than the limit of 20 MiB",
            ));
        }
        Ok(Some(Stage::Encrypted { octets }))
    }

    fn decrypt(&mut self, octets: usize) -> Result<Option<Stage>, Dropped> {
        let Some((head, rest)) = self.octets.split_at_checked(ENCRYPTED_HEAD_OCTETS) else {
            return Ok(None);
        };
        let Some(sealed) = rest.get(..octets) else {
            return Ok(None);
        };
        let along = [head, &self.settings.label].concat();
        let mut plain = Vec::new();
        self.ciphers.open(&along, sealed, &mut plain)?;
        self.octets = plain;
        self.whole = true;
        Ok(Some(Stage::Content))
    }

    fn inflate(&mut self, octets: usize) -> Result<Stage, Dropped> {
        let body = self.octets.get(1..=octets).unwrap_or_default();
        let compressed = read_compressed(body)?;
        let mut room = Vec::new();
        let octets = Inflater::new().inflate(compressed, &mut room, CONTENT_OCTETS_MAX)?;
        room.truncate(octets);
        self.octets = room;
        self.whole = true;
        begin(&self.octets, false)?.ok_or(Self::cut())
    }
}

/// The stage for content of which the first octet is there.
fn begin(content: &[u8], compressed: bool) -> Result<Option<Stage>, Dropped> {
    let Some(&kind) = content.first() else {
        return Ok(None);
    };
    Ok(Some(match kind {
        kind::COMPRESSED if compressed => Stage::Compressed {
            scanner: Scanner::new(1, STREAM_OCTETS_MAX),
        },
        kind::COMPRESSED => return Err(Dropped::Malformed("nested compression")),
        kind::PING | kind::ACK | kind::ERROR => Stage::Message(Ending::Map {
            scanner: Scanner::new(1, SMALL_OCTETS_MAX),
        }),
        kind::PUSH_PULL | kind::USER => Stage::Message(Ending::Head {
            kind,
            scanner: Scanner::new(1, SMALL_OCTETS_MAX),
        }),
        _ => {
            return Err(Dropped::Malformed(
                "message type is not supported on streams",
            ));
        }
    }))
}

impl Ending {
    /// The next stage, if `content` has what this one waits for.
    fn advance(&mut self, content: &[u8]) -> Result<Option<Stage>, Malformed> {
        let body = content.get(1..).unwrap_or_default();
        Ok(match self {
            Self::Map { scanner } => scanner
                .advance(body)?
                .map(|octets| Stage::Complete { octets: 1 + octets }),
            Self::Head { kind, scanner } => match scanner.advance(body)? {
                Some(octets) => Some(Stage::Message(Self::body(*kind, octets, body)?)),
                None => None,
            },
            Self::Body {
                head_octets,
                nodes,
                user_octets,
            } => {
                let bodies = content.get(*head_octets..).unwrap_or_default();
                let ends = nodes.advance(bodies)?;
                ends.map(|octets| *head_octets + octets + *user_octets)
                    .filter(|octets| *octets <= content.len())
                    .map(|octets| Stage::Complete { octets })
            }
        })
    }

    /// Reads the head of a message, `octets` long at the beginning of `body`.
    fn body(kind: u8, octets: usize, body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body.get(..octets).unwrap_or_default());
        let (nodes, user_octets) = if kind == kind::USER {
            (0, read_user_header(&mut reader)?)
        } else {
            let header = PushPullHeader::decode(&mut reader)?;
            (header.nodes, header.user_octets)
        };
        Ok(Self::Body {
            head_octets: 1 + octets,
            nodes: Scanner::new(nodes, CONTENT_OCTETS_MAX - USER_OCTETS_MAX),
            user_octets,
        })
    }
}
