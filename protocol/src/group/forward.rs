//! What a relay passes on, with the author it names (channels.md §6).
//!
//! ```text
//! forward = ">" sender seconds(8, BE) statement
//! sender  = ( "M" short(memberId) short(memberName) ) / "C"
//! ```
//!
//! `seconds` is the broker time of the original message as the relay saw it. A forward inside a forward is refused.

use super::constants::FORWARDED_NAME_CHARS_MAX;
use super::identity::MemberId;
use super::signed::Statement;
use crate::encoding::{DecodeError, Encode as _, Reader, put_short};
use crate::timestamp::Timestamp;

/// First byte of a forward.
pub(super) const FORWARD_TAG: u8 = b'>';

/// Whom a relay names as the author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardSender {
    /// A member.
    Member {
        /// Who.
        id: MemberId,
        /// What to call one who has not been met yet; the relay's claim.
        name: String,
    },
    /// The group itself. Counts as unsigned.
    Channel,
}

impl ForwardSender {
    /// The author's id, unless it is the group itself.
    #[must_use]
    pub const fn member(&self) -> Option<&MemberId> {
        match self {
            Self::Member { id, .. } => Some(id),
            Self::Channel => None,
        }
    }
}

/// A statement passed on by a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward<'a> {
    /// Who said it, by the relay's word until a signature confirms it.
    pub sender: ForwardSender,
    /// When the relay's server had it; whole seconds.
    pub sent_at: Timestamp,
    /// What was said, as the author's bytes.
    pub statement: Statement<'a>,
}

impl<'a> Forward<'a> {
    /// Parses a whole forward element.
    ///
    /// # Errors
    /// [`DecodeError`] when it is malformed, or holds anything but one statement.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.expect(&[FORWARD_TAG], "forward")?;
        let sender = match reader.u8()? {
            b'M' => {
                let id = MemberId::new(reader.short()?)?;
                ForwardSender::Member { id, name: reader.text()?.to_owned() }
            }
            b'C' => ForwardSender::Channel,
            _ => return Err(DecodeError::Invalid("forward sender")),
        };
        let sent_at = Timestamp::from_seconds(reader.i64()?);
        if reader.peek() == Some(FORWARD_TAG) {
            return Err(DecodeError::Invalid("forward: it holds another forward"));
        }
        let statement = Statement::parse(reader.tail())?;
        Ok(Self { sender, sent_at, statement })
    }
}

/// A forward element around the author's bytes. A long name is cut to 16 characters and an ellipsis.
#[must_use]
pub fn forward(sender: &ForwardSender, sent_at: Timestamp, statement: &Statement<'_>) -> Vec<u8> {
    let mut out = forward_head(sender, sent_at);
    out.extend_from_slice(statement.verbatim());
    out
}

/// What stands in a forward element ahead of the author's bytes.
#[must_use]
pub fn forward_head(sender: &ForwardSender, sent_at: Timestamp) -> Vec<u8> {
    let mut out = vec![FORWARD_TAG];
    match sender {
        ForwardSender::Member { id, name } => {
            out.push(b'M');
            id.encode(&mut out);
            put_short(&mut out, cut_name(name).as_bytes());
        }
        ForwardSender::Channel => out.push(b'C'),
    }
    out.extend_from_slice(&sent_at.seconds().to_be_bytes());
    out
}

fn cut_name(name: &str) -> String {
    let mut cut: String = name.chars().take(FORWARDED_NAME_CHARS_MAX).collect();
    if cut.len() < name.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &[u8] = br#"{"event":"x.ok","params":{}}"#;

    fn by(name: &str) -> ForwardSender {
        ForwardSender::Member { id: MemberId::new([1; 12]).unwrap(), name: name.to_owned() }
    }

    #[test]
    fn a_forward_inside_a_forward_is_refused() {
        let statement = Statement::parse(JSON).unwrap();
        let inner = forward(&ForwardSender::Channel, Timestamp::from_seconds(1), &statement);
        let outer = [&inner[..10], &inner].concat();
        assert_eq!(Forward::parse(&outer), Err(DecodeError::Invalid("forward: it holds another forward")));
        for other in [&b"=\x00"[..], b"F\x00", b"", b"["] {
            assert!(Forward::parse(&[&inner[..10], other].concat()).is_err());
        }
    }

    #[test]
    fn long_names_are_cut_by_characters() {
        assert_eq!(cut_name("ααααααααααααααααα"), "αααααααααααααααα…");
        assert_eq!(cut_name("sixteen letters!"), "sixteen letters!");
    }

    proptest! {
        #[test]
        fn forwards_round_trip(name in "\\PC{0,40}", seconds in -5_000_000_000_i64..5_000_000_000, channel: bool) {
            let sender = if channel { ForwardSender::Channel } else { by(&name) };
            let statement = Statement::parse(JSON).unwrap();
            let bytes = forward(&sender, Timestamp::from_seconds(seconds), &statement);
            let parsed = Forward::parse(&bytes).unwrap();
            prop_assert_eq!(parsed.sent_at, Timestamp::from_seconds(seconds));
            prop_assert_eq!(parsed.sender.member(), sender.member());
            prop_assert_eq!(parsed.statement.verbatim(), JSON);
        }

        #[test]
        fn cut_and_changed_forwards_fail_softly(cut in 0_usize..60, at in 0_usize..60, flip in 1_u8..) {
            let mut bytes = forward(&by("ann"), Timestamp(0), &Statement::parse(JSON).unwrap());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
            let _ = Forward::parse(&bytes);
            bytes.truncate(cut);
            let _ = Forward::parse(&bytes);
        }
    }
}
