//! What a process uses, from `/proc`.

use std::time::Duration;

use anyhow::Context as _;

/// Ticks of the processor's accounting in a second: `USER_HZ` is 100 on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;
/// Where user time stands in `/proc/<pid>/stat`, counted after the name; system time follows.
const USER_TIME_FIELD: usize = 11;

/// Processor time of a process so far, all threads.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("Unable to read the processor time of process {pid}"))?;
    // The name in brackets may hold anything, spaces too.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(USER_TIME_FIELD)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND)))
}

/// Bytes of memory that a process has resident.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("Unable to read the memory of process {pid}"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .context("The system does not tell the memory of a process")?;
    Ok(kilobytes.saturating_mul(1024))
}

/// How busy the machine is with everything: processes that want to run, averaged over a minute.
pub(crate) fn load() -> f64 {
    std::fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
