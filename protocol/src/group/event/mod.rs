//! One JSON message: what is said, apart from who says it and how it is packed (channels.md §6, §9).
//!
//! ```text
//! { "v": "1-19", "msgId": "b64", "event": "x.msg.new", "params": { … } }
//! ```
//!
//! An event that we do not know is kept as it is and ignored by whoever acts on events; parameters that we do not
//! know are ignored. Signatures cover the bytes as they came, so nothing here is ever encoded again to be checked
//! or passed on.

pub mod bulk;
mod catalogue;
pub mod content;
pub mod group;
pub mod history;
pub mod joining;
pub mod members;
pub mod owner_relay;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use self::catalogue::{Event, EventTag, UnknownEvent};
use super::author_chain::{AUTHOR_CHAIN_KEY, ChainLink};
use super::constants::CHAT_VERSIONS;
use super::msg_id::SharedMessageId;
use crate::version::VersionRange;

/// A JSON message, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The sender's chat versions, if it says.
    pub versions: Option<VersionRange>,
    /// The id under which copies are one; messages that only two parties exchange may have none.
    pub message_id: Option<SharedMessageId>,
    /// Its place in its author's chain, if it has one.
    pub chain: Option<ChainLink>,
    /// What is said.
    pub event: Event,
}

/// Why bytes are not a JSON message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or not an object with an event.
    #[error("not a JSON message")]
    NotAMessage,
    /// `v` is not a version range.
    #[error("not a valid version range")]
    Versions,
    /// A known event lacks a parameter, or has one of another type.
    #[error("the parameters of {0} are not valid")]
    Parameters(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    msg_id: Option<SharedMessageId>,
    event: String,
    #[serde(default)]
    params: Value,
}

impl Message {
    /// A message of ours: our versions, and an id if it has one.
    #[must_use]
    pub fn new(message_id: Option<SharedMessageId>, event: Event) -> Self {
        Self { versions: Some(CHAT_VERSIONS), message_id, chain: None, event }
    }

    /// The same in its author's chain.
    #[must_use]
    pub fn chained(self, link: ChainLink) -> Self {
        Self { chain: Some(link), ..self }
    }

    /// Parses a message.
    ///
    /// # Errors
    /// When it is not JSON of this shape, or the parameters of a known event are not valid.
    pub fn parse(json: &[u8]) -> Result<Self, MessageError> {
        let envelope: Envelope = serde_json::from_slice(json).map_err(|_| MessageError::NotAMessage)?;
        let versions = envelope.v.map(|text| text.parse()).transpose().map_err(|_| MessageError::Versions)?;
        // Another's idea of this key is no place in a chain; the message is as good without.
        let chain =
            envelope.params.get(AUTHOR_CHAIN_KEY).and_then(|field| ChainLink::deserialize(field).ok());
        let event = Event::from_parts(envelope.event, envelope.params)?;
        Ok(Self { versions, message_id: envelope.msg_id, chain, event })
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let (event, mut params) = self.event.to_parts();
        if let (Some(link), Some(params)) = (self.chain, params.as_object_mut()) {
            let field = serde_json::to_value(link).expect("a place in a chain is text and a number");
            params.insert(AUTHOR_CHAIN_KEY.to_owned(), field);
        }
        let envelope = Envelope {
            v: self.versions.map(|range| range.to_string()),
            msg_id: self.message_id.clone(),
            event,
            params,
        };
        serde_json::to_vec(&envelope).expect("an envelope of text and JSON values always serializes")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::content::{Content, MessageNew, Reaction};
    use super::*;

    /// Each known event with the parameters of channels.md §9, and how it must come out again.
    #[test]
    fn every_event_of_the_catalogue_round_trips() {
        let profile = r#"{"displayName":"Ann","fullName":""}"#;
        let group = r#"{"displayName":"Tea","fullName":""}"#;
        let key = "MCowBQYDK2VwAyEAgTl3Dqh9F19Wo1Rmw0x-zMuNipG07jeiXfYPW4_Js5Q=";
        let cases = [
            (
                EventTag::RelayInvite,
                format!(
                    r#"{{"groupRelayInvitation":{{"fromMember":{{"memberId":"AQID","memberRole":"owner"}},
                    "fromMemberProfile":{profile},"relayMemberId":"AQIE","groupLink":"simplex:/c#x"}}}}"#
                ),
            ),
            (
                EventTag::RelayAccept,
                r#"{"relayLink":"simplex:/g#x","relayCap":{"webDomain":"e.org"}}"#.into(),
            ),
            (EventTag::RelayReject, r#"{"reason":"rejoin_rejected"}"#.into()),
            (EventTag::RelayCapabilities, r#"{"relayCap":{}}"#.into()),
            (
                EventTag::RelayNotice,
                r#"{"notice":"owner_day","text":"used up","count":3,"memberId":"AQID"}"#.into(),
            ),
            (EventTag::RelayNew, r#"{"relayLink":"simplex:/g#x"}"#.into()),
            (EventTag::RelayTest, r#"{"challenge":"AQID","signature":"AQID"}"#.into()),
            (EventTag::RosterAck, r#"{"version":3,"error":"digest"}"#.into()),
            (
                EventTag::Join,
                format!(
                    r#"{{"profile":{profile},"newMemberId":"AQID","newMemberKey":"{key}","viaRelay":"AQIE",
                    "entrance":{{"work":{{"day":20000,"nonce":7}}}}}}"#
                ),
            ),
            (
                EventTag::LinkInvitation,
                format!(
                    r#"{{"groupLinkInvitation":{{"fromMember":{{"memberId":"AQID","memberRole":"relay"}},
                    "fromMemberName":"r","invitedMember":{{"memberId":"AQIE","memberRole":"observer"}},
                    "groupProfile":{group},"groupSize":5}},"relayCap":{{"twoConnections":true}}}}"#
                ),
            ),
            (EventTag::Info, format!(r#"{{"profile":{profile}}}"#)),
            (
                EventTag::LinkMember,
                format!(r#"{{"profile":{profile},"relayCap":{{"history":true}},"historyFrom":"9"}}"#),
            ),
            (
                EventTag::LinkReject,
                r#"{"groupLinkRejection":{"groupName":"Tea","rejectionReason":"blocked"}}"#.into(),
            ),
            (
                EventTag::LinkAccept,
                r#"{"acceptance":"accepted","role":"member","memberId":"AQID"}"#.into(),
            ),
            (EventTag::Contact, format!(r#"{{"profile":{profile}}}"#)),
            (
                EventTag::MemberNew,
                format!(
                    r#"{{"memberInfo":{{"memberId":"AQID","memberRole":"member","v":"1-19","profile":{profile},
                    "memberKey":"{key}"}},"scope":{{"type":"member","memberId":"AQID"}}}}"#
                ),
            ),
            (
                EventTag::MemberIntro,
                format!(
                    r#"{{"memberInfo":{{"memberId":"AQID","memberRole":"admin","profile":{profile}}},
                    "memberRestrictions":{{"restriction":"blocked"}}}}"#
                ),
            ),
            (
                EventTag::MemberRole,
                format!(r#"{{"memberId":"AQID","role":"member","memberKey":"{key}","rosterVersion":4}}"#),
            ),
            (
                EventTag::MemberRestrict,
                r#"{"memberId":"AQID","memberRestrictions":{"restriction":"unrestricted"}}"#.into(),
            ),
            (EventTag::MemberDelete, r#"{"memberId":"AQID","messages":true,"rosterVersion":5}"#.into()),
            (EventTag::MemberRulings, "{}".into()),
            (EventTag::Leave, "{}".into()),
            (EventTag::GroupInfo, format!(r#"{{"groupProfile":{group}}}"#)),
            (EventTag::GroupPreferences, r#"{"groupPreferences":{"history":{"enable":"on"}}}"#.into()),
            (EventTag::GroupDelete, "{}".into()),
            (EventTag::Roster, r#"{"version":3,"fileInv":{"fileSize":2,"fileDigest":"AQID"}}"#.into()),
            (EventTag::RosterRequest, r#"{"version":3}"#.into()),
            (EventTag::HistoryGet, r#"{"before":"17","after":"3","welcomed":"9","limit":50,"askOwner":true}"#.into()),
            (EventTag::HistoryPage, r#"{"before":"17","next":"3","last":true}"#.into()),
            (EventTag::HistoryGap, r#"{"after":"3"}"#.into()),
            (
                EventTag::HistoryPeer,
                r#"{"memberId":"AQID","viaRelay":"AQIE","linkData":"AQID"}"#.into(),
            ),
            (EventTag::BulkJoin, r#"{"memberId":"AQID","viaRelay":"AQIE","number":7}"#.into()),
            (EventTag::BulkBegin, r#"{"number":7}"#.into()),
            (EventTag::BulkReady, r#"{"number":7}"#.into()),
            (EventTag::BulkGo, r#"{"number":7}"#.into()),
            (EventTag::BulkEnd, r#"{"number":7}"#.into()),
            (EventTag::BulkAhead, "{}".into()),
            (
                EventTag::MessageNew,
                r#"{"content":{"type":"text","text":"hi @ann"},"mentions":{"ann":{"memberId":"AQID"}},
                "file":{"fileName":"a","fileSize":3},"ttl":5,"live":false,
                "scope":{"type":"member","memberId":"AQID"},"asGroup":true,
                "quote":{"msgRef":{"msgId":"AQID","sentAt":"2026-01-01T00:00:00Z","sent":false,"memberId":"AQID"},
                "content":{"type":"voice","text":"","duration":7}},"parent":{"msgId":"AQID"},"forward":true}"#
                    .into(),
            ),
            (
                EventTag::MessageUpdate,
                r#"{"msgId":"AQID","content":{"type":"poll","text":"?","options":[1]},"asGroup":false,"prefs":{}}"#.into(),
            ),
            (EventTag::MessageDelete, r#"{"msgId":"AQID","memberId":"AQIE","onlyHistory":true}"#.into()),
            (
                EventTag::MessageReact,
                r#"{"msgId":"AQID","reaction":{"type":"emoji","emoji":"👍"},"add":true}"#.into(),
            ),
            (
                EventTag::FileDescription,
                r#"{"msgId":"AQID","fileDescr":{"fileDescrText":"x","fileDescrPartNo":1,"fileDescrComplete":true}}"#
                    .into(),
            ),
            (EventTag::FileCancel, r#"{"msgId":"AQID"}"#.into()),
            (EventTag::Deleted, "{}".into()),
            (
                EventTag::JsonForward,
                r#"{"memberId":"AQID","memberName":"a","msg":{"event":"x.ok"},"msgTs":"2026-01-01T00:00:00Z"}"#.into(),
            ),
            (EventTag::Acknowledge, "{}".into()),
            (EventTag::Unknown, r#"{"anything":[1]}"#.into()),
        ];
        assert_eq!(cases.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), EventTag::ALL, "none is left out");
        for (tag, params) in cases {
            let name = if tag == EventTag::Unknown { "x.later" } else { tag.name() };
            let json =
                format!(r#"{{"v":"1-19","msgId":"AAAAAAAAAAAAAAAA","event":"{name}","params":{params}}}"#);
            let message = Message::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(message.event.tag(), tag);
            let again: Value = serde_json::from_slice(&message.to_json()).unwrap();
            assert_eq!(again, serde_json::from_str::<Value>(&json).unwrap(), "{name}");
        }
    }

    #[test]
    fn unknown_parameters_and_missing_versions_are_no_hindrance() {
        let message = Message::parse(br#"{"event":"x.grp.leave","params":{"later":1},"also":2}"#).unwrap();
        assert_eq!((message.versions, message.message_id), (None, None));
        assert_eq!(message.event.tag(), EventTag::Leave);
        assert_eq!(Message::parse(br#"{"event":"x.ok"}"#).unwrap().event.tag(), EventTag::Acknowledge);
    }

    #[test]
    fn each_fault_has_its_error() {
        let fault = |json: &str| Message::parse(json.as_bytes()).unwrap_err();
        assert_eq!(fault("[]"), MessageError::NotAMessage);
        assert_eq!(fault(r#"{"params":{}}"#), MessageError::NotAMessage);
        assert_eq!(
            fault(r#"{"event":"x.ok","msgId":""}"#),
            MessageError::NotAMessage,
            "an empty id names nothing"
        );
        assert_eq!(fault(r#"{"v":"9-1","event":"x.ok"}"#), MessageError::Versions);
        assert_eq!(fault(r#"{"event":"x.msg.new","params":{}}"#), MessageError::Parameters("x.msg.new"));
        assert_eq!(
            fault(r#"{"event":"x.msg.del","params":{"msgId":"AQID","scope":{"type":"later"}}}"#),
            MessageError::Parameters("x.msg.del"),
            "a scope that we do not know must not become the main one"
        );
        assert_eq!(
            fault(&"[".repeat(100_000)),
            MessageError::NotAMessage,
            "deep nesting does not overflow the stack"
        );
    }

    #[test]
    fn content_of_an_unknown_type_is_shown_as_its_text() {
        let content: Content =
            serde_json::from_str(r#"{"type":"poll","text":"which?","options":[]}"#).unwrap();
        assert_eq!(content.as_text(), "which?");
        assert_eq!(Content::text("hi").as_text(), "hi");
        let odd: Content = serde_json::from_str(r#"{"type":"video","text":"no image"}"#).unwrap();
        assert_eq!(odd.as_text(), "no image");
    }

    #[test]
    fn only_the_known_emoji_react() {
        let reaction = |json| serde_json::from_str::<Reaction>(json).unwrap().as_emoji();
        assert_eq!(reaction(r#"{"type":"emoji","emoji":"❤"}"#), Some("❤️"));
        assert_eq!(reaction(r#"{"type":"emoji","emoji":"🦀"}"#), None);
        assert_eq!(reaction(r#"{"type":"gif","emoji":"👍"}"#), None);
        assert_eq!(Reaction::emoji("🚀").unwrap().as_emoji(), Some("🚀"));
        assert!(Reaction::emoji("").is_none());
    }

    proptest! {
        #[test]
        fn text_round_trips(text in ".*", id in prop::collection::vec(any::<u8>(), 1..40)) {
            let id = SharedMessageId::new(id).unwrap();
            let event = Event::MessageNew(Box::new(MessageNew::new(Content::text(text))));
            let message = Message::new(Some(id), event);
            prop_assert_eq!(Message::parse(&message.to_json()), Ok(message));
        }

        #[test]
        fn cut_and_changed_messages_fail_softly(cut in 0_usize..90, at in 0_usize..90, flip in 1_u8..) {
            let mut json = Message::new(None, Event::MessageNew(Box::new(MessageNew::new(Content::text("hi"))))).to_json();
            if let Some(byte) = json.get_mut(at) {
                *byte ^= flip;
            }
            let _ = Message::parse(&json);
            json.truncate(cut);
            let _ = Message::parse(&json);
        }
    }
}
