//! The figures of this process, under the names that they have in every program, and which build
//! it is. Read from `/proc` when they are asked for; where there is none, they are not shown.
//! A figure that cannot be read is `NaN`.

use std::fs;
use std::path::Path;

use super::{REVISION, VERSION};
use crate::metrics::Metrics;

/// Ticks in a second of the times in `/proc` (`USER_HZ`), the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

const KIB: f64 = 1024.0;

/// Shows them all.
pub(super) fn show(metrics: &Metrics) {
    let build = [("version", VERSION), ("revision", REVISION)];
    metrics.show_info("build", "Which build this is", build);
    if !Path::new("/proc/self/stat").exists() {
        return;
    }
    metrics.show_standard(
        "process_resident_memory_bytes",
        "Memory that the process takes",
        || status("VmRSS:") * KIB,
    );
    metrics.show_standard(
        "process_virtual_memory_bytes",
        "Addresses that the process has reserved",
        || status("VmSize:") * KIB,
    );
    metrics.show_standard("process_open_fds", "Open descriptors", open_descriptors);
    metrics.show_standard(
        "process_max_fds",
        "Descriptors that may be open",
        descriptors_max,
    );
    metrics.show_standard("process_threads", "Threads", || status("Threads:"));
    metrics.show_standard_sum(
        "process_cpu_seconds",
        "Time that processors spent on the process",
        cpu_seconds,
    );
    let start = start_seconds();
    metrics.show_standard(
        "process_start_time_seconds",
        "When the process began, since 1970",
        move || start,
    );
}

/// A figure of `/proc/self/status`.
fn status(key: &str) -> f64 {
    figure(&read("/proc/self/status"), key)
}

/// Limits are those that hold now, the soft ones.
fn descriptors_max() -> f64 {
    figure(&read("/proc/self/limits"), "Max open files")
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be shown")]
fn open_descriptors() -> f64 {
    // The one by which the directory is read does not count.
    fs::read_dir("/proc/self/fd").map_or(f64::NAN, |open| open.count().saturating_sub(1) as f64)
}

fn cpu_seconds() -> f64 {
    let stat = read("/proc/self/stat");
    (stat_field(&stat, 14) + stat_field(&stat, 15)) / TICKS_PER_SECOND
}

fn start_seconds() -> f64 {
    let since_boot = stat_field(&read("/proc/self/stat"), 22) / TICKS_PER_SECOND;
    figure(&read("/proc/stat"), "btime") + since_boot
}

/// A file of `/proc`; empty if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first number of the line that begins with `key`.
fn figure(text: &str, key: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// A field of `/proc/self/stat` by its number in proc(5), from 3 on. The program's name before
/// them may hold blanks and parentheses.
fn stat_field(stat: &str, number: usize) -> f64 {
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let mut fields = fields.unwrap_or_default().split_whitespace();
    let field = number.checked_sub(3).and_then(|at| fields.nth(at));
    field
        .and_then(|field| field.parse().ok())
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a b) c) S 4 5";
        assert!((stat_field(stat, 4) - 4.0).abs() < f64::EPSILON);
        assert!((stat_field(stat, 5) - 5.0).abs() < f64::EPSILON);
        assert!(stat_field(stat, 6).is_nan());
        assert!(stat_field("", 4).is_nan());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_figures() {
        let metrics = Metrics::new();
        show(&metrics);
        for family in metrics.families() {
            for sample in &family.samples {
                assert!(sample.value >= 0.0, "{} {}", family.name, sample.value);
            }
        }
        assert_eq!(metrics.families().len(), 8);
        assert!(status("VmRSS:") * KIB > 100_000.0);
        let now = crate::clock::since_epoch().as_secs_f64();
        let age = now - start_seconds();
        assert!((-2.0..3_600.0).contains(&age), "{age}");
    }
}
