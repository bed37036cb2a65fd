//! How far the log is decided, in a file beside it.
//!
//! The log itself says so a few times a second only. Written here at once, though without a
//! sync, it survives the death of the process: whoever starts again applies all that it had
//! answered for, and no index goes back. What a power failure leaves of it is checked, and no more
//! than a hint.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use openraft::alias::LogIdOf;

use crate::raft::types::Types;

use super::record::{decode_position, encode_position, seal, unseal};

/// The name of the file, and the key of what is in it.
const NAME: &str = "decided";
/// Longest content.
const OCTETS_MAX: usize = 256;

/// The open file.
#[derive(Debug)]
pub(super) struct Decided(File);

impl Decided {
    /// Opens it in `directory`, or makes it, and reads what it says; nothing where that is damaged.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<LogIdOf<Types>>)> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(directory.join(NAME))?;
        let mut content = [0; OCTETS_MAX];
        let octets = file.read_at(&mut content, 0)?;
        let content = content.get(..octets).unwrap_or_default();
        let body = unseal(NAME.as_bytes(), content).ok();
        let position = body.and_then(|body| decode_position(body).ok());
        Ok((Self(file), position))
    }

    /// Says that the log is decided up to `position`. A disk that refuses is no reason to stop: the
    /// log says so too, a little later.
    pub(super) fn write(&self, position: &LogIdOf<Types>) {
        let content = seal(NAME.as_bytes(), encode_position(position));
        if let Err(error) = self.0.write_all_at(&content, 0) {
            tracing::debug!("cannot keep how far the log is decided: {error}");
        }
    }
}

/// What `told` means for a log that ends with `last`, where `found` is the entry of that index if it
/// is there.
///
/// The end of the log may be missing that was decided, but not lasting here: then all that is there
/// is decided if one leader wrote both, since what a leader writes follows each other.
pub(super) fn confirmed(
    told: LogIdOf<Types>,
    found: Option<LogIdOf<Types>>,
    last: Option<LogIdOf<Types>>,
) -> Option<LogIdOf<Types>> {
    let last = last?;
    if told.index <= last.index {
        return found.filter(|found| *found == told);
    }
    (told.leader_id == last.leader_id).then_some(last)
}

#[cfg(test)]
mod tests {
    use openraft::testing::log_id;

    use super::*;
    use crate::raft::log_store::tests::Directory;
    use crate::raft::types::ServerId;

    fn made() -> Directory {
        let directory = Directory::new();
        std::fs::create_dir_all(&directory.0).unwrap();
        directory
    }

    fn at(term: u64, index: u64) -> LogIdOf<Types> {
        log_id::<Types>(term, ServerId(1), index)
    }

    #[test]
    fn it_says_what_was_written_last() {
        let directory = made();
        let (decided, told) = Decided::open(&directory.0).unwrap();
        assert_eq!(told, None);
        decided.write(&at(1, 7));
        decided.write(&at(2, 9));
        drop(decided);
        assert_eq!(Decided::open(&directory.0).unwrap().1, Some(at(2, 9)));
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let directory = made();
        let (decided, _) = Decided::open(&directory.0).unwrap();
        decided.write(&at(1, 7));
        let path = directory.0.join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Decided::open(&directory.0).unwrap().1, None);
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(Decided::open(&directory.0).unwrap().1, None);
        }
    }

    #[test]
    fn only_what_the_log_bears_out_is_decided() {
        // The entry is there.
        let (told, last) = (at(2, 7), Some(at(2, 9)));
        assert_eq!(confirmed(told, Some(at(2, 7)), last), Some(told));
        // Another entry is there: it was about to be overwritten.
        assert_eq!(confirmed(told, Some(at(1, 7)), last), None);
        assert_eq!(confirmed(told, None, last), None);
        // The end is missing.
        assert_eq!(confirmed(at(2, 12), None, last), last);
        assert_eq!(confirmed(at(3, 12), None, last), None);
        assert_eq!(confirmed(told, None, None), None);
    }
}
