//! People who join a group at its relay link, with the whole handshake; all of them one program.

use std::collections::BTreeSet;

use chat_relay::store::sql::SqlStore;
use protocol::agent::event::{Event as AgentEvent, Failure};
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::joining::{Info, Join};
use protocol::group::event::{Event, Message};
use protocol::group::identity::{MemberId, MemberKey, PublicGroupId};
use protocol::group::profile::Profile;
use protocol::group::signed::sign;
use protocol::net::engine::{Application, Context, Fatal, LinkTag};
use protocol::net::network::ReadLinkError;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use tokio::sync::mpsc;

/// Somebody joins.
#[derive(Debug)]
pub(crate) struct JoinNow;

/// What becomes of somebody.
pub(crate) type Outcome = Result<(), Failure>;

/// All joiners.
pub(crate) struct Joiners {
    store: SqlStore,
    link: OpenedLink,
    group: PublicGroupId,
    relay: MemberId,
    server: ServerAddressWithAuth,
    /// Who has heard of the group. Its first message may come before the word that ours arrived.
    welcomed: BTreeSet<ConnectionId>,
    /// What became of some in this transaction: they are welcomed, or cannot join.
    outcomes: Vec<Outcome>,
    /// Told of each when it is durable.
    told: mpsc::UnboundedSender<Outcome>,
}

impl Joiners {
    pub(crate) fn new(
        link: OpenedLink,
        (group, relay): (PublicGroupId, MemberId),
        server: ServerAddressWithAuth,
        told: mpsc::UnboundedSender<Outcome>,
    ) -> anyhow::Result<Self> {
        let store = SqlStore::in_memory()?;
        Ok(Self { store, link, group, relay, server, welcomed: BTreeSet::new(), outcomes: Vec::new(), told })
    }
}

impl Application for Joiners {
    type Store = SqlStore;
    type Command = JoinNow;

    fn store(&mut self) -> &mut SqlStore {
        &mut self.store
    }

    fn on_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: AgentEvent,
    ) -> Result<(), Fatal> {
        match event {
            AgentEvent::Confirmation { .. } => {
                let info = Event::Info(Box::new(Info { profile: Profile::named("Member") }));
                let info = Message::new(None, info).to_json();
                context.agent(&mut self.store).allow(connection, &info)?;
            }
            AgentEvent::Message { .. } if self.welcomed.insert(connection) => {
                self.outcomes.push(Ok(()));
            }
            AgentEvent::Failed { reason } => self.outcomes.push(Err(reason)),
            _ => {}
        }
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

    fn on_command(&mut self, context: &mut Context<'_>, _: JoinNow) -> Result<(), Fatal> {
        let mut rng = system_rng();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let join = Join {
            profile: Profile::named("Member"),
            new_member_id: id.clone(),
            new_member_key: MemberKey(key.public_key()),
            via_relay: Some(self.relay.clone()),
            entrance: None,
        };
        let json = Message::new(None, Event::Join(Box::new(join))).to_json();
        let info = sign(&key, &self.group, &id, &json);
        context.agent(&mut self.store).request(&self.link.request, &self.server, &info)?;
        Ok(())
    }

    fn after_commit(&mut self) {
        for outcome in self.outcomes.drain(..) {
            // Whoever counts may have seen enough.
            let _unheard = self.told.send(outcome);
        }
    }
}
