//! What was decided about a member and stands: the newest signed block or unblocking, the removal, and the newest role, if the
//! roster does not tell it (docs/protocol.md §5, "Rulings").
//!
//! ```text
//! ruling, signed ─▶ is there a newer one of its kind about this member? ── no ──▶ applied, kept with its bytes
//!                                   └─ yes ─▶ it is passed on, and changes nothing
//! ```
//!
//! Several relays, several connections and pages of history bring rulings in any order. Of one author the author's own
//! numbers tell which is newer, otherwise the time at which the server took it; in one second, the ids of the authors: so
//! everybody decides the same.

use serde::{Deserialize, Serialize};

use super::author_chain::ChainLink;
use super::batch::{Added, BatchRoom, pack};
use super::constants::RULING_BYTES_MAX;
use super::event::members::MemberRulings;
use super::event::{Event, Message};
use super::forward::{ForwardSender, forward};
use super::identity::MemberId;
use super::json_bytes;
use super::signed::Statement;
use crate::timestamp::Timestamp;

/// A signed statement about a member, for those who come later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Who said it.
    author: MemberId,
    /// When the author's server took it, in whole seconds: more is not passed on.
    said_at_s: i64,
    /// Its place among what its author said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<ChainLink>,
    /// Its bytes; none when they are too many to be kept.
    #[serde(with = "json_bytes")]
    statement: Vec<u8>,
}

impl Ruling {
    /// A statement that was verified.
    #[must_use]
    pub fn new(author: MemberId, said_at: Timestamp, statement: &Statement<'_>) -> Self {
        let link = statement.message().ok().and_then(|message| message.chain);
        let kept = Some(statement.verbatim()).filter(|bytes| bytes.len() <= RULING_BYTES_MAX);
        Self { author, said_at_s: said_at.seconds(), link, statement: kept.unwrap_or_default().to_vec() }
    }

    /// Who said it.
    #[must_use]
    pub const fn author(&self) -> &MemberId {
        &self.author
    }

    /// Whether it counts where another one about the same member was taken: it is newer, or this very one.
    #[must_use]
    pub fn counts_over(&self, taken: &Self) -> bool {
        if let (Some(own), Some(taken_link)) = (self.link, taken.link)
            && self.author == taken.author
            && own.epoch == taken_link.epoch
        {
            return own.number() >= taken_link.number();
        }
        (self.said_at_s, &self.author) >= (taken.said_at_s, &taken.author)
    }

    /// The statement, if its bytes were kept.
    #[must_use]
    pub fn statement(&self) -> Option<Statement<'_>> {
        Statement::parse(&self.statement).ok()
    }

    /// The ruling as it is passed on, if its bytes were kept. The name is that of its author.
    #[must_use]
    pub fn forward(&self, name: &str) -> Option<Vec<u8>> {
        let sender = ForwardSender::Member { id: self.author.clone(), name: name.to_owned() };
        Some(forward(&sender, Timestamp::from_seconds(self.said_at_s), &self.statement()?))
    }
}

/// Rulings for a relay that comes, each with the elements that introduce those whom it names, in messages that say so. What
/// stands in a message already is not repeated there.
#[must_use]
pub fn bodies(rulings: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let mark = || vec![Message::new(None, Event::MemberRulings(MemberRulings {})).to_json()];
    let fits = |elements: &[Vec<u8>]| {
        let mut room = BatchRoom::new();
        elements.iter().all(|element| room.add(element.len()) == Added::Added)
    };
    let (mut full, mut draft) = (Vec::new(), mark());
    for elements in rulings {
        let before = draft.len();
        for element in &elements {
            if !draft.contains(element) {
                draft.push(element.clone());
            }
        }
        if !fits(&draft) {
            draft.truncate(before);
            full.push(std::mem::replace(&mut draft, mark()));
            draft.extend(elements);
        }
    }
    full.push(draft);
    full.retain(|elements| elements.len() > 1);
    full.iter().flat_map(|elements| pack(elements.iter().map(Vec::as_slice)).0).collect()
}

#[cfg(test)]
mod tests {
    use super::super::author_chain::Epoch;
    use super::super::batch::Element;
    use super::super::event::members::{MemberRestrict, Restriction, Restrictions};
    use super::super::event::{Event, Message};
    use super::*;

    fn member(byte: u8) -> MemberId {
        MemberId::new([byte; 12]).unwrap()
    }

    fn said(place: Option<(u8, u64)>) -> Vec<u8> {
        let restrict = MemberRestrict {
            member_id: member(9),
            member_restrictions: Restrictions { restriction: Restriction::Blocked },
            member_key: None,
        };
        let message = Message::new(None, Event::MemberRestrict(restrict));
        let link = |(epoch, number)| {
            ChainLink::new(Epoch([epoch; 12]), number, (number > 1).then_some([7; 32])).unwrap()
        };
        match place {
            Some(place) => message.chained(link(place)).to_json(),
            None => message.to_json(),
        }
    }

    fn ruling(author: u8, at_ms: i64, place: Option<(u8, u64)>) -> Ruling {
        Ruling::new(member(author), Timestamp(at_ms), &Statement::parse(&said(place)).unwrap())
    }

    #[test]
    fn of_one_author_the_numbers_tell_and_otherwise_the_time() {
        let newer_and_older = [
            (ruling(1, 5_000, Some((1, 8))), ruling(1, 9_000, Some((1, 7))), "whatever a clock says"),
            (ruling(1, 9_000, Some((2, 1))), ruling(1, 5_000, Some((1, 7))), "another epoch"),
            (ruling(1, 9_000, None), ruling(1, 5_000, Some((1, 7))), "no number"),
            (ruling(1, 9_000, Some((1, 1))), ruling(2, 5_000, Some((1, 7))), "another author"),
            (ruling(2, 5_100, Some((1, 1))), ruling(1, 5_900, Some((1, 7))), "in one second"),
        ];
        for (newer, older, why) in newer_and_older {
            assert!(newer.counts_over(&older), "{why}");
            assert!(!older.counts_over(&newer), "{why}");
            assert!(newer.counts_over(&newer), "{why}");
        }
    }

    #[test]
    fn it_is_passed_on_as_its_author_said_it() {
        let (kept, said) = (ruling(1, 5_900, Some((1, 8))), said(Some((1, 8))));
        let stored: Ruling = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(stored, kept);
        let passed_on = stored.forward("Ann").unwrap();
        let Element::Forward(passed_on) = Element::parse(&passed_on).unwrap() else { panic!("a forward") };
        assert_eq!(passed_on.sender.member(), Some(&member(1)));
        assert_eq!(passed_on.sent_at, Timestamp(5_000));
        assert_eq!(passed_on.statement.verbatim(), said);
    }

    #[test]
    fn the_bytes_of_a_long_one_are_not_kept_but_its_place_is() {
        let text = String::from_utf8(said(Some((1, 8)))).unwrap();
        let long = format!("{}{}", text, " ".repeat(RULING_BYTES_MAX));
        let long = Ruling::new(member(1), Timestamp(5_000), &Statement::parse(long.as_bytes()).unwrap());
        assert_eq!(long.forward("Ann"), None);
        assert!(long.counts_over(&ruling(1, 9_000, Some((1, 7)))));
    }

    #[test]
    fn each_message_says_what_it_holds_and_introduces_whom_it_names() {
        assert_eq!(bodies([]), Vec::<Vec<u8>>::new());
        let introduction = |number: u8| format!(r#"{{"event":"x.grp.mem.new","who":{number}}}"#).into_bytes();
        let rulings = (0..100_u8).map(|number| {
            let said = format!(r#"{{"event":"x.ok","number":{number},"{}":1}}"#, "x".repeat(500));
            vec![introduction(200), introduction(number), said.into_bytes()]
        });
        let (mut said, mut messages) = (0, 0);
        for body in bodies(rulings) {
            let elements = super::super::container::elements(&body).unwrap();
            let texts: Vec<_> = elements
                .into_iter()
                .map(|element| match element.unwrap() {
                    Element::Statement(statement) => {
                        String::from_utf8(statement.verbatim().to_vec()).unwrap()
                    }
                    _ => panic!("a statement"),
                })
                .collect();
            assert!(texts[0].contains("x.grp.mem.rulings"), "{}", texts[0]);
            assert_eq!(texts.iter().filter(|text| text.contains(r#""who":200"#)).count(), 1);
            for text in texts.iter().filter(|text| text.contains("x.ok")) {
                assert!(text.contains(&format!(r#""number":{said},"#)));
                let who = format!(r#""who":{said}}}"#);
                assert!(texts.iter().any(|text| text.ends_with(&who)));
                said += 1;
            }
            messages += 1;
        }
        assert_eq!(said, 100);
        assert!(messages > 3);
    }
}
