//! What a member gets next: as many messages after its position as fit one body. Pure.

use protocol::group::batch::{Added, BatchRoom};
use protocol::group::identity::MemberId;

use crate::store::records::{Delivery, DeliveryId, MemberNumber, Piece};

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub number: MemberNumber,
    /// Its id, where a message is for some only.
    pub id: Option<MemberId>,
    /// Whether it moderates: then it sees what members say to the moderators.
    pub moderates: bool,
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Of what its body is made; nothing when there is nothing for this member.
    pub pieces: Vec<Piece>,
    /// The last message in it, or passed by it. The position itself when only an introduction fits.
    pub through: DeliveryId,
    /// Who is introduced in it.
    pub introduced: Vec<MemberNumber>,
}

/// Plans an item of `deliveries`, those after `position` in order. Strangers are authors whom the member has not met;
/// their introductions are made.
#[must_use]
pub fn plan(
    position: DeliveryId,
    deliveries: &[Delivery],
    recipient: &Recipient,
    strangers: &[MemberNumber],
) -> Plan {
    let mut plan = Plan { pieces: Vec::new(), through: position, introduced: Vec::new() };
    let mut room = BatchRoom::new();
    for delivery in deliveries {
        if !is_for(delivery, recipient) {
            plan.through = delivery.id;
            continue;
        }
        let is_strange = delivery.introduces
            && strangers.contains(&delivery.author)
            && !plan.introduced.contains(&delivery.author);
        if let Some(bytes) = delivery.introduction_bytes.filter(|_| is_strange) {
            match room.add(bytes) {
                Added::Full => return plan,
                Added::Added => {
                    plan.pieces.push(Piece::Introduction(delivery.id));
                    plan.introduced.push(delivery.author);
                }
                // A profile that no body carries: the member meets the author by the name in the forward.
                Added::TooLarge => plan.introduced.push(delivery.author),
            }
        }
        if delivery.is_alone {
            if plan.pieces.is_empty() {
                plan.pieces.push(Piece::Content(delivery.id));
                plan.through = delivery.id;
            }
            return plan;
        }
        match room.add(delivery.bytes) {
            Added::Full => return plan,
            Added::Added => plan.pieces.push(Piece::Content(delivery.id)),
            // It was looked at before it was put into the stream.
            Added::TooLarge => {}
        }
        plan.through = delivery.id;
    }
    plan
}

/// Whether a message is for this member. An empty body is for nobody: it marks the end of a group that could not be
/// announced.
pub(super) fn is_for(delivery: &Delivery, recipient: &Recipient) -> bool {
    let is_heard = match &delivery.support_of {
        None => true,
        Some(member) => recipient.moderates || recipient.id.as_ref() == Some(member),
    };
    is_heard && delivery.author != recipient.number && delivery.bytes > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READER: MemberNumber = MemberNumber(100);

    fn delivery(id: i64, author: i64, bytes: usize) -> Delivery {
        Delivery {
            id: DeliveryId(id),
            author: MemberNumber(author),
            support_of: None,
            introduces: false,
            is_alone: false,
            bytes,
            introduction_bytes: None,
        }
    }

    fn reader() -> Recipient {
        Recipient { number: READER, id: None, moderates: false }
    }

    fn content(ids: &[i64]) -> Vec<Piece> {
        ids.iter().map(|id| Piece::Content(DeliveryId(*id))).collect()
    }

    fn planned(deliveries: &[Delivery], recipient: &Recipient) -> (Vec<Piece>, i64) {
        let plan = plan(DeliveryId(0), deliveries, recipient, &[]);
        (plan.pieces, plan.through.0)
    }

    #[test]
    fn a_body_takes_what_fits_whoever_said_it() {
        let deliveries: Vec<_> = (1..=9).map(|id| delivery(id, id, 3000)).collect();
        assert_eq!(planned(&deliveries, &reader()), (content(&[1, 2, 3, 4, 5]), 5));
    }

    #[test]
    fn nobody_gets_their_own_message_back() {
        let deliveries = [delivery(1, 1, 9), delivery(2, 100, 9), delivery(3, 1, 9)];
        assert_eq!(planned(&deliveries, &reader()), (content(&[1, 3]), 3));
        assert_eq!(planned(&deliveries[1..2], &reader()), (vec![], 2), "it is passed all the same");
    }

    #[test]
    fn what_is_for_moderators_is_heard_by_them_and_the_member() {
        let of = MemberId::new([7; 12]).unwrap();
        let support = Delivery { support_of: Some(of.clone()), ..delivery(1, 1, 9) };
        let moderator = Recipient { moderates: true, ..reader() };
        let member = Recipient { id: Some(of), ..reader() };
        for (recipient, pieces) in [(reader(), vec![]), (moderator, content(&[1])), (member, content(&[1]))] {
            assert_eq!(planned(std::slice::from_ref(&support), &recipient), (pieces, 1));
        }
    }

    #[test]
    fn what_goes_alone_goes_alone() {
        let alone = Delivery { is_alone: true, ..delivery(2, 1, 9) };
        let deliveries = [delivery(1, 1, 9), alone.clone(), delivery(3, 1, 9)];
        assert_eq!(planned(&deliveries, &reader()), (content(&[1]), 1));
        assert_eq!(planned(&deliveries[1..], &reader()), (content(&[2]), 2));
    }

    #[test]
    fn strangers_are_introduced_once_and_first() {
        let said = |id, bytes| Delivery {
            introduces: true,
            introduction_bytes: Some(12_000),
            ..delivery(id, 1, bytes)
        };
        let made = plan(DeliveryId(0), &[said(1, 9), said(2, 9)], &reader(), &[MemberNumber(1)]);
        let pieces = [Piece::Introduction(DeliveryId(1))].into_iter().chain(content(&[1, 2]));
        assert_eq!(made.pieces, pieces.collect::<Vec<_>>());
        assert_eq!(made.introduced, [MemberNumber(1)]);

        let made = plan(DeliveryId(0), &[said(1, 9000)], &reader(), &[MemberNumber(1)]);
        assert_eq!(made.pieces, [Piece::Introduction(DeliveryId(1))], "the rest goes in the next body");
        assert_eq!(made.through, DeliveryId(0));
        assert_eq!(plan(DeliveryId(0), &[said(1, 9000)], &reader(), &[]).pieces, content(&[1]));
    }

    proptest! {
        /// From body to body everything is given once, in order, whatever fits.
        #[test]
        fn bodies_follow_each_other(sizes in proptest::collection::vec(1_usize..15_000, 1..60)) {
            let deliveries: Vec<_> = (1..).zip(&sizes).map(|(id, bytes)| delivery(id, 1, *bytes)).collect();
            let (mut position, mut given) = (DeliveryId(0), Vec::new());
            while given.len() < sizes.len() {
                let rest: Vec<_> = deliveries.iter().filter(|one| one.id > position).cloned().collect();
                let made = plan(position, &rest, &reader(), &[]);
                prop_assert!(made.through > position);
                position = made.through;
                given.extend(made.pieces);
            }
            let all: Vec<_> = (1..).take(sizes.len()).collect();
            prop_assert_eq!(given, content(&all));
        }
    }
}
