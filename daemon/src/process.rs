//! What the system says of this process.

/// Memory that this process holds, bytes; nothing where the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Files and sockets that this process holds open.
#[must_use]
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default()
}

/// Both in the text format of Prometheus, under the names that every program has for them.
#[must_use]
pub fn render() -> String {
    let gauges = [
        ("process_resident_memory_bytes", "Memory that the process holds.", resident_bytes().unwrap_or(0)),
        (
            "process_open_fds",
            "Files and sockets that the process holds open.",
            u64::try_from(open_files()).unwrap_or(u64::MAX),
        ),
    ];
    let lines = gauges
        .map(|(name, help, value)| format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        // Where there is no /proc nothing is told.
        if std::path::Path::new("/proc/self/status").exists() {
            assert!(resident_bytes().unwrap() > 1 << 20);
            assert!(open_files() > 2);
        }
        let text = render();
        assert_eq!(text.lines().filter(|line| line.starts_with("process_")).count(), 2, "{text}");
    }
}
