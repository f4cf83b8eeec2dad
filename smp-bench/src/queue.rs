//! Queues as the benchmark uses them, and who authorises commands.

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::hash::sha512;
use protocol::crypto::secretbox::{BoxKey, nonce_from};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::rng::system_rng;
use protocol::smp::command::{Command, NewQueue, QueueRequest};
use protocol::smp::ids::{RecipientId, SenderId};
use protocol::smp::key::{AuthPrivateKey, Authenticator};
use protocol::smp::password::BasicAuth;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::authorized_bytes;

use crate::connection::{Connection, Ticket};

/// Commands of a connection that are on their way at once while queues are made or subscribed to.
pub(crate) const COMMANDS_AT_ONCE: usize = 256;

/// By which keys queues are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// Authenticators of two X25519 keys, which can be denied.
    X25519,
    /// Ed25519 signatures.
    Ed25519,
}

impl KeyKind {
    /// A new key.
    pub(crate) fn generate(self) -> AuthPrivateKey {
        match self {
            Self::X25519 => AuthPrivateKey::generate_x25519(&mut system_rng()),
            Self::Ed25519 => AuthPrivateKey::generate_ed25519(&mut system_rng()),
        }
    }
}

/// Authorises commands in one session.
pub(crate) enum Signer {
    /// Nobody.
    Nobody,
    /// A signature.
    Ed25519(Ed25519PrivateKey),
    /// An authenticator by the key shared with the server's session key.
    X25519(BoxKey),
}

impl Signer {
    /// Who signs with `key` in a session with this server key.
    pub(crate) fn new(key: &AuthPrivateKey, server_key: &X25519PublicKey) -> Self {
        match key {
            AuthPrivateKey::Ed25519(key) => Self::Ed25519(key.clone()),
            AuthPrivateKey::X25519(key) => Self::X25519(key.box_key(server_key)),
        }
    }

    /// The authenticator of a command.
    pub(crate) fn authenticate(
        &self,
        session_id: &[u8],
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Authenticator {
        let authorized = || authorized_bytes(session_id, correlation_id, entity_id, command);
        match self {
            Self::Nobody => Authenticator::None,
            Self::Ed25519(key) => Authenticator::Ed25519(key.sign(&authorized())),
            Self::X25519(key) => {
                let sealed = key.seal(&nonce_from(correlation_id), &sha512(&authorized()));
                Authenticator::X25519(sealed.try_into().expect("a box around a SHA-512 has 80 bytes"))
            }
        }
    }
}

/// One queue with the keys of both sides.
pub(crate) struct Queue {
    pub(crate) recipient_id: RecipientId,
    pub(crate) sender_id: SenderId,
    pub(crate) recipient_key: AuthPrivateKey,
    pub(crate) sender_key: AuthPrivateKey,
    /// Opens the server's encryption of messages.
    pub(crate) secret: BoxKey,
}

/// What new queues have in common: one set of keys for all of them saves the time of many key agreements.
pub(crate) struct Keys {
    pub(crate) recipient: AuthPrivateKey,
    pub(crate) sender: AuthPrivateKey,
    dh: X25519PrivateKey,
    password: Option<BasicAuth>,
}

impl Keys {
    pub(crate) fn generate(kind: KeyKind, password: Option<BasicAuth>) -> Self {
        let dh = X25519PrivateKey::generate(&mut system_rng());
        Self { recipient: kind.generate(), sender: kind.generate(), dh, password }
    }

    /// Opens what the server encrypts for the recipient of a queue, by the server's key for it.
    pub(crate) fn secret(&self, server_key: &X25519PublicKey) -> BoxKey {
        self.dh.box_key(server_key)
    }

    fn new_queue(&self, subscribe: bool) -> Command<'static> {
        Command::New(Box::new(NewQueue {
            recipient_key: self.recipient.public_key(),
            dh_key: self.dh.public_key(),
            password: self.password.clone(),
            subscribe,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        }))
    }
}

/// Pushes so many commands, up to `window` of them on their way at once, and hears the response to each. Events between
/// them are dropped. Commands are pushed by half a window, so that they fill blocks.
pub(crate) async fn pipeline(
    connection: &mut Connection,
    count: usize,
    window: usize,
    mut push: impl FnMut(&mut Connection, usize) -> anyhow::Result<Ticket>,
    mut hear: impl FnMut(BrokerMessage<'static>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut sent, mut answered) = (0_usize, 0_usize);
    while answered < count {
        if sent.saturating_sub(answered) <= window / 2 {
            while sent < count && sent.saturating_sub(answered) < window {
                push(connection, sent)?;
                sent = sent.saturating_add(1);
            }
            connection.flush().await?;
        }
        for received in connection.receive().await? {
            if received.ticket.is_some() {
                hear(received.message)?;
                answered = answered.saturating_add(1);
            }
        }
    }
    Ok(())
}

/// Makes queues, many on their way at once. `each` is told of every queue as it comes, with the server's key for the
/// encryption of its messages. Those that a service makes are the service's.
pub(crate) async fn create_each(
    connection: &mut Connection,
    keys: &Keys,
    count: usize,
    subscribe: bool,
    mut each: impl FnMut(RecipientId, SenderId, X25519PublicKey),
) -> anyhow::Result<()> {
    let signer = Signer::new(&keys.recipient, connection.server_key());
    let command = keys.new_queue(subscribe);
    let encoded = command.encode(connection.version());
    let push = |connection: &mut Connection, _| match connection.is_of_service() {
        true => connection.push_of_service(&keys.recipient, &[], &command),
        false => connection.push(&signer, &[], &encoded),
    };
    let hear = |message| match message {
        BrokerMessage::Ids(ids) => {
            each(ids.recipient_id, ids.sender_id, ids.server_dh_key);
            Ok(())
        }
        other => bail!("the server does not make a queue: {other:?}"),
    };
    pipeline(connection, count, COMMANDS_AT_ONCE, push, hear).await
}

/// Makes queues and secures them with the sender's key.
pub(crate) async fn create_secured(
    connection: &mut Connection,
    keys: &Keys,
    count: usize,
    subscribe: bool,
) -> anyhow::Result<Vec<Queue>> {
    let mut queues = Vec::with_capacity(count);
    create_each(connection, keys, count, subscribe, |recipient_id, sender_id, server_key| {
        queues.push(Queue {
            recipient_id,
            sender_id,
            recipient_key: keys.recipient.clone(),
            sender_key: keys.sender.clone(),
            secret: keys.secret(&server_key),
        });
    })
    .await?;
    let signer = Signer::new(&keys.sender, connection.server_key());
    let command = Command::Skey { sender_key: keys.sender.public_key() }.encode(connection.version());
    let push = |connection: &mut Connection, position| {
        let queue: &Queue = queues.get(position).context("There is no such queue")?;
        connection.push(&signer, queue.sender_id.as_bytes(), &command)
    };
    pipeline(connection, count, COMMANDS_AT_ONCE, push, is_ok).await?;
    Ok(queues)
}

/// Subscribes to queues, in blocks as full as they get.
pub(crate) async fn subscribe(connection: &mut Connection, queues: &[Queue]) -> anyhow::Result<()> {
    let key = &queues.first().context("There is no queue")?.recipient_key;
    let signer = Signer::new(key, connection.server_key());
    let command = Command::Sub.encode(connection.version());
    let push = |connection: &mut Connection, position| {
        let queue: &Queue = queues.get(position).context("There is no such queue")?;
        connection.push(&signer, queue.recipient_id.as_bytes(), &command)
    };
    pipeline(connection, queues.len(), COMMANDS_AT_ONCE, push, is_ok).await
}

/// That a command was executed.
pub(crate) fn is_ok(message: BrokerMessage<'static>) -> anyhow::Result<()> {
    match message {
        BrokerMessage::Ok | BrokerMessage::Sok(_) | BrokerMessage::Msg { .. } => Ok(()),
        other => bail!("the server refuses a command: {other:?}"),
    }
}
