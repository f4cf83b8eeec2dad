//! A connection as it is stored: everything that must survive a crash, in one record.
//!
//! The application's store seals records if it seals anything: they hold keys.

use crate::crypto::hash::sha256;
use crate::crypto::ratchet::{AgreementKeys, Ratchet};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool, put_large, put_maybe};
use crate::smp::key::AuthPublicKey;

use super::address_draft::AddressDraft;
use super::connection::Phase;
use super::event::SyncState;
use super::queue::{ReceiveQueue, SendQueue};

/// The form of records; another one is not read.
const RECORD_VERSION: u8 = 1;

/// All that is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// The agreed agent version; rises with what the peer writes.
    pub(super) agent_version: u16,
    /// The own queue.
    pub(super) receive: ReceiveQueue,
    /// The peer's queue, once it is known.
    pub(super) send: Option<SendQueue>,
    /// The queue that the peer moves to.
    pub(super) replacement: Option<Replacement>,
    /// Our private keys of a key agreement that is not complete: of the handshake, or of a re-synchronisation until
    /// a message shows that it worked.
    pub(super) keys: Option<AgreementKeys>,
    pub(super) ratchet: Option<Ratchet>,
    pub(super) sync: SyncState,
    /// New keys of the peer came while others were agreed on; they were taken for an answer to ours.
    pub(super) is_agreement_in_doubt: bool,
    pub(super) sent: Position,
    pub(super) received: Position,
    pub(super) opening: Opening,
    /// The keys of a contact address.
    pub(super) address: Option<AddressDraft>,
    /// The peer's queue was full, and has not been emptied since.
    pub(super) is_quota_exceeded: bool,
    /// The application wants to know which messages the peer's application has.
    pub(super) expects_receipts: bool,
    /// Deletion does not wait for what is still to be sent.
    pub(super) discards_jobs: bool,
}

/// A queue that is to replace the peer's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) queue: SendQueue,
    /// The peer has secured it with our key: from now on everything goes there.
    pub(super) is_secured: bool,
}

/// The last item of one direction: its number, and the hash of its plain text (agent.md §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub(super) number: i64,
    pub(super) hash: Option<[u8; 32]>,
}

/// What the handshake needs to keep until its next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing.
    Nothing,
    /// The request to send: the address's queue, with a one-time key, and our words.
    Request { to: Box<SendQueue>, agent_version: u16, info: Vec<u8> },
    /// Our words for the confirmation, which waits for the own queue, and the ratchet version to write in it.
    Join { ratchet_version: u16, info: Vec<u8> },
    /// The key that the peer wants the own queue secured with.
    Key(AuthPublicKey),
}

impl Connection {
    /// A connection of which only the own queue's keys exist.
    pub(super) fn new(phase: Phase, agent_version: u16, receive: ReceiveQueue) -> Self {
        Self {
            phase,
            agent_version,
            receive,
            send: None,
            replacement: None,
            keys: None,
            ratchet: None,
            sync: SyncState::Ok,
            is_agreement_in_doubt: false,
            sent: Position::default(),
            received: Position::default(),
            opening: Opening::Nothing,
            address: None,
            is_quota_exceeded: false,
            expects_receipts: false,
            discards_jobs: false,
        }
    }

    /// The queue to write to now.
    pub(super) fn target(&self) -> Option<&SendQueue> {
        match &self.replacement {
            Some(replacement) if replacement.is_secured => Some(&replacement.queue),
            _ => self.send.as_ref(),
        }
    }

    /// Whether it writes to the peer's new queue, and still has the old one.
    pub(super) fn has_secured_replacement(&self) -> bool {
        self.replacement.as_ref().is_some_and(|replacement| replacement.is_secured)
    }

    /// Whether the peer has our keys and its queue takes what we send.
    pub(super) fn is_up(&self) -> bool {
        let is_secured = self.send.as_ref().is_some_and(SendQueue::is_securable);
        self.ratchet.is_some() && self.phase.may_send(is_secured)
    }

    /// Whether, besides, anything can be encrypted now.
    pub(super) fn can_write(&self) -> bool {
        self.is_up() && self.ratchet.as_ref().is_some_and(Ratchet::can_send)
    }
}

impl Position {
    /// Goes on by one item with this plain text; gives its number.
    pub(super) fn advance(&mut self, hash: [u8; 32]) -> i64 {
        self.number = self.number.saturating_add(1);
        self.hash = Some(hash);
        self.number
    }

    /// Where a direction stands after its first item.
    pub(super) fn first(plain: &[u8]) -> Self {
        Self { number: 1, hash: Some(sha256(plain)) }
    }
}

impl Encode for Connection {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(RECORD_VERSION);
        self.phase.encode(out);
        out.extend_from_slice(&self.agent_version.to_be_bytes());
        self.receive.encode(out);
        put_maybe(out, self.send.as_ref(), |out, queue| queue.encode(out));
        put_maybe(out, self.replacement.as_ref(), |out, replacement| {
            replacement.queue.encode(out);
            put_bool(out, replacement.is_secured);
        });
        put_maybe(out, self.keys.as_ref(), |out, keys| keys.encode(out));
        put_maybe(out, self.ratchet.as_ref(), |out, ratchet| ratchet.encode(out));
        self.sync.encode(out);
        put_bool(out, self.is_agreement_in_doubt);
        self.sent.encode(out);
        self.received.encode(out);
        self.opening.encode(out);
        put_maybe(out, self.address.as_ref(), |out, address| address.encode(out));
        put_bool(out, self.is_quota_exceeded);
        put_bool(out, self.expects_receipts);
        put_bool(out, self.discards_jobs);
    }
}

impl Decode for Connection {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(&[RECORD_VERSION], "connection record of this version")?;
        Ok(Self {
            phase: Decode::decode(reader)?,
            agent_version: reader.u16()?,
            receive: Decode::decode(reader)?,
            send: reader.maybe(SendQueue::decode)?,
            replacement: reader.maybe(|reader| {
                Ok(Replacement { queue: Decode::decode(reader)?, is_secured: reader.bool()? })
            })?,
            keys: reader.maybe(AgreementKeys::decode)?,
            ratchet: reader.maybe(Ratchet::decode)?,
            sync: Decode::decode(reader)?,
            is_agreement_in_doubt: reader.bool()?,
            sent: Decode::decode(reader)?,
            received: Decode::decode(reader)?,
            opening: Decode::decode(reader)?,
            address: reader.maybe(AddressDraft::decode)?,
            is_quota_exceeded: reader.bool()?,
            expects_receipts: reader.bool()?,
            discards_jobs: reader.bool()?,
        })
    }
}

impl Encode for Position {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        put_maybe(out, self.hash, |out, hash| out.extend_from_slice(&hash));
    }
}

impl Decode for Position {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { number: reader.i64()?, hash: reader.maybe(Reader::array)? })
    }
}

impl Encode for Opening {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => out.push(b'0'),
            Self::Request { to, agent_version, info } => {
                out.push(b'R');
                to.encode(out);
                out.extend_from_slice(&agent_version.to_be_bytes());
                put_large(out, info);
            }
            Self::Join { ratchet_version, info } => {
                out.push(b'J');
                out.extend_from_slice(&ratchet_version.to_be_bytes());
                put_large(out, info);
            }
            Self::Key(key) => {
                out.push(b'K');
                key.encode(out);
            }
        }
    }
}

impl Decode for Opening {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            b'0' => Self::Nothing,
            b'R' => Self::Request {
                to: Box::new(Decode::decode(reader)?),
                agent_version: reader.u16()?,
                info: reader.large()?.to_vec(),
            },
            b'J' => Self::Join { ratchet_version: reader.u16()?, info: reader.large()?.to_vec() },
            b'K' => Self::Key(Decode::decode(reader)?),
            _ => return Err(DecodeError::Invalid("opening of a connection")),
        })
    }
}

const SYNC_STATES: [(u8, SyncState); 5] = [
    (b'O', SyncState::Ok),
    (b'A', SyncState::Allowed),
    (b'R', SyncState::Required),
    (b'S', SyncState::Started),
    (b'G', SyncState::Agreed),
];

impl Encode for SyncState {
    fn encode(&self, out: &mut Vec<u8>) {
        let letter = SYNC_STATES.iter().find(|(_, state)| state == self).map(|(letter, _)| *letter);
        out.push(letter.expect("every state is in the table"));
    }
}

impl Decode for SyncState {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let letter = reader.u8()?;
        let state = SYNC_STATES.iter().find(|(known, _)| *known == letter).map(|(_, state)| *state);
        state.ok_or(DecodeError::Invalid("state of the ratchets"))
    }
}
