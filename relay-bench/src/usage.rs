//! What threads and processes have used, from `/proc`.

use std::fs;

/// Threads of the relay: the one that owns its database, and those of its sessions.
const RELAY_THREADS: [&str; 2] = ["engine", RELAY_RUNTIME];
/// The name of the threads of the relay's sessions.
pub(crate) const RELAY_RUNTIME: &str = "relay-net";
/// Clock ticks per second of `/proc/*/stat`: the same on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time in seconds of the relay's threads by name.
pub(crate) fn relay_seconds() -> Vec<(&'static str, f64)> {
    let mut used = RELAY_THREADS.map(|name| (name, 0.0));
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if let Some((_, seconds)) = used.iter_mut().find(|(known, _)| *known == name.trim()) {
            *seconds += fs::read_to_string(task.path().join("stat")).map_or(0.0, |stat| ticks(&stat));
        }
    }
    used.to_vec()
}

/// Processor time in seconds of a process.
pub(crate) fn process_seconds(pid: u32) -> f64 {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(0.0, |stat| ticks(&stat))
}

/// The most memory that this process has held, MiB: the relay, and what the measuring needs.
pub(crate) fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// User and system time of a `stat` file: fields 14 and 15, after a name that may hold anything.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (next() + next()) / TICKS_PER_SECOND
}
