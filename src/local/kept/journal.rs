//! A file of lines that is only ever appended to, and now and then written anew.
//!
//! Its first line says what it is and in which version. A line that is damaged is left out, told of
//! and put into a file of its own beside it; the others count.
//!
//! **Invariant**: after a failed append the file ends where it ended before, or is written anew
//! before anything else is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{self, LineError, Record};
use super::{FileError, OpenError};

/// The version that this program writes.
const VERSION: u32 = 1;
/// A file is not written anew below this size, in octets.
const REWRITE_FROM: u64 = 1 << 20;
/// Nor before it is this many times what it was after the last time.
const REWRITE_FACTOR: u64 = 4;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    herald: String,
    version: u32,
}

/// What a journal is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Whether what is appended must survive a power failure.
    pub(super) durable: bool,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    kind: Kind,
    pub(super) file: File,
    /// Where the last line ends that counts.
    octets: u64,
    rewrite_at: u64,
    broken: bool,
}

/// What the lines of a file were.
#[derive(Debug, Default)]
struct Content {
    lines: Vec<Vec<Record>>,
    /// Those that are not understood, with their number and the reason.
    damaged: Vec<(usize, Vec<u8>, LineError)>,
    /// Whether the last one has no end: its write was cut off, and nobody was told that it is kept.
    torn: bool,
}

impl Journal {
    /// Opens or makes the file, and reads its lines in order.
    ///
    /// # Errors
    /// It cannot be read or written, or is of a later version.
    pub(super) fn open(
        directory: &Path,
        kind: Kind,
    ) -> Result<(Self, Vec<Vec<Record>>), OpenError> {
        let path = directory.join(kind.name);
        let octets = match std::fs::read(&path) {
            Ok(octets) => Some(octets),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(FileError::new("read", &path, source).into()),
        };
        let content = octets.as_deref().map(|octets| read(octets, kind));
        let content = match content {
            None => None,
            Some(Ok(content)) => Some(content),
            Some(Err(version)) => {
                return Err(OpenError::Newer {
                    path,
                    version,
                    known: VERSION,
                });
            }
        };
        let whole = content
            .as_ref()
            .is_some_and(|content| content.damaged.is_empty() && !content.torn);
        let content = content.unwrap_or_default();
        set_aside(&path, &content.damaged)?;
        let (file, length) = if whole {
            let file = OpenOptions::new().append(true).open(&path);
            let file = file.map_err(|source| FileError::new("open", &path, source))?;
            (file, octets.map_or(0, |octets| octets.len()))
        } else {
            let text = encode(kind, &content.lines);
            let (file, lasts) = replace(&path, &text)?;
            lasts?;
            (file, text.len())
        };
        let octets = u64::try_from(length).unwrap_or(u64::MAX);
        let journal = Self {
            path,
            kind,
            file,
            octets,
            rewrite_at: REWRITE_FROM.max(octets.saturating_mul(2)),
            broken: false,
        };
        Ok((journal, content.lines))
    }

    /// Whether it is time to write it anew.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.broken || self.octets >= self.rewrite_at
    }

    /// Appends lines, all or none.
    ///
    /// # Errors
    /// They cannot be written. None of them counts.
    pub(super) fn append(&mut self, lines: &[Vec<Record>]) -> Result<(), FileError> {
        if self.broken {
            let source = io::Error::other("an earlier write has left it in an unknown state");
            return Err(FileError::new("write", &self.path, source));
        }
        let mut text = Vec::new();
        for line in lines {
            append_line(line, &mut text);
        }
        let written = self.file.write_all(&text);
        let synced = written.and_then(|()| {
            if self.kind.durable {
                self.file.sync_data().inspect_err(|_| self.broken = true)
            } else {
                Ok(())
            }
        });
        if let Err(source) = synced {
            self.broken |= self.file.set_len(self.octets).is_err();
            return Err(FileError::new("write", &self.path, source));
        }
        self.octets += u64::try_from(text.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Writes the file anew: it then holds `records` and nothing else.
    ///
    /// # Errors
    /// It cannot be written: the file is as it was. Or whether it lasts is not known: then nothing is
    /// appended before it is written anew.
    pub(super) fn rewrite(&mut self, records: Vec<Record>) -> Result<(), FileError> {
        let lines: Vec<_> = records.into_iter().map(|record| vec![record]).collect();
        let text = encode(self.kind, &lines);
        match replace(&self.path, &text) {
            Ok((file, lasts)) => {
                // It has the name now, whatever happened after that: nothing goes to the old one.
                self.file = file;
                self.octets = u64::try_from(text.len()).unwrap_or(u64::MAX);
                self.rewrite_at = REWRITE_FROM.max(self.octets.saturating_mul(REWRITE_FACTOR));
                self.broken = lasts.is_err();
                lasts
            }
            Err(error) => {
                // Not at every write.
                self.rewrite_at = self.rewrite_at.saturating_mul(2);
                Err(error)
            }
        }
    }
}

/// Reads all lines; the version instead where it is a later one.
fn read(octets: &[u8], kind: Kind) -> Result<Content, u32> {
    let mut content = Content::default();
    let mut lines = octets.split(|octet| *octet == b'\n').enumerate().peekable();
    while let Some((place, line)) = lines.next() {
        if lines.peek().is_none() {
            // What follows the last line's end: nothing, but in an empty file too.
            content.torn = !line.is_empty() || place == 0;
            break;
        }
        if place == 0 {
            match serde_json::from_slice::<Header>(line) {
                Ok(header) if header.version > VERSION => return Err(header.version),
                Ok(header) if header.herald == kind.name => {}
                Ok(_) => content.damaged.push((1, line.to_vec(), LineError::Header)),
                Err(error) => content.damaged.push((1, line.to_vec(), error.into())),
            }
            continue;
        }
        match record::read(line) {
            Ok(records) => content.lines.push(records),
            Err(error) => content.damaged.push((place + 1, line.to_vec(), error)),
        }
    }
    Ok(content)
}

/// Tells of damaged lines and keeps them in a file of their own, for people.
fn set_aside(path: &Path, damaged: &[(usize, Vec<u8>, LineError)]) -> Result<(), FileError> {
    if damaged.is_empty() {
        return Ok(());
    }
    let aside = path.with_extension("damaged");
    let mut text = Vec::new();
    for (number, line, reason) in damaged {
        tracing::error!(
            "{}: line {number} is damaged and left out, it is kept in {}: {reason}",
            path.display(),
            aside.display()
        );
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let write = || {
        let mut file = private().append(true).create(true).open(&aside)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|source| FileError::new("write", &aside, source))
}

fn encode(kind: Kind, lines: &[Vec<Record>]) -> Vec<u8> {
    let header = Header {
        herald: kind.name.to_owned(),
        version: VERSION,
    };
    let mut text = serde_json::to_vec(&header).expect("a text and a number can be written");
    text.push(b'\n');
    for line in lines {
        append_line(line, &mut text);
    }
    text
}

fn append_line(line: &[Record], text: &mut Vec<u8>) {
    record::write(line, text).expect("a record has no map whose keys are no texts");
}

/// Puts a file in the place of another, whole or not at all: the file, and whether its name lasts.
///
/// # Errors
/// The file is not in that place.
fn replace(path: &Path, text: &[u8]) -> Result<(File, Result<(), FileError>), FileError> {
    let temporary = path.with_extension("new");
    let failed = |source| FileError::new("write", path, source);
    let write = || {
        if let Err(error) = std::fs::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = private().append(true).create_new(true).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        // What is needed after the change of names is there before it.
        let directory = path.parent().map(File::open).transpose()?;
        std::fs::rename(&temporary, path)?;
        Ok((file, directory))
    };
    let (file, directory) = write().map_err(|source| {
        drop(std::fs::remove_file(&temporary));
        failed(source)
    })?;
    let lasts = directory.map_or(Ok(()), |directory| directory.sync_all());
    Ok((file, lasts.map_err(failed)))
}

/// Tokens and addresses of others are nobody's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
