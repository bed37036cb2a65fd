//! Keys of a pool: the first encrypts, any decrypts. They are changed in three steps over the whole
//! pool: the new one is installed everywhere, then used, then the old one removed.
//!
//! A [`Keyring`] is a value: each change makes another, and what fails changes nothing. The file is
//! a JSON array of keys in base64, the primary first, as serf keeps it, for its owner only.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs};

use data_encoding::BASE64;

/// Keys of a keyring at most. What nobody can decrypt is tried with each of them.
pub const KEYS_MAX: usize = 64;

/// Octets of a keyring file at most: [`KEYS_MAX`] of the longest keys, and much white space.
const FILE_OCTETS_MAX: u64 = 16 << 10;

/// A key of AES-128, -192 or -256. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

/// The octets or the text are no key; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64.
    #[error("key is not base64 text")]
    Base64,
    /// Not as long as a key.
    #[error("key has {octets} octets, it must have 16, 24 or 32")]
    Length {
        /// Octets that it has.
        octets: usize,
    },
}

impl Key {
    /// A key from its octets.
    ///
    /// # Errors
    /// There are not 16, 24 or 32.
    pub fn new(octets: &[u8]) -> Result<Self, KeyError> {
        match octets.len() {
            16 | 24 | 32 => Ok(Self(octets.into())),
            octets => Err(KeyError::Length { octets }),
        }
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Its octets in base64, as files, commands and peers have it.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    /// Reads base64.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let octets = BASE64
            .decode(text.as_bytes())
            .map_err(|_| KeyError::Base64)?;
        Self::new(&octets)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({} octets)", self.0.len())
    }
}

/// Why a keyring stays as it is; the first two texts are those that peers send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The key to use is not installed.
    #[error("requested key is not in the keyring")]
    Unknown,
    /// The key in use cannot go.
    #[error("removing the primary key is not allowed")]
    Primary,
    /// There are as many keys as there may be.
    #[error("keyring has {KEYS_MAX} keys already, remove one first")]
    Full,
}

/// The keys of a pool, never none. An immutable value: each change makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// Encrypts.
    primary: Key,
    /// All keys, the primary first, none twice.
    keys: Vec<Key>,
}

impl Keyring {
    /// A keyring whose only key is `primary`.
    pub fn new(primary: Key) -> Self {
        Self {
            keys: vec![primary.clone()],
            primary,
        }
    }

    /// The key that encrypts.
    pub fn primary(&self) -> &Key {
        &self.primary
    }

    /// All keys, the primary first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// With `key` as the last one; the same if it is there already.
    ///
    /// # Errors
    /// There are [`KEYS_MAX`] already.
    pub fn install(&self, key: Key) -> Result<Self, KeyringError> {
        let mut keyring = self.clone();
        if self.keys.contains(&key) {
            return Ok(keyring);
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeyringError::Full);
        }
        keyring.keys.push(key);
        Ok(keyring)
    }

    /// With `key` as the primary; the others keep their order.
    ///
    /// # Errors
    /// It is not installed.
    pub fn use_key(&self, key: &Key) -> Result<Self, KeyringError> {
        if !self.keys.contains(key) {
            return Err(KeyringError::Unknown);
        }
        let others = self.keys.iter().filter(|other| *other != key);
        Ok(Self {
            primary: key.clone(),
            keys: [key].into_iter().chain(others).cloned().collect(),
        })
    }

    /// Without `key`; the same if it is not installed.
    ///
    /// # Errors
    /// It is the primary.
    pub fn remove(&self, key: &Key) -> Result<Self, KeyringError> {
        if self.primary == *key {
            return Err(KeyringError::Primary);
        }
        let mut keyring = self.clone();
        keyring.keys.retain(|other| other != key);
        Ok(keyring)
    }

    /// Reads a keyring file. This blocks.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let mut text = String::new();
        let file = File::open(path).map_err(LoadError::Read)?;
        let mut file = file.take(FILE_OCTETS_MAX + 1);
        file.read_to_string(&mut text).map_err(LoadError::Read)?;
        if file.limit() == 0 {
            return Err(LoadError::Long);
        }
        let texts: Vec<String> = serde_json::from_str(&text).map_err(LoadError::Json)?;
        let mut keyring: Option<Self> = None;
        for (number, text) in (1..).zip(texts) {
            let key = text
                .parse()
                .map_err(|source| LoadError::Key { number, source })?;
            keyring = Some(match keyring {
                Some(keyring) => keyring.install(key).map_err(|_| LoadError::Many)?,
                None => Self::new(key),
            });
        }
        keyring.ok_or(LoadError::Empty)
    }

    /// Writes a keyring file that only its owner may read: beside the old one, which it then
    /// replaces, so that at each moment the one or the other is there as a whole. This blocks; two
    /// must not write to one `path` at one time.
    ///
    /// # Errors
    /// The file could not be written; the old one is as it was, or the new one is there but may be
    /// lost if power fails.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let failed = |source| SaveError {
            path: path.to_owned(),
            source,
        };
        let mut name = OsString::from(path);
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let texts: Vec<String> = self.keys.iter().map(Key::to_base64).collect();
        let text = serde_json::to_vec_pretty(&texts).map_err(|error| failed(error.into()))?;
        // What a crash has left may have another mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        write_new(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, path))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .and_then(|()| sync_directory(path))
            .map_err(failed)
    }
}

/// Why a keyring file was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the keyring file cannot be read")]
    Read(#[source] io::Error),
    /// The file is far too long.
    #[error("the keyring file is longer than {FILE_OCTETS_MAX} octets")]
    Long,
    /// It is no JSON array of texts.
    #[error("the keyring file is no JSON array of keys in base64")]
    Json(#[source] serde_json::Error),
    /// One of its texts is no key.
    #[error("key {number} of the keyring file is no key")]
    Key {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// It has more keys than a keyring may have.
    #[error("the keyring file has more than {KEYS_MAX} keys")]
    Many,
    /// It has no key.
    #[error("the keyring file has no key")]
    Empty,
}

/// A keyring file was not written.
#[derive(Debug, thiserror::Error)]
#[error("keyring file {} cannot be written", path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// The new name is in the directory, which is written on its own.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(octet: u8) -> Key {
        Key::new(&[octet; 16]).unwrap()
    }

    /// Primary 1, then 2 and 3.
    fn three() -> Keyring {
        let keyring = Keyring::new(key(1)).install(key(2)).unwrap();
        keyring.install(key(3)).unwrap()
    }

    /// A directory of this test alone, which goes with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("herald-keyring-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_key_is_base64_of_16_24_or_32_octets() {
        for octets in [16, 24, 32] {
            let key = Key::new(&vec![7; octets]).unwrap();
            assert_eq!(key.to_base64().parse(), Ok(key));
        }
        let length = |octets| Err(KeyError::Length { octets });
        assert_eq!("AAAA".parse::<Key>(), length(3));
        assert_eq!("".parse::<Key>(), length(0));
        assert_eq!(Key::new(&[0; 33]), length(33));
        assert_eq!("not base64".parse::<Key>(), Err(KeyError::Base64));
        assert_eq!("AAA".parse::<Key>(), Err(KeyError::Base64));
    }

    #[test]
    fn the_debug_form_of_a_keyring_shows_no_key() {
        let shown = format!("{:?}", Keyring::new(Key::new(&[171; 16]).unwrap()));
        assert!(!shown.contains("171") && !shown.contains("q6ur"));
    }

    #[test]
    fn an_installed_key_is_the_last_and_none_is_there_twice() {
        assert_eq!(three().keys(), [key(1), key(2), key(3)]);
        assert_eq!(three().install(key(2)), Ok(three()));
        assert_eq!(three().install(key(1)), Ok(three()));
    }

    #[test]
    fn a_used_key_becomes_the_first_and_the_primary() {
        let keyring = three().use_key(&key(3)).unwrap();
        assert_eq!(keyring.primary(), &key(3));
        assert_eq!(keyring.keys(), [key(3), key(1), key(2)]);
        assert_eq!(three().use_key(&key(4)), Err(KeyringError::Unknown));
    }

    #[test]
    fn any_key_but_the_primary_can_be_removed() {
        assert_eq!(three().remove(&key(2)).unwrap().keys(), [key(1), key(3)]);
        assert_eq!(three().remove(&key(4)), Ok(three()));
        assert_eq!(three().remove(&key(1)), Err(KeyringError::Primary));
    }

    #[test]
    fn a_full_keyring_takes_no_more_keys() {
        let mut keyring = Keyring::new(key(0));
        for octet in 1..64 {
            keyring = keyring.install(key(octet)).unwrap();
        }
        assert_eq!(keyring.install(key(64)), Err(KeyringError::Full));
        assert_eq!(keyring.install(key(5)), Ok(keyring.clone()));
    }

    #[test]
    fn a_keyring_file_is_read_as_it_was_written_by_its_owner_only() {
        let directory = Directory::new("saved");
        let path = directory.0.join("local.keyring");
        fs::write(&path, "[]").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(directory.0.join("local.keyring.tmp"), "left by a crash").unwrap();
        three().save(&path).unwrap();
        assert_eq!(Keyring::load(&path).unwrap(), three());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }

    #[test]
    fn a_keyring_that_cannot_be_saved_leaves_nothing_behind() {
        let directory = Directory::new("unsaved");
        let path = directory.0.join("taken");
        fs::create_dir(&path).unwrap();
        let error = three().save(&path).unwrap_err();
        assert_eq!(error.path, path);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
        assert!(three().save(&path.join("missing").join("file")).is_err());
    }

    #[test]
    fn a_keyring_file_in_disorder_is_refused_with_the_reason() {
        let directory = Directory::new("disorder");
        let path = directory.0.join("file");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Keyring::load(&path)
        };
        let good = key(1).to_base64();
        assert!(matches!(load(""), Err(LoadError::Json(_))));
        assert!(matches!(load("{}"), Err(LoadError::Json(_))));
        assert!(matches!(load("[]"), Err(LoadError::Empty)));
        let second = load(&format!(r#"["{good}", "AAAA"]"#));
        assert!(matches!(second, Err(LoadError::Key { number: 2, .. })));
        let twice = load(&format!(r#"["{good}", "{good}"]"#)).unwrap();
        assert_eq!(twice, Keyring::new(key(1)));
        assert!(matches!(load(&" ".repeat(20_000)), Err(LoadError::Long)));
        let many: Vec<_> = (0..65).map(|octet| key(octet).to_base64()).collect();
        let many = serde_json::to_string(&many).unwrap();
        assert!(matches!(load(&many), Err(LoadError::Many)));
        let missing = Keyring::load(&directory.0.join("missing"));
        assert!(matches!(missing, Err(LoadError::Read(_))));
    }
}
