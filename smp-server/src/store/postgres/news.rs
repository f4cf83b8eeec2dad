//! What nodes tell each other, as text: notifications of PostgreSQL carry nothing else.
//!
//! ```text
//! events = event *( ";" event )
//! event  = "arrived" Q / "notify" N message ms / "moved" topic claim / "deleted" topic topic
//!        / "lost" S topic / "blocked" topic Q / "missed"          ; words with one space between
//! topic  = ( "Q" / "N" / "S" ) 48 HEXDIG
//! ```

use std::fmt::Write as _;

use protocol::smp::ids::{MessageId, NotifierId, RecipientId, ServiceId};
use protocol::timestamp::Timestamp;

use crate::store::{Claim, NodeEvent, Topic};

/// Events that fit a notification, which has less than 8000 bytes.
pub(super) const EVENTS_PER_NOTIFICATION: usize = 50;

/// The letter of a topic's kind.
pub(super) fn kind(topic: &Topic) -> &'static str {
    match topic {
        Topic::Queue(_) => "Q",
        Topic::Notifier(_) => "N",
        Topic::Service(_) => "S",
    }
}

/// The topic of this kind with this id.
pub(super) fn topic_of(kind: &str, id: [u8; 24]) -> Option<Topic> {
    match kind {
        "Q" => Some(Topic::Queue(RecipientId(id))),
        "N" => Some(Topic::Notifier(NotifierId(id))),
        "S" => Some(Topic::Service(ServiceId(id))),
        _ => None,
    }
}

/// An event as text.
pub(super) fn text(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Arrived(queue) => format!("arrived {}", topic_text(&Topic::Queue(*queue))),
        NodeEvent::Notify(notifier, message, at) => {
            format!("notify {} {} {}", topic_text(&Topic::Notifier(*notifier)), hex(message.as_bytes()), at.0)
        }
        NodeEvent::Moved(topic, claim) => format!("moved {} {}", topic_text(topic), claim.0),
        NodeEvent::Deleted(of, what) => format!("deleted {} {}", topic_text(of), topic_text(what)),
        NodeEvent::Lost(service, what) => {
            format!("lost {} {}", topic_text(&Topic::Service(*service)), topic_text(what))
        }
        NodeEvent::Blocked(of, queue) => {
            format!("blocked {} {}", topic_text(of), topic_text(&Topic::Queue(*queue)))
        }
        NodeEvent::Missed => "missed".to_owned(),
    }
}

/// The events of a notification. What cannot be understood comes from another version of this program: then it is as if
/// something had been missed.
pub(super) fn events(payload: &str) -> impl Iterator<Item = NodeEvent> {
    payload.split(';').map(|text| event(text).unwrap_or(NodeEvent::Missed))
}

fn event(text: &str) -> Option<NodeEvent> {
    let mut words = text.split(' ');
    let event = match words.next()? {
        "arrived" => NodeEvent::Arrived(queue(words.next()?)?),
        "notify" => {
            let Topic::Notifier(notifier) = topic(words.next()?)? else { return None };
            let message = MessageId(id(words.next()?)?);
            NodeEvent::Notify(notifier, message, Timestamp(words.next()?.parse().ok()?))
        }
        "moved" => NodeEvent::Moved(topic(words.next()?)?, Claim(words.next()?.parse().ok()?)),
        "deleted" => NodeEvent::Deleted(topic(words.next()?)?, topic(words.next()?)?),
        "lost" => {
            let Topic::Service(service) = topic(words.next()?)? else { return None };
            NodeEvent::Lost(service, topic(words.next()?)?)
        }
        "blocked" => NodeEvent::Blocked(topic(words.next()?)?, queue(words.next()?)?),
        "missed" => NodeEvent::Missed,
        _ => return None,
    };
    words.next().is_none().then_some(event)
}

fn topic_text(topic: &Topic) -> String {
    format!("{}{}", kind(topic), hex(topic.entity_id()))
}

fn topic(text: &str) -> Option<Topic> {
    let (kind, hex) = text.split_at_checked(1)?;
    topic_of(kind, id(hex)?)
}

fn queue(text: &str) -> Option<RecipientId> {
    match topic(text)? {
        Topic::Queue(queue) => Some(queue),
        Topic::Notifier(_) | Topic::Service(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn id(hex: &str) -> Option<[u8; 24]> {
    let mut id = [0; 24];
    if hex.len() != 48 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (position, byte) in id.iter_mut().enumerate() {
        let at = position.checked_mul(2)?;
        *byte = u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<NodeEvent> {
        let queue = RecipientId([0x1f; 24]);
        let topics = [
            Topic::Queue(queue),
            Topic::Notifier(NotifierId([0xa0; 24])),
            Topic::Service(ServiceId([0xff; 24])),
        ];
        let mut all = vec![
            NodeEvent::Arrived(queue),
            NodeEvent::Notify(NotifierId([2; 24]), MessageId([0xfe; 24]), Timestamp(1_700_000_000_123)),
            NodeEvent::Missed,
        ];
        for topic in topics {
            all.push(NodeEvent::Moved(topic, Claim(i64::MAX)));
            all.push(NodeEvent::Deleted(topic, topic));
            all.push(NodeEvent::Lost(ServiceId([7; 24]), topic));
            all.push(NodeEvent::Blocked(topic, queue));
        }
        all
    }

    #[test]
    fn events_survive_their_text() {
        let payload = all().iter().map(text).collect::<Vec<_>>().join(";");
        assert_eq!(events(&payload).collect::<Vec<_>>(), all());
        let longest = all().iter().map(|event| text(event).len()).max().unwrap();
        assert!((longest + 1) * EVENTS_PER_NOTIFICATION < 8000, "{longest}");
        assert_eq!(
            text(&NodeEvent::Arrived(RecipientId([0x1f; 24]))),
            format!("arrived Q{}", "1f".repeat(24))
        );
    }

    #[test]
    fn what_cannot_be_understood_was_missed() {
        for event in all() {
            let whole = text(&event);
            for end in 0..whole.len() {
                let cut = events(&whole[..end]).collect::<Vec<_>>();
                assert!(
                    cut == [NodeEvent::Missed] || whole.starts_with("moved") || whole.starts_with("notify")
                );
            }
            assert_eq!(events(&format!("{whole} 1")).collect::<Vec<_>>(), [NodeEvent::Missed]);
        }
        for payload in ["", "arrived", "arrived Nfff", "arrived Q\u{fc}", "moved Q 1", "lost Q00 Q00"] {
            assert_eq!(events(payload).collect::<Vec<_>>(), [NodeEvent::Missed], "{payload}");
        }
    }
}
