//! Which keys a pool starts with: those of its file, or the first one, which `encrypt` gives.
//!
//! The file counts: keys are changed on a running pool, and `encrypt` goes on naming the old one.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::gossip::keyring::{Key, Keyring, LoadError, SaveError};

/// Why the keys of a pool cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringFileError {
    /// The file cannot be read, or holds something else.
    #[error("keyring file {}: {source}", .path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: LoadError,
    },
    /// Its directory cannot be made.
    #[error("cannot make directory {}: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// The keys of a pool: those of `file` if it exists, else the `given` one, which is then kept
/// there. `None` for no encryption.
///
/// # Errors
/// [`KeyringFileError`].
pub(super) fn open(
    file: Option<&Path>,
    given: Option<&Key>,
) -> Result<Option<Keyring>, KeyringFileError> {
    let new = given.cloned().map(Keyring::new);
    let Some(path) = file else {
        return Ok(new);
    };
    match Keyring::load(path) {
        Ok(keyring) => Ok(Some(keyring)),
        Err(LoadError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(keyring) = &new {
                make_directory(path)?;
                keyring.save(path)?;
            }
            Ok(new)
        }
        Err(source) => Err(KeyringFileError::Load {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The directory of gossip is for its owner only, as the reference makes it.
fn make_directory(file: &Path) -> Result<(), KeyringFileError> {
    let Some(directory) = file.parent() else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|source| KeyringFileError::Directory {
        path: directory.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("herald-keys-{}-{number}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn file(&self) -> PathBuf {
            self.0.join("serf").join("local.keyring")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn key(octet: u8) -> Key {
        Key::new(&[octet; 16]).unwrap()
    }

    #[test]
    fn the_given_key_makes_a_file_that_only_its_owner_reads() {
        let directory = Directory::new();
        let file = directory.file();
        assert_eq!(open(Some(&file), None).unwrap(), None);
        assert!(!file.exists());
        let made = open(Some(&file), Some(&key(1))).unwrap();
        assert_eq!(made, Some(Keyring::new(key(1))));
        let permissions = fs::metadata(&file).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let list: Vec<String> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(list, ["AQEBAQEBAQEBAQEBAQEBAQ=="]);
        // From here on the file counts, whatever is given.
        assert_eq!(open(Some(&file), None).unwrap(), made);
        assert_eq!(open(Some(&file), Some(&key(2))).unwrap(), made);
    }

    #[test]
    fn without_a_file_the_given_key_is_used_and_not_kept() {
        assert_eq!(open(None, None).unwrap(), None);
        let keyring = open(None, Some(&key(1))).unwrap();
        assert_eq!(keyring, Some(Keyring::new(key(1))));
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_replaced() {
        let directory = Directory::new();
        let file = directory.file();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "[]").unwrap();
        let error = open(Some(&file), Some(&key(1))).unwrap_err().to_string();
        let text = format!(
            "keyring file {}: the keyring file has no key",
            file.display()
        );
        assert_eq!(error, text);
        assert_eq!(fs::read(&file).unwrap(), b"[]");
    }
}
