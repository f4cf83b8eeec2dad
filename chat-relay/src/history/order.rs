//! Each author's statements are given in the order in which their author numbered them.
//!
//! What comes by itself stands behind all that came as history (`migrations/sqlite/0007_history.sql`). An author whose later
//! statements somebody else has given as history already, and whose earlier ones come by themselves only now, would
//! be given in another order until all have come.

use std::collections::BTreeMap;

use protocol::group::author_chain::Epoch;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;

use crate::store::records::{MemberNumber, StoredMessage};

/// Puts the statements of each author and epoch into the order of their numbers. The places that they take among the
/// others, and the ids of these places, stay as they are.
///
/// # Errors
/// When a stored element does not read: the database is damaged.
pub(crate) fn put_in_order<'m>(
    oldest_first: impl Iterator<Item = &'m mut StoredMessage>,
) -> Result<(), Fatal> {
    let mut places: Vec<&mut StoredMessage> = oldest_first.collect();
    let is_mixed = |places: &[&mut StoredMessage]| {
        places.iter().any(|place| place.id.0 < 0) && places.iter().any(|place| place.id.0 > 0)
    };
    if !is_mixed(&places) {
        return Ok(());
    }
    let mut chains: BTreeMap<(MemberNumber, Epoch), Vec<(u64, usize)>> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        if let Some(link) = Statement::parse(&place.message.element)?.message()?.chain {
            chains.entry((place.message.author, link.epoch)).or_default().push((link.number(), at));
        }
    }
    for chain in chains.into_values().filter(|chain| !chain.is_sorted()) {
        let mut sorted = chain.clone();
        sorted.sort_unstable();
        let said: Vec<_> =
            sorted.iter().filter_map(|(_, at)| places.get(*at).map(|place| place.message.clone())).collect();
        for ((_, at), said) in chain.into_iter().zip(said) {
            if let Some(place) = places.get_mut(at) {
                place.message = said;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocol::group::author_chain::ChainLink;
    use protocol::group::event::content::{Content, MessageNew};
    use protocol::group::event::{Event, Message};
    use protocol::group::msg_id::SharedMessageId;
    use protocol::timestamp::Timestamp;

    use super::*;
    use crate::store::records::{MessageKind, NewMessage, StoredMessageId};

    fn stored(id: i64, author: i64, epoch: u8, number: Option<u64>) -> StoredMessage {
        let message_id = SharedMessageId::new([u8::try_from(id.unsigned_abs()).unwrap()]).unwrap();
        let event = Event::MessageNew(Box::new(MessageNew::new(Content::text("hi"))));
        let message = Message::new(Some(message_id.clone()), event);
        let previous = |number| (number > 1).then_some([7; 32]);
        let message = match number {
            Some(number) => {
                message.chained(ChainLink::new(Epoch([epoch; 12]), number, previous(number)).unwrap())
            }
            None => message,
        };
        let message = NewMessage {
            message_id,
            author: MemberNumber(author),
            broker_time: Timestamp(0),
            kind: MessageKind::Post,
            target: None,
            support_of: None,
            as_channel: false,
            verified: true,
            element: message.to_json(),
        };
        StoredMessage { id: StoredMessageId(id), message }
    }

    /// The places, each with the number that stands there.
    fn ordered(messages: &[(i64, i64, u8, Option<u64>)]) -> Vec<(i64, Option<u64>)> {
        let mut messages: Vec<_> = messages
            .iter()
            .map(|(id, author, epoch, number)| stored(*id, *author, *epoch, *number))
            .collect();
        put_in_order(messages.iter_mut()).unwrap();
        let number = |message: &StoredMessage| {
            let said = Statement::parse(&message.message.element).unwrap().message().unwrap();
            said.chain.map(|link| link.number())
        };
        messages.iter().map(|message| (message.id.0, number(message))).collect()
    }

    #[test]
    fn what_came_by_itself_takes_its_place_before_later_history() {
        let came = [(-2, 1, 1, Some(2)), (-1, 1, 1, Some(3)), (1, 1, 1, Some(1)), (2, 1, 1, None)];
        assert_eq!(ordered(&came), [(-2, Some(1)), (-1, Some(2)), (1, Some(3)), (2, None)]);
    }

    #[test]
    fn other_authors_and_epochs_keep_their_places() {
        let came = [
            (-3, 2, 1, Some(9)),
            (-2, 1, 1, Some(2)),
            (-1, 1, 2, Some(1)),
            (1, 1, 1, Some(1)),
            (2, 2, 1, Some(10)),
        ];
        let numbers = [Some(9), Some(1), Some(1), Some(2), Some(10)];
        assert_eq!(ordered(&came).into_iter().map(|(_, number)| number).collect::<Vec<_>>(), numbers);
    }

    #[test]
    fn what_all_came_by_itself_stays_as_it_came() {
        let came = [(1, 1, 1, Some(2)), (2, 1, 1, Some(1))];
        assert_eq!(ordered(&came), [(1, Some(2)), (2, Some(1))]);
    }
}
