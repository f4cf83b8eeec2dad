//! A group that stands: members' queues on the server, connections and members in the relay's database.

use anyhow::{Context as _, bail};
use chat_relay::config::Limits;
use chat_relay::identity::RelayIdentity;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{
    GroupId, GroupIdentity, GroupKey, MemberStatus, NewMember, Purpose, RelayAddress, ServedGroup,
};
use chat_relay::store::sql::SqlStore;
use protocol::agent::Agent;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::link_data::UserLinkData;
use protocol::agent::memory::MemoryStore;
use protocol::agent::owner_auth::OwnerAuth;
use protocol::agent::request::{Request, RequestOutcome, Work};
use protocol::agent::seeding::{Agreement, SeedQueue};
use protocol::agent::store::ConnectionId;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::link::GroupLinkData;
use protocol::group::profile::{GroupProfile, GroupType, Profile, PublicGroup};
use protocol::group::served_group::{ServedLife, ServedStatus};
use protocol::net::clock;
use protocol::net::engine::Transactional as _;
use protocol::net::network::Network;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::ids::{RecipientId, SenderId};
use protocol::smp::response::{BrokerMessage, QueueIds};
use protocol::smp::short_link::{LinkType, ShortLink};
use protocol::timestamp::Timestamp;
// PostgreSQL's client waits, which a runtime wants to know.
use tokio::task::{JoinSet, block_in_place};

use crate::world::Group;

/// Members that are made together: their queues in parallel, their rows in one transaction.
const PAGE: u32 = 500;

/// A group to be made.
pub(crate) struct Plan<'a> {
    /// Where the relay and the owner have their queues.
    pub(crate) server: &'a ServerAddressWithAuth,
    /// Where the members have theirs.
    pub(crate) members_at: &'a ServerAddressWithAuth,
    pub(crate) members: u32,
    /// Whether the relay has a queue for each member.
    pub(crate) listening: bool,
}

/// The owner's side.
pub(crate) struct Owner {
    pub(crate) store: MemoryStore,
    pub(crate) connection: ConnectionId,
    pub(crate) id: MemberId,
    pub(crate) key: Ed25519PrivateKey,
    pub(crate) group: PublicGroupId,
    /// What it calls the relay.
    pub(crate) relay: MemberId,
    /// The group in the relay's database.
    pub(crate) served: GroupId,
    /// The group link, which nobody has made.
    link: AddressDraft,
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
pub(crate) async fn group(network: &Network, store: &mut SqlStore, plan: &Plan<'_>) -> anyhow::Result<Group> {
    let mut rng = system_rng();
    let agreement = Agreement::new(&mut rng).context("The library does not agree with itself")?;
    let key = Ed25519PrivateKey::generate(&mut rng);
    let id = MemberId::generate(&mut rng);
    let root_key = Ed25519PrivateKey::generate(&mut rng);
    let public = PublicGroupId::of_root_key(&root_key.public_key());
    transaction(store, "begin", |store| store.begin())?;
    let (group, link) = block_in_place(|| served(store, plan.server, &id, &root_key, &public))?;

    let from_owner = queue(network, plan.server, false).await?;
    let to_relay = queue(network, plan.server, true).await?;
    let (owner_end, relay_end) =
        agreement.connect(&from_owner, &to_relay, &mut rng).context("The queues are created")?;
    done(network, owner_end.secure()).await?;
    let mut owner_store = MemoryStore::default();
    let connection = owner_end.insert(&mut owner_store, false)?;
    block_in_place(|| {
        let at_relay = relay_end.insert(store, true)?;
        join(store, &group, &id, MemberRole::Owner, &key, at_relay)
    })?;
    transaction(store, "commit", |store| store.commit())?;

    let mut first = None;
    let mut left = plan.members;
    while left > 0 {
        let page = left.min(PAGE);
        left = left.saturating_sub(page);
        let mut tasks = JoinSet::new();
        for _ in 0..page {
            let (network, agreement, listening) = (network.clone(), agreement.clone(), plan.listening);
            let (server, members_at) = (plan.server.clone(), plan.members_at.clone());
            tasks.spawn(async move {
                let own = queue(&network, &server, listening).await?;
                let theirs = queue(&network, &members_at, true).await?;
                let (end, _) =
                    agreement.connect(&own, &theirs, &mut system_rng()).context("The queues are created")?;
                done(&network, end.secure()).await?;
                anyhow::Ok((end, theirs.own_queue()))
            });
        }
        transaction(store, "begin", |store| store.begin())?;
        while let Some(made) = tasks.join_next().await {
            let (end, queue) = made??;
            let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
            block_in_place(|| {
                let connection = end.insert(store, plan.listening)?;
                join(store, &group, &id, MemberRole::Observer, &key, connection)
            })?;
            first = first.or(queue);
        }
        transaction(store, "commit", |store| store.commit())?;
    }
    let relay = group.key.relay.clone();
    let owner =
        Owner { store: owner_store, connection, id, key, group: public, relay, served: group.id, link };
    Ok(Group { owner, first: first.context("There is no member")?, members: plan.members })
}

/// Queues of a relay and nothing else: connections whose other direction leads nowhere.
pub(crate) async fn queues(
    network: &Network,
    store: &mut SqlStore,
    server: &ServerAddressWithAuth,
    queues: u32,
) -> anyhow::Result<()> {
    let agreement = Agreement::new(&mut system_rng()).context("The library does not agree with itself")?;
    let mut left = queues;
    while left > 0 {
        let page = left.min(PAGE);
        left = left.saturating_sub(page);
        let mut tasks = JoinSet::new();
        for _ in 0..page {
            let (network, agreement, server) = (network.clone(), agreement.clone(), server.clone());
            tasks.spawn(async move {
                let (own, theirs) =
                    (queue(&network, &server, true).await?, queue(&network, &server, false).await?);
                let ends = agreement.connect(&own, &theirs, &mut system_rng());
                anyhow::Ok(ends.context("The queues are created")?.0)
            });
        }
        transaction(store, "begin", |store| store.begin())?;
        while let Some(made) = tasks.join_next().await {
            made??.insert(store, true)?;
        }
        transaction(store, "commit", |store| store.commit())?;
    }
    Ok(())
}

/// Gives a group a relay link, which the relay creates when it starts, and the group link that lists it.
pub(crate) async fn link(
    network: &Network,
    store: &mut SqlStore,
    identity: &RelayIdentity,
    owner: &mut Owner,
) -> anyhow::Result<ShortLink> {
    let mut rng = system_rng();
    let root_key = Ed25519PrivateKey::generate(&mut rng);
    let own = NewMember {
        id: owner.relay.clone(),
        role: MemberRole::Relay,
        status: MemberStatus::Known,
        profile: Some(identity.profile.clone()),
        key: Some(root_key.public_key()),
    };
    let plan = AddressPlan {
        server: identity.server.clone(),
        link_type: LinkType::Group,
        root_key,
        link_entity_id: Some(owner.relay.as_bytes().to_vec()),
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut rng).map_err(|error| anyhow::anyhow!("{error}"))?;
    let link = draft.short_link();
    transaction(store, "begin", |store| store.begin())?;
    let group = block_in_place(|| {
        let mut group = store.group(owner.served)?.context("The group is there")?;
        group.draft = Some(draft.to_bytes());
        store.update_group(&group)?;
        store.insert_member(group.id, &own, Timestamp(0))?;
        let data = identity.link_data();
        let connection = Agent::new(store, &mut rng, Timestamp(0)).create_address(draft, &data)?;
        store.set_purpose(connection, Purpose::RelayLink(group.id), None)?;
        anyhow::Ok(group)
    })?;
    transaction(store, "commit", |store| store.commit())?;

    let profile = group.identity.context("A served group has an identity")?.profile;
    let listed = GroupLinkData {
        group_profile: profile,
        public_group_data: None,
        link_data_version: Some(1),
        other: Default::default(),
    };
    let auth = OwnerAuth::issue(owner.id.as_bytes(), owner.key.public_key(), owner.link.root_key());
    let auth = auth.context("The owner's id is short enough")?;
    let data = UserLinkData::group(vec![auth], vec![link.clone()], listed.to_blob());
    let mut agent = Agent::new(&mut owner.store, &mut rng, Timestamp(0));
    let connection = agent.create_address(owner.link.clone(), &data)?;
    let Work::Run(job, request) = agent.job(connection)? else { bail!("The owner has no link to make") };
    let answer = network.call(*request).await?;
    agent.job_done(connection, job, RequestOutcome::Answer(answer))?;
    Ok(link)
}

fn served(
    store: &mut SqlStore,
    server: &ServerAddressWithAuth,
    owner: &MemberId,
    key: &Ed25519PrivateKey,
    public: &PublicGroupId,
) -> anyhow::Result<(ServedGroup, AddressDraft)> {
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
    // Only a group that is joined has its link: it is not to be read while something is measured.
    group.due_at = None;
    let read_at = clock::now();
    group.life = ServedLife {
        status: ServedStatus::Active { misses: 0 },
        since: read_at,
        tried_at: read_at,
        tries: 0,
    };
    group.identity = Some(GroupIdentity {
        public_group_id: public.clone(),
        root_key: key.public_key(),
        profile,
        link_version: None,
        relays: Vec::new(),
    });
    store.update_group(&group)?;
    Ok((group, draft))
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

/// A queue on the server, or one that is nowhere.
async fn queue(
    network: &Network,
    server: &ServerAddressWithAuth,
    is_real: bool,
) -> anyhow::Result<SeedQueue> {
    let mut queue = SeedQueue::new(server.clone(), &mut system_rng());
    let ids = if is_real { created(network, queue.create()).await? } else { nowhere() };
    queue.created(&ids);
    Ok(queue)
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
    block_in_place(|| run(store)).map_err(|error| anyhow::anyhow!("Unable to {what} a transaction: {error}"))
}
