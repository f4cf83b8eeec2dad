//! Values of a queue as the databases keep them, the same in each.

use protocol::encoding::{Decode as _, DecodeError, Encode as _, Reader, put_list};
use protocol::smp::error::BlockingInfo;
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::transport::hello::ServiceRole;

use super::{QueueStatus, Result, StoreError};

pub(crate) fn status_from(text: &str, blocking: Option<&str>) -> Result<QueueStatus> {
    let suspended = match text {
        "active" => false,
        "off" => true,
        _ => return Err(StoreError::Damaged("queue status")),
    };
    let blocking = blocking.map(blocking_from).transpose()?;
    Ok(QueueStatus::from_parts(suspended, blocking))
}

pub(crate) fn status_text(status: QueueStatus) -> &'static str {
    if status.is_suspended() { "off" } else { "active" }
}

pub(crate) fn blocking_from(text: &str) -> Result<BlockingInfo> {
    text.parse().map_err(|_| StoreError::Damaged("reason to block a queue"))
}

pub(crate) fn mode_from(text: Option<&str>) -> Result<Option<QueueMode>> {
    match text {
        None => Ok(None),
        Some("M") => Ok(Some(QueueMode::Messaging)),
        Some("C") => Ok(Some(QueueMode::Contact)),
        Some(_) => Err(StoreError::Damaged("queue mode")),
    }
}

pub(crate) fn mode_text(mode: Option<QueueMode>) -> Option<&'static str> {
    mode.map(|mode| match mode {
        QueueMode::Messaging => "M",
        QueueMode::Contact => "C",
    })
}

pub(crate) fn key_from(bytes: &[u8], what: &'static str) -> Result<AuthPublicKey> {
    AuthPublicKey::from_bytes(bytes).map_err(|_| StoreError::Damaged(what))
}

/// Keys as `RKEY` has them on the wire: at most 255.
pub(crate) fn keys_blob(keys: &[AuthPublicKey]) -> Vec<u8> {
    let mut out = Vec::new();
    put_list(&mut out, keys, |out, key| key.encode(out));
    out
}

pub(crate) fn keys_from(blob: &[u8]) -> Result<Vec<AuthPublicKey>> {
    let read = || -> std::result::Result<_, DecodeError> {
        let mut reader = Reader::new(blob);
        let keys = reader.non_empty_list(AuthPublicKey::decode)?;
        reader.end()?;
        Ok(keys)
    };
    read().map_err(|_| StoreError::Damaged("recipient key"))
}

pub(crate) fn role_from(text: &str) -> Result<ServiceRole> {
    match text {
        "M" => Ok(ServiceRole::Messaging),
        "N" => Ok(ServiceRole::Notifier),
        "P" => Ok(ServiceRole::Proxy),
        _ => Err(StoreError::Damaged("service role")),
    }
}

pub(crate) fn role_text(role: ServiceRole) -> &'static str {
    match role {
        ServiceRole::Messaging => "M",
        ServiceRole::Notifier => "N",
        ServiceRole::Proxy => "P",
    }
}
