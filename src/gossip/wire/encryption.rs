//! Encryption of packets and streams: AES-GCM with the keys of a pool.
//!
//! What is sealed is a version, a nonce of 12 octets, the text, and a tag of 16. Version 1 is the
//! text as it is. Version 0, which old peers send and herald only reads, pads it to blocks of 16.

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::array::typenum::{U12, U16};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes192;
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, AesGcm, KeyInit, Nonce, Tag};
use rand::Rng;

use super::Dropped;
use crate::gossip::keyring::{Key, Keyring};

const VERSION_PADDED: u8 = 0;
const VERSION: u8 = 1;
const NONCE_OCTETS: usize = 12;
const TAG_OCTETS: usize = 16;
const BLOCK_OCTETS: usize = 16;

/// Octets that sealing adds.
pub(super) const SEAL_OCTETS: usize = 1 + NONCE_OCTETS + TAG_OCTETS;

/// A key made ready.
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Cipher {
    fn new(key: &Key) -> Self {
        const LENGTH: &str = "a key has 16, 24 or 32 octets";
        let octets = key.octets();
        match octets.len() {
            16 => Self::Aes128(Box::new(KeyInit::new_from_slice(octets).expect(LENGTH))),
            24 => Self::Aes192(Box::new(KeyInit::new_from_slice(octets).expect(LENGTH))),
            _ => Self::Aes256(Box::new(KeyInit::new_from_slice(octets).expect(LENGTH))),
        }
    }

    /// Decrypts `text` in place, or leaves it as it is if the key is another.
    fn open(&self, nonce: [u8; NONCE_OCTETS], along: &[u8], text: &mut [u8], tag: &Tag) -> bool {
        let (nonce, text) = (Nonce::from(nonce), InOutBuf::from(text));
        match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(&nonce, along, text, tag),
            Self::Aes192(cipher) => cipher.decrypt_inout_detached(&nonce, along, text, tag),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(&nonce, along, text, tag),
        }
        .is_ok()
    }

    fn seal(&self, nonce: [u8; NONCE_OCTETS], along: &[u8], text: &mut [u8]) -> Tag<U16> {
        let (nonce, text) = (Nonce::from(nonce), InOutBuf::from(text));
        match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(&nonce, along, text),
            Self::Aes192(cipher) => cipher.encrypt_inout_detached(&nonce, along, text),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(&nonce, along, text),
        }
        .expect("the text is shorter than the 64 GiB that the mode allows")
    }
}

/// The keys of a pool made ready, which takes longer than to decrypt a packet; so they are kept
/// until the keyring is another.
#[derive(Default)]
pub(super) struct Ciphers {
    /// What they were made of. As it is kept here, no other keyring can have its place in memory.
    keyring: Option<Arc<Keyring>>,
    ciphers: Vec<Cipher>,
}

impl Ciphers {
    /// Those of `keyring`.
    pub(super) fn new(keyring: Option<&Arc<Keyring>>) -> Self {
        let mut ciphers = Self::default();
        ciphers.refresh(keyring);
        ciphers
    }

    /// Makes the keys ready anew if `keyring` is another than before.
    pub(super) fn refresh(&mut self, keyring: Option<&Arc<Keyring>>) {
        if self.keyring.as_ref().map(Arc::as_ptr) == keyring.map(Arc::as_ptr) {
            return;
        }
        self.ciphers.clear();
        let keys = keyring.iter().flat_map(|keyring| keyring.keys());
        self.ciphers.extend(keys.map(Cipher::new));
        self.keyring = keyring.cloned();
    }

    /// Whether there is no key.
    pub(super) fn is_empty(&self) -> bool {
        self.ciphers.is_empty()
    }

    /// Decrypts `sealed` into `text`, which is cleared first, with whatever key fits.
    ///
    /// # Errors
    /// None does, or the padding is wrong. `text` is of no meaning then.
    pub(super) fn open(
        &self,
        along: &[u8],
        sealed: &[u8],
        text: &mut Vec<u8>,
    ) -> Result<(), Dropped> {
        let (version, sealed) = sealed.split_first().ok_or(Dropped::Key)?;
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(Dropped::Key)?;
        let (encrypted, tag) = sealed.split_last_chunk().ok_or(Dropped::Key)?;
        if *version > VERSION {
            return Err(Dropped::Key);
        }
        text.clear();
        text.extend_from_slice(encrypted);
        let tag = Tag::<U16>::from(*tag);
        let mut ciphers = self.ciphers.iter();
        if !ciphers.any(|cipher| cipher.open(*nonce, along, text, &tag)) {
            return Err(Dropped::Key);
        }
        if *version == VERSION_PADDED {
            remove_padding(text)?;
        }
        Ok(())
    }

    /// Appends a sealed text to `out`, encrypted by the primary key; `write` appends the text
    /// itself. Without a key it is sent as it is.
    pub(super) fn seal(&self, along: &[u8], out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(primary) = self.ciphers.first() else {
            return write(out);
        };
        let mut nonce = [0; NONCE_OCTETS];
        rand::rng().fill_bytes(&mut nonce);
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        let start = out.len();
        write(out);
        let text = out.get_mut(start..).expect("`write` only appends");
        let tag = primary.seal(nonce, along, text);
        out.extend_from_slice(&tag);
    }
}

/// Each octet of padding is the number of them, 1 to a whole block.
fn remove_padding(text: &mut Vec<u8>) -> Result<(), Dropped> {
    const PADDING: Dropped = Dropped::Malformed("bad padding");
    let padding = usize::from(*text.last().ok_or(PADDING)?);
    if !(1..=BLOCK_OCTETS).contains(&padding) {
        return Err(PADDING);
    }
    text.truncate(text.len().checked_sub(padding).ok_or(PADDING)?);
    Ok(())
}

impl fmt::Debug for Ciphers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ciphers({} keys)", self.ciphers.len())
    }
}
