//! The parameters of `NEW`, and the parts that other commands share with them (smp.md §6.1).
//!
//! ```text
//! new     = short(recipient key) short(DH key) maybe short(password) ("S" / "C") maybe request [maybe notifier]
//! request = "M" maybe { short(sender id) data } / "C" maybe { short(link id) short(sender id) data }
//! data    = large(fixed) large(user)
//! ```
//!
//! The notifier's keys are there from version 17 on.

use std::borrow::Cow;

use crate::crypto::dh::X25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_maybe, put_short};
use crate::smp::NOTIFIER_IN_NEW_VERSION;
use crate::smp::command::owned;
use crate::smp::key::AuthPublicKey;
use crate::smp::password::BasicAuth;
use crate::smp::queue_uri::QueueMode;

/// The parameters of `NEW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQueue<'a> {
    /// Authorises this command and all the recipient's later ones.
    pub recipient_key: AuthPublicKey,
    /// The recipient's key for the encryption of messages by the server.
    pub dh_key: X25519PublicKey,
    /// The server's password for creating queues.
    pub password: Option<BasicAuth>,
    /// Whether to subscribe at once.
    pub subscribe: bool,
    /// The queue's mode and link data; clients always send it from version 15 on.
    pub request: Option<QueueRequest<'a>>,
    /// The notifier's credentials, from version 17 on.
    pub notifier: Option<NotifierKeys>,
}

/// The mode of a new queue, with its link data if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRequest<'a> {
    /// A messaging queue. The server chooses the link's id.
    Messaging(Option<MessagingLink<'a>>),
    /// A contact queue.
    Contact(Option<ContactLink<'a>>),
}

/// Link data of a messaging queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagingLink<'a> {
    /// The queue's sender id: must be [`super::ids::SenderId::for_correlation`], or the server prohibits it.
    pub sender_id: Cow<'a, [u8]>,
    /// The data.
    pub data: LinkData<'a>,
}

/// Link data of a contact queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactLink<'a> {
    /// The link's id, derived from the link key.
    pub link_id: Cow<'a, [u8]>,
    /// The queue's sender id: must be [`super::ids::SenderId::for_correlation`], or the server prohibits it.
    pub sender_id: Cow<'a, [u8]>,
    /// The data.
    pub data: LinkData<'a>,
}

/// The two encrypted parts of link data, each at most 65,535 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkData<'a> {
    /// The part that never changes; its hash is the link key.
    pub fixed: Cow<'a, [u8]>,
    /// The part that the owner may change.
    pub user: Cow<'a, [u8]>,
}

/// The keys that a recipient gives its notifier's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierKeys {
    /// Authorises the notifier's commands.
    pub notifier_key: AuthPublicKey,
    /// The recipient's key for the encryption of notifications by the server.
    pub dh_key: X25519PublicKey,
}

impl<'a> NewQueue<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, version: u16) -> Result<Self, DecodeError> {
        Ok(Self {
            recipient_key: Decode::decode(reader)?,
            dh_key: Decode::decode(reader)?,
            password: reader.maybe(BasicAuth::decode)?,
            subscribe: match reader.u8()? {
                b'S' => true,
                b'C' => false,
                _ => return Err(DecodeError::Invalid("subscription mode")),
            },
            request: reader.maybe(QueueRequest::read)?,
            notifier: if version >= NOTIFIER_IN_NEW_VERSION {
                reader.maybe(NotifierKeys::decode)?
            } else {
                None
            },
        })
    }

    pub(super) fn encode(&self, version: u16, out: &mut Vec<u8>) {
        self.recipient_key.encode(out);
        self.dh_key.encode(out);
        put_maybe(out, self.password.as_ref(), |out, password| password.encode(out));
        out.push(if self.subscribe { b'S' } else { b'C' });
        put_maybe(out, self.request.as_ref(), |out, request| request.encode(out));
        if version >= NOTIFIER_IN_NEW_VERSION {
            put_maybe(out, self.notifier, |out, keys| keys.encode(out));
        }
    }

    pub(super) fn into_owned(self) -> NewQueue<'static> {
        let Self { recipient_key, dh_key, password, subscribe, request, notifier } = self;
        let request = request.map(QueueRequest::into_owned);
        NewQueue { recipient_key, dh_key, password, subscribe, request, notifier }
    }
}

impl<'a> QueueRequest<'a> {
    /// The mode asked for.
    #[must_use]
    pub fn mode(&self) -> QueueMode {
        match self {
            Self::Messaging(_) => QueueMode::Messaging,
            Self::Contact(_) => QueueMode::Contact,
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match QueueMode::decode(reader)? {
            QueueMode::Messaging => reader
                .maybe(|r| Ok(MessagingLink { sender_id: r.short()?.into(), data: LinkData::read(r)? }))
                .map(Self::Messaging),
            QueueMode::Contact => reader
                .maybe(|r| {
                    let (link_id, sender_id) = (r.short()?.into(), r.short()?.into());
                    Ok(ContactLink { link_id, sender_id, data: LinkData::read(r)? })
                })
                .map(Self::Contact),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.mode().encode(out);
        match self {
            Self::Messaging(link) => put_maybe(out, link.as_ref(), |out, link| {
                put_short(out, &link.sender_id);
                link.data.encode(out);
            }),
            Self::Contact(link) => put_maybe(out, link.as_ref(), |out, link| {
                put_short(out, &link.link_id);
                put_short(out, &link.sender_id);
                link.data.encode(out);
            }),
        }
    }

    fn into_owned(self) -> QueueRequest<'static> {
        match self {
            Self::Messaging(link) => QueueRequest::Messaging(link.map(|link| MessagingLink {
                sender_id: owned(link.sender_id),
                data: link.data.into_owned(),
            })),
            Self::Contact(link) => QueueRequest::Contact(link.map(|link| ContactLink {
                link_id: owned(link.link_id),
                sender_id: owned(link.sender_id),
                data: link.data.into_owned(),
            })),
        }
    }
}

impl<'a> LinkData<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { fixed: reader.large()?.into(), user: reader.large()?.into() })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_large(out, &self.fixed);
        put_large(out, &self.user);
    }

    /// The same data with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> LinkData<'static> {
        LinkData { fixed: owned(self.fixed), user: owned(self.user) }
    }
}

impl Encode for NotifierKeys {
    fn encode(&self, out: &mut Vec<u8>) {
        self.notifier_key.encode(out);
        self.dh_key.encode(out);
    }
}

impl Decode for NotifierKeys {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { notifier_key: Decode::decode(reader)?, dh_key: Decode::decode(reader)? })
    }
}
