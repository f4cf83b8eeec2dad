//! One step of a job: what each member of a page gets, and where the cursor goes. Pure.
//!
//! ```text
//! recipient ─┬─ too much waits ─▶ passed over: owed the roster and history
//!            ├─ was passed over ─▶ roster and history, then the body
//!            ├─ knows the author ─▶ the body
//!            └─ does not         ─▶ the author's profile ahead of the body
//! ```

use protocol::group::batch::{Added, BatchWriter};
use protocol::group::container;

use crate::store::records::{MemberNumber, Recipient};

/// What one member gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handout {
    /// The body.
    Body,
    /// The author's profile, then the body.
    Introduced,
    /// What it was passed over for, then the body. It drops what it has already.
    CaughtUp {
        /// Whether the author's profile goes ahead of the body.
        introduced: bool,
    },
    /// Nothing: too much waits already.
    PassedOver,
}

/// One step of a job.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// In the order of the page.
    pub handouts: Vec<(Recipient, Handout)>,
    /// Where the cursor moves.
    pub cursor: MemberNumber,
    /// Whether this was the last page.
    pub is_last: bool,
}

/// Plans a page. `introduces` says whether the author is somebody whom members meet by messages; owners and the group
/// itself are not. A page shorter than `page_members` is the last.
#[must_use]
pub fn step(
    cursor: MemberNumber,
    page: Vec<Recipient>,
    page_members: u32,
    backlog_max: u32,
    introduces: bool,
) -> Step {
    let is_last = page.len() < usize::try_from(page_members).unwrap_or(usize::MAX);
    let cursor = page.last().map_or(cursor, |last| last.number);
    let handout = |recipient: Recipient| {
        let introduced = introduces && !recipient.met_author;
        let handout = if recipient.waiting > backlog_max {
            Handout::PassedOver
        } else if recipient.passed_over {
            Handout::CaughtUp { introduced }
        } else if introduced {
            Handout::Introduced
        } else {
            Handout::Body
        };
        (recipient, handout)
    };
    Step { handouts: page.into_iter().map(handout).collect(), cursor, is_last }
}

/// The bodies for a member who has not met the author: one with `profile` as its first element, or two when both do
/// not fit one.
#[must_use]
pub fn introduced(profile: &[u8], body: &[u8]) -> Vec<Vec<u8>> {
    let merged = || {
        let mut writer = BatchWriter::new();
        let mut add = |element: &[u8]| matches!(writer.add(element), Added::Added).then_some(());
        add(profile)?;
        for element in raw_elements(body)? {
            add(element)?;
        }
        writer.finish()
    };
    merged().map_or_else(|| vec![profile.to_vec(), body.to_vec()], |merged| vec![merged])
}

/// The elements of a batch that we packed, as bytes.
fn raw_elements(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = protocol::encoding::Reader::new(body);
    reader.expect(b"=", "batch").ok()?;
    reader.list(|reader| reader.large()).ok()
}

/// Whether a body can be read by members at all; an empty one is not sent.
#[must_use]
pub fn is_sendable(body: &[u8]) -> bool {
    container::elements(body).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::agent::store::ConnectionId;
    use protocol::group::batch::pack;
    use protocol::group::identity::MemberRole;

    use super::*;

    fn recipient(number: i64, waiting: u32, met_author: bool) -> Recipient {
        Recipient {
            number: MemberNumber(number),
            connection: ConnectionId(number),
            role: MemberRole::Observer,
            waiting,
            met_author,
            passed_over: false,
        }
    }

    fn handouts(step: &Step) -> Vec<Handout> {
        step.handouts.iter().map(|(_, handout)| *handout).collect()
    }

    #[test]
    fn a_member_with_too_much_waiting_does_not_hold_up_the_others() {
        let page = vec![recipient(1, 0, true), recipient(2, 6, true), recipient(3, 5, true)];
        let step = step(MemberNumber(0), page, 3, 5, true);
        assert_eq!(handouts(&step), [Handout::Body, Handout::PassedOver, Handout::Body]);
        assert_eq!((step.cursor, step.is_last), (MemberNumber(3), false));
    }

    #[test]
    fn whoever_was_passed_over_catches_up_once_there_is_room() {
        let owed = |waiting| Recipient { passed_over: true, ..recipient(1, waiting, true) };
        let page = vec![owed(6), owed(5)];
        assert_eq!(
            handouts(&step(MemberNumber(0), page, 9, 5, true)),
            [Handout::PassedOver, Handout::CaughtUp { introduced: false }]
        );
    }

    #[test]
    fn only_strangers_are_introduced() {
        let page = vec![recipient(1, 0, false), recipient(2, 0, true)];
        assert_eq!(
            handouts(&step(MemberNumber(0), page.clone(), 9, 5, true)),
            [Handout::Introduced, Handout::Body]
        );
        assert_eq!(handouts(&step(MemberNumber(0), page, 9, 5, false)), [Handout::Body; 2]);
    }

    #[test]
    fn an_empty_page_ends_the_job_where_it_is() {
        let step = step(MemberNumber(7), Vec::new(), 9, 5, true);
        assert_eq!((step.cursor, step.is_last), (MemberNumber(7), true));
    }

    #[test]
    fn the_profile_goes_first_in_one_body_or_two() {
        let profile = br#"{"event":"x.grp.mem.new"}"#;
        let body = pack([&b"{}"[..]]).0.remove(0);
        let merged = introduced(profile, &body);
        assert_eq!(merged, pack([&profile[..], b"{}"]).0);
        let full = pack([&vec![b'{'; 15_580][..]]).0.remove(0);
        assert_eq!(introduced(profile, &full), [profile.to_vec(), full.clone()]);
    }

    proptest! {
        /// Whatever the page size, every member is served once and in order.
        #[test]
        fn pages_cover_all_members_once(count in 0_i64..50, page_members in 1_u32..9) {
            let members: Vec<_> = (1..=count).map(|number| recipient(number, 0, true)).collect();
            let (mut cursor, mut served) = (MemberNumber(0), Vec::new());
            loop {
                let page: Vec<_> = members.iter().copied().filter(|one| one.number > cursor)
                    .take(page_members as usize).collect();
                let step = step(cursor, page, page_members, 5, true);
                served.extend(step.handouts.iter().map(|(one, _)| one.number.0));
                cursor = step.cursor;
                if step.is_last {
                    break;
                }
            }
            prop_assert_eq!(served, (1..=count).collect::<Vec<_>>());
        }
    }
}
