//! Every decoder of the queue protocol against every value, and against bytes that were cut, flipped or prolonged:
//! values survive a round trip, and nothing panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use protocol::crypto::dh::X25519PublicKey;
use protocol::crypto::secretbox::BoxKey;
use protocol::crypto::sign::{Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey};
use protocol::encoding::{Decode as _, Encode as _};
use protocol::smp::address::ServerAddress;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::{
    Command, ContactLink, LinkData, MessagingLink, NewQueue, NotifierKeys, QueueRequest,
};
use protocol::smp::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorType, HandshakeFailure,
    NetworkError, ProxyError, TransportError,
};
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::{AuthPublicKey, Authenticator};
use protocol::smp::message::{NotificationMetadata, ReceivedMessage, seal_message};
use protocol::smp::password::BasicAuth;
use protocol::smp::queue_details::{
    Delivery, MessageDetails, MessageKind, QueueDetails, SubscriptionDetails,
};
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::{BrokerMessage, NotifierIds, QueueIds};
use protocol::smp::transmission::Transmission;
use protocol::timestamp::Timestamp;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, SEALED_CONTENT_BYTES_MAX};
use protocol::transport::certified_key::{CertificateChain, CertifiedKey, SignedKey};
use protocol::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceResponse, ServiceRole};
use protocol::version::VersionRange;

/// Reads bytes with one of the decoders and, when they are a value, gives the bytes that we write for it.
type Rewrite = fn(&[u8], u16) -> Option<Vec<u8>>;

/// What a stranger does to bytes.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Prolong(Vec<u8>),
    Double(Index),
}

impl Damage {
    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Cut(at) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
            Self::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Prolong(more) => bytes.extend(more),
            Self::Double(at) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes.insert(at, bytes[at]);
            }
            _ => {}
        }
        bytes
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        vec(any::<u8>(), 1..40).prop_map(Damage::Prolong),
        any::<Index>().prop_map(Damage::Double),
    ]
}

/// A value's bytes come back as they were; damaged bytes are refused, or are a value whose bytes come back.
fn check(rewrite: Rewrite, bytes: &[u8], version: u16, damages: &[Damage]) {
    assert_eq!(rewrite(bytes, version).as_deref(), Some(bytes), "a value comes back");
    let mut damaged = bytes.to_vec();
    for damage in damages {
        damaged = damage.apply(&damaged);
        if let Some(written) = rewrite(&damaged, version) {
            assert_eq!(rewrite(&written, version), Some(written), "what we write, we read alike");
        }
    }
}

fn same<T: PartialEq + Debug>(value: &T, read: &T) {
    assert_eq!(value, read);
}

fn command(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    Command::parse(bytes, version).ok().map(|command| command.encode(version))
}

fn message(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    BrokerMessage::parse(bytes, version).ok().map(|message| message.encode(version))
}

fn error(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    let error = ErrorType::parse(bytes).ok()?;
    let mut out = Vec::new();
    error.encode(version, &mut out);
    Some(out)
}

fn transmission(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    let transmission = Transmission::parse(bytes, version).ok()?;
    let mut out = Vec::new();
    transmission.encode_into(version, &mut out);
    Some(out)
}

fn batch(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
    for transmission in Batch::parse(bytes).ok()? {
        assert_eq!(writer.push(|out| out.extend(transmission)), Ok(None));
    }
    writer.take()
}

fn client_hello(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ClientHello::parse(bytes).ok().map(|hello| hello.to_bytes())
}

fn server_hello(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ServerHello::parse(bytes).ok().map(|hello| hello.to_bytes())
}

fn service_response(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ServiceResponse::parse(bytes).ok().map(|response| response.to_bytes())
}

fn signed_key(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    SignedKey::from_der(bytes).ok().map(|key| key.to_der())
}

const DECODERS: [Rewrite; 9] =
    [command, message, error, transmission, batch, client_hello, server_hello, service_response, signed_key];

proptest! {
    #[test]
    fn commands(value in some_command(), version in 17_u16..=18, damages in vec(damage(), 1..6)) {
        let bytes = value.encode(version);
        same(&value, &Command::parse(&bytes, version).unwrap());
        check(command, &bytes, version, &damages);
    }

    #[test]
    fn commands_of_earlier_versions(value in some_command(), version in 15_u16..17, damages in vec(damage(), 1..6)) {
        check(command, &value.encode(version), version, &damages);
    }

    #[test]
    fn messages(value in some_message(), damages in vec(damage(), 1..6)) {
        let bytes = value.encode(18);
        same(&value, &BrokerMessage::parse(&bytes, 18).unwrap());
        check(message, &bytes, 18, &damages);
    }

    #[test]
    fn messages_of_earlier_versions(value in some_message(), version in 15_u16..18, damages in vec(damage(), 1..6)) {
        check(message, &value.encode(version), version, &damages);
    }

    #[test]
    fn errors(value in some_error(), damages in vec(damage(), 1..6)) {
        let mut bytes = Vec::new();
        value.encode(18, &mut bytes);
        same(&value, &ErrorType::parse(&bytes).unwrap());
        check(error, &bytes, 18, &damages);
    }

    #[test]
    fn transmissions(
        authenticator in some_authenticator(),
        service_signature in option::of(any::<[u8; 32]>()),
        ids in (vec(any::<u8>(), 0..=255), vec(any::<u8>(), 0..=255)),
        content in vec(any::<u8>(), 0..100),
        version in 15_u16..=18,
        damages in vec(damage(), 1..6),
    ) {
        let has_field = version >= 16 && !authenticator.is_none();
        let service_signature = service_signature
            .filter(|_| has_field)
            .map(|half| [half, half].concat().try_into().unwrap());
        let (correlation_id, entity_id) = (&ids.0[..], &ids.1[..]);
        let value = Transmission { authenticator, service_signature, correlation_id, entity_id, command: &content };
        let mut bytes = Vec::new();
        value.encode_into(version, &mut bytes);
        same(&value, &Transmission::parse(&bytes, version).unwrap());
        check(transmission, &bytes, version, &damages);
    }

    #[test]
    fn batches(transmissions in vec(vec(any::<u8>(), 0..60), 1..=255), damages in vec(damage(), 1..6)) {
        let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
        for transmission in &transmissions {
            prop_assert_eq!(writer.push(|out| out.extend(transmission)), Ok(None));
        }
        let bytes = writer.take().unwrap();
        prop_assert_eq!(Batch::parse(&bytes).unwrap().collect::<Vec<_>>(), transmissions);
        check(batch, &bytes, 18, &damages);
    }

    #[test]
    fn long_queues_of_transmissions_keep_their_order(lengths in vec(0_usize..6000, 1..40)) {
        let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
        let mut blocks = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let put = |out: &mut Vec<u8>| out.resize(out.len() + length, u8::try_from(number).unwrap());
            blocks.extend(writer.push(put).unwrap());
        }
        blocks.extend(writer.take());
        let mut written = Vec::new();
        for block in &blocks {
            prop_assert!(block.len() <= SEALED_CONTENT_BYTES_MAX);
            written.extend(Batch::parse(block).unwrap().map(<[u8]>::to_vec));
        }
        let expected: Vec<_> = lengths.iter().enumerate()
            .map(|(number, length)| vec![u8::try_from(number).unwrap(); *length])
            .collect();
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn client_hellos(
        version in 15_u16..=18,
        key_hash in vec(any::<u8>(), 0..40),
        session_key in option::of(dh_key()),
        is_proxy: bool,
        service in option::of((some_role(), some_certified_key())),
        damages in vec(damage(), 1..6),
    ) {
        let service = service.filter(|_| version >= 16);
        let service = service.map(|(role, certified_key)| ServiceHello { role, certified_key });
        let value = ClientHello { version, key_hash, session_key, is_proxy, service };
        same(&value, &ClientHello::parse(&value.to_bytes()).unwrap());
        check(client_hello, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn server_hellos(
        versions in some_versions(),
        session_id in vec(any::<u8>(), 0..60),
        certified_key in option::of(some_certified_key()),
        damages in vec(damage(), 1..6),
    ) {
        let certified_key = certified_key.filter(|_| versions.max() >= 7);
        let value = ServerHello { versions, session_id, certified_key };
        same(&value, &ServerHello::parse(&value.to_bytes()).unwrap());
        check(server_hello, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn service_responses(
        value in prop_oneof![
            any::<[u8; 24]>().prop_map(|id| ServiceResponse::Accepted(ServiceId(id))),
            some_transport_error().prop_map(ServiceResponse::Refused),
        ],
        damages in vec(damage(), 1..6),
    ) {
        same(&value, &ServiceResponse::parse(&value.to_bytes()).unwrap());
        check(service_response, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn signed_keys(value in some_certified_key(), damages in vec(damage(), 1..6)) {
        same(&value, &CertifiedKey::from_bytes(&value.to_bytes()).unwrap());
        check(signed_key, &value.signed_key.to_der(), 18, &damages);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), version: u16) {
        for rewrite in DECODERS {
            rewrite(&bytes, version);
        }
    }

    #[test]
    fn any_parameters_are_read_or_refused(
        tag in select(vec![
            "NEW", "KEY", "RKEY", "LSET", "NKEY", "ACK", "SEND", "LKEY", "PRXY", "PFWD", "RFWD", "IDS", "LNK", "SOK",
            "SOKS", "MSG", "NID", "NMSG", "PKEY", "ENDS", "INFO", "ERR PROXY BROKER", "ERR BLOCKED reason=spam,notice=",
        ]),
        parameters in vec(any::<u8>(), 0..300),
        version in 15_u16..=18,
    ) {
        let bytes = [tag.as_bytes(), b" ", &parameters].concat();
        for rewrite in [command as Rewrite, message] {
            if let Some(written) = rewrite(&bytes, version) {
                prop_assert_eq!(rewrite(&written, version), Some(written));
            }
        }
    }

    #[test]
    fn delivered_messages(
        key: [u8; 32],
        id: [u8; 24],
        seconds in -1_000_000_000_000_i64..1_000_000_000_000,
        notify: bool,
        body in vec(any::<u8>(), 0..400),
        damage in damage(),
    ) {
        let (key, id, received_at) = (BoxKey::new(&key), MessageId(id), Timestamp::from_seconds(seconds));
        let sealed = seal_message(&key, &id, received_at, notify, &body).unwrap();
        prop_assert_eq!(sealed.len(), 16_122);
        let value = ReceivedMessage::Message { received_at, notify, body };
        same(&value, &ReceivedMessage::open(&key, &id, &sealed).unwrap());
        let damaged = damage.apply(&sealed);
        prop_assert!(damaged == sealed || ReceivedMessage::open(&key, &id, &damaged).is_err());

        let metadata = NotificationMetadata { message_id: id, received_at };
        let sealed = metadata.seal(&key, &id.0).unwrap();
        same(&metadata, &NotificationMetadata::open(&key, &id.0, &sealed).unwrap());
        let damaged = damage.apply(&sealed);
        prop_assert!(damaged == sealed || NotificationMetadata::open(&key, &id.0, &damaged).is_err());
    }

    #[test]
    fn what_a_stranger_sealed_is_read_or_refused(key: [u8; 32], id: [u8; 24], plain in vec(any::<u8>(), 0..40)) {
        // The right key, but any content: a hostile server, or a hostile sender.
        let (key, id) = (BoxKey::new(&key), MessageId(id));
        let sealed = key.seal_padded(&id.0, &plain, 128).unwrap();
        let _ = ReceivedMessage::open(&key, &id, &sealed);
        let _ = NotificationMetadata::open(&key, &id.0, &sealed);
        let unpadded = key.seal(&id.0, &plain);
        let _ = ReceivedMessage::open(&key, &id, &unpadded);
    }

    #[test]
    fn blocks(contents in vec((vec(any::<u8>(), 0..500), option::of(damage())), 1..5), session: [u8; 32]) {
        use protocol::crypto::dh::X25519PrivateKey;
        let (client, server) = (X25519PrivateKey::from_bytes([1; 32]), X25519PrivateKey::from_bytes([2; 32]));
        let mut sender = BlockCipher::client(&session, &client, &server.public_key());
        let mut receiver = BlockCipher::server(&session, &server, &client.public_key());
        for (content, damage) in contents {
            let sealed = sender.send.seal(&content).unwrap();
            let damaged = damage.map_or(sealed.clone(), |damage| damage.apply(&sealed));
            // Blocks of another size never reach the cipher.
            let mut block = <[u8; BLOCK_BYTES]>::try_from(&damaged[..]).unwrap_or([0; BLOCK_BYTES]);
            let opened = receiver.receive.open(&mut block);
            prop_assert_eq!(opened.ok(), (damaged == sealed).then_some(&content[..]));
        }
    }
}

fn bytes() -> impl Strategy<Value = std::borrow::Cow<'static, [u8]>> {
    vec(any::<u8>(), 0..100).prop_map(Into::into)
}

fn dh_key() -> impl Strategy<Value = X25519PublicKey> {
    any::<[u8; 32]>().prop_map(X25519PublicKey)
}

fn auth_key() -> impl Strategy<Value = AuthPublicKey> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|key| AuthPublicKey::Ed25519(Ed25519PublicKey(key))),
        dh_key().prop_map(AuthPublicKey::X25519),
        vec(any::<u8>(), 57).prop_map(|key| AuthPublicKey::Ed448(Ed448PublicKey(key.try_into().unwrap()))),
    ]
}

fn some_authenticator() -> impl Strategy<Value = Authenticator> {
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

fn some_command() -> impl Strategy<Value = Command<'static>> {
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

fn some_versions() -> impl Strategy<Value = VersionRange> {
    (any::<u16>(), any::<u16>()).prop_map(|(a, b)| VersionRange::new(a.min(b), a.max(b)).unwrap())
}

fn some_role() -> impl Strategy<Value = ServiceRole> {
    select(vec![ServiceRole::Messaging, ServiceRole::Notifier, ServiceRole::Proxy])
}

fn some_certified_key() -> impl Strategy<Value = CertifiedKey> {
    (vec(vec(any::<u8>(), 0..300), 1..=4), dh_key(), any::<[u8; 32]>()).prop_map(
        |(certificates, key, seed)| CertifiedKey {
            chain: CertificateChain::new(certificates).unwrap(),
            signed_key: SignedKey::sign_x25519(&key, &Ed25519PrivateKey::from_seed(&seed)),
        },
    )
}

fn some_transport_error() -> impl Strategy<Value = TransportError> {
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
fn some_error() -> impl Strategy<Value = ErrorType> {
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

fn some_message() -> impl Strategy<Value = BrokerMessage<'static>> {
    let pkey =
        (bytes(), some_versions(), some_certified_key()).prop_map(|(session_id, versions, certified_key)| {
            BrokerMessage::Pkey { session_id, versions, certified_key }
        });
    prop_oneof![
        select(vec![BrokerMessage::End, BrokerMessage::Deld, BrokerMessage::Ok, BrokerMessage::Pong]),
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
