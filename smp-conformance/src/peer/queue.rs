//! Queues as their recipient sees them: what `IDS` says, and what is inside `MSG` and `NMSG` (smp.md §7, §11).

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::secretbox::BoxKey;
use protocol::net::rng::system_rng;

use super::commands::{Draft, ack, nkey};
use super::keys::Key;
use super::wire::{Fields, large, short};
use super::{By, Peer, same};
use crate::failure::{At as _, Failure, Outcome, equal, shown};

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The recipient's key.
    pub key: Key,
    /// Its id for the recipient.
    pub recipient_id: Vec<u8>,
    /// Its id for senders.
    pub sender_id: Vec<u8>,
    /// `M` or `C`.
    pub mode: Option<u8>,
    /// The id of its link.
    pub link_id: Option<Vec<u8>>,
    /// The service of the session that made it.
    pub service_id: Option<Vec<u8>>,
    /// Its notifier, if it was made with one.
    pub notifier: Option<Notifier>,
    secret: BoxKey,
}

/// The notifier of a queue.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// The queue's id for its notifier.
    pub id: Vec<u8>,
    /// The notifier's key.
    pub key: Key,
    secret: BoxKey,
}

/// What a `MSG` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: Vec<u8>,
    /// When the server took it, in seconds.
    pub seconds: i64,
    /// What it is.
    pub content: Content,
}

/// A message, or the mark of a full queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Sent, with or without notification.
    Sent {
        /// Whether the notifier is told.
        notify: bool,
        /// What was sent.
        body: Vec<u8>,
    },
    /// A sender was refused.
    Quota,
}

impl Queue {
    fn read(draft: &Draft, version: u16, ids: &[u8]) -> Outcome<Self> {
        let mut fields = Fields::after("IDS", ids)?;
        let recipient_id = fields.short()?.to_vec();
        let sender_id = fields.short()?.to_vec();
        let secret = draft.dh_key.box_key(&X25519PublicKey(fields.x25519()?));
        let mode = if fields.is_there()? { fields.take(1)?.first().copied() } else { None };
        let link_id = if fields.is_there()? { Some(fields.short()?.to_vec()) } else { None };
        let service_id =
            if version >= 16 && fields.is_there()? { Some(fields.short()?.to_vec()) } else { None };
        let notifier = match &draft.notifier {
            _ if version < 17 || !fields.is_there()? => None,
            None => return Err(Failure::differs("no notifier, as none was asked for", shown(ids))),
            Some((key, dh_key)) => {
                let id = fields.short()?.to_vec();
                let secret = dh_key.box_key(&X25519PublicKey(fields.x25519()?));
                Some(Notifier { id, key: key.clone(), secret })
            }
        };
        fields.end()?;
        equal((recipient_id.len(), sender_id.len()), (24, 24)).at("lengths of ids")?;
        Ok(Self {
            key: draft.key.clone(),
            recipient_id,
            sender_id,
            mode,
            link_id,
            service_id,
            notifier,
            secret,
        })
    }

    /// What a `MSG` of this queue holds.
    ///
    /// # Errors
    /// When it is another message, or not sealed as smp.md §11.1 has it.
    pub fn open(&self, message: &[u8]) -> Outcome<Message> {
        let mut fields = Fields::after("MSG", message)?;
        let id = fields.short()?.to_vec();
        let sealed = fields.tail();
        equal(sealed.len(), 16_122).at("length of the encrypted body")?;
        let nonce = nonce(&id)?;
        let padded = self.secret.open(&nonce, sealed);
        let plain = unpadded(padded.ok(), 16_106)?;
        let mut fields = Fields::of(&plain);
        if plain.starts_with(b"QUOTA ") {
            fields.take(6)?;
            let seconds = fields.i64()?;
            fields.end()?;
            return Ok(Message { id, seconds, content: Content::Quota });
        }
        let seconds = fields.i64()?;
        let notify = match fields.take(2)? {
            b"T " => true,
            b"F " => false,
            other => return Err(Failure::differs("`T ` or `F `", shown(other))),
        };
        Ok(Message { id, seconds, content: Content::Sent { notify, body: fields.tail().to_vec() } })
    }
}

impl Notifier {
    /// The message id and the time that an `NMSG` of this notifier tells.
    ///
    /// # Errors
    /// When it is another message, or not sealed as smp.md §11.2 has it.
    pub fn open(&self, message: &[u8]) -> Outcome<(Vec<u8>, i64)> {
        let mut fields = Fields::after("NMSG", message)?;
        let nonce = nonce(fields.take(24)?)?;
        let sealed = fields.short()?;
        fields.end()?;
        equal(sealed.len(), 144).at("length of the encrypted metadata")?;
        let plain = unpadded(self.secret.open(&nonce, sealed).ok(), 128)?;
        let mut fields = Fields::of(&plain);
        Ok((fields.short()?.to_vec(), fields.i64()?))
    }
}

fn nonce(bytes: &[u8]) -> Outcome<[u8; 24]> {
    bytes.try_into().map_err(|_| Failure::differs("an id of 24 bytes", shown(bytes)))
}

/// What a box held, which was padded to `size`.
fn unpadded(padded: Option<Vec<u8>>, size: usize) -> Outcome<Vec<u8>> {
    let padded = padded.ok_or_else(|| Failure::differs("a box for the keys of this queue", "another"))?;
    equal(padded.len(), size).at("length of the padded content")?;
    let mut fields = Fields::of(&padded);
    let length = fields.u16()?;
    Ok(fields.take(length.into())?.to_vec())
}

impl Message {
    /// The body, of a message that is no quota marker.
    ///
    /// # Errors
    /// When it is one.
    pub fn body(&self) -> Outcome<&[u8]> {
        match &self.content {
            Content::Sent { body, .. } => Ok(body),
            Content::Quota => Err(Failure::differs("a message", "the quota marker")),
        }
    }
}

impl Peer {
    /// Makes a messaging queue with a subscription.
    ///
    /// # Errors
    /// When the server does not make it.
    pub async fn create(&mut self) -> Outcome<Queue> {
        self.create_of(&Draft::messaging()).await
    }

    /// The `NEW` of a draft, with the server's password.
    #[must_use]
    pub fn new_command(&self, draft: &Draft) -> Vec<u8> {
        match (&draft.password, self.observer.password()) {
            (None, Some(password)) => {
                Draft { password: Some(password.to_vec()), ..draft.clone() }.command(self.version)
            }
            _ => draft.command(self.version),
        }
    }

    /// Makes a queue.
    ///
    /// # Errors
    /// When the server does not make it.
    pub async fn create_of(&mut self, draft: &Draft) -> Outcome<Queue> {
        let by = if self.service.is_some() { By::KeyAndService(&draft.key) } else { By::Key(&draft.key) };
        let ids = self.ask_with(&draft.correlation_id, by, b"", &self.new_command(draft)).await.at("NEW")?;
        let queue = Queue::read(draft, self.version, &ids).at("NEW")?;
        self.observer.keep(&queue.key, &queue.recipient_id);
        Ok(queue)
    }

    /// Makes a queue that the server must refuse to make, with this answer.
    ///
    /// # Errors
    /// When the answer is another.
    pub async fn refused(&mut self, draft: &Draft, expected: &str) -> Outcome {
        let command = self.new_command(draft);
        let got = self.ask_with(&draft.correlation_id, &draft.key, b"", &command).await.at("NEW")?;
        if let Ok(queue) = Queue::read(draft, self.version, &got) {
            self.observer.keep(&queue.key, &queue.recipient_id);
        }
        same(&got, expected.as_bytes()).at("NEW")
    }

    /// The answer that `SUB` and `NSUB` have in a session without service.
    #[must_use]
    pub fn subscribed(&self) -> &'static str {
        if self.version < 16 { "OK" } else { "SOK 0" }
    }

    /// Subscribes.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn subscribe(&mut self, queue: &Queue) -> Outcome {
        self.expect(&queue.key, &queue.recipient_id, b"SUB", self.subscribed()).await
    }

    /// Subscribes to a notifier.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn subscribe_notifier(&mut self, notifier: &Notifier) -> Outcome {
        self.expect(&notifier.key, &notifier.id, b"NSUB", self.subscribed()).await
    }

    /// Gives the queue a notifier.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn add_notifier(&mut self, queue: &Queue, key: Key) -> Outcome<Notifier> {
        let dh_key = X25519PrivateKey::generate(&mut system_rng());
        let answer = self.ask(&queue.key, &queue.recipient_id, &nkey(&key, &dh_key)).await.at("NKEY")?;
        let mut fields = Fields::after("NID", &answer).at("NKEY")?;
        let id = fields.short()?.to_vec();
        let secret = dh_key.box_key(&X25519PublicKey(fields.x25519()?));
        fields.end()?;
        equal(id.len(), 24).at("length of the notifier id")?;
        Ok(Notifier { id, key, secret })
    }

    /// The next message that the server pushes for this queue.
    ///
    /// # Errors
    /// When there is none.
    pub async fn message(&mut self, queue: &Queue) -> Outcome<Message> {
        queue.open(&self.event(&queue.recipient_id).await.at("delivery")?).at("delivery")
    }

    /// The next message that the server pushes, which must have this body.
    ///
    /// # Errors
    /// When it has another.
    pub async fn message_of(&mut self, queue: &Queue, body: &[u8]) -> Outcome<Message> {
        let message = self.message(queue).await?;
        same(message.body()?, body).at("delivery")?;
        Ok(message)
    }

    /// Acknowledges, with nothing after it.
    ///
    /// # Errors
    /// When the answer is not `OK`.
    pub async fn acknowledge(&mut self, queue: &Queue, message: &Message) -> Outcome {
        self.expect(&queue.key, &queue.recipient_id, &ack(&message.id), "OK").await
    }

    /// Acknowledges, and gives the next message, which is the answer and must have this body.
    ///
    /// # Errors
    /// When it is not.
    pub async fn acknowledge_to(
        &mut self,
        queue: &Queue,
        message: &Message,
        body: &[u8],
    ) -> Outcome<Message> {
        let answer = self.ask(&queue.key, &queue.recipient_id, &ack(&message.id)).await.at("ACK")?;
        let next = queue.open(&answer).at("ACK")?;
        same(next.body()?, body).at("ACK")?;
        Ok(next)
    }

    /// Sends a command of the recipient's that must be answered by `expected`.
    ///
    /// # Errors
    /// When it is not.
    pub async fn recipient(&mut self, queue: &Queue, command: &[u8], expected: &str) -> Outcome {
        self.expect(&queue.key, &queue.recipient_id, command, expected).await
    }

    /// Sends a command of the sender's that must be answered by `expected`.
    ///
    /// # Errors
    /// When it is not.
    pub async fn sender(
        &mut self,
        by: impl Into<By<'_>>,
        queue: &Queue,
        command: &[u8],
        expected: &str,
    ) -> Outcome {
        self.expect(by, &queue.sender_id, command, expected).await
    }

    /// Reads the link of a queue: the answer must be this sender id and these data.
    ///
    /// # Errors
    /// When it is another.
    pub async fn link(
        &mut self,
        by: impl Into<By<'_>>,
        link_id: &[u8],
        command: &[u8],
        (sender_id, fixed, user): (&[u8], &[u8], &[u8]),
    ) -> Outcome {
        let link = [b"LNK ", short(sender_id).as_slice(), &large(fixed), &large(user)].concat();
        self.expect(by, link_id, command, link).await
    }
}
