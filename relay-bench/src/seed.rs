//! A group that stands: members' queues on the server, connections and members in the relay's database.

use anyhow::{Context as _, bail};
use chat_relay::config::Limits;
use chat_relay::identity::RelayIdentity;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{
    GroupIdentity, GroupKey, MemberStatus, NewMember, Purpose, RelayAddress, ServedGroup,
};
use chat_relay::store::sql::SqlStore;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::memory::MemoryStore;
use protocol::agent::request::{OwnQueue, Request};
use protocol::agent::seeding::{Agreement, SeedQueue};
use protocol::agent::store::ConnectionId;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::profile::{GroupProfile, GroupType, Profile, PublicGroup};
use protocol::group::served_group::{ServedLife, ServedStatus};
use protocol::net::engine::Transactional as _;
use protocol::net::network::Network;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::ids::{RecipientId, SenderId};
use protocol::smp::response::{BrokerMessage, QueueIds};
use protocol::smp::short_link::LinkType;
use protocol::timestamp::Timestamp;
use tokio::task::JoinSet;

/// Members that are made together: their queues in parallel, their rows in one transaction.
const PAGE: u32 = 500;

/// The owner, and whom to listen to.
pub(crate) struct Seeded {
    pub(crate) owner: Owner,
    /// The queue of the member who is served first.
    pub(crate) first: OwnQueue,
}

/// The owner's side.
pub(crate) struct Owner {
    pub(crate) store: MemoryStore,
    pub(crate) connection: ConnectionId,
    pub(crate) id: MemberId,
    pub(crate) key: Ed25519PrivateKey,
    pub(crate) group: PublicGroupId,
}

/// A relay that was initialised, as `chat-relay init` leaves it.
pub(crate) fn relay(store: &mut SqlStore, server: &ServerAddressWithAuth) -> anyhow::Result<RelayIdentity> {
    let plan = AddressPlan {
        server: server.clone(),
        link_type: LinkType::Relay,
        root_key: Ed25519PrivateKey::generate(&mut system_rng()),
        link_entity_id: None,
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut system_rng()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let profile = Profile::named("Relay");
    let address = RelayAddress { draft: draft.to_bytes(), profile: profile.clone(), connection: None };
    store.set_relay_address(&address)?;
    Ok(RelayIdentity { server: server.clone(), profile, joiner_role: None })
}

/// A group with an owner and so many members.
pub(crate) async fn group(
    network: &Network,
    store: &mut SqlStore,
    server: &ServerAddressWithAuth,
    members: u32,
) -> anyhow::Result<Seeded> {
    let mut rng = system_rng();
    let agreement = Agreement::new(&mut rng).context("The library does not agree with itself")?;
    let key = Ed25519PrivateKey::generate(&mut rng);
    let id = MemberId::generate(&mut rng);
    let public = PublicGroupId::of_root_key(&key.public_key());
    transaction(store, "begin", |store| store.begin())?;
    let group = served(store, server, &id, &key, &public)?;

    let mut from_owner = SeedQueue::new(server.clone(), &mut rng);
    from_owner.created(&nowhere());
    let mut to_relay = SeedQueue::new(server.clone(), &mut rng);
    to_relay.created(&created(network, to_relay.create()).await?);
    let (owner_end, relay_end) =
        agreement.connect(&from_owner, &to_relay, &mut rng).context("The queues are created")?;
    done(network, owner_end.secure()).await?;
    let mut owner_store = MemoryStore::default();
    let connection = owner_end.insert(&mut owner_store, false)?;
    let at_relay = relay_end.insert(store, true)?;
    join(store, &group, &id, MemberRole::Owner, &key, at_relay)?;
    transaction(store, "commit", |store| store.commit())?;

    let mut first = None;
    let mut left = members;
    while left > 0 {
        let page = left.min(PAGE);
        left = left.saturating_sub(page);
        let mut tasks = JoinSet::new();
        for _ in 0..page {
            let (network, server, agreement) = (network.clone(), server.clone(), agreement.clone());
            tasks.spawn(async move {
                let mut rng = system_rng();
                let mut own = SeedQueue::new(server.clone(), &mut rng);
                own.created(&nowhere());
                let mut theirs = SeedQueue::new(server, &mut rng);
                theirs.created(&created(&network, theirs.create()).await?);
                let (end, _) =
                    agreement.connect(&own, &theirs, &mut rng).context("The queues are created")?;
                done(&network, end.secure()).await?;
                anyhow::Ok((end, theirs.own_queue()))
            });
        }
        transaction(store, "begin", |store| store.begin())?;
        while let Some(made) = tasks.join_next().await {
            let (end, queue) = made??;
            let connection = end.insert(store, false)?;
            let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
            join(store, &group, &id, MemberRole::Observer, &key, connection)?;
            first = first.or(queue);
        }
        transaction(store, "commit", |store| store.commit())?;
    }
    let owner = Owner { store: owner_store, connection, id, key, group: public };
    Ok(Seeded { owner, first: first.context("There is no member")? })
}

fn served(
    store: &mut SqlStore,
    server: &ServerAddressWithAuth,
    owner: &MemberId,
    key: &Ed25519PrivateKey,
    public: &PublicGroupId,
) -> anyhow::Result<ServedGroup> {
    let mut rng = system_rng();
    let plan = AddressPlan {
        server: server.clone(),
        link_type: LinkType::Channel,
        root_key: key.clone(),
        link_entity_id: Some(public.as_bytes().to_vec()),
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut rng).map_err(|error| anyhow::anyhow!("{error}"))?;
    let group_link = LinkText::from(&draft.short_link());
    let group_key = GroupKey {
        group_link: group_link.clone(),
        owner: owner.clone(),
        relay: MemberId::generate(&mut rng),
    };
    let now = Timestamp(0);
    let made = store.group_for_invitation(&group_key, now, &Limits::default())?;
    let (mut group, _) = made.context("There is no room for a group")?;
    let public_group = PublicGroup {
        group_type: GroupType::Channel,
        group_link,
        public_group_id: public.clone(),
        public_group_access: None,
        other: Default::default(),
    };
    let profile = GroupProfile::new("Bench", public_group);
    group.life =
        ServedLife { status: ServedStatus::Active { misses: 0 }, since: now, tried_at: now, tries: 0 };
    group.identity = Some(GroupIdentity {
        public_group_id: public.clone(),
        root_key: key.public_key(),
        profile,
        link_version: None,
    });
    store.update_group(&group)?;
    Ok(group)
}

fn join(
    store: &mut SqlStore,
    group: &ServedGroup,
    id: &MemberId,
    role: MemberRole,
    key: &Ed25519PrivateKey,
    connection: ConnectionId,
) -> anyhow::Result<()> {
    let new = NewMember {
        id: id.clone(),
        role,
        status: MemberStatus::Connected,
        profile: Some(Profile::named("Member")),
        key: Some(key.public_key()),
    };
    let mut member = store.insert_member(group.id, &new, Timestamp(0))?;
    member.connection = Some(connection);
    store.update_member(&member)?;
    store.set_purpose(connection, Purpose::Member(group.id, member.number), None)?;
    Ok(())
}

/// A queue that nobody uses: the other direction of a connection in which only one side speaks.
fn nowhere() -> QueueIds {
    let mut rng = system_rng();
    QueueIds {
        recipient_id: RecipientId(protocol::crypto::random_bytes(&mut rng)),
        sender_id: SenderId(protocol::crypto::random_bytes(&mut rng)),
        server_dh_key: X25519PrivateKey::generate(&mut rng).public_key(),
        mode: None,
        link_id: None,
        service_id: None,
        notifier: None,
    }
}

async fn created(network: &Network, request: Request) -> anyhow::Result<QueueIds> {
    match network.call(request).await? {
        BrokerMessage::Ids(ids) => Ok(ids),
        _ => bail!("The server did not create a queue"),
    }
}

async fn done(network: &Network, request: Option<Request>) -> anyhow::Result<()> {
    match network.call(request.context("There is a queue to secure")?).await? {
        BrokerMessage::Ok => Ok(()),
        _ => bail!("The server did not secure a queue"),
    }
}

fn transaction(
    store: &mut SqlStore,
    what: &str,
    run: impl FnOnce(&mut SqlStore) -> Result<(), protocol::net::engine::Fatal>,
) -> anyhow::Result<()> {
    run(store).map_err(|error| anyhow::anyhow!("Unable to {what} a transaction: {error}"))
}
