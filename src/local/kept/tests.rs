use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::health::Report;
use crate::local::definition::tests::{service, ttl};
use crate::types::Status;

/// A data directory that goes with the test.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald-kept-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> (Kept, Found) {
        Kept::open(&self.0).unwrap()
    }

    fn registrations(&self) -> PathBuf {
        self.0.join("local/registrations")
    }

    /// Ids of the services that are found.
    fn services(&self) -> Vec<String> {
        let (_kept, found) = self.open();
        found.services.keys().map(ToString::to_string).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut octets = fs::read(self.registrations()).unwrap();
        change(&mut octets);
        fs::write(self.registrations(), octets).unwrap();
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn web(id: &str) -> Record {
    Record::Service(Arc::new(service("web", id)))
}

/// Keeps three services, each in a line of its own.
fn three() -> DataDir {
    let data_dir = DataDir::new();
    let (mut kept, found) = data_dir.open();
    assert!(found.services.is_empty());
    for id in ["a", "b", "c"] {
        kept.keep(vec![vec![web(id)]], Vec::new).unwrap();
    }
    data_dir
}

#[test]
fn what_was_kept_is_found() {
    let data_dir = DataDir::new();
    let (mut kept, _) = data_dir.open();
    let check: CheckId = "service:a".parse().unwrap();
    let definition = Record::Check(check.clone(), Arc::new(ttl("", 10)));
    let lines = vec![vec![web("a"), definition], vec![web("b")]];
    kept.keep(lines, Vec::new).unwrap();
    let report = Report {
        status: Status::Warning,
        output: "so\nso".into(),
    };
    let known = Known {
        report,
        until: None,
    };
    kept.note(vec![Record::State(check.clone(), known.clone())], Vec::new)
        .unwrap();
    let gone = Record::NoService("b".parse().unwrap());
    kept.keep(vec![vec![gone]], Vec::new).unwrap();
    drop(kept);
    let (_kept, found) = data_dir.open();
    assert_eq!(found.services.len(), 1);
    assert_eq!(*found.services[&"a".parse().unwrap()], service("web", "a"));
    assert_eq!(found.checks[&check].mechanism.ttl().unwrap().as_secs(), 10);
    assert_eq!(found.states[&check], known);
}

#[test]
fn a_line_that_was_cut_off_is_left_out_and_the_next_one_counts() {
    for cut in [1, 2, 20] {
        let data_dir = three();
        data_dir.change(|octets| octets.truncate(octets.len() - cut));
        assert_eq!(data_dir.services(), ["a", "b"]);
        let (mut kept, _) = data_dir.open();
        kept.keep(vec![vec![web("d")]], Vec::new).unwrap();
        drop(kept);
        assert_eq!(data_dir.services(), ["a", "b", "d"]);
        assert!(!data_dir.0.join("local/registrations.damaged").exists());
    }
}

#[test]
fn a_damaged_line_is_set_aside_and_the_others_count() {
    let data_dir = three();
    let line = |octets: &[u8]| {
        let lines: Vec<_> = octets.split(|octet| *octet == b'\n').collect();
        lines[2].to_vec()
    };
    data_dir.change(|octets| {
        let place = octets.windows(8).position(|part| part == br#""id":"b""#);
        octets[place.unwrap() + 6] ^= 1;
    });
    let damaged = line(&fs::read(data_dir.registrations()).unwrap());
    assert_eq!(data_dir.services(), ["a", "c"]);
    let aside = fs::read(data_dir.0.join("local/registrations.damaged")).unwrap();
    assert_eq!(aside, [damaged.as_slice(), b"\n"].concat());
    // Once: the file has been written anew without it.
    assert_eq!(data_dir.services(), ["a", "c"]);
    let again = fs::read(data_dir.0.join("local/registrations.damaged")).unwrap();
    assert_eq!(again, aside);
}

#[test]
fn a_first_line_that_is_damaged_takes_no_other_with_it() {
    for first in [b'\0', b'\n'] {
        let data_dir = three();
        data_dir.change(|octets| octets[0] = first);
        assert_eq!(data_dir.services(), ["a", "b", "c"]);
    }
    let data_dir = three();
    data_dir.change(Vec::clear);
    assert!(data_dir.services().is_empty());
}

#[test]
fn a_later_version_is_refused_and_stays_as_it_is() {
    let data_dir = three();
    let text = "{\"herald\":\"registrations\",\"version\":2,\"more\":[]}\nwhatever\n";
    data_dir.change(|octets| *octets = text.into());
    let error = Kept::open(&data_dir.0).unwrap_err().to_string();
    let path = data_dir.registrations();
    let expected = format!("{} has version 2, this herald knows 1", path.display());
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(fs::read_to_string(path).unwrap(), text);
}

#[test]
fn a_data_directory_has_one_agent_at_a_time() {
    let data_dir = DataDir::new();
    let (kept, _) = data_dir.open();
    let error = Kept::open(&data_dir.0).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(kept);
    data_dir.open();
}

#[test]
fn others_may_not_read_what_is_kept() {
    let data_dir = three();
    for name in ["registrations", "checks"] {
        let path = data_dir.0.join("local").join(name);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_files_stay_small_however_often_the_same_changes() {
    let data_dir = DataDir::new();
    let (mut kept, _) = data_dir.open();
    let check: CheckId = "c".parse().unwrap();
    let state = |number: usize| {
        let output = format!("{number} {}", "x".repeat(4_000)).into();
        let report = Report {
            status: Status::Passing,
            output,
        };
        let until = None;
        Record::State(check.clone(), Known { report, until })
    };
    for number in 0..2_000 {
        let all = || vec![state(number - 1)];
        kept.note(vec![state(number)], all).unwrap();
    }
    let path = data_dir.0.join("local/checks");
    let octets = fs::metadata(path).unwrap().len();
    assert!(octets < 2 << 20, "{octets} octets");
    drop(kept);
    let (_kept, found) = data_dir.open();
    let Record::State(_, last) = state(1_999) else {
        panic!("not a state");
    };
    assert_eq!(found.states[&check], last);
}

#[test]
fn nothing_is_removed_that_is_not_there() {
    let data_dir = three();
    let before = fs::read(data_dir.registrations()).unwrap();
    let (mut kept, _) = data_dir.open();
    let gone = vec![
        Record::NoService("z".parse().unwrap()),
        Record::NoCheck("z".parse().unwrap()),
    ];
    kept.keep(vec![gone], Vec::new).unwrap();
    assert_eq!(fs::read(data_dir.registrations()).unwrap(), before);
}

/// A file that takes what is written and can be cut off, but refuses to have it last: a name of this
/// thread, shown by the system.
fn unsafe_file() -> File {
    let file = fs::OpenOptions::new()
        .append(true)
        .open("/proc/thread-self/comm");
    let file = file.unwrap();
    assert!(file.set_len(0).is_ok() && file.sync_data().is_err());
    file
}

#[test]
fn what_may_not_last_is_refused_and_the_file_is_written_anew_before_the_next() {
    let data_dir = three();
    let (mut kept, _) = data_dir.open();
    let all = || ["a", "b", "c"].map(web).to_vec();
    kept.registrations.file = unsafe_file();
    kept.keep(vec![vec![web("d")]], all).unwrap_err();
    // It may be in the file all the same, in part.
    data_dir.change(|octets| octets.extend_from_slice(b"{\"half"));
    kept.keep(vec![vec![web("e")]], all).unwrap();
    drop(kept);
    assert_eq!(data_dir.services(), ["a", "b", "c", "e"]);
}

#[test]
fn nothing_is_kept_until_the_file_could_be_written_anew() {
    let data_dir = three();
    let (mut kept, _) = data_dir.open();
    let all = || ["a", "b", "c"].map(web).to_vec();
    kept.registrations.file = unsafe_file();
    kept.keep(vec![vec![web("d")]], all).unwrap_err();
    let before = fs::read(data_dir.registrations()).unwrap();
    // Something is where the new file is to be.
    let place = data_dir.registrations().with_extension("new");
    fs::create_dir(&place).unwrap();
    for _ in 0..3 {
        let error = kept.keep(vec![vec![web("e")]], all).unwrap_err();
        assert!(error.to_string().contains("unknown state"), "{error}");
    }
    assert_eq!(fs::read(data_dir.registrations()).unwrap(), before);
    fs::remove_dir(place).unwrap();
    kept.keep(vec![vec![web("f")]], all).unwrap();
    drop(kept);
    assert_eq!(data_dir.services(), ["a", "b", "c", "f"]);
}
