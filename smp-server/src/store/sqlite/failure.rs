//! SQLite's errors in the words of every engine.

use rusqlite::ErrorCode;

use crate::store::{Failure, FailureKind, StoreError};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Failure::new(kind(&error), error.to_string()))
    }
}

fn kind(error: &rusqlite::Error) -> FailureKind {
    if error.sqlite_error().map(|error| error.extended_code) == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
    {
        return FailureKind::Taken;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => FailureKind::Full,
        Some(ErrorCode::SystemIoFailure) => FailureKind::UnknownDisk,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => FailureKind::Damaged,
        _ => FailureKind::Transient,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn each_error_has_its_kind() {
        for (code, expected) in [
            (ffi::SQLITE_FULL, FailureKind::Full),
            (ffi::SQLITE_IOERR_FSYNC, FailureKind::UnknownDisk),
            (ffi::SQLITE_CORRUPT, FailureKind::Damaged),
            (ffi::SQLITE_NOTADB, FailureKind::Damaged),
            (ffi::SQLITE_BUSY, FailureKind::Transient),
            (ffi::SQLITE_READONLY, FailureKind::Transient),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, FailureKind::Taken),
        ] {
            assert_eq!(
                kind(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
                expected,
                "{code}"
            );
        }
    }
}
