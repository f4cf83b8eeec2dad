//! What an operator may know of a stored request to a server: its kind, and whether it failed before.

use crate::encoding::Decode as _;

use super::job::{Job, Purpose, Task};

/// A request that waits for its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingRequest {
    /// What is asked, in a word.
    pub kind: &'static str,
    /// Whether it failed and is tried again.
    pub is_retried: bool,
}

impl WaitingRequest {
    /// Reads a stored job; nothing when it was damaged.
    #[must_use]
    pub fn read(job: &[u8]) -> Option<Self> {
        let job = Job::from_bytes(job).ok()?;
        let kind = match &job.task {
            Task::CreateQueue { .. } => "create_queue",
            Task::SetLinkData { .. } => "set_link_data",
            Task::SecurePeerQueue | Task::SecureOwnQueue { .. } => "secure_queue",
            Task::Invite | Task::Confirm { .. } => "handshake",
            Task::Message(message) if matches!(message.purpose, Purpose::Application { .. }) => "message",
            Task::Message(_) => "service_message",
            Task::RatchetKey { .. } => "ratchet_key",
            Task::DeleteQueue => "delete_queue",
        };
        Some(Self { kind, is_retried: job.retry.was_put_off() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::retry::Pace;
    use crate::encoding::Encode as _;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_job_says_what_it_is_and_whether_it_failed() {
        let mut job = Job::new(Task::DeleteQueue, Timestamp(1));
        let read = |job: &Job| WaitingRequest::read(&job.to_bytes());
        assert_eq!(read(&job), Some(WaitingRequest { kind: "delete_queue", is_retried: false }));
        job.retry.put_off(Pace::Fast, Timestamp(1), 0);
        job.retry.wake();
        assert_eq!(read(&job), Some(WaitingRequest { kind: "delete_queue", is_retried: true }));
        assert_eq!(WaitingRequest::read(b"damaged"), None);
    }
}
