//! What a client asks of a server (smp.md §6), by the party that asks.
//!
//! ```text
//! command = tag [" " parameters]
//! ```
//!
//! A parsed command borrows its long parts from the block it came in; [`Command::into_owned`] makes one that lives
//! by itself, and commands that are built from owned parts are `Command<'static>`.

use std::borrow::Cow;

use crate::crypto::dh::X25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool, put_list, put_maybe, put_short};
use crate::smp::address::ServerAddress;
use crate::smp::error::CommandError;
use crate::smp::key::AuthPublicKey;
use crate::smp::password::BasicAuth;
use crate::smp::words::{after_space, word};

pub use crate::smp::new_queue::{ContactLink, LinkData, MessagingLink, NewQueue, NotifierKeys, QueueRequest};

/// A command. Variants are named as their tags on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Creates a queue.
    New(Box<NewQueue<'a>>),

    /// Subscribes to a queue.
    Sub,
    /// Secures a queue with the key of its sender.
    Key {
        /// The sender's key.
        sender_key: AuthPublicKey,
    },
    /// Replaces all recipient keys of a contact queue.
    Rkey {
        /// The new keys, at least one and at most 255.
        recipient_keys: Vec<AuthPublicKey>,
    },
    /// Sets or changes the link data of a queue.
    Lset {
        /// The link's id, of any length up to 255 bytes.
        link_id: Cow<'a, [u8]>,
        /// The data.
        data: LinkData<'a>,
    },
    /// Deletes the link data.
    Ldel,
    /// Sets or replaces the notifier's credentials.
    Nkey(NotifierKeys),
    /// Deletes the notifier's credentials.
    Ndel,
    /// Asks for the first message, without a subscription.
    Get,
    /// Says that a message is safe with the recipient.
    Ack {
        /// The message's id, of any length up to 255 bytes.
        message_id: Cow<'a, [u8]>,
    },
    /// Suspends a queue: nobody can send to it any more.
    Off,
    /// Deletes a queue.
    Del,
    /// Asks for the state of a queue.
    Que,

    /// Secures a queue as its sender.
    Skey {
        /// The sender's key, which also authorises this command.
        sender_key: AuthPublicKey,
    },
    /// Sends a message.
    Send {
        /// Whether the notifier is told.
        notify: bool,
        /// The message, encrypted for the recipient.
        body: Cow<'a, [u8]>,
    },

    /// Secures a messaging queue by its link and reads the link data.
    Lkey {
        /// The sender's key, which also authorises this command.
        sender_key: AuthPublicKey,
    },
    /// Reads the link data of a contact queue.
    Lget,

    /// Subscribes to the notifications of a queue.
    Nsub,
    /// Subscribes to the notifications of all queues of a service.
    Nsubs,
    /// Subscribes to all queues of a service.
    Subs,

    /// Asks whether the server is there.
    Ping,
    /// Asks a proxy for a session with a destination server.
    Prxy {
        /// The destination server.
        server: ServerAddress,
        /// The password of the proxy.
        password: Option<BasicAuth>,
    },
    /// Asks a proxy to forward a command.
    Pfwd {
        /// The version of the forwarded command.
        version: u16,
        /// The client's key for this command alone.
        client_key: X25519PublicKey,
        /// The command, encrypted for the destination server.
        sealed: Cow<'a, [u8]>,
    },
    /// Forwards a command as a proxy.
    Rfwd {
        /// What the client sent, encrypted once more.
        sealed: Cow<'a, [u8]>,
    },
}

/// Who may send a command; decides under which id its queue is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Makes a queue: no id yet.
    Creator,
    /// By recipient id.
    Recipient,
    /// By sender id.
    Sender,
    /// By link id.
    LinkClient,
    /// By notifier id.
    Notifier,
    /// A service of recipients, by service id.
    RecipientService,
    /// A service of notifiers, by service id.
    NotifierService,
    /// Sends through a proxy.
    ProxiedClient,
    /// Forwards for others.
    Proxy,
    /// Anyone.
    Any,
}

impl<'a> Command<'a> {
    /// Reads a command that takes all of `bytes`.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] by its tag, [`CommandError::Syntax`] by its parameters.
    pub fn parse(bytes: &'a [u8], version: u16) -> Result<Self, CommandError> {
        let mut reader = Reader::new(bytes);
        let read: fn(&mut Reader<'a>, u16) -> Result<Self, DecodeError> = match word(&mut reader) {
            b"NEW" => |r, version| Ok(Self::New(Box::new(NewQueue::read(after_space(r)?, version)?))),
            b"SUB" => |_, _| Ok(Self::Sub),
            b"KEY" => |r, _| Ok(Self::Key { sender_key: Decode::decode(after_space(r)?)? }),
            b"RKEY" => |r, _| {
                let recipient_keys = after_space(r)?.non_empty_list(AuthPublicKey::decode)?;
                Ok(Self::Rkey { recipient_keys })
            },
            b"LSET" => |r, _| {
                let link_id = after_space(r)?.short()?.into();
                Ok(Self::Lset { link_id, data: LinkData::read(r)? })
            },
            b"LDEL" => |_, _| Ok(Self::Ldel),
            b"NKEY" => |r, _| NotifierKeys::decode(after_space(r)?).map(Self::Nkey),
            b"NDEL" => |_, _| Ok(Self::Ndel),
            b"GET" => |_, _| Ok(Self::Get),
            b"ACK" => |r, _| Ok(Self::Ack { message_id: after_space(r)?.short()?.into() }),
            b"OFF" => |_, _| Ok(Self::Off),
            b"DEL" => |_, _| Ok(Self::Del),
            b"QUE" => |_, _| Ok(Self::Que),
            b"SKEY" => |r, _| Ok(Self::Skey { sender_key: Decode::decode(after_space(r)?)? }),
            b"SEND" => |r, _| {
                let notify = after_space(r)?.bool()?;
                // Flags that we do not know yet stand before the next space.
                word(r);
                Ok(Self::Send { notify, body: after_space(r)?.tail().into() })
            },
            b"LKEY" => |r, _| Ok(Self::Lkey { sender_key: Decode::decode(after_space(r)?)? }),
            b"LGET" => |_, _| Ok(Self::Lget),
            b"NSUB" => |_, _| Ok(Self::Nsub),
            b"NSUBS" => |_, _| Ok(Self::Nsubs),
            b"SUBS" => |_, _| Ok(Self::Subs),
            b"PING" => |_, _| Ok(Self::Ping),
            b"PRXY" => |r, _| {
                let server = ServerAddress::decode(after_space(r)?)?;
                Ok(Self::Prxy { server, password: r.maybe(BasicAuth::decode)? })
            },
            b"PFWD" => |r, _| {
                let version = after_space(r)?.u16()?;
                let client_key = X25519PublicKey::decode(r)?;
                Ok(Self::Pfwd { version, client_key, sealed: r.tail().into() })
            },
            b"RFWD" => |r, _| Ok(Self::Rfwd { sealed: after_space(r)?.tail().into() }),
            _ => return Err(CommandError::Unknown),
        };
        let command = read(&mut reader, version).map_err(|_| CommandError::Syntax)?;
        reader.end().map_err(|_| CommandError::Syntax)?;
        Ok(command)
    }

    /// The command's bytes.
    #[must_use]
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(version, &mut out);
        out
    }

    /// Appends the command's bytes.
    pub fn encode_into(&self, version: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tag().as_bytes());
        if self.has_parameters() {
            out.push(b' ');
        }
        match self {
            Self::New(queue) => queue.encode(version, out),
            Self::Key { sender_key } | Self::Skey { sender_key } | Self::Lkey { sender_key } => {
                sender_key.encode(out);
            }
            Self::Rkey { recipient_keys } => put_list(out, recipient_keys, |out, key| key.encode(out)),
            Self::Lset { link_id, data } => {
                put_short(out, link_id);
                data.encode(out);
            }
            Self::Nkey(keys) => keys.encode(out),
            Self::Ack { message_id } => put_short(out, message_id),
            Self::Send { notify, body } => {
                put_bool(out, *notify);
                out.push(b' ');
                out.extend_from_slice(body);
            }
            Self::Prxy { server, password } => {
                server.encode(out);
                put_maybe(out, password.as_ref(), |out, password| password.encode(out));
            }
            Self::Pfwd { version, client_key, sealed } => {
                out.extend_from_slice(&version.to_be_bytes());
                client_key.encode(out);
                out.extend_from_slice(sealed);
            }
            Self::Rfwd { sealed } => out.extend_from_slice(sealed),
            Self::Sub
            | Self::Ldel
            | Self::Ndel
            | Self::Get
            | Self::Off
            | Self::Del
            | Self::Que
            | Self::Lget
            | Self::Nsub
            | Self::Nsubs
            | Self::Subs
            | Self::Ping => {}
        }
    }

    /// The tag on the wire.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::New(_) => "NEW",
            Self::Sub => "SUB",
            Self::Key { .. } => "KEY",
            Self::Rkey { .. } => "RKEY",
            Self::Lset { .. } => "LSET",
            Self::Ldel => "LDEL",
            Self::Nkey(_) => "NKEY",
            Self::Ndel => "NDEL",
            Self::Get => "GET",
            Self::Ack { .. } => "ACK",
            Self::Off => "OFF",
            Self::Del => "DEL",
            Self::Que => "QUE",
            Self::Skey { .. } => "SKEY",
            Self::Send { .. } => "SEND",
            Self::Lkey { .. } => "LKEY",
            Self::Lget => "LGET",
            Self::Nsub => "NSUB",
            Self::Nsubs => "NSUBS",
            Self::Subs => "SUBS",
            Self::Ping => "PING",
            Self::Prxy { .. } => "PRXY",
            Self::Pfwd { .. } => "PFWD",
            Self::Rfwd { .. } => "RFWD",
        }
    }

    /// Who sends this command.
    #[must_use]
    pub fn party(&self) -> Party {
        match self {
            Self::New(_) => Party::Creator,
            Self::Sub
            | Self::Key { .. }
            | Self::Rkey { .. }
            | Self::Lset { .. }
            | Self::Ldel
            | Self::Nkey(_)
            | Self::Ndel
            | Self::Get
            | Self::Ack { .. }
            | Self::Off
            | Self::Del
            | Self::Que => Party::Recipient,
            Self::Skey { .. } | Self::Send { .. } => Party::Sender,
            Self::Lkey { .. } | Self::Lget => Party::LinkClient,
            Self::Nsub => Party::Notifier,
            Self::Nsubs => Party::NotifierService,
            Self::Subs => Party::RecipientService,
            Self::Ping => Party::Any,
            Self::Prxy { .. } | Self::Pfwd { .. } => Party::ProxiedClient,
            Self::Rfwd { .. } => Party::Proxy,
        }
    }

    /// Whether authenticator and entity id are present or absent as this command wants it (smp.md §5.4). Servers
    /// check it right after parsing, before anything is looked up.
    ///
    /// # Errors
    /// The error to answer with.
    pub fn check_credentials(&self, authenticator: bool, entity: bool) -> Result<(), CommandError> {
        match self {
            Self::New(_) if !authenticator => Err(CommandError::NoAuth),
            Self::New(_) if entity => Err(CommandError::HasAuth),
            Self::New(_) => Ok(()),
            Self::Send { .. } if !entity => Err(CommandError::NoEntity),
            Self::Send { .. } => Ok(()),
            Self::Lget | Self::Pfwd { .. } if !entity => Err(CommandError::NoEntity),
            Self::Lget | Self::Pfwd { .. } if authenticator => Err(CommandError::HasAuth),
            Self::Lget | Self::Pfwd { .. } => Ok(()),
            Self::Ping | Self::Prxy { .. } | Self::Rfwd { .. } if authenticator || entity => {
                Err(CommandError::HasAuth)
            }
            Self::Ping | Self::Prxy { .. } | Self::Rfwd { .. } => Ok(()),
            _ if authenticator && entity => Ok(()),
            _ => Err(CommandError::NoAuth),
        }
    }

    /// Whether a service session signs this command a second time (smp.md §5.6).
    #[must_use]
    pub fn takes_service_signature(&self) -> bool {
        matches!(self, Self::New(_) | Self::Sub | Self::Nsub)
    }

    /// The same command with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> Command<'static> {
        match self {
            Self::New(queue) => Command::New(Box::new(queue.into_owned())),
            Self::Sub => Command::Sub,
            Self::Key { sender_key } => Command::Key { sender_key },
            Self::Rkey { recipient_keys } => Command::Rkey { recipient_keys },
            Self::Lset { link_id, data } => {
                Command::Lset { link_id: owned(link_id), data: data.into_owned() }
            }
            Self::Ldel => Command::Ldel,
            Self::Nkey(keys) => Command::Nkey(keys),
            Self::Ndel => Command::Ndel,
            Self::Get => Command::Get,
            Self::Ack { message_id } => Command::Ack { message_id: owned(message_id) },
            Self::Off => Command::Off,
            Self::Del => Command::Del,
            Self::Que => Command::Que,
            Self::Skey { sender_key } => Command::Skey { sender_key },
            Self::Send { notify, body } => Command::Send { notify, body: owned(body) },
            Self::Lkey { sender_key } => Command::Lkey { sender_key },
            Self::Lget => Command::Lget,
            Self::Nsub => Command::Nsub,
            Self::Nsubs => Command::Nsubs,
            Self::Subs => Command::Subs,
            Self::Ping => Command::Ping,
            Self::Prxy { server, password } => Command::Prxy { server, password },
            Self::Pfwd { version, client_key, sealed } => {
                Command::Pfwd { version, client_key, sealed: owned(sealed) }
            }
            Self::Rfwd { sealed } => Command::Rfwd { sealed: owned(sealed) },
        }
    }

    fn has_parameters(&self) -> bool {
        !matches!(
            self,
            Self::Sub
                | Self::Ldel
                | Self::Ndel
                | Self::Get
                | Self::Off
                | Self::Del
                | Self::Que
                | Self::Lget
                | Self::Nsub
                | Self::Nsubs
                | Self::Subs
                | Self::Ping
        )
    }
}

pub(super) fn owned(bytes: Cow<'_, [u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.into_owned())
}
