//! Why a queue is blocked (smp.md §8.1).
//!
//! ```text
//! blocking = "reason=" ("spam" / "content") [",notice=" JSON]          the notice from version 18 on
//! ```

use crate::encoding::{DecodeError, Reader};
use crate::smp::BLOCKING_NOTICE_VERSION;
use crate::smp::words::put;

/// Why the operator blocked a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockingInfo {
    /// The reason.
    pub reason: BlockingReason,
    /// What clients are to show, from version 18 on.
    pub notice: Option<ClientNotice>,
}

/// The reason of a blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockingReason {
    /// `spam`
    Spam,
    /// `content`
    Content,
}

/// A notice to the users of a blocked queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientNotice {
    /// For how many seconds it holds; indefinitely when absent.
    #[serde(rename = "ttl", skip_serializing_if = "Option::is_none", default)]
    pub ttl_seconds: Option<i64>,
}

impl BlockingInfo {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid("blocking info");
        let text = reader.tail().strip_prefix(b"reason=").ok_or(invalid)?;
        let (reason, rest) = if let Some(rest) = text.strip_prefix(b"spam") {
            (BlockingReason::Spam, rest)
        } else {
            (BlockingReason::Content, text.strip_prefix(b"content").ok_or(invalid)?)
        };
        let notice = match rest {
            [] => None,
            rest => {
                let json = rest.strip_prefix(b",notice=").ok_or(invalid)?;
                Some(serde_json::from_slice(json).map_err(|_| invalid)?)
            }
        };
        Ok(Self { reason, notice })
    }

    pub(super) fn encode(self, version: u16, out: &mut Vec<u8>) {
        put(out, "reason=");
        put(
            out,
            match self.reason {
                BlockingReason::Spam => "spam",
                BlockingReason::Content => "content",
            },
        );
        if version < BLOCKING_NOTICE_VERSION {
            return;
        }
        if let Some(notice) = self.notice {
            put(out, ",notice=");
            match notice.ttl_seconds {
                Some(seconds) => put(out, &format!("{{\"ttl\":{seconds}}}")),
                None => put(out, "{}"),
            }
        }
    }
}

/// As on the wire, with the notice.
impl std::fmt::Display for BlockingInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        self.encode(BLOCKING_NOTICE_VERSION, &mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl std::str::FromStr for BlockingInfo {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_reads_back() {
        for text in ["reason=spam", "reason=content,notice={}", "reason=content,notice={\"ttl\":3600}"] {
            assert_eq!(text.parse::<BlockingInfo>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "spam",
            "reason=other",
            "reason=spam,notice=",
            "reason=spam,notice={\"ttl\":1}x",
            "reason=spamx",
        ] {
            assert!(text.parse::<BlockingInfo>().is_err(), "{text}");
        }
    }
}
