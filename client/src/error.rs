//! The one error a command ends with: what kind, what happened, and what to do next.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::exit_code::ExitCode;

/// Why a command did not succeed. It crosses the control socket as it is, so it holds text and no source types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandError {
    /// The kind, which is also the exit code.
    pub(crate) kind: ExitCode,
    /// What happened, outermost first: "Unable to open the store: disk full".
    pub(crate) message: String,
    /// What to do next, one sentence each.
    pub(crate) hints: Vec<String>,
}

impl CommandError {
    /// An error with the hint that always goes with its kind, if there is one.
    pub(crate) fn new(kind: ExitCode, message: impl Display) -> Self {
        let hints = usual_hint(kind).map(str::to_owned).into_iter().collect();
        Self { kind, message: message.to_string(), hints }
    }

    /// The same with a more particular thing to do, shown first.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.insert(0, hint.into());
        self
    }

    /// Something that is not there.
    pub(crate) fn not_found(what: &str, name: &str, list_with: &str) -> Self {
        Self::new(ExitCode::NotFound, format_args!("There is no {what} \"{name}\""))
            .hint(format!("See what there is with `conclave {list_with}`."))
    }
}

impl Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}

/// Failures without a kind of their own: the whole chain of causes becomes the message.
impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<CommandError>() {
            Ok(error) => error,
            Err(error) => Self::new(ExitCode::Failure, format_args!("{error:#}")),
        }
    }
}

fn usual_hint(kind: ExitCode) -> Option<&'static str> {
    Some(match kind {
        ExitCode::NoHome => "Make one with `conclave init`, or name another with --home.",
        ExitCode::HomeBusy => "Wait for the other command to end, or stop it.",
        ExitCode::WrongSecret => {
            "Check CONCLAVE_PASSPHRASE, CONCLAVE_PASSPHRASE_FILE or --key-file; there is no way in without it."
        }
        ExitCode::WrongLink => {
            "Ask for the link again and paste all of it, from `https://` or `simplex:` to its end."
        }
        ExitCode::ServerIdentity => {
            "Somebody may stand between you and the server, or it was set up anew: ask its operator for the address."
        }
        ExitCode::VersionGap => "One of the two programs must be brought up to date.",
        ExitCode::Unreachable => {
            "Check the network with `conclave doctor`; what was begun is kept and goes on with the next command."
        }
        ExitCode::GroupDeleted => "What was received stays readable with `conclave history`.",
        ExitCode::NoActiveRelay => {
            "Members: try `conclave group restore` later. The owner: add one with `conclave group relay add`."
        }
        ExitCode::JoinRefused => "Ask the owner of the group why.",
        ExitCode::MessageExpired => "Write a new message instead.",
        ExitCode::NotAllowed => "See the roles with `conclave members`; the owner can change them.",
        ExitCode::StillWaiting => {
            "Nothing is lost: it goes on while `conclave listen` runs, and with each `conclave flush`."
        }
        ExitCode::RelayRefused => "Choose another relay, or ask its operator.",
        ExitCode::LastRelay => {
            "Add another one first with `conclave group relay add`, or take the last one out with --force."
        }
        ExitCode::AnswerNeeded => {
            "Run the same command on a terminal, or with --answer-file FILE; --no-answer asks a moderator instead."
        }
        ExitCode::CheckFailed
        | ExitCode::Success
        | ExitCode::Failure
        | ExitCode::Usage
        | ExitCode::NotFound
        | ExitCode::AlreadyThere => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_cases_have_their_own_code_and_advice() {
        for kind in [
            ExitCode::WrongLink,
            ExitCode::ServerIdentity,
            ExitCode::GroupDeleted,
            ExitCode::NoActiveRelay,
            ExitCode::JoinRefused,
            ExitCode::MessageExpired,
        ] {
            assert!(!CommandError::new(kind, "x").hints.is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn an_error_with_a_kind_keeps_it_through_anyhow() {
        let error = CommandError::new(ExitCode::WrongLink, "x");
        assert_eq!(CommandError::from(anyhow::Error::from(error.clone())), error);
    }
}
