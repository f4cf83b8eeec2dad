//! PostgreSQL's errors in the words of every engine.

use postgres::error::SqlState;

use crate::store::{Failure, FailureKind, StoreError};

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        Self::Database(failure(&error))
    }
}

impl From<daemon::postgres::Misconfigured> for StoreError {
    fn from(error: daemon::postgres::Misconfigured) -> Self {
        Self::Database(Failure::new(FailureKind::Transient, error.to_string()))
    }
}

/// What the server says without its details, which may name ids.
fn failure(error: &postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(said) => Failure::new(kind(said.code()), format!("PostgreSQL: {}", said.message())),
        None => {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Failure::new(FailureKind::Transient, format!("PostgreSQL cannot be used: {error}{cause}"))
        }
    }
}

/// A commit to which no answer came: the server may have stored it or not.
pub(super) fn of_commit(error: &postgres::Error) -> StoreError {
    let failure = failure(error);
    match error.as_db_error() {
        Some(said) if !ends_session(said.code()) => failure.into(),
        _ => Failure::new(FailureKind::InDoubt, format!("no answer to a commit: {failure}")).into(),
    }
}

/// Whether the session is of no use after this error.
pub(super) fn is_lost(error: &postgres::Error) -> bool {
    error.is_closed() || error.as_db_error().is_none_or(|said| ends_session(said.code()))
}

/// The server stops, restarts, or was told to end the session.
fn ends_session(code: &SqlState) -> bool {
    code.code().starts_with("57P")
        || code.code().starts_with("08")
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

fn kind(code: &SqlState) -> FailureKind {
    match code.code() {
        "53100" => FailureKind::Full,
        "23505" => FailureKind::Taken,
        "XX001" | "XX002" => FailureKind::Damaged,
        _ => FailureKind::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_kind() {
        for (code, expected) in [
            (SqlState::DISK_FULL, FailureKind::Full),
            (SqlState::UNIQUE_VIOLATION, FailureKind::Taken),
            (SqlState::DATA_CORRUPTED, FailureKind::Damaged),
            (SqlState::INDEX_CORRUPTED, FailureKind::Damaged),
            (SqlState::LOCK_NOT_AVAILABLE, FailureKind::Transient),
            (SqlState::ADMIN_SHUTDOWN, FailureKind::Transient),
        ] {
            assert_eq!(kind(&code), expected, "{}", code.code());
        }
        assert!(ends_session(&SqlState::ADMIN_SHUTDOWN) && !ends_session(&SqlState::DISK_FULL));
    }
}
