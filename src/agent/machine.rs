//! The machine that the agent runs on: memory, processors, system, disk. Read from `/proc` when it
//! is asked for; what cannot be read is zero or empty, and a list says why.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::clock;

const KIB: u64 = 1_024;

/// What cannot be read, in the order in which it was tried.
#[derive(Debug, Default)]
struct Troubles(Vec<String>);

/// Looks at the machine, and at the file system that holds `directory`. Blocks for as long as
/// `/proc` does.
pub(super) fn describe(directory: Option<&Path>) -> Value {
    let mut troubles = Troubles::default();
    let memory = memory(&troubles.read("/proc/meminfo"));
    let processors = processors(&troubles.read("/proc/cpuinfo"));
    let system = system(&mut troubles);
    let disk = disk(directory.unwrap_or(Path::new("/")), &mut troubles);
    let errors = (!troubles.0.is_empty()).then_some(troubles.0);
    json!({
        "Memory": memory,
        "CPU": processors,
        "Host": system,
        "Disk": disk,
        "CollectionTime": u64::try_from(clock::since_epoch().as_nanos()).unwrap_or(u64::MAX),
        "Errors": errors,
    })
}

impl Troubles {
    /// A whole file, or nothing and a note of why.
    fn read(&mut self, path: &str) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| {
            self.0.push(format!("cannot read {path}: {error}"));
            String::new()
        })
    }
}

/// Names of the reference, and of `/proc/meminfo`, whose figures are in KiB.
const MEMORY: [(&str, &str); 26] = [
    ("total", "MemTotal"),
    ("available", "MemAvailable"),
    ("free", "MemFree"),
    ("active", "Active"),
    ("inactive", "Inactive"),
    ("buffers", "Buffers"),
    ("dirty", "Dirty"),
    ("writeBack", "Writeback"),
    ("writeBackTmp", "WritebackTmp"),
    ("shared", "Shmem"),
    ("slab", "Slab"),
    ("sreclaimable", "SReclaimable"),
    ("sunreclaim", "SUnreclaim"),
    ("pageTables", "PageTables"),
    ("swapCached", "SwapCached"),
    ("swapTotal", "SwapTotal"),
    ("swapFree", "SwapFree"),
    ("commitLimit", "CommitLimit"),
    ("committedAS", "Committed_AS"),
    ("highTotal", "HighTotal"),
    ("highFree", "HighFree"),
    ("lowTotal", "LowTotal"),
    ("lowFree", "LowFree"),
    ("mapped", "Mapped"),
    ("vmallocTotal", "VmallocTotal"),
    ("vmallocUsed", "VmallocUsed"),
];

fn memory(text: &str) -> Value {
    let kibibytes = |name: &str| -> u64 {
        let value = field(text, name).split_whitespace().next();
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let octets = |name: &str| kibibytes(name).saturating_mul(KIB);
    let mut memory: Map<String, Value> = MEMORY
        .into_iter()
        .map(|(key, name)| (key.to_owned(), octets(name).into()))
        .collect();
    let total = octets("MemTotal");
    // What programs cannot have without another giving it up.
    let cached = octets("Cached").saturating_add(octets("SReclaimable"));
    let unused = octets("MemFree") + octets("Buffers") + cached;
    let used = total.saturating_sub(unused);
    memory.insert("cached".to_owned(), cached.into());
    memory.insert("used".to_owned(), used.into());
    memory.insert("usedPercent".to_owned(), percent(used, total).into());
    Value::Object(memory)
}

/// One entry for each logical processor.
fn processors(text: &str) -> Vec<Value> {
    let blocks = text.split("\n\n");
    let blocks = blocks.filter(|block| !field(block, "processor").is_empty());
    blocks.map(processor).collect()
}

fn processor(block: &str) -> Value {
    let number = |name| -> u64 {
        let value = field(block, name).split_whitespace().next();
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    json!({
        "cpu": number("processor"),
        "vendorId": field(block, "vendor_id"),
        "family": field(block, "cpu family"),
        "model": field(block, "model"),
        "stepping": number("stepping"),
        "physicalId": field(block, "physical id"),
        "coreId": field(block, "core id"),
        "cores": 1,
        "modelName": field(block, "model name"),
        "mhz": field(block, "cpu MHz").parse::<f64>().unwrap_or(0.0),
        "cacheSize": number("cache size"),
        "flags": field(block, "flags").split_whitespace().collect::<Vec<_>>(),
        "microcode": field(block, "microcode"),
    })
}

fn system(troubles: &mut Troubles) -> Value {
    // Containers may have none.
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", |value| value.trim_matches('"'))
    };
    let kernel = troubles.read("/proc/sys/kernel/osrelease");
    let uptime = troubles.read("/proc/uptime");
    let uptime = uptime.split('.').next().unwrap_or_default();
    let stat = troubles.read("/proc/stat");
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
    json!({
        "hostname": troubles.read("/proc/sys/kernel/hostname").trim(),
        "uptime": uptime.parse::<u64>().unwrap_or(0),
        "bootTime": boot.and_then(|boot| boot.parse::<u64>().ok()).unwrap_or(0),
        "procs": process_count(),
        "os": std::env::consts::OS,
        "platform": release("ID="),
        "platformFamily": release("ID_LIKE=").split(' ').next().filter(|family| !family.is_empty())
            .unwrap_or_else(|| release("ID=")),
        "platformVersion": release("VERSION_ID="),
        "kernelVersion": kernel.trim(),
        "kernelArch": std::env::consts::ARCH,
        "virtualizationSystem": "",
        "virtualizationRole": "",
        // An id by which the machine is known elsewhere is not for everyone who can ask.
        "hostId": "",
    })
}

/// Entries of `/proc` that are processes.
fn process_count() -> usize {
    let is_process = |name: &str| name.bytes().all(|octet| octet.is_ascii_digit());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
        .count()
}

#[cfg(target_os = "linux")]
fn disk(path: &Path, troubles: &mut Troubles) -> Value {
    use nix::sys::statvfs::statvfs;
    // A directory that is not made yet will be in the file system of its parents.
    let known = path.ancestors().find(|path| path.exists());
    let path = known.unwrap_or(Path::new("/"));
    let Ok(stat) = statvfs(path).inspect_err(|error| {
        let text = format!("cannot look at the disk of {}: {error}", path.display());
        troubles.0.push(text);
    }) else {
        return json!({"path": path.display().to_string()});
    };
    let octets = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    let used = octets(stat.blocks().saturating_sub(stat.blocks_free()));
    let free = octets(stat.blocks_available());
    let inodes_used = stat.files().saturating_sub(stat.files_free());
    json!({
        "path": path.display().to_string(),
        "fstype": file_system(path),
        "total": octets(stat.blocks()),
        "free": free,
        "used": used,
        // Of what programs may have: a part is kept back for the system.
        "usedPercent": percent(used, used.saturating_add(free)),
        "inodesTotal": stat.files(),
        "inodesUsed": inodes_used,
        "inodesFree": stat.files_free(),
        "inodesUsedPercent": percent(inodes_used, stat.files()),
    })
}

#[cfg(not(target_os = "linux"))]
fn disk(path: &Path, troubles: &mut Troubles) -> Value {
    troubles
        .0
        .push("disks are not looked at on this system".to_owned());
    json!({"path": path.display().to_string()})
}

/// Type of the file system that is mounted closest above `path`.
fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?))
    });
    let above = mounts.filter(|(place, _)| path.starts_with(place));
    // Of two in one place, the later one covers the other.
    let closest = above.max_by_key(|(place, _)| place.components().count());
    closest.map_or_else(String::new, |(_, kind)| kind.to_owned())
}

/// What stands behind `name:`; empty where there is no such line.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map_or("", |(_, value)| value.trim())
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_octets() {
        let text = "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable: 500 kB\nBuffers: 50 kB\n\
                    Cached: 300 kB\nSReclaimable: 50 kB\n";
        let memory = memory(text);
        assert_eq!(memory["total"], 1000 * 1024);
        assert_eq!(memory["available"], 500 * 1024);
        assert_eq!(memory["used"], 500 * 1024);
        assert_eq!(memory["usedPercent"], 50.0);
        assert_eq!(memory["swapTotal"], 0);
    }

    #[test]
    fn each_processor_is_listed() {
        let text = "processor\t: 0\nvendor_id\t: A\nmodel\t\t: 85\nmodel name\t: B C\n\
                    cpu MHz\t\t: 2600.5\ncache size\t: 512 KB\nflags\t\t: fpu vme\n\n\
                    processor\t: 1\n\nHardware : x\n";
        let processors = processors(text);
        assert_eq!(processors.len(), 2);
        let first = &processors[0];
        assert_eq!(first["modelName"], "B C");
        assert_eq!(first["model"], "85");
        assert_eq!(first["mhz"], 2600.5);
        assert_eq!(first["cacheSize"], 512);
        assert_eq!(first["flags"], json!(["fpu", "vme"]));
        assert_eq!(processors[1]["cpu"], 1);
        assert_eq!(processors[1]["flags"], json!([]));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_read_is_listed() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.read("/proc/none"), "");
        assert!(troubles.0[0].starts_with("cannot read /proc/none: No such file"));
        let shown = describe(Some(Path::new("/nowhere/at/all")));
        assert_eq!(shown["Disk"]["path"], "/");
        assert_eq!(shown["Errors"], Value::Null);
    }
}
