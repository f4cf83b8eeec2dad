//! Private routing, both as the proxy and as the server behind it (smp.md §14, §20.6).

use protocol::net::proxy::{Offer, check_offer};
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddress;
use protocol::smp::batch::BlockWriter;
use protocol::smp::command::{Command, QueueRequest};
use protocol::smp::error::{BrokerError, CommandError, ErrorType, NetworkError, ProxyError};
use protocol::smp::ids::CorrelationId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::new_queue::ContactLink;
use protocol::smp::password::BasicAuth;
use protocol::smp::proxy::client::DestinationSession;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use tokio::net::TcpListener;

use crate::client::{Client, MESSAGING, body, ed25519, link_data, message};
use crate::host::{Host, Place};

fn prxy(server: &ServerAddress, password: Option<BasicAuth>) -> Command<'static> {
    Command::Prxy { server: server.clone(), password }
}

fn broker(error: BrokerError) -> ErrorType {
    ErrorType::Proxy(ProxyError::Broker(error))
}

fn no_network() -> ErrorType {
    broker(BrokerError::Network(NetworkError::Failed))
}

/// Somebody who sends through a proxy.
pub(crate) struct Sender {
    client: Client,
    session: DestinationSession,
}

impl Sender {
    pub(crate) async fn connect(proxy: &impl AsRef<Place>, destination: &ServerAddress) -> Self {
        let mut client = Client::connect_as(proxy, 18, true).await;
        let session = offer(&mut client, destination).await;
        Self { client, session }
    }

    /// What the destination answers; or what the proxy says.
    pub(crate) async fn ask(
        &mut self,
        key: Option<&AuthPrivateKey>,
        entity: impl AsRef<[u8]>,
        command: &Command<'_>,
    ) -> BrokerMessage<'static> {
        let id = CorrelationId::generate(&mut system_rng());
        let entity = entity.as_ref();
        let sealed = self.session.seal(id, key, entity, command, &mut system_rng()).unwrap();
        match self.forward(id, &sealed.command).await {
            BrokerMessage::Pres(answer) => sealed.answer.open(&answer, entity).unwrap(),
            other => other,
        }
    }

    async fn forward(&mut self, id: CorrelationId, command: &Command<'_>) -> BrokerMessage<'static> {
        let command = command.encode(18);
        self.client.ask_with(id.as_bytes(), None, &self.session.session_id, &command).await
    }
}

async fn offer(client: &mut Client, destination: &ServerAddress) -> DestinationSession {
    match client.ask(None, b"", &prxy(destination, None)).await {
        BrokerMessage::Pkey { session_id, versions, certified_key } => {
            assert_eq!(versions.to_string(), "15-17");
            let offer = Offer { session_id: &session_id, versions, certified_key: &certified_key };
            check_offer(destination, offer).unwrap()
        }
        other => panic!("{other:?} instead of PKEY"),
    }
}

#[tokio::test]
async fn messages_come_through_another_server_and_through_the_same() {
    let (proxy, destination) = (Host::start("").await, Host::start("").await);
    for proxy in [&proxy, &destination] {
        let mut recipient = Client::connect(&destination).await;
        let mut sender = Sender::connect(proxy, &destination.server_address()).await;
        assert_eq!(sender.session.version, 17);
        let ok = BrokerMessage::Ok;

        let open = recipient.create(None, true).await;
        let longest = vec![7; 16_048];
        assert_eq!(sender.ask(None, open.ids.sender_id, &message(&longest)).await, ok);
        assert_eq!(body(recipient.message(&open).await.1), longest);

        for key in [ed25519(), AuthPrivateKey::generate_x25519(&mut system_rng())] {
            let queue = recipient.create(MESSAGING, true).await;
            let secure = Command::Skey { sender_key: key.public_key() };
            assert_eq!(sender.ask(Some(&key), queue.ids.sender_id, &secure).await, ok);
            assert_eq!(sender.ask(Some(&key), queue.ids.sender_id, &message(&longest)).await, ok);
            assert_eq!(recipient.take(&queue).await, longest);
            let unsigned = sender.ask(None, queue.ids.sender_id, &message(b"unsigned")).await;
            assert_eq!(unsigned, BrokerMessage::Err(ErrorType::Auth), "as for a direct client");
        }
        let too_long = sender.ask(None, open.ids.sender_id, &message(&vec![7; 16_049])).await;
        assert_eq!(too_long, BrokerMessage::Err(ErrorType::LargeMessage));
        assert_eq!(
            sender.ask(None, [1; 24], &message(b"to nobody")).await,
            BrokerMessage::Err(ErrorType::Auth)
        );
    }
    let metrics = &proxy.server().metrics;
    assert_eq!((metrics.proxy_sessions_done.value(), metrics.proxy_commands_done.value()), (1, 9));
    proxy.stop().await;
    destination.stop().await;
}

#[tokio::test]
async fn links_are_read_through_a_proxy() {
    let (proxy, destination) = (Host::start("").await, Host::start("").await);
    let mut owner = Client::connect(&destination).await;
    let id = CorrelationId::generate(&mut system_rng());
    let sender_id = protocol::smp::ids::SenderId::for_correlation(id.as_bytes());
    let data = link_data(b"fixed", b"user");
    let link = ContactLink {
        link_id: vec![3; 24].into(),
        sender_id: sender_id.0.to_vec().into(),
        data: data.clone(),
    };
    let request = Some(QueueRequest::Contact(Some(link)));
    owner.create_with(ed25519(), id.as_bytes(), request, false).await.unwrap();
    let mut reader = Sender::connect(&proxy, &destination.server_address()).await;
    assert_eq!(reader.ask(None, [3; 24], &Command::Lget).await, BrokerMessage::Lnk { sender_id, data });
    for prohibited in [Command::Ping, Command::Prxy { server: destination.server_address(), password: None }]
    {
        let answer = reader.ask(None, b"", &prohibited).await;
        assert_eq!(answer, BrokerMessage::Err(CommandError::Prohibited.into()), "{}", prohibited.tag());
    }
    let (key, queue) = (ed25519(), owner.create(None, false).await);
    let answer = reader.ask(Some(&key), queue.ids.recipient_id, &Command::Sub).await;
    assert_eq!(answer, BrokerMessage::Err(CommandError::Prohibited.into()));
}

#[tokio::test]
async fn clients_share_a_session_and_an_unknown_one_is_told() {
    let (proxy, destination) = (Host::start("").await, Host::start("").await);
    let mut one = Sender::connect(&proxy, &destination.server_address()).await;
    let two = Sender::connect(&proxy, &destination.server_address()).await;
    assert_eq!(one.session, two.session);
    let queue = Client::connect(&destination).await.create(None, false).await;
    one.session.session_id[0] ^= 1;
    assert_eq!(
        one.ask(None, queue.ids.sender_id, &message(b"lost")).await,
        BrokerMessage::Err(ErrorType::Proxy(ProxyError::NoSession))
    );
}

#[tokio::test]
async fn what_the_destination_cannot_open_is_told_as_its_error() {
    let (proxy, destination) = (Host::start("").await, Host::start("").await);
    let mut sender = Sender::connect(&proxy, &destination.server_address()).await;
    let id = CorrelationId::generate(&mut system_rng());
    let sealed = sender.session.seal(id, None, &[1; 24], &message(b"x"), &mut system_rng()).unwrap();
    let Command::Pfwd { version, client_key, sealed: t1 } = sealed.command else { panic!("not PFWD") };
    let from_destination =
        |error| BrokerMessage::Err(ErrorType::Proxy(ProxyError::Protocol(Box::new(error))));
    let mut flipped = t1.into_owned();
    flipped[100] ^= 1;
    let pfwd = |sealed: Vec<u8>| Command::Pfwd { version, client_key, sealed: sealed.into() };
    assert_eq!(sender.forward(id, &pfwd(flipped)).await, from_destination(ErrorType::Crypto));

    let mut two = BlockWriter::new(16_000);
    for _ in 0..2 {
        two.push(|out| Transmission::unauthorized(b"c", b"", b"PING").encode_into(17, out)).unwrap();
    }
    let unreadable = BrokerMessage::Err(ErrorType::Block);
    for (content, expected) in [
        (two.take().unwrap(), Err(from_destination(ErrorType::Block))),
        (vec![0], Ok(&unreadable)),
        (b"\x01\x00\x01\x05".to_vec(), Ok(&unreadable)),
    ] {
        let key = protocol::crypto::dh::X25519PrivateKey::generate(&mut system_rng());
        let id = CorrelationId::generate(&mut system_rng());
        let answer = protocol::smp::proxy::client::AnswerKey::new(
            &key,
            &sender.session.server_key,
            id.as_bytes(),
            version,
        );
        let sealed = answer.seal_content(&content).unwrap();
        let command = Command::Pfwd { version, client_key: key.public_key(), sealed: sealed.into() };
        match (sender.forward(id, &command).await, expected) {
            (BrokerMessage::Pres(inner), Ok(expected)) => {
                assert_eq!(answer.open(&inner, b"").as_ref(), Ok(expected));
            }
            (other, Err(expected)) => assert_eq!(other, expected),
            (other, Ok(_)) => panic!("{other:?}"),
        }
    }
    // the session is whole
    assert_eq!(sender.ask(None, [1; 24], &message(b"y")).await, BrokerMessage::Err(ErrorType::Auth));
}

#[tokio::test]
async fn a_password_opens_the_proxy_and_off_is_off() {
    let password = BasicAuth::new(b"secret").unwrap();
    let (closed, destination) = (Host::start_closed(&password).await, Host::start("").await);
    let address = destination.server_address();
    let mut client = Client::connect(&closed).await;
    let refused = ErrorType::Proxy(ProxyError::BasicAuth);
    for wrong in [None, Some(BasicAuth::new(b"wrong").unwrap())] {
        assert_eq!(client.error(None, b"", &prxy(&address, wrong)).await, refused);
    }
    let opened = client.ask(None, b"", &prxy(&address, Some(password))).await;
    assert!(matches!(opened, BrokerMessage::Pkey { .. }), "{opened:?}");
    let off = Host::start("[proxy]\nforward = \"off\"").await;
    let mut client = Client::connect(&off).await;
    assert_eq!(client.error(None, b"", &prxy(&address, None)).await, refused);
}

#[tokio::test]
async fn servers_that_cannot_be_reached_are_told_quickly_and_remembered() {
    let proxy = Host::start("").await;
    let destination = Host::start("").await;
    let mut client = Client::connect(&proxy).await;
    let nobody: ServerAddress = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hash = protocol::base64url::encode(&[1; 32]);
        format!("smp://{hash}@127.0.0.1:{port}").parse().unwrap()
    };
    for _ in 0..200 {
        assert_eq!(client.error(None, b"", &prxy(&nobody, None)).await, no_network());
    }
    let address = destination.server_address();
    let another = ServerAddress::new(address.hosts().to_vec(), address.port(), [9; 32].into()).unwrap();
    assert_eq!(client.error(None, b"", &prxy(&another, None)).await, no_network(), "another identity");
    let nowhere = format!("smp://{}@nowhere.invalid", address.key_hash()).parse().unwrap();
    assert_eq!(client.error(None, b"", &prxy(&nowhere, None)).await, no_network());
    let onion = format!("smp://{}@abc.onion", address.key_hash()).parse().unwrap();
    assert_eq!(client.error(None, b"", &prxy(&onion, None)).await, no_network());
    offer(&mut client, &address).await;
    let metrics = &proxy.server().metrics;
    assert_eq!((metrics.proxy_sessions_unreachable.value(), metrics.proxy_sessions_done.value()), (203, 1));
}

#[tokio::test]
async fn loopback_is_refused_where_private_destinations_are() {
    let proxy = Host::start("[proxy]\nprivate_destinations = \"off\"").await;
    let destination = Host::start("").await;
    let mut client = Client::connect(&proxy).await;
    let refused = client.error(None, b"", &prxy(&destination.server_address(), None)).await;
    assert_eq!(refused, no_network(), "no word of why");
    let strict = Host::start("[proxy]\nhost_mode = \"onion\"\nrequired_host_mode = \"on\"").await;
    let mut client = Client::connect(&strict).await;
    let refused = client.error(None, b"", &prxy(&destination.server_address(), None)).await;
    assert_eq!(refused, broker(BrokerError::Host));
}

/// A destination that accepts connections and says nothing must hold up nobody, and end.
#[tokio::test]
async fn a_silent_destination_holds_up_no_other_command() {
    let proxy = Host::start("[proxy]\ndestination_connect_timeout = \"1s\"\nclient_concurrency = 1").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hash = protocol::base64url::encode(&[1; 32]);
    let port = silent.local_addr().unwrap().port();
    let address = format!("smp://{hash}@127.0.0.1:{port}").parse().unwrap();
    let mut client = Client::connect(&proxy).await;
    let mut commands = Vec::new();
    for id in [b"one", b"two"] {
        commands.push(client.transmission(None, id, b"", &prxy(&address, None).encode(18)));
    }
    commands.push(client.transmission(None, b"ping", b"", b"PING"));
    client.send(&commands).await;
    assert_eq!(client.receive().await.correlation_id, b"ping");
    for id in [b"one", b"two"] {
        let answer = client.receive().await;
        assert_eq!(
            (answer.correlation_id.as_slice(), answer.message),
            (&id[..], BrokerMessage::Err(no_network()))
        );
    }
}

#[tokio::test]
async fn many_commands_at_a_time_each_have_their_answer() {
    const CLIENTS: usize = 4;
    const MESSAGES: usize = 40;
    let (proxy, destination) = (Host::start("").await, Host::start("[limits]\nqueue_quota = 200").await);
    let mut recipient = Client::connect(&destination).await;
    let queue = recipient.create(None, false).await;
    let sender_id = queue.ids.sender_id;
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut sender = Sender::connect(&proxy, &destination.server_address()).await;
        sending.spawn(async move {
            // batched: two of the largest commands do not fit one block, so each block has one
            let mut sealed = Vec::new();
            for _ in 0..MESSAGES {
                let id = CorrelationId::generate(&mut system_rng());
                let one = sender
                    .session
                    .seal(id, None, &sender_id.0, &message(b"hello"), &mut system_rng())
                    .unwrap();
                let command = one.command.encode(18);
                let bytes =
                    sender.client.transmission(None, id.as_bytes(), &sender.session.session_id, &command);
                sender.client.send(&[bytes]).await;
                sealed.push(one);
            }
            for _ in 0..MESSAGES {
                let answer = sender.client.receive().await;
                let one = sealed
                    .iter()
                    .find(|one| one.correlation_id.as_bytes() == answer.correlation_id.as_slice())
                    .unwrap();
                let BrokerMessage::Pres(inner) = answer.message else { panic!("{answer:?}") };
                assert_eq!(one.answer.open(&inner, &sender_id.0), Ok(BrokerMessage::Ok));
            }
        });
    }
    sending.join_all().await;
    let details = recipient.ask(Some(&queue.key), queue.ids.recipient_id, &Command::Que).await;
    let BrokerMessage::Info(details) = details else { panic!("{details:?}") };
    assert_eq!(usize::try_from(details.messages), Ok(CLIENTS * MESSAGES));
}

#[tokio::test]
async fn a_session_that_is_gone_is_told_and_made_again() {
    let proxy = Host::start("[proxy]\ndestination_failure_memory = \"0ms\"").await;
    let directory = tempfile::tempdir().unwrap();
    let identity = smp_server::identity::Identity::generate("127.0.0.1").unwrap().identity;
    let destination = Host::start_in(directory.path(), "", &identity).await;
    let address = destination.server_address();
    let mut sender = Sender::connect(&proxy, &destination.server_address()).await;
    let queue = Client::connect(&destination).await.create(None, false).await;
    let port = address.port().unwrap();
    destination.stop().await;
    // until the proxy has noticed, it may still try
    loop {
        match sender.ask(None, queue.ids.sender_id, &message(b"lost")).await {
            BrokerMessage::Err(ErrorType::Proxy(ProxyError::NoSession)) => break,
            BrokerMessage::Err(error) => assert_eq!(error, no_network()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sender.client.error(None, b"", &prxy(&address, None)).await, no_network());
    let destination = Host::start_in(directory.path(), &format!("[listen]\nports = {port}"), &identity).await;
    sender.session = offer(&mut sender.client, &address).await;
    assert_eq!(sender.ask(None, queue.ids.sender_id, &message(b"found")).await, BrokerMessage::Ok);
    destination.stop().await;
}

/// The relay side takes what other proxies send, too: versions that no client of ours speaks.
#[tokio::test]
async fn versions_of_forwarded_commands_are_not_checked_and_decide_on_sizes() {
    let (proxy, destination) = (Host::start("").await, Host::start("").await);
    let mut sender = Sender::connect(&proxy, &destination.server_address()).await;
    let queue = Client::connect(&destination).await.create(None, false).await;
    for (version, longest) in [(7, 16_088), (8, 16_064), (10, 16_064), (11, 16_048), (18, 16_048)] {
        sender.session.version = version;
        let longest = vec![1; longest];
        let answer = sender.ask(None, queue.ids.sender_id, &message(&longest)).await;
        assert!(
            matches!(answer, BrokerMessage::Ok | BrokerMessage::Err(ErrorType::Quota)),
            "version {version}: {answer:?}"
        );
        let longer = vec![1; longest.len() + 1];
        let answer = sender.ask(None, queue.ids.sender_id, &message(&longer)).await;
        assert_eq!(answer, BrokerMessage::Err(ErrorType::LargeMessage), "version {version}");
    }
}
