//! What a server says (smp.md §7): answers to commands, and events of its own accord.
//!
//! Events (`MSG` by subscription, `NMSG`, `END`, `ENDS`, `ALLS`, `DELD`, `ERR BLOCKED`) have an empty correlation id.

use std::borrow::Cow;

use crate::crypto::dh::X25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_maybe, put_short};
use crate::smp::command::{LinkData, owned};
use crate::smp::error::{CommandError, ErrorType};
use crate::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use crate::smp::queue_details::QueueDetails;
use crate::smp::queue_uri::QueueMode;
use crate::smp::transmission::Transmission;
use crate::smp::words::{after_space, word};
use crate::smp::{NOTIFIER_IN_NEW_VERSION, SERVICES_VERSION};
use crate::transport::certified_key::CertifiedKey;
use crate::version::VersionRange;

/// A message from the server. Variants are named as their tags on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerMessage<'a> {
    /// Answers `NEW`.
    Ids(QueueIds),
    /// Answers `LKEY` and `LGET`.
    Lnk {
        /// The queue's sender id.
        sender_id: SenderId,
        /// The link data.
        data: LinkData<'a>,
    },
    /// Answers `SUB` and `NSUB`; plain `OK` before version 16.
    Sok(Option<ServiceId>),
    /// Answers `SUBS` and `NSUBS`: how many queues of the service are subscribed.
    Soks(i64),
    /// A message of a queue.
    Msg {
        /// The message's id, and nonce.
        message_id: MessageId,
        /// The message, encrypted by the server; see [`super::message`].
        body: Cow<'a, [u8]>,
    },
    /// Answers `NKEY`.
    Nid(NotifierIds),
    /// A notification.
    Nmsg {
        /// The nonce of `metadata`.
        nonce: [u8; 24],
        /// Which message it is about, encrypted for the recipient; at most 255 bytes.
        metadata: Cow<'a, [u8]>,
    },
    /// Answers `PRXY`.
    Pkey {
        /// The session of proxy and destination server, at most 255 bytes.
        session_id: Cow<'a, [u8]>,
        /// The versions that may be forwarded.
        versions: VersionRange,
        /// The destination server's certificates and session key.
        certified_key: CertifiedKey,
    },
    /// Answers `RFWD`.
    Rres(Cow<'a, [u8]>),
    /// Answers `PFWD`.
    Pres(Cow<'a, [u8]>),
    /// Another connection has the subscription now.
    End,
    /// Another connection has this many subscriptions of the service now.
    Ends(i64),
    /// After `SUBS`: of every queue that had messages the first is on its way.
    Alls,
    /// The queue, or its notifier, was deleted.
    Deld,
    /// Answers `QUE`.
    Info(QueueDetails),
    /// Done.
    Ok,
    /// Not done.
    Err(ErrorType),
    /// Answers `PING`.
    Pong,
}

/// The parameters of `IDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueIds {
    /// The queue's id for its recipient.
    pub recipient_id: RecipientId,
    /// The queue's id for its senders.
    pub sender_id: SenderId,
    /// The server's key for the encryption of messages.
    pub server_dh_key: X25519PublicKey,
    /// The mode, when `NEW` asked for one.
    pub mode: Option<QueueMode>,
    /// The link's id, when there are link data.
    pub link_id: Option<LinkId>,
    /// The service of the session, from version 16 on.
    pub service_id: Option<ServiceId>,
    /// The notifier's credentials, when `NEW` asked for them; from version 17 on.
    pub notifier: Option<NotifierIds>,
}

/// What the server made for a notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierIds {
    /// The queue's id for its notifier.
    pub notifier_id: NotifierId,
    /// The server's key for the encryption of notifications.
    pub server_dh_key: X25519PublicKey,
}

impl<'a> BrokerMessage<'a> {
    /// Reads a message that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is none that servers of this version send.
    pub fn parse(bytes: &'a [u8], version: u16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let r = &mut reader;
        let message = match word(r) {
            b"IDS" => Self::Ids(QueueIds::read(after_space(r)?, version)?),
            b"LNK" => Self::Lnk { sender_id: Decode::decode(after_space(r)?)?, data: LinkData::read(r)? },
            b"SOK" => Self::Sok(after_space(r)?.maybe(ServiceId::decode)?),
            b"SOKS" => Self::Soks(after_space(r)?.i64()?),
            b"MSG" => Self::Msg { message_id: Decode::decode(after_space(r)?)?, body: r.tail().into() },
            b"NID" => Self::Nid(Decode::decode(after_space(r)?)?),
            b"NMSG" => Self::Nmsg { nonce: after_space(r)?.array()?, metadata: r.short()?.into() },
            b"PKEY" => Self::Pkey {
                session_id: after_space(r)?.short()?.into(),
                versions: Decode::decode(r)?,
                certified_key: Decode::decode(r)?,
            },
            b"RRES" => Self::Rres(after_space(r)?.tail().into()),
            b"PRES" => Self::Pres(after_space(r)?.tail().into()),
            b"END" => Self::End,
            b"ENDS" => Self::Ends(after_space(r)?.i64()?),
            b"ALLS" => Self::Alls,
            b"DELD" => Self::Deld,
            b"INFO" => Self::Info(QueueDetails::from_json(after_space(r)?.tail())?),
            b"OK" => Self::Ok,
            b"ERR" => Self::Err(ErrorType::parse(after_space(r)?.tail())?),
            b"PONG" => Self::Pong,
            _ => return Err(DecodeError::Invalid("server message")),
        };
        reader.end()?;
        Ok(message)
    }

    /// The message's bytes.
    #[must_use]
    pub fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(version, &mut out);
        out
    }

    /// Appends the message's bytes.
    pub fn encode_into(&self, version: u16, out: &mut Vec<u8>) {
        let mut tag = |tag: &str| out.extend_from_slice(tag.as_bytes());
        match self {
            Self::Ids(ids) => {
                tag("IDS ");
                ids.encode(version, out);
            }
            Self::Lnk { sender_id, data } => {
                tag("LNK ");
                sender_id.encode(out);
                data.encode(out);
            }
            Self::Sok(_) | Self::Soks(_) if version < SERVICES_VERSION => tag("OK"),
            Self::Sok(service_id) => {
                tag("SOK ");
                put_maybe(out, *service_id, |out, id| id.encode(out));
            }
            Self::Soks(count) => {
                tag("SOKS ");
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Msg { message_id, body } => {
                tag("MSG ");
                message_id.encode(out);
                out.extend_from_slice(body);
            }
            Self::Nid(ids) => {
                tag("NID ");
                ids.encode(out);
            }
            Self::Nmsg { nonce, metadata } => {
                tag("NMSG ");
                out.extend_from_slice(nonce);
                put_short(out, metadata);
            }
            Self::Pkey { session_id, versions, certified_key } => {
                tag("PKEY ");
                put_short(out, session_id);
                versions.encode(out);
                certified_key.encode(out);
            }
            Self::Rres(sealed) => {
                tag("RRES ");
                out.extend_from_slice(sealed);
            }
            Self::Pres(sealed) => {
                tag("PRES ");
                out.extend_from_slice(sealed);
            }
            Self::End => tag("END"),
            Self::Ends(count) => {
                tag("ENDS ");
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Alls => tag("ALLS"),
            Self::Deld => tag("DELD"),
            Self::Info(details) => {
                tag("INFO ");
                out.extend_from_slice(&details.to_json());
            }
            Self::Ok => tag("OK"),
            Self::Err(error) => {
                tag("ERR ");
                error.encode(version, out);
            }
            Self::Pong => tag("PONG"),
        }
    }

    /// Appends a whole transmission with this message: servers authorise nothing.
    ///
    /// # Panics
    /// When an id is longer than 255 bytes.
    pub fn encode_transmission(
        &self,
        version: u16,
        correlation_id: &[u8],
        entity_id: &[u8],
        out: &mut Vec<u8>,
    ) {
        Transmission::unauthorized(correlation_id, entity_id, &[]).encode_into(version, out);
        self.encode_into(version, out);
    }

    /// The tag on the wire, as of version 16.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Ids(_) => "IDS",
            Self::Lnk { .. } => "LNK",
            Self::Sok(_) => "SOK",
            Self::Soks(_) => "SOKS",
            Self::Msg { .. } => "MSG",
            Self::Nid(_) => "NID",
            Self::Nmsg { .. } => "NMSG",
            Self::Pkey { .. } => "PKEY",
            Self::Rres(_) => "RRES",
            Self::Pres(_) => "PRES",
            Self::End => "END",
            Self::Ends(_) => "ENDS",
            Self::Alls => "ALLS",
            Self::Deld => "DELD",
            Self::Info(_) => "INFO",
            Self::Ok => "OK",
            Self::Err(_) => "ERR",
            Self::Pong => "PONG",
        }
    }

    /// Whether the entity id is present or absent as this message wants it: what a client checks of each message
    /// (smp.md §5.4).
    ///
    /// # Errors
    /// What is wrong, in the words of command errors.
    pub fn check_entity(&self, entity: bool) -> Result<(), CommandError> {
        match self {
            Self::Ids(_) | Self::Err(_) => Ok(()),
            Self::Pong | Self::Pkey { .. } | Self::Rres(_) | Self::Alls if entity => {
                Err(CommandError::HasAuth)
            }
            Self::Pong | Self::Pkey { .. } | Self::Rres(_) | Self::Alls => Ok(()),
            _ if entity => Ok(()),
            _ => Err(CommandError::NoEntity),
        }
    }

    /// The same message with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> BrokerMessage<'static> {
        match self {
            Self::Ids(ids) => BrokerMessage::Ids(ids),
            Self::Lnk { sender_id, data } => BrokerMessage::Lnk { sender_id, data: data.into_owned() },
            Self::Sok(service_id) => BrokerMessage::Sok(service_id),
            Self::Soks(count) => BrokerMessage::Soks(count),
            Self::Msg { message_id, body } => BrokerMessage::Msg { message_id, body: owned(body) },
            Self::Nid(ids) => BrokerMessage::Nid(ids),
            Self::Nmsg { nonce, metadata } => BrokerMessage::Nmsg { nonce, metadata: owned(metadata) },
            Self::Pkey { session_id, versions, certified_key } => {
                BrokerMessage::Pkey { session_id: owned(session_id), versions, certified_key }
            }
            Self::Rres(sealed) => BrokerMessage::Rres(owned(sealed)),
            Self::Pres(sealed) => BrokerMessage::Pres(owned(sealed)),
            Self::End => BrokerMessage::End,
            Self::Ends(count) => BrokerMessage::Ends(count),
            Self::Alls => BrokerMessage::Alls,
            Self::Deld => BrokerMessage::Deld,
            Self::Info(details) => BrokerMessage::Info(details),
            Self::Ok => BrokerMessage::Ok,
            Self::Err(error) => BrokerMessage::Err(error),
            Self::Pong => BrokerMessage::Pong,
        }
    }
}

impl QueueIds {
    fn read(reader: &mut Reader<'_>, version: u16) -> Result<Self, DecodeError> {
        Ok(Self {
            recipient_id: Decode::decode(reader)?,
            sender_id: Decode::decode(reader)?,
            server_dh_key: Decode::decode(reader)?,
            mode: reader.maybe(QueueMode::decode)?,
            link_id: reader.maybe(LinkId::decode)?,
            service_id: if version >= SERVICES_VERSION { reader.maybe(ServiceId::decode)? } else { None },
            notifier: if version >= NOTIFIER_IN_NEW_VERSION {
                reader.maybe(NotifierIds::decode)?
            } else {
                None
            },
        })
    }

    fn encode(&self, version: u16, out: &mut Vec<u8>) {
        self.recipient_id.encode(out);
        self.sender_id.encode(out);
        self.server_dh_key.encode(out);
        put_maybe(out, self.mode, |out, mode| mode.encode(out));
        put_maybe(out, self.link_id, |out, id| id.encode(out));
        if version >= SERVICES_VERSION {
            put_maybe(out, self.service_id, |out, id| id.encode(out));
        }
        if version >= NOTIFIER_IN_NEW_VERSION {
            put_maybe(out, self.notifier, |out, ids| ids.encode(out));
        }
    }
}

impl Encode for NotifierIds {
    fn encode(&self, out: &mut Vec<u8>) {
        self.notifier_id.encode(out);
        self.server_dh_key.encode(out);
    }
}

impl Decode for NotifierIds {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { notifier_id: Decode::decode(reader)?, server_dh_key: Decode::decode(reader)? })
    }
}
