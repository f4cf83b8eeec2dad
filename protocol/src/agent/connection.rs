//! The life of a connection (agent.md §4.5–§4.8).
//!
//! ```text
//! address    AddressCreating ──queue──▶ Address
//!
//! initiator  Creating ──queue──▶ Inviting ──sent──▶ Invited ──confirmation──▶ Confirmed ──allow──▶ Allowing
//!            Allowing ──confirmation sent──▶ Connected                               peer's queue secured by us
//!            Allowing ──confirmation sent──▶ AwaitingHello ──hello──▶ AnsweringHello ──hello sent──▶ Connected
//!
//! joiner     Joining ──queue──▶ Confirming ──sent──▶ Joined ──confirmation──▶ Connected  own queue secured by peer
//!            Joined ──confirmation with a key──▶ Greeting ──hello sent──▶ Greeted ──hello──▶ Connected
//!
//! all        ──▶ Failed ──▶ Deleting          an address whose queue is gone: Failed ──again──▶ AddressCreating
//! ```
//!
//! The lower way of each party is the slow handshake with peers whose queues a sender cannot secure. Our own
//! queues are always such that the peer can, so we meet it only when the peer chooses it.
//!
//! An answer of a server may be lost while its effect is not: whatever shows that the peer has our last message
//! moves on as the answer would have, and the job that still waits for the answer becomes void.

use super::event::Failure;
use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The queue of a contact address is being created.
    AddressCreating,
    /// A contact address that takes requests.
    Address,
    /// Initiator: the own queue is being created.
    Creating,
    /// Initiator: the request is on its way to the address.
    Inviting,
    /// Initiator: waits for the peer's confirmation.
    Invited,
    /// Initiator: the application decides.
    Confirmed,
    /// Initiator: the peer's queue is being secured and our confirmation sent.
    Allowing {
        /// Whether we secure the peer's queue ourselves; otherwise the peer does, and says hello.
        secures: bool,
    },
    /// Initiator, slow: waits for the peer's hello.
    AwaitingHello,
    /// Initiator, slow: our hello is on its way.
    AnsweringHello,
    /// Joiner: the peer's queue is being secured, the own one created.
    Joining,
    /// Joiner: our confirmation is on its way.
    Confirming,
    /// Joiner: waits for the peer's confirmation.
    Joined,
    /// Joiner, slow: the own queue is being secured, our hello is on its way.
    Greeting,
    /// Joiner, slow: waits for the peer's hello.
    Greeted,
    /// Both directions work.
    Connected,
    /// Cannot be used.
    Failed,
    /// The own queue is being deleted.
    Deleting,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The server created the own queue.
    QueueCreated,
    /// The server of the address took our request.
    InvitationSent,
    /// The peer's confirmation came.
    ConfirmationReceived {
        /// Whether it brings a key that we are to secure the own queue with.
        with_key: bool,
    },
    /// The application allows the peer.
    Allowed {
        /// Whether we can secure the peer's queue ourselves.
        secures: bool,
    },
    /// The server of the peer took our confirmation.
    ConfirmationSent,
    /// The peer's hello came.
    HelloReceived,
    /// The server of the peer took our hello.
    HelloSent,
    /// It cannot go on.
    Broken(Failure),
    /// The queue of an address is to be created once more.
    AddressAgain,
    /// The application deletes the connection.
    Deleted,
}

/// What a step makes necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Send the request to the contact address.
    Invite,
    /// Send our confirmation.
    Confirm,
    /// Secure the own queue with the key from the peer's confirmation.
    SecureOwnQueue,
    /// Send a hello.
    Hello,
    /// Delete the own queue.
    DeleteQueue,
    /// Tell the application of the address.
    TellAddress,
    /// Tell the application of the confirmation.
    TellConfirmation,
    /// Tell the application what the peer says of itself.
    TellInfo,
    /// Tell the application that both directions work.
    TellConnected,
    /// Tell the application that it cannot go on.
    TellFailure(Failure),
}

/// The step does not fit where the connection stands; nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAllowedNow;

impl Phase {
    /// Takes a step.
    pub(super) fn apply(self, step: Step) -> Result<(Self, Vec<Effect>), NotAllowedNow> {
        use Effect::{
            Confirm, DeleteQueue, Hello, Invite, SecureOwnQueue, TellAddress, TellConfirmation,
            TellConnected, TellFailure, TellInfo,
        };
        use Step::{
            AddressAgain, Allowed, Broken, ConfirmationReceived, ConfirmationSent, Deleted, HelloReceived,
            HelloSent, InvitationSent, QueueCreated,
        };
        Ok(match (self, step) {
            (Self::AddressCreating, QueueCreated) => (Self::Address, vec![TellAddress]),
            (Self::Failed, AddressAgain) => (Self::AddressCreating, vec![]),

            (Self::Creating, QueueCreated) => (Self::Inviting, vec![Invite]),
            (Self::Inviting, InvitationSent) => (Self::Invited, vec![]),
            (Self::Inviting | Self::Invited, ConfirmationReceived { .. }) => {
                (Self::Confirmed, vec![TellConfirmation])
            }
            (Self::Confirmed, Allowed { secures }) => (Self::Allowing { secures }, vec![Confirm]),
            (Self::Allowing { secures: true }, ConfirmationSent) => (Self::Connected, vec![TellConnected]),
            (Self::Allowing { secures: false }, ConfirmationSent) => (Self::AwaitingHello, vec![]),
            (Self::Allowing { secures: false } | Self::AwaitingHello, HelloReceived) => {
                (Self::AnsweringHello, vec![Hello])
            }
            (Self::AnsweringHello, HelloSent) => (Self::Connected, vec![TellConnected]),

            (Self::Joining, QueueCreated) => (Self::Confirming, vec![Confirm]),
            (Self::Confirming, ConfirmationSent) => (Self::Joined, vec![]),
            (Self::Confirming | Self::Joined, ConfirmationReceived { with_key: false }) => {
                (Self::Connected, vec![TellInfo, TellConnected])
            }
            (Self::Confirming | Self::Joined, ConfirmationReceived { with_key: true }) => {
                (Self::Greeting, vec![TellInfo, SecureOwnQueue, Hello])
            }
            (Self::Greeting, HelloSent) => (Self::Greeted, vec![]),
            (Self::Greeting | Self::Greeted, HelloReceived) => (Self::Connected, vec![TellConnected]),

            (Self::Failed | Self::Deleting, Broken(_)) | (Self::Deleting, Deleted) => {
                return Err(NotAllowedNow);
            }
            (_, Broken(failure)) => (Self::Failed, vec![TellFailure(failure)]),
            (_, Deleted) => (Self::Deleting, vec![DeleteQueue]),
            _ => return Err(NotAllowedNow),
        })
    }

    /// Whether the application may send messages. A joiner may as soon as the peer has its keys, if the peer's
    /// queue was secured: `secured`.
    pub(super) fn may_send(self, secured: bool) -> bool {
        self == Self::Connected || (self == Self::Joined && secured)
    }
}

const PHASES: [(u8, Phase); 18] = [
    (0, Phase::AddressCreating),
    (1, Phase::Address),
    (2, Phase::Creating),
    (3, Phase::Inviting),
    (4, Phase::Invited),
    (5, Phase::Confirmed),
    (6, Phase::Allowing { secures: false }),
    (7, Phase::Allowing { secures: true }),
    (8, Phase::AwaitingHello),
    (9, Phase::AnsweringHello),
    (10, Phase::Joining),
    (11, Phase::Confirming),
    (12, Phase::Joined),
    (13, Phase::Greeting),
    (14, Phase::Greeted),
    (15, Phase::Connected),
    (16, Phase::Failed),
    (17, Phase::Deleting),
];

impl Encode for Phase {
    fn encode(&self, out: &mut Vec<u8>) {
        let byte = PHASES.iter().find(|(_, phase)| phase == self).map(|(byte, _)| *byte);
        out.push(byte.expect("every phase is in the table"));
    }
}

impl Decode for Phase {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let byte = reader.u8()?;
        let phase = PHASES.iter().find(|(number, _)| *number == byte).map(|(_, phase)| *phase);
        phase.ok_or(DecodeError::Invalid("phase of a connection"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 13] = [
        Step::QueueCreated,
        Step::InvitationSent,
        Step::ConfirmationReceived { with_key: false },
        Step::ConfirmationReceived { with_key: true },
        Step::Allowed { secures: false },
        Step::Allowed { secures: true },
        Step::ConfirmationSent,
        Step::HelloReceived,
        Step::HelloSent,
        Step::Broken(Failure::NotAvailable),
        Step::Deleted,
        Step::Broken(Failure::Expired),
        Step::AddressAgain,
    ];

    /// Every pair of phase and step that is allowed, and nothing else.
    #[test]
    fn every_phase_and_step() {
        use Effect::{
            Confirm, Hello, Invite, SecureOwnQueue, TellAddress, TellConfirmation, TellConnected, TellInfo,
        };
        use Phase as P;
        use Step as S;
        let slow = P::Allowing { secures: false };
        let fast = P::Allowing { secures: true };
        let confirmation = |with_key| S::ConfirmationReceived { with_key };
        let allowed: &[(P, S, P, &[Effect])] = &[
            (P::AddressCreating, S::QueueCreated, P::Address, &[TellAddress]),
            (P::Failed, S::AddressAgain, P::AddressCreating, &[]),
            (P::Creating, S::QueueCreated, P::Inviting, &[Invite]),
            (P::Inviting, S::InvitationSent, P::Invited, &[]),
            (P::Inviting, confirmation(false), P::Confirmed, &[TellConfirmation]),
            (P::Inviting, confirmation(true), P::Confirmed, &[TellConfirmation]),
            (P::Invited, confirmation(false), P::Confirmed, &[TellConfirmation]),
            (P::Invited, confirmation(true), P::Confirmed, &[TellConfirmation]),
            (P::Confirmed, S::Allowed { secures: false }, slow, &[Confirm]),
            (P::Confirmed, S::Allowed { secures: true }, fast, &[Confirm]),
            (fast, S::ConfirmationSent, P::Connected, &[TellConnected]),
            (slow, S::ConfirmationSent, P::AwaitingHello, &[]),
            (slow, S::HelloReceived, P::AnsweringHello, &[Hello]),
            (P::AwaitingHello, S::HelloReceived, P::AnsweringHello, &[Hello]),
            (P::AnsweringHello, S::HelloSent, P::Connected, &[TellConnected]),
            (P::Joining, S::QueueCreated, P::Confirming, &[Confirm]),
            (P::Confirming, S::ConfirmationSent, P::Joined, &[]),
            (P::Confirming, confirmation(false), P::Connected, &[TellInfo, TellConnected]),
            (P::Confirming, confirmation(true), P::Greeting, &[TellInfo, SecureOwnQueue, Hello]),
            (P::Joined, confirmation(false), P::Connected, &[TellInfo, TellConnected]),
            (P::Joined, confirmation(true), P::Greeting, &[TellInfo, SecureOwnQueue, Hello]),
            (P::Greeting, S::HelloSent, P::Greeted, &[]),
            (P::Greeting, S::HelloReceived, P::Connected, &[TellConnected]),
            (P::Greeted, S::HelloReceived, P::Connected, &[TellConnected]),
        ];
        for (_, phase) in PHASES {
            for step in STEPS {
                let expected = match step {
                    S::Deleted if phase != P::Deleting => Ok((P::Deleting, vec![Effect::DeleteQueue])),
                    S::Broken(failure) if phase != P::Deleting && phase != P::Failed => {
                        Ok((P::Failed, vec![Effect::TellFailure(failure)]))
                    }
                    _ => allowed
                        .iter()
                        .find(|row| row.0 == phase && row.1 == step)
                        .map(|row| (row.2, row.3.to_vec()))
                        .ok_or(NotAllowedNow),
                };
                assert_eq!(phase.apply(step), expected, "{phase:?} {step:?}");
            }
        }
    }

    #[test]
    fn phases_read_back() {
        for (number, phase) in PHASES {
            assert_eq!(phase.to_bytes(), [number]);
            assert_eq!(Phase::from_bytes(&[number]), Ok(phase));
        }
        assert!(Phase::from_bytes(&[18]).is_err());
    }

    #[test]
    fn who_may_send() {
        let senders: Vec<_> = PHASES.iter().filter(|(_, phase)| phase.may_send(true)).collect();
        assert_eq!(senders, [&(12, Phase::Joined), &(15, Phase::Connected)]);
        assert!(!Phase::Joined.may_send(false) && Phase::Connected.may_send(false));
    }
}
