//! How many commands of each kind were executed, and how they ended.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;

use super::Count;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It did what it says.
    Ok,
    /// There is no such queue, or not for this client.
    Auth,
    /// The queue is full.
    Quota,
    /// The queue is blocked.
    Blocked,
    /// It is malformed or not allowed.
    Command,
    /// The proxy or what is behind it failed.
    Proxy,
    /// The store failed.
    Store,
    /// Another error.
    Other,
}

impl Outcome {
    /// How this response ends its command.
    #[must_use]
    pub fn of(response: &BrokerMessage<'_>) -> Self {
        let BrokerMessage::Err(error) = response else { return Self::Ok };
        match error {
            ErrorType::Auth => Self::Auth,
            ErrorType::Quota => Self::Quota,
            ErrorType::Blocked(_) => Self::Blocked,
            ErrorType::Command(_) => Self::Command,
            ErrorType::Proxy(_) => Self::Proxy,
            ErrorType::Store(_) => Self::Store,
            _ => Self::Other,
        }
    }

    /// Its name in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Blocked => "blocked",
            Self::Command => "command",
            Self::Proxy => "proxy",
            Self::Store => "store",
            Self::Other => "other",
        }
    }
}

/// Counts by tag and outcome; as many as there are tags of the protocol, so bounded.
#[derive(Debug, Default)]
pub struct CommandCounts(RwLock<BTreeMap<(&'static str, Outcome), Count>>);

impl CommandCounts {
    /// A command with this tag ended so.
    pub fn ended(&self, tag: &'static str, outcome: Outcome) {
        let key = (tag, outcome);
        if let Some(count) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            count.one();
            return;
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().one();
    }

    /// All counts, in the order of tags.
    #[must_use]
    pub fn samples(&self) -> Vec<(&'static str, Outcome, u64)> {
        let counts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((tag, outcome), count)| (*tag, *outcome, count.value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_tag_and_outcome() {
        let counts = CommandCounts::default();
        counts.ended("SEND", Outcome::of(&BrokerMessage::Ok));
        counts.ended("SEND", Outcome::of(&BrokerMessage::Ok));
        counts.ended("SEND", Outcome::of(&BrokerMessage::Err(ErrorType::Quota)));
        assert_eq!(counts.samples(), [("SEND", Outcome::Ok, 2), ("SEND", Outcome::Quota, 1)]);
    }
}
