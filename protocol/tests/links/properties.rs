//! Any value survives a round trip, and any input that is cut, changed or continued fails softly.

use proptest::prelude::*;
use protocol::agent::address_draft::AddressDraft;
use protocol::agent::connection_request::{ConnectionRequest, RequestData};
use protocol::agent::envelope::{Envelope, EnvelopeContent};
use protocol::agent::link_data::{FixedLinkData, InvitationLinkData, UserLinkData};
use protocol::agent::message::{AgentMessage, MessageBody, MessageReceipt};
use protocol::agent::owner_auth::OwnerAuth;
use protocol::agent::queue_layer::{ClientMessage, PrivateHeader, SentBody};
use protocol::crypto::dh::{X448PublicKey, X25519PublicKey};
use protocol::crypto::ratchet::parameters::{RatchetOffer, RatchetParameters};
use protocol::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use protocol::encoding::{Decode, Encode};
use protocol::smp::address::{KeyHash, ServerAddress, ServerAddressWithAuth};
use protocol::smp::host::Host;
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::link_key::LinkKey;
use protocol::smp::password::BasicAuth;
use protocol::smp::queue_uri::{QueueAddress, QueueInfo, QueueLocation, QueueMode, QueueUri};
use protocol::smp::short_link::{LinkType, ShortLink};
use protocol::version::VersionRange;

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|address| Host::Ipv4(address.into())),
        any::<[u8; 16]>().prop_map(|address| Host::Ipv6(address.into())),
        "[a-z0-9]{1,56}".prop_map(Host::Onion),
        "[g-z][a-z0-9-]{0,20}(\\.[a-z]{1,10}){0,3}".prop_map(Host::Domain),
    ]
}

fn server() -> impl Strategy<Value = ServerAddress> {
    let key_hash = any::<[u8; 32]>().prop_map(KeyHash::from);
    (prop::collection::vec(host(), 1..4), any::<Option<u16>>(), key_hash)
        .prop_map(|(hosts, port, key_hash)| ServerAddress::new(hosts, port, key_hash).unwrap())
}

fn server_with_auth() -> impl Strategy<Value = ServerAddressWithAuth> {
    let password = prop::option::of("[a-zA-Z0-9?#&=%]{1,40}");
    (server(), password).prop_map(|(server, password)| ServerAddressWithAuth {
        server,
        password: password.map(|text| BasicAuth::new(text.as_bytes()).unwrap()),
    })
}

fn versions() -> impl Strategy<Value = VersionRange> {
    (1_u16..9, 0_u16..9).prop_map(|(min, more)| VersionRange::new(min, min + more).unwrap())
}

fn queue(mode: impl Strategy<Value = Option<QueueMode>>) -> impl Strategy<Value = QueueAddress> {
    (server(), any::<[u8; 24]>(), any::<[u8; 32]>(), mode).prop_map(|(server, sender_id, dh_key, mode)| {
        QueueAddress { server, sender_id: SenderId(sender_id), dh_key: X25519PublicKey(dh_key), mode }
    })
}

fn any_mode() -> impl Strategy<Value = Option<QueueMode>> {
    prop_oneof![Just(None), Just(Some(QueueMode::Messaging)), Just(Some(QueueMode::Contact))]
}

fn messaging() -> impl Strategy<Value = Option<QueueMode>> {
    Just(Some(QueueMode::Messaging))
}

/// An address whose mode is written whatever its versions.
fn queue_uri() -> impl Strategy<Value = QueueUri> {
    queue(messaging()).prop_map(QueueUri::new)
}

fn queue_info() -> impl Strategy<Value = QueueInfo> {
    (3_u16..9, queue(messaging())).prop_map(|(version, address)| QueueInfo { version, address })
}

fn location() -> impl Strategy<Value = QueueLocation> {
    queue(any_mode()).prop_map(|queue| queue.location())
}

fn x448() -> impl Strategy<Value = X448PublicKey> {
    prop::array::uniform::<_, 56>(any::<u8>()).prop_map(X448PublicKey)
}

fn offer() -> impl Strategy<Value = RatchetOffer> {
    (versions(), x448(), x448()).prop_map(|(versions, first, second)| RatchetOffer {
        versions,
        first,
        second,
        kem: None,
    })
}

fn parameters() -> impl Strategy<Value = RatchetParameters> {
    (2_u16..4, x448(), x448()).prop_map(|(version, first, second)| RatchetParameters {
        version,
        first,
        second,
        kem: None,
    })
}

fn request() -> impl Strategy<Value = ConnectionRequest> {
    let data = (queue_uri(), any::<Option<String>>())
        .prop_map(|(queue, client_data)| RequestData::new(queue, client_data).unwrap());
    (data, prop::option::of(offer())).prop_map(|(data, offer)| match offer {
        Some(offer) => ConnectionRequest::Invitation { data, offer },
        None => ConnectionRequest::Contact(data),
    })
}

fn contact_link() -> impl Strategy<Value = ShortLink> {
    let types = [LinkType::Contact, LinkType::Channel, LinkType::Group, LinkType::Relay];
    (prop::sample::select(types.to_vec()), server(), any::<[u8; 32]>()).prop_map(
        |(link_type, server, link_key)| ShortLink::Contact {
            link_type,
            server,
            link_key: LinkKey::from(link_key),
        },
    )
}

fn short_link() -> impl Strategy<Value = ShortLink> {
    let invitation =
        (server(), any::<[u8; 24]>(), any::<[u8; 32]>()).prop_map(|(server, link_id, link_key)| {
            ShortLink::Invitation { server, link_id: LinkId(link_id), link_key: LinkKey::from(link_key) }
        });
    prop_oneof![invitation, contact_link()]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn owner() -> impl Strategy<Value = OwnerAuth> {
    (prop::collection::vec(any::<u8>(), 0..144), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |(id, key, signer)| {
            OwnerAuth::issue(&id, Ed25519PublicKey(key), &Ed25519PrivateKey::from_seed(&signer)).unwrap()
        },
    )
}

fn user_link_data() -> impl Strategy<Value = UserLinkData> {
    let owners = prop::collection::vec(owner(), 0..3);
    let relays = prop::collection::vec(contact_link(), 0..3);
    (versions(), any::<bool>(), owners, relays, bytes()).prop_map(
        |(versions, direct, owners, relays, user_data)| UserLinkData {
            versions,
            direct,
            owners,
            relays,
            user_data,
        },
    )
}

fn fixed_link_data() -> impl Strategy<Value = FixedLinkData> {
    let id = prop::option::of(prop::collection::vec(any::<u8>(), 0..=255));
    (versions(), any::<[u8; 32]>(), request(), id).prop_map(
        |(versions, root_key, request, link_entity_id)| FixedLinkData {
            versions,
            root_key: Ed25519PublicKey(root_key),
            request,
            link_entity_id,
        },
    )
}

fn auth_key() -> impl Strategy<Value = AuthPublicKey> {
    any::<(bool, [u8; 32])>().prop_map(|(signs, key)| {
        if signs {
            AuthPublicKey::Ed25519(Ed25519PublicKey(key))
        } else {
            AuthPublicKey::X25519(X25519PublicKey(key))
        }
    })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let content = prop_oneof![
        (prop::option::of(parameters()), bytes()).prop_map(|(parameters, ratchet_message)| {
            EnvelopeContent::Confirmation { parameters, ratchet_message }
        }),
        bytes().prop_map(|ratchet_message| EnvelopeContent::Message { ratchet_message }),
        (any::<String>(), bytes()).prop_map(|(link, info)| EnvelopeContent::Invitation { link, info }),
        (parameters(), bytes())
            .prop_map(|(parameters, info)| EnvelopeContent::RatchetKey { parameters, info }),
    ];
    (any::<u16>(), content).prop_map(|(agent_version, content)| Envelope { agent_version, content })
}

fn some<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(item, 1..3)
}

fn message_body() -> impl Strategy<Value = MessageBody> {
    let hash = prop::collection::vec(any::<u8>(), 0..=255);
    let receipt =
        (any::<i64>(), hash, bytes()).prop_map(|(number, hash, info)| MessageReceipt { number, hash, info });
    prop_oneof![
        Just(MessageBody::Hello),
        bytes().prop_map(MessageBody::Application),
        some(receipt).prop_map(MessageBody::Receipts),
        location().prop_map(MessageBody::QuotaResumed),
        some((queue_uri(), prop::option::of(location()))).prop_map(MessageBody::QueueAdd),
        some((queue_info(), auth_key())).prop_map(MessageBody::QueueKey),
        some((location(), any::<bool>())).prop_map(MessageBody::QueueUse),
        some(location()).prop_map(MessageBody::QueueTest),
        any::<i64>().prop_map(MessageBody::RatchetReady),
    ]
}

fn agent_message() -> impl Strategy<Value = AgentMessage> {
    let hash = prop::collection::vec(any::<u8>(), 0..=32);
    prop_oneof![
        bytes().prop_map(AgentMessage::Info),
        (some(queue_info()), bytes()).prop_map(|(queues, info)| AgentMessage::InfoReply { queues, info }),
        bytes().prop_map(AgentMessage::RatchetInfo),
        (any::<i64>(), hash, message_body()).prop_map(|(number, previous_hash, body)| {
            AgentMessage::Numbered { number, previous_hash, body }
        }),
    ]
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    (prop::option::of(auth_key()), bytes()).prop_map(|(key, envelope)| ClientMessage {
        header: key.map_or(PrivateHeader::Empty, PrivateHeader::SenderKey),
        envelope,
    })
}

/// How a format ends: what may follow its last byte.
#[derive(PartialEq)]
enum End {
    /// Nothing; a cut value does not read either.
    Exact,
    /// Free bytes, or an optional field: only the round trip is certain.
    Open,
}

fn check<T: Encode + Decode + PartialEq + std::fmt::Debug>(
    value: &T,
    end: End,
    (cut, flip, more): Damage,
) -> Result<(), TestCaseError> {
    let encoded = value.to_bytes();
    let read = T::from_bytes(&encoded);
    prop_assert_eq!(read.as_ref(), Ok(value));
    let cut = T::from_bytes(&encoded[..cut.index(encoded.len())]);
    prop_assert!(end == End::Open || cut.is_err(), "read from a part: {:?}", cut);
    let longer = T::from_bytes(&[encoded.clone(), more.clone()].concat());
    prop_assert!(end == End::Open || more.is_empty() || longer.is_err(), "read with more: {:?}", longer);
    let mut flipped = encoded;
    let at = flip.0.index(flipped.len());
    flipped[at] ^= flip.1;
    if let Ok(other) = T::from_bytes(&flipped) {
        // Whatever was read is written in one way. That may say less: not every version has words for every mode.
        let written = other.to_bytes();
        let again = T::from_bytes(&written).map(|again| again.to_bytes());
        prop_assert_eq!(again, Ok(written));
    }
    Ok(())
}

type Damage = (prop::sample::Index, (prop::sample::Index, u8), Vec<u8>);

fn damage() -> impl Strategy<Value = Damage> {
    (any::<prop::sample::Index>(), any::<(prop::sample::Index, u8)>(), prop::collection::vec(1_u8..10, 0..9))
}

proptest! {
    #[test]
    fn server_addresses(server in server_with_auth(), damage in damage()) {
        check(&server, End::Exact, damage.clone())?;
        check(&server.server, End::Exact, damage)?;
        prop_assert_eq!(server.to_string().parse(), Ok(server));
    }

    #[test]
    fn queue_uris(versions in versions(), address in queue(any_mode())) {
        let uri = QueueUri { versions, address };
        prop_assert_eq!(uri.to_string().parse::<QueueUri>(), Ok(uri.clone()));
        let read = QueueUri::from_bytes(&uri.to_bytes()).unwrap();
        prop_assert_eq!(read.to_bytes(), uri.to_bytes());
    }

    #[test]
    fn queue_uris_and_infos_with_modes(uri in queue_uri(), info in queue_info(), damage in damage()) {
        check(&uri, End::Open, damage.clone())?;
        check(&info, End::Open, damage)?;
    }

    #[test]
    fn requests(request in request(), damage in damage()) {
        check(&request, End::Exact, damage)?;
        prop_assert_eq!(request.to_string().parse(), Ok(request));
    }

    #[test]
    fn short_links(link in short_link(), damage in damage()) {
        check(&link, End::Exact, damage)?;
        prop_assert_eq!(link.to_string().parse(), Ok(link.clone()));
        prop_assert_eq!(link.to_simplex_uri().parse(), Ok(link));
    }

    #[test]
    fn link_data(user in user_link_data(), fixed in fixed_link_data(), damage in damage()) {
        check(&InvitationLinkData { versions: user.versions, user_data: user.user_data.clone() }, End::Open, damage.clone())?;
        check(&user, End::Open, damage.clone())?;
        check(&fixed, End::Open, damage)?;
    }

    #[test]
    fn owners(owner in owner(), damage in damage()) {
        check(&owner, End::Exact, damage)?;
    }

    #[test]
    fn envelopes(envelope in envelope(), damage in damage()) {
        check(&envelope, End::Open, damage)?;
    }

    #[test]
    fn agent_messages(message in agent_message(), damage in damage()) {
        check(&message, End::Open, damage)?;
    }

    #[test]
    fn client_messages(message in client_message(), damage in damage()) {
        check(&message, End::Open, damage)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in bytes()) {
        let _ = SentBody::parse(&bytes);
        let _ = ServerAddress::from_bytes(&bytes);
        let _ = ShortLink::from_bytes(&bytes);
        let _ = ConnectionRequest::from_bytes(&bytes);
        let _ = FixedLinkData::from_bytes(&bytes);
        let _ = UserLinkData::from_bytes(&bytes);
        let _ = AddressDraft::from_bytes(&bytes);
        let _ = Envelope::from_bytes(&bytes);
        let _ = AgentMessage::from_bytes(&bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(smp://|https://|simplex:/)?[a-z]{0,10}[@/#?]?.{0,80}") {
        let _ = text.parse::<ServerAddressWithAuth>();
        let _ = text.parse::<QueueUri>();
        let _ = text.parse::<ShortLink>();
        let _ = text.parse::<ConnectionRequest>();
    }
}
