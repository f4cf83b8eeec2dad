//! An owner and members, as far as a relay sees them.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::Member;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::event::Event as AgentEvent;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::owner_auth::OwnerAuth;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::batch::Element;
use protocol::group::container;
use protocol::group::entrance::Shown;
use protocol::group::event::content::{Content, MessageNew};
use protocol::group::event::joining::{Acceptance, Info, Join};
use protocol::group::event::members::{MemberInfo, MemberNew, MemberRoleChange};
use protocol::group::event::owner_relay::{MemberIdRole, RelayInvitation, RelayInvite};
use protocol::group::event::{Event, EventTag, Message};
use protocol::group::forward::ForwardSender;
use protocol::group::identity::{LinkText, MemberId, MemberKey, MemberRole, PublicGroupId};
use protocol::group::link::GroupLinkData;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::{GroupProfile, GroupType, Profile, PublicGroup};
use protocol::group::roster::{Roster, RosterEntry, chunks};
use protocol::group::served_group::ServedStatus;
use protocol::group::signed::sign;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::{LinkType, ShortLink};

use crate::host::{Order, Peer, RelayHost, eventually, queue_server};

/// What a member or owner received inside a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    /// The event.
    pub(crate) event: Event,
    /// Whom a forward names; nothing when the relay said it itself.
    pub(crate) from: Option<ForwardSender>,
    /// The author's bytes.
    pub(crate) verbatim: Vec<u8>,
}

/// A member's name and key, in the owner's words.
pub(crate) fn introduction(id: &MemberId, key: &Ed25519PrivateKey) -> Vec<u8> {
    let member_info = MemberInfo {
        member_id: id.clone(),
        member_role: MemberRole::Observer,
        v: None,
        profile: Profile::named("Ann"),
        member_key: Some(MemberKey(key.public_key())),
    };
    Message::new(None, Event::MemberNew(Box::new(MemberNew { member_info, scope: None }))).to_json()
}

/// Reads what is in a message; chunks are left out.
pub(crate) fn heard(body: &[u8]) -> Vec<Heard> {
    let read = |element: Element<'_>| match element {
        Element::Statement(said) => Some(Heard {
            event: said.message().unwrap().event,
            from: None,
            verbatim: said.verbatim().to_vec(),
        }),
        Element::Forward(forward) => Some(Heard {
            event: forward.statement.message().unwrap().event,
            from: Some(forward.sender),
            verbatim: forward.statement.verbatim().to_vec(),
        }),
        Element::Chunk(_) => None,
    };
    container::elements(body).unwrap().into_iter().filter_map(|element| read(element.unwrap())).collect()
}

/// Somebody in the group: an owner or a member, with a connection to the relay.
pub(crate) struct Person {
    pub(crate) peer: Peer,
    pub(crate) id: MemberId,
    pub(crate) key: Ed25519PrivateKey,
    pub(crate) connection: ConnectionId,
    pub(crate) group: PublicGroupId,
    /// What was heard and not asked for yet.
    unheard: Vec<Heard>,
}

impl Person {
    /// The next thing heard for which `wanted` gives something; what is heard before it is kept.
    pub(crate) async fn hear<T>(&mut self, what: &str, wanted: impl Fn(&Heard) -> Option<T>) -> T {
        loop {
            if let Some((at, found)) =
                self.unheard.iter().enumerate().find_map(|(at, heard)| Some((at, wanted(heard)?)))
            {
                self.unheard.remove(at);
                return found;
            }
            let connection = self.connection;
            let body = self
                .peer
                .event(connection, what, |event| match event {
                    AgentEvent::Message { body, .. } => Some(body.clone()),
                    _ => None,
                })
                .await;
            self.unheard.extend(heard(&body));
        }
    }

    /// Waits for a post with this text; gives what came.
    pub(crate) async fn hear_post(&mut self, text: &str) -> Heard {
        self.hear(text, |heard| match &heard.event {
            Event::MessageNew(new) if new.content.as_text() == text => Some(heard.clone()),
            _ => None,
        })
        .await
    }

    /// Whether a post with this text was heard by now and not asked for.
    pub(crate) fn has_unheard_post(&self, text: &str) -> bool {
        self.unheard
            .iter()
            .any(|heard| matches!(&heard.event, Event::MessageNew(new) if new.content.as_text() == text))
    }

    /// Whether something of this kind was heard by now and not asked for.
    pub(crate) fn has_unheard(&self, tag: EventTag) -> bool {
        self.unheard.iter().any(|heard| heard.event.tag() == tag)
    }

    /// Signs an event as this person.
    pub(crate) fn signed(&self, event: Event) -> Vec<u8> {
        let id = SharedMessageId::generate(&mut system_rng());
        sign(&self.key, &self.group, &self.id, &Message::new(Some(id), event).to_json())
    }

    /// Sends bytes to the relay.
    pub(crate) async fn send(&self, body: &[u8]) {
        self.peer.order(Order::Send(self.connection, body.to_vec())).await;
    }

    /// Signs and sends an event; gives its bytes.
    pub(crate) async fn say(&self, event: Event) -> Vec<u8> {
        let element = self.signed(event);
        self.send(&element).await;
        element
    }

    /// The same under an id of one's choice.
    pub(crate) async fn say_as(&self, id: SharedMessageId, event: Event) -> Vec<u8> {
        let element = sign(&self.key, &self.group, &self.id, &Message::new(Some(id), event).to_json());
        self.send(&element).await;
        element
    }

    /// Posts a text.
    pub(crate) async fn post(&self, text: &str) -> Vec<u8> {
        self.say(post(text)).await
    }
}

/// A post with a text.
pub(crate) fn post(text: &str) -> Event {
    Event::MessageNew(Box::new(MessageNew::new(Content::text(text))))
}

/// A group with its owner, before and after it has a relay.
pub(crate) struct Group {
    pub(crate) server: ServerAddressWithAuth,
    pub(crate) relay: RelayHost,
    pub(crate) owner: Person,
    pub(crate) draft: AddressDraft,
    pub(crate) profile: GroupProfile,
    /// What the owner calls the relay.
    pub(crate) relay_id: MemberId,
    pub(crate) relay_link: Option<ShortLink>,
    link: ConnectionId,
    version: u64,
}

impl Group {
    /// A queue server, a relay, and a group whose owner has not invited anybody. `change` may spoil the profile.
    pub(crate) async fn create(tuning: Tuning, change: impl FnOnce(&mut GroupProfile)) -> Self {
        let server = queue_server().await;
        let relay = RelayHost::start(&server, tuning).await;
        let mut rng = system_rng();
        let root_key = Ed25519PrivateKey::generate(&mut rng);
        let group = PublicGroupId::of_root_key(&root_key.public_key());
        let plan = AddressPlan {
            server: server.clone(),
            link_type: LinkType::Channel,
            root_key,
            link_entity_id: Some(group.as_bytes().to_vec()),
            client_data: None,
        };
        let draft = AddressDraft::new(plan, &mut rng).unwrap();
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::from(&draft.short_link()),
            public_group_id: group.clone(),
            public_group_access: None,
            other: Default::default(),
        };
        let mut profile = GroupProfile::new("Tea", public_group);
        change(&mut profile);
        let owner = Person {
            peer: Peer::start(&server),
            id: MemberId::generate(&mut rng),
            key: Ed25519PrivateKey::generate(&mut rng),
            connection: ConnectionId(0),
            group,
            unheard: Vec::new(),
        };
        let relay_id = MemberId::generate(&mut rng);
        let link = ConnectionId(0);
        let mut created =
            Self { server, relay, owner, draft, profile, relay_id, relay_link: None, link, version: 0 };
        let data = created.link_data(&[]);
        let order = Order::CreateAddress(Box::new(created.draft.clone()), data);
        created.link = created.owner.peer.begin(order).await;
        let link = created.link;
        let is_created = |event: &AgentEvent| matches!(event, AgentEvent::AddressCreated).then_some(());
        created.owner.peer.event(link, "a group link", is_created).await;
        created
    }

    /// A group that the relay serves: connected, roster acknowledged, listed.
    pub(crate) async fn served(tuning: Tuning) -> Self {
        Self::served_as(tuning, |_| ()).await
    }

    /// The same with joiners who are reviewed.
    pub(crate) async fn reviewed(tuning: Tuning) -> Self {
        Self::served_as(tuning, |profile| profile.set_review(true)).await
    }

    /// A group that the relay serves, with another profile.
    pub(crate) async fn served_as(tuning: Tuning, change: impl FnOnce(&mut GroupProfile)) -> Self {
        let mut group = Self::create(tuning, change).await;
        let (connection, answer) = group.invite().await;
        group.join_up(connection, &answer).await;
        group.publish_roster(1, &Roster::default()).await;
        group.list(true).await;
        group
    }

    /// A stranger asks to join; gives the relay's answer.
    pub(crate) async fn ask_as_stranger(&mut self) -> Event {
        let mut rng = system_rng();
        let relay = self.relay_id.clone();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        self.ask(id, key, &relay).await.1
    }

    /// Somebody asks to be let in, and waits, connected.
    pub(crate) async fn knock(&mut self) -> Person {
        let mut rng = system_rng();
        let relay = self.relay_id.clone();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let asked = self.ask(id, key, &relay).await;
        let Event::LinkInvitation(answer) = &asked.1 else { panic!("the relay has it wait: {:?}", asked.1) };
        assert_eq!(answer.group_link_invitation.accepted, Some(Acceptance::PendingReview));
        Self::let_in(asked).await
    }

    fn link_data(&mut self, relays: &[ShortLink]) -> UserLinkData {
        self.version += 1;
        let data = GroupLinkData {
            group_profile: self.profile.clone(),
            public_group_data: None,
            link_data_version: Some(self.version),
            other: Default::default(),
        };
        let owner =
            OwnerAuth::issue(self.owner.id.as_bytes(), self.owner.key.public_key(), self.draft.root_key());
        UserLinkData::group(vec![owner.unwrap()], relays.to_vec(), data.to_blob())
    }

    /// Invites the relay; gives the connection and the relay's answer.
    pub(crate) async fn invite(&mut self) -> (ConnectionId, Event) {
        let invite = RelayInvite {
            group_relay_invitation: RelayInvitation {
                from_member: MemberIdRole {
                    member_id: self.owner.id.clone(),
                    member_role: MemberRole::Owner,
                },
                from_member_profile: Profile::named("Olga"),
                relay_member_id: self.relay_id.clone(),
                group_link: LinkText::from(&self.draft.short_link()),
                invitation_code: None,
                history: Some(true),
            },
        };
        let info = Message::new(None, Event::RelayInvite(Box::new(invite))).to_json();
        let opened = self.owner.peer.read(&self.relay.address).await.unwrap();
        let connection = self.owner.peer.begin(Order::Request(Box::new(opened), info)).await;
        let answer = confirmation(&mut self.owner.peer, connection).await;
        (connection, answer)
    }

    /// Takes the relay's acceptance: the connection is the owner's from now on.
    pub(crate) async fn join_up(&mut self, connection: ConnectionId, answer: &Event) {
        let Event::RelayAccept(accept) = answer else { panic!("the relay accepts, not {answer:?}") };
        self.relay_link = Some(accept.relay_link.as_str().parse().unwrap());
        self.owner.connection = connection;
        let ok = Message::new(None, Event::Acknowledge(Default::default())).to_json();
        self.owner.peer.order(Order::Allow(connection, ok)).await;
        self.owner.peer.connected(connection).await;
    }

    /// Sends a roster and waits for its acknowledgement.
    pub(crate) async fn publish_roster(&mut self, version: i64, roster: &Roster) {
        let id = SharedMessageId::generate(&mut system_rng());
        let json = Message::new(Some(id.clone()), Event::Roster(roster.header(version))).to_json();
        let header = sign(&self.owner.key, &self.owner.group, &self.owner.id, &json);
        self.owner.send(&header).await;
        for chunk in chunks(&id, &roster.to_blob()) {
            self.owner.send(&chunk).await;
        }
        let ack = |heard: &Heard| match &heard.event {
            Event::RosterAck(ack) => Some(ack.clone()),
            _ => None,
        };
        let ack = self.owner.hear("an acknowledged roster", ack).await;
        assert_eq!((ack.version, ack.error), (version, None));
    }

    /// Writes the group link with or without the relay.
    pub(crate) async fn list(&mut self, listed: bool) {
        let relays: Vec<ShortLink> = self.relay_link.clone().into_iter().filter(|_| listed).collect();
        let data = self.link_data(&relays);
        self.owner.peer.order(Order::SetLinkData(self.link, data)).await;
        let link = self.link;
        let is_set = |event: &AgentEvent| matches!(event, AgentEvent::LinkDataSet).then_some(());
        self.owner.peer.event(link, "written link data", is_set).await;
    }

    /// Somebody asks to join; gives the answer of the relay beside the person, who is not connected yet.
    pub(crate) async fn ask(
        &mut self,
        id: MemberId,
        key: Ed25519PrivateKey,
        via: &MemberId,
    ) -> (Person, Event) {
        let join = Join { via_relay: Some(via.clone()), ..self.join_of(&id, &key) };
        self.ask_by(id, key, join).await
    }

    /// A stranger asks to join, and shows what the group asks for.
    pub(crate) async fn ask_showing(&mut self, id: MemberId, key: Ed25519PrivateKey, shown: Shown) -> Event {
        let join = Join { entrance: Some(shown), ..self.join_of(&id, &key) };
        self.ask_by(id, key, join).await.1
    }

    /// A stranger asks to join, and nobody waits for the answer.
    pub(crate) async fn ask_unanswered(&mut self) -> Peer {
        let mut rng = system_rng();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let info = self.signed(&id, &key, self.join_of(&id, &key));
        let mut peer = Peer::start(&self.server);
        let opened = peer.read(self.relay_link.as_ref().unwrap()).await.unwrap();
        peer.begin(Order::Request(Box::new(opened), info)).await;
        peer
    }

    async fn ask_by(&mut self, id: MemberId, key: Ed25519PrivateKey, join: Join) -> (Person, Event) {
        let info = self.signed(&id, &key, join);
        self.ask_with(id, key, &info).await
    }

    /// What somebody says who asks to join.
    fn join_of(&self, id: &MemberId, key: &Ed25519PrivateKey) -> Join {
        Join {
            profile: Profile::named("Mia"),
            new_member_id: id.clone(),
            new_member_key: MemberKey(key.public_key()),
            via_relay: Some(self.relay_id.clone()),
            entrance: None,
        }
    }

    fn signed(&self, id: &MemberId, key: &Ed25519PrivateKey, join: Join) -> Vec<u8> {
        let json = Message::new(None, Event::Join(Box::new(join))).to_json();
        sign(key, &self.owner.group, id, &json)
    }

    /// Somebody asks to join in these words.
    pub(crate) async fn ask_with(
        &mut self,
        id: MemberId,
        key: Ed25519PrivateKey,
        info: &[u8],
    ) -> (Person, Event) {
        Self::answered(self.request(id, key, info).await).await
    }

    async fn request(&self, id: MemberId, key: Ed25519PrivateKey, info: &[u8]) -> Person {
        let mut peer = Peer::start(&self.server);
        let opened = peer.read(self.relay_link.as_ref().unwrap()).await.unwrap();
        let connection = peer.begin(Order::Request(Box::new(opened), info.to_vec())).await;
        Person { peer, id, key, connection, group: self.owner.group.clone(), unheard: Vec::new() }
    }

    /// Waits for the answer to a request.
    pub(crate) async fn answered(mut person: Person) -> (Person, Event) {
        let answer = confirmation(&mut person.peer, person.connection).await;
        (person, answer)
    }

    /// A member asks again, on another connection; the request is on the relay's server when this returns.
    pub(crate) async fn request_again(&self, member: &Person) -> Person {
        let (id, key) = (member.id.clone(), member.key.clone());
        let info = self.signed(&id, &key, self.join_of(&id, &key));
        let again = self.request(id, key, &info).await;
        again.peer.until_sent().await;
        again
    }

    /// Somebody joins.
    pub(crate) async fn join(&mut self) -> Person {
        let mut rng = system_rng();
        let relay = self.relay_id.clone();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let asked = self.ask(id, key, &relay).await;
        Self::let_in(asked).await
    }

    /// Somebody joins who asks in these words.
    pub(crate) async fn join_with(&mut self, id: MemberId, key: Ed25519PrivateKey, info: &[u8]) -> Person {
        let asked = self.ask_with(id, key, info).await;
        Self::let_in(asked).await
    }

    /// The answer is taken: the person is in.
    pub(crate) async fn let_in((mut person, answer): (Person, Event)) -> Person {
        assert!(matches!(answer, Event::LinkInvitation(_)), "{answer:?}");
        let info = Event::Info(Box::new(Info { profile: Profile::named("Mia") }));
        let info = Message::new(None, info).to_json();
        person.peer.order(Order::Allow(person.connection, info)).await;
        person.peer.connected(person.connection).await;
        person
    }

    /// The owner gives somebody a role, by a second roster and in words.
    pub(crate) async fn give_role(&mut self, person: &Person, role: MemberRole) {
        self.publish_roster(2, &Self::roster_with(person, role)).await;
        let (member_id, roster_version) = (person.id.clone(), Some(2));
        let change = MemberRoleChange { member_id, role, member_key: None, roster_version };
        self.owner.say(Event::MemberRole(change)).await;
    }

    /// A roster that gives one person a role.
    pub(crate) fn roster_with(person: &Person, role: MemberRole) -> Roster {
        let mut roster = Roster::default();
        let entry = RosterEntry { key: MemberKey(person.key.public_key()), role };
        roster.put(person.id.clone(), entry).unwrap();
        roster
    }

    /// Waits until the relay sees its only group at such a point of its life.
    pub(crate) async fn is_at(&self, wanted: impl Fn(ServedStatus) -> bool) {
        let mut store = self.relay.store();
        eventually(|| {
            let groups = store.groups_due(protocol::timestamp::Timestamp(i64::MAX), 1).unwrap();
            let status = groups.first().map(|group| group.life.status);
            if status.is_some_and(&wanted) { Ok(()) } else { Err(format!("the group is still {status:?}")) }
        })
        .await;
    }

    /// Waits until a member of the relay's only group stands like this there.
    pub(crate) async fn until_member(&self, person: &Person, wanted: impl Fn(&Member) -> bool) {
        let mut store = self.relay.store();
        eventually(|| {
            let groups = store.groups_due(protocol::timestamp::Timestamp(i64::MAX), 1).unwrap();
            let member = groups.first().and_then(|group| store.member_by_id(group.id, &person.id).unwrap());
            let is_so = member.as_ref().is_some_and(&wanted);
            if is_so { Ok(()) } else { Err(format!("the member is still {member:?}")) }
        })
        .await;
    }

    /// A fresh key.
    pub(crate) fn key() -> Ed25519PrivateKey {
        Ed25519PrivateKey::generate(&mut system_rng())
    }

    /// Waits until the relay's database holds no group.
    pub(crate) async fn forgotten(&self) {
        let mut store = self.relay.store();
        let far = protocol::timestamp::Timestamp(i64::MAX);
        eventually(|| {
            let is_due = store.next_due(protocol::timestamp::Timestamp(0)).unwrap().is_some();
            let is_there = is_due || !store.groups_due(far, 1).unwrap().is_empty();
            if is_there { Err("the group is not forgotten".into()) } else { Ok(()) }
        })
        .await;
    }
}

async fn confirmation(peer: &mut Peer, connection: ConnectionId) -> Event {
    let info = peer
        .event(connection, "an answer", |event| match event {
            AgentEvent::Confirmation { info } => Some(info.clone()),
            _ => None,
        })
        .await;
    Message::parse(&info).unwrap().event
}
