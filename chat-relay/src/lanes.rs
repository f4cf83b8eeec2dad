//! Whose queues are subscribed before all others: those of whoever leads a group, and the relay's address. Members hear of
//! a post no later than the relay.

use protocol::agent::Lane;
use protocol::agent::store::ConnectionId;
use protocol::group::identity::MemberRole;
use protocol::net::engine::Fatal;

use crate::store::RelayStore;
use crate::store::records::{GroupId, Member, Purpose};
use crate::turn::Turn;
use crate::welcome::LEADING_ROLES;

/// How the queue of a connection is subscribed.
///
/// # Errors
/// When the store fails; so for every function here.
pub(crate) fn lane<S: RelayStore>(store: &mut S, connection: ConnectionId) -> Result<Lane, Fatal> {
    let number = match store.purpose(connection)? {
        Some(Purpose::Address) => return Ok(Lane::Control),
        Some(Purpose::Member(_, number) | Purpose::Bulk(_, number)) => number,
        Some(
            Purpose::RelayLink(_)
            | Purpose::Claimant(..)
            | Purpose::Reader(_)
            | Purpose::Source(_)
            | Purpose::Answer
            | Purpose::Closing,
        )
        | None => return Ok(Lane::Bulk),
    };
    let leads = store.member(number)?.is_some_and(|member| LEADING_ROLES.contains(&member.role));
    Ok(if leads { Lane::Control } else { Lane::Bulk })
}

/// All connections of the store whose queues go before all others.
pub(crate) fn first<S: RelayStore>(store: &mut S) -> Result<Vec<ConnectionId>, Fatal> {
    let mut first = store.connections_with_roles(&LEADING_ROLES)?;
    first.extend(address(store)?);
    Ok(first)
}

/// Those of one group.
pub(crate) fn first_of_group<S: RelayStore>(
    store: &mut S,
    group: GroupId,
) -> Result<Vec<ConnectionId>, Fatal> {
    let leaders = store.members_with_roles(group, &LEADING_ROLES)?;
    Ok(leaders.into_iter().flat_map(|leader| [leader.connection, leader.bulk.connection]).flatten().collect())
}

/// A member has another role: once it leads the group, its queues go before all others.
pub(crate) fn has_role<S: RelayStore>(turn: &mut Turn<'_, '_, S>, before: MemberRole, member: &Member) {
    if !LEADING_ROLES.contains(&before) && LEADING_ROLES.contains(&member.role) {
        turn.context.adopt([member.connection, member.bulk.connection].into_iter().flatten(), Lane::Control);
    }
}

/// That of the address.
pub(crate) fn address<S: RelayStore>(store: &mut S) -> Result<Option<ConnectionId>, Fatal> {
    Ok(store.relay_address()?.and_then(|address| address.connection))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use daemon::scratch::Scratch;
    use protocol::agent::event::Event as AgentEvent;
    use protocol::agent::seeding::{Agreement, SeedQueue};
    use protocol::agent::signed_link_data::OpenedLink;
    use protocol::crypto::dh::X25519PublicKey;
    use protocol::crypto::sign::Ed25519PrivateKey;
    use protocol::encoding::Encode as _;
    use protocol::group::event::members::MemberRoleChange;
    use protocol::group::event::{Event, Message};
    use protocol::group::identity::{LinkText, MemberId, PublicGroupId};
    use protocol::group::msg_id::SharedMessageId;
    use protocol::group::profile::{GroupProfile, GroupType, Profile, PublicGroup};
    use protocol::group::signed::{Statement, sign};
    use protocol::net::engine::{Application, Context, Core, Effects, Input, LinkTag};
    use protocol::net::network::{NetworkEvent, ReadLinkError};
    use protocol::net::rng::system_rng;
    use protocol::smp::command::Command;
    use protocol::smp::error::ErrorType;
    use protocol::smp::ids::{RecipientId, SenderId};
    use protocol::smp::response::QueueIds;
    use protocol::timestamp::Timestamp;
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::config::Limits;
    use crate::identity::RelayIdentity;
    use crate::monitoring::Labels;
    use crate::receive::{self, Source};
    use crate::relay::{Command as Asked, Notice, Relay};
    use crate::store::records::{GroupIdentity, GroupKey, LinkState, MemberStatus, NewMember, RelayAddress};
    use crate::store::sql::{Access, SqlStore};

    const NOW: Timestamp = Timestamp(1000);

    fn identity() -> RelayIdentity {
        let server = "smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@localhost".parse().unwrap();
        RelayIdentity { server, profile: Profile::named("Rita"), joiner_role: None }
    }

    /// The queue of a connection is named by its number.
    fn connection(store: &mut SqlStore, number: u8, purpose: Purpose) -> ConnectionId {
        let mut rng = system_rng();
        let [own, peer] = [number, number + 100].map(|number| {
            let mut queue = SeedQueue::new(identity().server, &mut rng);
            queue.created(&QueueIds {
                recipient_id: RecipientId([number; 24]),
                sender_id: SenderId([number; 24]),
                server_dh_key: X25519PublicKey([4; 32]),
                mode: None,
                link_id: None,
                service_id: None,
                notifier: None,
            });
            queue
        });
        let (end, _) = Agreement::new(&mut rng).unwrap().connect(&own, &peer, &mut rng).unwrap();
        let id = end.insert(store, true).unwrap();
        store.set_purpose(id, purpose, None).unwrap();
        id
    }

    fn set_address(store: &mut SqlStore, connection: Option<ConnectionId>) {
        let draft = crate::address::draft(&identity(), &mut system_rng()).unwrap().to_bytes();
        store.set_relay_address(&RelayAddress { draft, profile: identity().profile, connection }).unwrap();
    }

    /// A group: 1 is its relay link, 2 the relay's address; 3 and 4 are an owner's, 5 is a moderator's, 6 an observer's, and
    /// 7 somebody's who says to be the owner.
    fn fill(store: &mut SqlStore) -> Vec<ConnectionId> {
        let id = |byte| MemberId::new([byte; 12]).unwrap();
        let link = LinkText::new("simplex:/c#1").unwrap();
        let key = GroupKey { group_link: link, owner: id(1), relay: id(2) };
        let group = store.group_for_invitation(&key, NOW, &Limits::default()).unwrap().unwrap().0.id;
        let mut all =
            vec![connection(store, 1, Purpose::RelayLink(group)), connection(store, 2, Purpose::Address)];
        set_address(store, all.last().copied());
        for (role, number, second) in [
            (MemberRole::Owner, 3, Some(4)),
            (MemberRole::Moderator, 5, None),
            (MemberRole::Observer, 6, None),
        ] {
            let status = MemberStatus::Connected;
            let new = NewMember { id: id(number), role, status, profile: None, key: None };
            let mut member = store.insert_member(group, &new, NOW).unwrap();
            member.connection = Some(connection(store, number, Purpose::Member(group, member.number)));
            member.bulk.connection =
                second.map(|second| connection(store, second, Purpose::Bulk(group, member.number)));
            store.update_member(&member).unwrap();
            all.extend([member.connection, member.bulk.connection].into_iter().flatten());
            if role == MemberRole::Observer {
                all.push(connection(store, 7, Purpose::Claimant(group, member.number)));
            }
        }
        all
    }

    struct Running {
        core: Core<Relay<SqlStore>>,
        notices: mpsc::UnboundedReceiver<Notice>,
    }

    impl Running {
        fn new(store: SqlStore) -> Self {
            let (notify, notices) = mpsc::unbounded_channel();
            let relay = Relay::new(store, identity(), Limits::default(), notify);
            Self { core: Core::new(relay, system_rng()), notices }
        }

        fn take(&mut self, event: Option<NetworkEvent>) -> Effects {
            self.take_at(NOW, event.map(Input::Network))
        }

        fn take_at(&mut self, now: Timestamp, input: Option<Input<Asked>>) -> Effects {
            let effects = self.core.take(input.into_iter().collect(), now).unwrap();
            self.core.application().after_commit();
            effects
        }

        /// How many queues its operator sees refused.
        fn refused(&mut self) -> usize {
            let (answer, mut survey) = oneshot::channel();
            self.take_at(NOW, Some(Input::Command(Asked::Survey { labels: Labels::default(), answer })));
            survey.try_recv().unwrap().queues_refused
        }

        fn is_ready(&mut self) -> bool {
            self.notices.try_recv().is_ok()
        }
    }

    /// Subscribes those that go first before all others, and is ready when those are heard.
    fn begins_with_those_that_go_first(store: SqlStore) {
        let mut relay = Running::new(store);
        let effects = relay.take(None);
        let asked: Vec<_> = effects.subscriptions.into_values().flatten().collect();
        let in_lane = |wanted| {
            let queues = asked.iter().filter(|one| one.lane == wanted);
            queues.map(|one| one.queue.0[0]).collect::<BTreeSet<_>>()
        };
        assert_eq!(in_lane(Lane::Control), [2, 3, 4, 5].into());
        assert_eq!(in_lane(Lane::Bulk), [1, 6, 7].into());
        assert!(asked.iter().is_sorted_by_key(|one| one.lane), "{asked:?}");
        assert!(!relay.is_ready());
        let server = identity().server.server;
        relay.take(Some(NetworkEvent::Up(server.clone())));
        assert!(!relay.is_ready());
        let listening = |asked| NetworkEvent::Listening { server: server.clone(), asked };
        relay.take(Some(listening(None)));
        assert!(!relay.is_ready(), "said of a session before its queues were asked for");
        relay.take(Some(listening(Some(effects.asked))));
        assert!(relay.is_ready());
    }

    /// Its store, and its number.
    fn worker(scratch: &Scratch) -> (SqlStore, i64) {
        let access = Access::new(&scratch.connection(), Duration::from_secs(10)).unwrap();
        let mut store = SqlStore::connect(&access).unwrap();
        let number = store.join("one", Duration::from_secs(60)).unwrap();
        (store, number)
    }

    #[test]
    fn a_relay_begins_with_those_that_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqlStore::open(&directory.path().join("relay.sqlite")).unwrap();
        fill(&mut store);
        begins_with_those_that_go_first(store);
    }

    #[test]
    fn a_worker_begins_with_those_that_go_first() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut former, number) = worker(&scratch);
        fill(&mut former);
        former.leave(number).unwrap();
        begins_with_those_that_go_first(worker(&scratch).0);
        let mut other = Running::new(worker(&scratch).0);
        other.take(None);
        assert!(other.is_ready(), "there is nothing for it");
    }

    /// A relay to which somebody says something.
    struct Hearing(Relay<SqlStore>);

    impl Application for Hearing {
        type Store = SqlStore;
        type Command = (Source, Vec<u8>);

        fn store(&mut self) -> &mut SqlStore {
            self.0.store()
        }

        fn on_event(&mut self, _: &mut Context<'_>, _: ConnectionId, _: AgentEvent) -> Result<(), Fatal> {
            Ok(())
        }

        fn on_link(
            &mut self,
            _: &mut Context<'_>,
            _: LinkTag,
            _: Result<OpenedLink, ReadLinkError>,
        ) -> Result<(), Fatal> {
            Ok(())
        }

        fn on_command(
            &mut self,
            context: &mut Context<'_>,
            (source, said): Self::Command,
        ) -> Result<(), Fatal> {
            let mut turn = self.0.turn(context);
            let group = turn.store.group(source.group)?.unwrap();
            let author = turn.store.member(source.member)?.unwrap();
            receive::statement(&mut turn, group, author, source, &Statement::parse(&said)?)
        }
    }

    #[test]
    fn whoever_is_promoted_or_comes_back_as_an_owner_goes_first_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqlStore::open(&directory.path().join("relay.sqlite")).unwrap();
        let all = fill(&mut store);
        let id = |byte| MemberId::new([byte; 12]).unwrap();
        let mut rng = system_rng();
        let key = Ed25519PrivateKey::generate(&mut rng);
        let group = GroupId(1);
        let mut served = store.group(group).unwrap().unwrap();
        let public_group_id = PublicGroupId::of_root_key(&key.public_key());
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::new("simplex:/c#1").unwrap(),
            public_group_id: public_group_id.clone(),
            public_group_access: None,
            other: Default::default(),
        };
        served.identity = Some(GroupIdentity {
            public_group_id: public_group_id.clone(),
            root_key: key.public_key(),
            profile: GroupProfile::new("Tea", public_group),
            link_version: None,
            relays: Vec::new(),
        });
        store.update_group(&served).unwrap();
        let mut owner = store.member_by_id(group, &id(3)).unwrap().unwrap();
        owner.key = Some(key.public_key());
        owner.link = LinkState::Broken;
        store.update_member(&owner).unwrap();
        let claimant = all.last().copied().unwrap();
        store.set_purpose(claimant, Purpose::Claimant(group, owner.number), None).unwrap();

        let (notify, _notices) = mpsc::unbounded_channel();
        let relay = Relay::new(store, identity(), Limits::default(), notify);
        let mut core = Core::new(Hearing(relay), system_rng());
        core.take(Vec::new(), NOW).unwrap();
        let mut say = |connection, is_claimant, event| {
            let message = Message::new(Some(SharedMessageId::generate(&mut rng)), event).to_json();
            let said = sign(&key, &public_group_id, &id(3), &message);
            let (member, server_time, is_ahead) = (owner.number, NOW, false);
            let source = Source { group, member, connection, is_claimant, server_time, is_ahead };
            let effects = core.take(vec![Input::Command((source, said))], NOW).unwrap();
            let asked = effects.subscriptions.into_values().flatten();
            asked.map(|one| (one.queue.0[0], one.lane)).collect::<Vec<_>>()
        };
        let role = |role| {
            let change = MemberRoleChange { member_id: id(6), role, member_key: None, roster_version: None };
            Event::MemberRole(change)
        };
        assert_eq!(say(claimant, true, role(MemberRole::Member)), [(7, Lane::Control)], "the owner is back");
        assert_eq!(say(claimant, false, role(MemberRole::Moderator)), [(6, Lane::Control)]);
        assert_eq!(say(claimant, false, role(MemberRole::Admin)), [], "it goes first already");
    }

    #[test]
    fn a_refused_queue_is_no_concern_of_a_worker_that_gave_its_group_up() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut store, _) = worker(&scratch);
        fill(&mut store);
        let [owner, relay] = [1, 2].map(|byte| MemberId::new([byte; 12]).unwrap());
        let key = GroupKey { group_link: LinkText::new("simplex:/c#2").unwrap(), owner, relay };
        let group = store.group_for_invitation(&key, NOW, &Limits::default()).unwrap().unwrap().0.id;
        connection(&mut store, 8, Purpose::RelayLink(group));
        let mut former = Running::new(store);
        former.take(None);
        for queue in [1, 8].map(|number| RecipientId([number; 24])) {
            let (server, error) = (identity().server.server, ErrorType::Auth);
            former.take(Some(NetworkEvent::QueueRefused { server, queue, error }));
        }
        assert_eq!(former.refused(), 2);

        let mut other = Running::new(worker(&scratch).0);
        other.take(None);
        let effects = former.take_at(NOW.plus_ms(crate::sharing::SHARE_EVERY_MS), None);
        assert_eq!(former.refused(), 1, "one of two groups went");
        let left: BTreeSet<_> = effects.unsubscriptions.into_values().flatten().map(|it| it.0[0]).collect();
        assert!(left == [8].into() || left == [1, 3, 4, 5, 6, 7].into(), "its queues are left: {left:?}");
    }

    #[test]
    fn a_queue_is_created_in_the_lane_of_whom_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqlStore::open(&directory.path().join("relay.sqlite")).unwrap();
        let lanes = fill(&mut store).into_iter().map(|connection| lane(&mut store, connection).unwrap());
        let control: Vec<_> = (1..).zip(lanes).filter(|(_, lane)| *lane == Lane::Control).collect();
        assert_eq!(control.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [2, 3, 4, 5]);

        let mut store = SqlStore::open(&directory.path().join("new.sqlite")).unwrap();
        set_address(&mut store, None);
        let requests = Running::new(store).take(None).requests;
        let created = requests.iter().filter(|one| matches!(one.request.command, Command::New(_)));
        assert_eq!(created.map(|one| one.lane).collect::<Vec<_>>(), [Lane::Control]);
    }
}
