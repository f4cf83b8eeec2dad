//! What threads and processes have used, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// The name of a relay's thread with the database, and of other programs' on the same engine.
const ENGINE: &str = "engine";
/// The name of the threads of the relay's sessions.
pub(crate) const RELAY_RUNTIME: &str = "relay-net";
/// Clock ticks per second of `/proc/*/stat`: the same on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The threads of a relay; those of the sessions of all relays.
pub(crate) struct RelayThreads {
    engine: BTreeSet<u32>,
}

impl RelayThreads {
    /// Of the relay that was started beside these other engines.
    pub(crate) fn beside(others: &BTreeSet<u32>) -> Self {
        loop {
            let engine: BTreeSet<u32> = engines().difference(others).copied().collect();
            if !engine.is_empty() {
                return Self { engine };
            }
            // It has its name a moment after it starts.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Processor time in seconds: of the thread with the database, and of the sessions.
    pub(crate) fn seconds(&self) -> [f64; 2] {
        let of = |threads: &BTreeSet<u32>| threads.iter().map(|thread| seconds_of(*thread)).sum();
        [of(&self.engine), of(&named(RELAY_RUNTIME))]
    }
}

/// All engines of this process.
pub(crate) fn engines() -> BTreeSet<u32> {
    named(ENGINE)
}

fn named(name: &str) -> BTreeSet<u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let threads = tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim() == name));
    threads.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

fn seconds_of(thread: u32) -> f64 {
    fs::read_to_string(format!("/proc/self/task/{thread}/stat")).map_or(0.0, |stat| ticks(&stat))
}

/// Processor time in seconds of a process.
pub(crate) fn process_seconds(pid: u32) -> f64 {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(0.0, |stat| ticks(&stat))
}

/// Forgets the most memory that this process has held until now.
pub(crate) fn forget_peak() {
    // Where the system does not allow it, seeding counts, too.
    let _kept = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process has held since then, MiB: the relay, and what the measuring needs.
pub(crate) fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// How busy the machine is: processes that run or wait to, over the last minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// User and system time of a `stat` file: fields 14 and 15, after a name that may hold anything.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (next() + next()) / TICKS_PER_SECOND
}
