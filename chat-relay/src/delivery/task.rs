//! Tasks become a job: as many as fit one body, in order, of one author and one audience.

use protocol::encoding::DecodeError;
use protocol::group::batch::{Added, BatchWriter};
use protocol::group::forward::{ForwardSender, forward};
use protocol::group::signed::Statement;

use crate::store::records::{
    DeliveryJob, DeliveryJobId, DeliveryTask, Ending, GroupId, Member, MemberNumber, StoredMessage, TaskId,
};

/// What came of a run of tasks.
#[derive(Debug, PartialEq, Eq)]
pub struct Packed {
    /// The job, unless none of them could be packed.
    pub job: Option<DeliveryJob>,
    /// The tasks that it carries, and those that no body can.
    pub taken: Vec<TaskId>,
    /// How many of them no body can carry.
    pub too_large: usize,
}

/// Packs the first tasks: those of the first one's author and audience, up to the first that ends something, as far
/// as they fit. `author` is the first task's author.
///
/// # Errors
/// When a stored element does not read: the database is damaged.
pub fn pack(group: GroupId, author: &Member, tasks: &[DeliveryTask]) -> Result<Packed, DecodeError> {
    let mut packed = Packed { job: None, taken: Vec::new(), too_large: 0 };
    let Some(first) = tasks.first() else { return Ok(packed) };
    let audience = &first.message.message.support_of;
    let mut writer = BatchWriter::new();
    let mut ending = Ending::Nothing;
    for task in tasks {
        let message = &task.message.message;
        if message.author != author.number || message.support_of != *audience {
            break;
        }
        match writer.add(&forwarded(author, &task.message)?) {
            Added::Full => break,
            Added::Added => {}
            Added::TooLarge => packed.too_large += 1,
        }
        packed.taken.push(task.id);
        if task.ending != Ending::Nothing {
            ending = task.ending;
            break;
        }
    }
    let body = match writer.finish() {
        Some(body) => body,
        // A removal that could not be announced still happens.
        None if ending != Ending::Nothing => Vec::new(),
        None => return Ok(packed),
    };
    packed.job = Some(DeliveryJob {
        id: DeliveryJobId(0),
        group,
        author: author.number,
        support_of: audience.clone(),
        ending,
        cursor: MemberNumber(0),
        body,
    });
    Ok(packed)
}

/// A stored message as a forward element: its author's bytes, with the author and the time that we vouch for.
///
/// # Errors
/// When the stored element does not read: the database is damaged.
pub fn forwarded(author: &Member, message: &StoredMessage) -> Result<Vec<u8>, DecodeError> {
    let sender = if message.message.as_channel {
        ForwardSender::Channel
    } else {
        let name = author.profile.as_ref().map(|profile| profile.display_name.clone());
        ForwardSender::Member {
            id: author.id.clone(),
            name: name.unwrap_or_else(|| author.id.stand_in_name()),
        }
    };
    let statement = Statement::parse(&message.message.element)?;
    Ok(forward(&sender, message.message.broker_time, &statement))
}

#[cfg(test)]
mod tests {
    use protocol::group::container;
    use protocol::group::identity::{MemberId, MemberRole};
    use protocol::group::msg_id::SharedMessageId;
    use protocol::group::profile::Profile;
    use protocol::timestamp::Timestamp;

    use super::*;
    use crate::store::records::{LinkState, MemberStatus, MessageKind, NewMessage, StoredMessageId};

    fn author() -> Member {
        Member {
            number: MemberNumber(1),
            group: GroupId(1),
            id: MemberId::new([1; 12]).unwrap(),
            role: MemberRole::Owner,
            status: MemberStatus::Connected,
            profile: Some(Profile::named("Olga")),
            key: None,
            blocked: false,
            chat_version: 19,
            connection: None,
            link: LinkState::Open,
            passed_over: false,
            roster_served: -1,
            since: Timestamp(0),
        }
    }

    fn task(id: i64, author: i64, bytes: usize, ending: Ending) -> DeliveryTask {
        let message = NewMessage {
            message_id: SharedMessageId::new([7]).unwrap(),
            author: MemberNumber(author),
            broker_time: Timestamp::from_seconds(5),
            kind: MessageKind::Post,
            target: None,
            support_of: None,
            as_channel: false,
            verified: false,
            element: [&b"{"[..], &vec![b' '; bytes]].concat(),
        };
        DeliveryTask { id: TaskId(id), message: StoredMessage { id: StoredMessageId(id), message }, ending }
    }

    fn packed(tasks: &[DeliveryTask]) -> Packed {
        pack(GroupId(1), &author(), tasks).unwrap()
    }

    fn elements(packed: &Packed) -> usize {
        container::elements(&packed.job.as_ref().unwrap().body).unwrap().len()
    }

    #[test]
    fn a_body_carries_what_fits() {
        let tasks: Vec<_> = (1..=9).map(|id| task(id, 1, 3000, Ending::Nothing)).collect();
        let packed = packed(&tasks);
        assert_eq!((packed.taken.len(), elements(&packed)), (5, 5));
    }

    #[test]
    fn nobody_gets_their_own_message_back_with_anothers() {
        let tasks = [
            task(1, 1, 10, Ending::Nothing),
            task(2, 2, 10, Ending::Nothing),
            task(3, 1, 10, Ending::Nothing),
        ];
        assert_eq!(packed(&tasks).taken, [TaskId(1)]);
    }

    #[test]
    fn nothing_follows_an_ending_in_the_same_job() {
        let tasks = [
            task(1, 1, 10, Ending::Nothing),
            task(2, 1, 10, Ending::MemberGoes(MemberNumber(4))),
            task(3, 1, 10, Ending::Nothing),
        ];
        let packed = packed(&tasks);
        assert_eq!(packed.taken, [TaskId(1), TaskId(2)]);
        assert_eq!(packed.job.unwrap().ending, Ending::MemberGoes(MemberNumber(4)));
    }

    #[test]
    fn what_no_body_can_carry_is_taken_and_counted() {
        let tasks = [task(1, 1, 15_600, Ending::Nothing), task(2, 1, 10, Ending::Nothing)];
        let first = packed(&tasks);
        assert_eq!((first.taken.len(), first.too_large, elements(&first)), (2, 1, 1));
        let alone = packed(&[task(1, 1, 15_600, Ending::Nothing)]);
        assert_eq!((alone.taken.len(), alone.job), (1, None));
        let last = packed(&[task(1, 1, 15_600, Ending::GroupGoes)]);
        assert_eq!(last.job.unwrap().body, b"", "the group goes all the same");
    }

    #[test]
    fn the_bytes_of_the_author_are_not_touched() {
        let stored = task(1, 1, 0, Ending::Nothing).message;
        let element = StoredMessage {
            message: NewMessage { element: br#"{"event" : "x.ok"}"#.to_vec(), ..stored.message },
            ..stored
        };
        let bytes = forwarded(&author(), &element).unwrap();
        assert!(bytes.ends_with(br#"{"event" : "x.ok"}"#));
        assert!(bytes.starts_with(b">M\x0c"));
    }
}
