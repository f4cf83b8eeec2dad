//! The relay's long-lived address: known before it is created, so that it can be printed without a network.

use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::signed_link_data::WriteLinkError;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::net::engine::Fatal;
use protocol::smp::address::ServerAddress;
use protocol::smp::short_link::LinkType;
use rand_core::CryptoRng;

use crate::identity::RelayIdentity;
use crate::store::RelayStore;
use crate::store::records::{Purpose, RelayAddress};
use crate::turn::{Turn, stored};

/// Draws a new address.
///
/// # Errors
/// Never for what is in a relay's address.
pub(crate) fn draft(
    identity: &RelayIdentity,
    rng: &mut dyn CryptoRng,
) -> Result<AddressDraft, WriteLinkError> {
    let plan = AddressPlan {
        server: identity.server.clone(),
        link_type: LinkType::Relay,
        root_key: Ed25519PrivateKey::generate(rng),
        link_entity_id: None,
        client_data: None,
    };
    AddressDraft::new(plan, rng)
}

/// Sees to it that the address is created and shows our profile; names its server if it exists by now.
///
/// # Errors
/// When the store fails; so for every function here.
pub(crate) fn prepare<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<Option<ServerAddress>, Fatal> {
    let mut address = turn.store.relay_address()?.ok_or("the relay has no address: initialise it again")?;
    let Some(connection) = address.connection else {
        create(turn, address)?;
        return Ok(None);
    };
    if address.profile != turn.identity.profile {
        let data = turn.identity.link_data();
        match turn.agent(|agent| agent.set_link_data(connection, &data)) {
            Ok(()) => {
                address.profile = turn.identity.profile.clone();
                turn.store.set_relay_address(&address)?;
            }
            Err(error) => tracing::warn!(%error, "the new profile cannot be published now"),
        }
    }
    Ok(turn.agent(|agent| agent.own_queue(connection))?.map(|queue| queue.server))
}

/// The server's answer to the creation was lost: another address takes its place. The old one leads to a queue that nobody can
/// read, so whoever was given it needs the new one.
///
/// # Errors
/// When the store fails.
pub(crate) fn renew<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<(), Fatal> {
    let address = turn.store.relay_address()?.ok_or("the relay has no address: initialise it again")?;
    if let Some(connection) = address.connection {
        turn.close(connection, false)?;
    }
    let draft = draft(turn.identity, turn.context.rng())?;
    tracing::warn!("the address had to be made anew: print it again with `chat-relay address`");
    create(
        turn,
        RelayAddress { draft: draft.to_bytes(), profile: turn.identity.profile.clone(), connection: None },
    )
}

/// The server does not know the address any more, as when it has lost its data: it is created again, with the same link.
///
/// # Errors
/// When the store fails.
pub(crate) fn restore<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
) -> Result<(), Fatal> {
    tracing::warn!("the relay's address is gone from its server: it is created again, with the same link");
    create_again(turn, connection)
}

/// Creates the queue of a link of ours again.
///
/// # Errors
/// When the store fails.
pub(crate) fn create_again<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
) -> Result<(), Fatal> {
    let data = turn.identity.link_data();
    Ok(turn.agent(|agent| agent.create_address_again(connection, &data))?)
}

fn create<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut address: RelayAddress) -> Result<(), Fatal> {
    let draft: AddressDraft = stored(&address.draft)?;
    let data = turn.identity.link_data();
    address.connection = Some(turn.create_address(draft, &data, Purpose::Address)?);
    address.profile = turn.identity.profile.clone();
    turn.store.set_relay_address(&address)?;
    Ok(())
}
