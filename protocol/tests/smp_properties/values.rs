//! Values of every format, of all their variants.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::crypto::dh::X25519PublicKey;
use protocol::crypto::sign::{Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey};
use protocol::smp::address::ServerAddress;
use protocol::smp::command::{
    Command, ContactLink, LinkData, MessagingLink, NewQueue, NotifierKeys, QueueRequest,
};
use protocol::smp::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorType, HandshakeFailure,
    NetworkError, ProxyError, TransportError,
};
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::{AuthPublicKey, Authenticator};
use protocol::smp::password::BasicAuth;
use protocol::smp::queue_details::{
    Delivery, MessageDetails, MessageKind, QueueDetails, SubscriptionDetails,
};
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::{BrokerMessage, NotifierIds, QueueIds};
use protocol::transport::certified_key::{CertificateChain, CertifiedKey, SignedKey};
use protocol::transport::hello::ServiceRole;
use protocol::version::VersionRange;

fn bytes() -> impl Strategy<Value = Cow<'static, [u8]>> {
    vec(any::<u8>(), 0..100).prop_map(Into::into)
}

pub(crate) fn dh_key() -> impl Strategy<Value = X25519PublicKey> {
    any::<[u8; 32]>().prop_map(X25519PublicKey)
}

fn auth_key() -> impl Strategy<Value = AuthPublicKey> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|key| AuthPublicKey::Ed25519(Ed25519PublicKey(key))),
        dh_key().prop_map(AuthPublicKey::X25519),
        vec(any::<u8>(), 57).prop_map(|key| AuthPublicKey::Ed448(Ed448PublicKey(key.try_into().unwrap()))),
    ]
}

pub(crate) fn some_authenticator() -> impl Strategy<Value = Authenticator> {
    (select(vec![0_usize, 64, 80, 114]), any::<u8>())
        .prop_map(|(length, byte)| Authenticator::try_from(&vec![byte; length][..]).unwrap())
}

fn password() -> impl Strategy<Value = BasicAuth> {
    "[!-.0-9;-?A-~]{0,30}".prop_map(|text| BasicAuth::new(text.as_bytes()).unwrap())
}

fn link_data() -> impl Strategy<Value = LinkData<'static>> {
    (bytes(), bytes()).prop_map(|(fixed, user)| LinkData { fixed, user })
}

fn notifier_keys() -> impl Strategy<Value = NotifierKeys> {
    (auth_key(), dh_key()).prop_map(|(notifier_key, dh_key)| NotifierKeys { notifier_key, dh_key })
}

fn queue_request() -> impl Strategy<Value = QueueRequest<'static>> {
    prop_oneof![
        option::of((bytes(), link_data())).prop_map(|link| {
            QueueRequest::Messaging(link.map(|(sender_id, data)| MessagingLink { sender_id, data }))
        }),
        option::of((bytes(), bytes(), link_data())).prop_map(|link| {
            QueueRequest::Contact(link.map(|(link_id, sender_id, data)| ContactLink {
                link_id,
                sender_id,
                data,
            }))
        }),
    ]
}

fn new_queue() -> impl Strategy<Value = NewQueue<'static>> {
    let keys = (auth_key(), dh_key(), option::of(password()), any::<bool>());
    (keys, option::of(queue_request()), option::of(notifier_keys())).prop_map(|(keys, request, notifier)| {
        let (recipient_key, dh_key, password, subscribe) = keys;
        NewQueue { recipient_key, dh_key, password, subscribe, request, notifier }
    })
}

fn server_address() -> impl Strategy<Value = ServerAddress> {
    select(vec![
        "smp://BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=@smp.example.com",
        "smp://BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=@192.0.2.1,abc.onion:5223",
    ])
    .prop_map(|text| text.parse().unwrap())
}

pub(crate) fn some_command() -> impl Strategy<Value = Command<'static>> {
    prop_oneof![
        select(vec![
            Command::Sub,
            Command::Ldel,
            Command::Ndel,
            Command::Get,
            Command::Off,
            Command::Del,
            Command::Que,
            Command::Lget,
            Command::Nsub,
            Command::Nsubs,
            Command::Subs,
            Command::Ping,
        ]),
        new_queue().prop_map(|queue| Command::New(Box::new(queue))),
        auth_key().prop_map(|sender_key| Command::Key { sender_key }),
        auth_key().prop_map(|sender_key| Command::Skey { sender_key }),
        auth_key().prop_map(|sender_key| Command::Lkey { sender_key }),
        vec(auth_key(), 1..5).prop_map(|recipient_keys| Command::Rkey { recipient_keys }),
        (bytes(), link_data()).prop_map(|(link_id, data)| Command::Lset { link_id, data }),
        notifier_keys().prop_map(Command::Nkey),
        bytes().prop_map(|message_id| Command::Ack { message_id }),
        (any::<bool>(), bytes()).prop_map(|(notify, body)| Command::Send { notify, body }),
        (server_address(), option::of(password()))
            .prop_map(|(server, password)| Command::Prxy { server, password }),
        (any::<u16>(), dh_key(), bytes()).prop_map(|(version, client_key, sealed)| Command::Pfwd {
            version,
            client_key,
            sealed
        }),
        bytes().prop_map(|sealed| Command::Rfwd { sealed }),
    ]
}

pub(crate) fn some_versions() -> impl Strategy<Value = VersionRange> {
    (any::<u16>(), any::<u16>()).prop_map(|(a, b)| VersionRange::new(a.min(b), a.max(b)).unwrap())
}

pub(crate) fn some_role() -> impl Strategy<Value = ServiceRole> {
    select(vec![ServiceRole::Messaging, ServiceRole::Notifier, ServiceRole::Proxy])
}

pub(crate) fn some_certified_key() -> impl Strategy<Value = CertifiedKey> {
    (vec(vec(any::<u8>(), 0..300), 1..=4), dh_key(), any::<[u8; 32]>()).prop_map(
        |(certificates, key, seed)| CertifiedKey {
            chain: CertificateChain::new(certificates).unwrap(),
            signed_key: SignedKey::sign_x25519(&key, &Ed25519PrivateKey::from_seed(&seed).into()),
        },
    )
}

pub(crate) fn some_transport_error() -> impl Strategy<Value = TransportError> {
    select(vec![
        TransportError::Block,
        TransportError::Version,
        TransportError::LargeMessage,
        TransportError::Session,
        TransportError::NoAuth,
        TransportError::Handshake(HandshakeFailure::Parse),
        TransportError::Handshake(HandshakeFailure::Identity),
        TransportError::Handshake(HandshakeFailure::BadAuth),
        TransportError::Handshake(HandshakeFailure::BadService),
    ])
}

/// All errors that are read as they were written: details of `NETWORK` are not written.
pub(crate) fn some_error() -> impl Strategy<Value = ErrorType> {
    let plain = select(vec![
        ErrorType::Block,
        ErrorType::Session,
        ErrorType::Auth,
        ErrorType::Service,
        ErrorType::Crypto,
        ErrorType::Quota,
        ErrorType::NoMessage,
        ErrorType::LargeMessage,
        ErrorType::Expired,
        ErrorType::Internal,
        ErrorType::Duplicate,
        ErrorType::Command(CommandError::Unknown),
        ErrorType::Command(CommandError::Syntax),
        ErrorType::Command(CommandError::Prohibited),
        ErrorType::Command(CommandError::NoAuth),
        ErrorType::Command(CommandError::HasAuth),
        ErrorType::Command(CommandError::NoEntity),
        ErrorType::Proxy(ProxyError::BasicAuth),
        ErrorType::Proxy(ProxyError::NoSession),
        ErrorType::Proxy(ProxyError::Broker(BrokerError::Network(NetworkError::Failed))),
        ErrorType::Proxy(ProxyError::Broker(BrokerError::Host)),
        ErrorType::Proxy(ProxyError::Broker(BrokerError::NoService)),
        ErrorType::Proxy(ProxyError::Broker(BrokerError::Timeout)),
    ]);
    let notice = option::of(option::of(any::<i64>()))
        .prop_map(|notice| notice.map(|ttl_seconds| ClientNotice { ttl_seconds }));
    let leaf = prop_oneof![
        plain,
        ".{0,40}".prop_map(ErrorType::Store),
        ".{0,40}".prop_map(|text| ErrorType::Proxy(BrokerError::Response(text).into())),
        ".{0,40}".prop_map(|text| ErrorType::Proxy(BrokerError::Unexpected(text).into())),
        some_transport_error().prop_map(|error| ErrorType::Proxy(BrokerError::Transport(error).into())),
        (select(vec![BlockingReason::Spam, BlockingReason::Content]), notice)
            .prop_map(|(reason, notice)| ErrorType::Blocked(BlockingInfo { reason, notice })),
    ];
    leaf.prop_recursive(3, 4, 1, |inner| {
        inner.prop_map(|error| ErrorType::Proxy(ProxyError::Protocol(Box::new(error))))
    })
}

fn notifier_ids() -> impl Strategy<Value = NotifierIds> {
    (any::<[u8; 24]>(), dh_key())
        .prop_map(|(id, server_dh_key)| NotifierIds { notifier_id: NotifierId(id), server_dh_key })
}

fn queue_ids() -> impl Strategy<Value = QueueIds> {
    let mode = option::of(select(vec![QueueMode::Messaging, QueueMode::Contact]));
    let ids = (any::<[u8; 24]>(), any::<[u8; 24]>(), dh_key());
    let more = (option::of(any::<[u8; 24]>()), option::of(any::<[u8; 24]>()), option::of(notifier_ids()));
    (ids, mode, more).prop_map(|((recipient, sender, server_dh_key), mode, (link, service, notifier))| {
        QueueIds {
            recipient_id: RecipientId(recipient),
            sender_id: SenderId(sender),
            server_dh_key,
            mode,
            link_id: link.map(LinkId),
            service_id: service.map(ServiceId),
            notifier,
        }
    })
}

fn queue_details() -> impl Strategy<Value = QueueDetails> {
    let delivery =
        select(vec![Delivery::NoSub, Delivery::SubPending, Delivery::SubThread, Delivery::ProhibitSub]);
    let subscription = (delivery, option::of(".{0,40}"))
        .prop_map(|(delivery, delivered)| SubscriptionDetails { delivery, delivered });
    let kind = select(vec![MessageKind::Message, MessageKind::Quota]);
    let message = (".{0,40}", ".{0,40}", kind).prop_map(|(id, received_at, kind)| MessageDetails {
        id,
        received_at,
        kind,
    });
    (any::<bool>(), any::<bool>(), option::of(subscription), any::<i64>(), option::of(message)).prop_map(
        |(secured, has_notifier, subscription, messages, first_message)| QueueDetails {
            secured,
            has_notifier,
            subscription,
            messages,
            first_message,
        },
    )
}

pub(crate) fn some_message() -> impl Strategy<Value = BrokerMessage<'static>> {
    let pkey =
        (bytes(), some_versions(), some_certified_key()).prop_map(|(session_id, versions, certified_key)| {
            BrokerMessage::Pkey { session_id, versions, certified_key }
        });
    prop_oneof![
        select(vec![
            BrokerMessage::End,
            BrokerMessage::Alls,
            BrokerMessage::Deld,
            BrokerMessage::Ok,
            BrokerMessage::Pong,
        ]),
        queue_ids().prop_map(BrokerMessage::Ids),
        (any::<[u8; 24]>(), link_data())
            .prop_map(|(id, data)| BrokerMessage::Lnk { sender_id: SenderId(id), data }),
        option::of(any::<[u8; 24]>()).prop_map(|id| BrokerMessage::Sok(id.map(ServiceId))),
        any::<i64>().prop_map(BrokerMessage::Soks),
        (any::<[u8; 24]>(), bytes())
            .prop_map(|(id, body)| BrokerMessage::Msg { message_id: MessageId(id), body }),
        notifier_ids().prop_map(BrokerMessage::Nid),
        (any::<[u8; 24]>(), bytes()).prop_map(|(nonce, metadata)| BrokerMessage::Nmsg { nonce, metadata }),
        pkey,
        bytes().prop_map(BrokerMessage::Rres),
        bytes().prop_map(BrokerMessage::Pres),
        any::<i64>().prop_map(BrokerMessage::Ends),
        queue_details().prop_map(BrokerMessage::Info),
        some_error().prop_map(BrokerMessage::Err),
    ]
}
