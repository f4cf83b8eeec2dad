//! A line of statistics per day, at 00:00 UTC: what was counted since the line before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::net::clock::now;

use crate::metrics::snapshot;
use crate::server::Server;

const DAY_SECONDS: i64 = 86_400;

/// Logs a line at the end of each day, and one when the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut stop = server.stopping();
    let mut before = BTreeMap::new();
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(until_midnight(now().seconds())) => false,
            () = stop.requested() => true,
        };
        let present = snapshot(&server.metrics);
        let counted = serde_json::json!(difference(&before, &present));
        tracing::info!(%counted, "statistics");
        if stopping {
            return;
        }
        before = present;
    }
}

fn until_midnight(seconds: i64) -> Duration {
    let left = DAY_SECONDS.saturating_sub(seconds.rem_euclid(DAY_SECONDS));
    Duration::from_secs(u64::try_from(left).unwrap_or_default())
}

/// What grew, by how much.
fn difference(before: &BTreeMap<String, u64>, present: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, value): (&String, &u64)| {
        let more = value.saturating_sub(before.get(name).copied().unwrap_or_default());
        (more > 0).then(|| (name.clone(), more))
    };
    present.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_comes_at_midnight() {
        assert_eq!(until_midnight(0), Duration::from_secs(86_400));
        assert_eq!(until_midnight(86_399), Duration::from_secs(1));
        assert_eq!(until_midnight(10 * 86_400 + 3600), Duration::from_secs(82_800));
    }

    #[test]
    fn a_day_is_what_was_counted_since_the_day_before() {
        let counts =
            |pairs: &[(&str, u64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let (before, present) = (counts(&[("a", 1), ("b", 2)]), counts(&[("a", 1), ("b", 5), ("c", 1)]));
        assert_eq!(difference(&before, &present), counts(&[("b", 3), ("c", 1)]));
    }
}
