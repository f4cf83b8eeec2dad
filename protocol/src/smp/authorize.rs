//! Who may do what: signatures and authenticators, made by clients and checked by servers (smp.md §5.3, §5.6).
//!
//! ```text
//! Ed25519, Ed448   signature over authorised
//! X25519           box(key of both sides, nonce = corrId, SHA-512(authorised))
//! in the session of a service, what entity keys authorise has the service's fingerprint in front
//! ```
//!
//! A refusal must not tell whether there is such a queue. So every refusal takes exactly one check of the kind that
//! the authenticator claims to be, with a dummy key where there is no real one; [`Verification::checks`] counts them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use subtle::ConstantTimeEq as _;

use crate::crypto::CryptoError;
use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::hash;
use crate::crypto::secretbox::{BoxKey, nonce_from};
use crate::crypto::sign::{Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey};
use crate::smp::command::{Command, Party};
use crate::smp::error::{CommandError, ErrorType};
use crate::smp::key::{AuthPrivateKey, AuthPublicKey, Authenticator};
use crate::smp::transmission::{Transmission, authorized_bytes};
use crate::transport::handshake::AcceptedService;

/// Keys of nobody, one of each kind, to check against where there is no queue or its key is of another kind
/// (smp.md §5.6).
pub const DUMMY_KEYS: [AuthPublicKey; 3] = [
    AuthPublicKey::Ed25519(Ed25519PublicKey([
        0xd7, 0x7f, 0x4e, 0xaa, 0xce, 0x10, 0x82, 0x9a, 0x9b, 0x02, 0x60, 0x74, 0xa3, 0xba, 0xd9, 0x7f, 0xa4,
        0xf5, 0xf6, 0xbc, 0xa5, 0xec, 0x4e, 0xb9, 0x93, 0x80, 0x18, 0x7b, 0x49, 0x04, 0xdd, 0x0b,
    ])),
    AuthPublicKey::Ed448(Ed448PublicKey([
        0xea, 0x26, 0xd0, 0x73, 0xd5, 0xe9, 0x91, 0x22, 0xed, 0xc2, 0xb7, 0xfb, 0x3c, 0xbb, 0xe9, 0xf3, 0x5a,
        0x96, 0xfd, 0xeb, 0x62, 0xba, 0x67, 0x24, 0x54, 0x52, 0x26, 0x08, 0xc4, 0x5d, 0x7e, 0xd7, 0x06, 0xfd,
        0x7a, 0x29, 0x6c, 0xe4, 0x9a, 0xab, 0xda, 0xb2, 0x2e, 0x1a, 0xe0, 0x25, 0x62, 0x8e, 0x2f, 0x23, 0x6b,
        0x40, 0xf3, 0x55, 0xbe, 0x93, 0x00,
    ])),
    AuthPublicKey::X25519(X25519PublicKey([
        0xe0, 0x91, 0x92, 0x31, 0x88, 0x6d, 0xd7, 0xc1, 0xf8, 0x99, 0xab, 0x3f, 0x8c, 0x77, 0x81, 0xc1, 0xf7,
        0x0c, 0xee, 0x32, 0xf0, 0x35, 0x82, 0x4d, 0x38, 0x08, 0x62, 0xdb, 0xf8, 0x38, 0x45, 0x78,
    ])),
];

/// Authorises the commands of a client in one session.
#[derive(Debug, Clone, Copy)]
pub struct Authorizer<'a> {
    /// The TLS session with the server that checks: for a forwarded command, the proxy's session with it.
    pub session_id: &'a [u8],
    /// That server's session key.
    pub server_key: &'a X25519PublicKey,
}

impl Authorizer<'_> {
    /// A transmission of `command` that `key` authorises. A correlation id must not be used twice in a session.
    #[must_use]
    pub fn authorize<'t>(
        &self,
        key: &AuthPrivateKey,
        correlation_id: &'t [u8],
        entity_id: &'t [u8],
        command: &'t [u8],
    ) -> Transmission<'t> {
        let authorized = authorized_bytes(self.session_id, correlation_id, entity_id, command);
        let authenticator = self.authenticator(key, correlation_id, &authorized);
        Transmission { authenticator, ..Transmission::unauthorized(correlation_id, entity_id, command) }
    }

    /// The same in the session of a service, for `NEW`, `SUB` and `NSUB`: the service signs, too.
    #[must_use]
    pub fn authorize_with_service<'t>(
        &self,
        key: &AuthPrivateKey,
        service_fingerprint: &[u8; 32],
        service_key: &Ed25519PrivateKey,
        correlation_id: &'t [u8],
        entity_id: &'t [u8],
        command: &'t [u8],
    ) -> Transmission<'t> {
        let authorized = authorized_bytes(self.session_id, correlation_id, entity_id, command);
        let with_service = [service_fingerprint, authorized.as_slice()].concat();
        Transmission {
            authenticator: self.authenticator(key, correlation_id, &with_service),
            service_signature: Some(service_key.sign(&authorized)),
            ..Transmission::unauthorized(correlation_id, entity_id, command)
        }
    }

    fn authenticator(&self, key: &AuthPrivateKey, correlation_id: &[u8], authorized: &[u8]) -> Authenticator {
        match key {
            AuthPrivateKey::Ed25519(key) => Authenticator::Ed25519(key.sign(authorized)),
            AuthPrivateKey::X25519(key) => {
                let sealed =
                    key.box_key(self.server_key).seal(&nonce_from(correlation_id), &hash::sha512(authorized));
                Authenticator::X25519(sealed.try_into().expect("a box around a SHA-512 has 80 bytes"))
            }
        }
    }
}

/// By whom a command must be authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizedBy<'a> {
    /// By any of these keys.
    Keys(&'a [AuthPublicKey]),
    /// By nobody: the command must have no authenticator, as `SEND` to a queue that is not secured.
    Nobody,
    /// There is no such queue, or this one does not allow the command: refused in any case.
    Impossible,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Whether the command may be executed; else the answer is `AUTH`.
    pub is_authorized: bool,
    /// How many signatures or authenticators were computed, counted as it is done. A refusal takes exactly one, whatever its cause, if the
    /// command has an authenticator; with several recipient keys of its kind, one for each.
    pub checks: usize,
}

/// The keys that a session's own key made together with those of queues: a key agreement takes twenty times as long as
/// the check itself. Only keys are remembered by which somebody authorised a command in this session, and a refusal
/// takes a key agreement in any case: its time must not tell whether there is such a queue.
#[derive(Debug, Default)]
pub struct AgreedKeys(Mutex<HashMap<X25519PublicKey, BoxKey>>);

impl AgreedKeys {
    /// Keys that are remembered; then all are forgotten. 64 bytes each, so 64 KiB for a session that uses so many.
    pub const COUNT_MAX: usize = 1024;

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn with(&self, key: &X25519PublicKey) -> Option<BoxKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn remember(&self, key: X25519PublicKey, box_key: BoxKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= Self::COUNT_MAX {
            keys.clear();
        }
        keys.insert(key, box_key);
    }
}

/// What the authenticator of a transmission is checked against. It depends on nothing but the transmission and the session,
/// so that it may be made before anything else is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    /// What a signature covers, or nobody authorised.
    Text(Vec<u8>),
    /// The hash that an authenticator seals.
    Hash([u8; 64]),
}

/// Checks the commands of one session as its server.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    /// The TLS session.
    pub session_id: &'a [u8],
    /// The server's session key.
    pub own_key: &'a X25519PrivateKey,
    /// The service whose session it is, if it is one's.
    pub service: Option<&'a AcceptedService>,
}

impl Verifier<'_> {
    /// Whether this session's role may send `command` at all.
    ///
    /// # Errors
    /// [`CommandError::Prohibited`].
    pub fn check_role(&self, command: &Command<'_>) -> Result<(), CommandError> {
        match self.service {
            Some(service) if !service.role.may_send_as(command.party()) => Err(CommandError::Prohibited),
            _ => Ok(()),
        }
    }

    /// Whether the service signature is there and good, or absent, as `command` in this session wants it. For the
    /// commands that a service sends for all its queues, its signature is the authenticator.
    ///
    /// # Errors
    /// [`ErrorType::Service`].
    pub fn check_service(
        &self,
        command: &Command<'_>,
        transmission: &Transmission<'_>,
    ) -> Result<(), ErrorType> {
        let is_signed = |service: &AcceptedService, signature: &[u8]| {
            service.session_key.verify(&transmission.authorized_bytes(self.session_id), signature).is_ok()
        };
        let is_good = match (command.party(), self.service, &transmission.service_signature) {
            (Party::RecipientService | Party::NotifierService, Some(service), None) => {
                transmission.entity_id == service.service_id.as_bytes()
                    && matches!(&transmission.authenticator, Authenticator::Ed25519(signature)
                        if is_signed(service, signature))
            }
            (Party::RecipientService | Party::NotifierService, ..) => false,
            (_, Some(service), Some(signature)) => {
                command.takes_service_signature() && is_signed(service, signature)
            }
            (_, Some(_), None) => !command.takes_service_signature(),
            (_, None, signature) => signature.is_none(),
        };
        if is_good { Ok(()) } else { Err(ErrorType::Service) }
    }

    /// Whether `by` authorised the transmission.
    #[must_use]
    pub fn verify(&self, transmission: &Transmission<'_>, by: AuthorizedBy<'_>) -> Verification {
        self.verify_remembering(transmission, by, &AgreedKeys::default())
    }

    /// As [`Self::verify`], with what this session agreed on before.
    #[must_use]
    pub fn verify_remembering(
        &self,
        transmission: &Transmission<'_>,
        by: AuthorizedBy<'_>,
        agreed: &AgreedKeys,
    ) -> Verification {
        let covered = match self.text_to_hash(transmission) {
            Some(text) => Covered::Hash(hash::sha512(&text)),
            None => self.covered_text(transmission),
        };
        self.verify_covered(transmission, &covered, by, agreed)
    }

    /// The text whose SHA-512 makes [`Covered::Hash`], if the transmission has an authenticator that seals it. Several
    /// hashes at a time are faster than one after another: [`hash::sha512_each`].
    #[must_use]
    pub fn text_to_hash(&self, transmission: &Transmission<'_>) -> Option<Vec<u8>> {
        matches!(transmission.authenticator, Authenticator::X25519(_)).then(|| self.authorized(transmission))
    }

    /// What the transmission's authenticator is checked against, if that is no hash.
    #[must_use]
    pub fn covered_text(&self, transmission: &Transmission<'_>) -> Covered {
        Covered::Text(match transmission.authenticator {
            Authenticator::None => Vec::new(),
            _ => self.authorized(transmission),
        })
    }

    fn authorized(&self, transmission: &Transmission<'_>) -> Vec<u8> {
        let mut authorized = transmission.authorized_bytes(self.session_id);
        if let (Some(service), Some(_)) = (self.service, &transmission.service_signature) {
            authorized.splice(..0, service.fingerprint);
        }
        authorized
    }

    /// As [`Self::verify_remembering`], with what the authenticator is checked against.
    #[must_use]
    pub fn verify_covered(
        &self,
        transmission: &Transmission<'_>,
        covered: &Covered,
        by: AuthorizedBy<'_>,
        agreed: &AgreedKeys,
    ) -> Verification {
        if transmission.authenticator.is_none() {
            return Verification { is_authorized: by == AuthorizedBy::Nobody, checks: 0 };
        }
        let keys = match by {
            AuthorizedBy::Keys(keys) => keys,
            AuthorizedBy::Nobody | AuthorizedBy::Impossible => &[],
        };
        let mut checks = 0;
        for key in keys {
            if let Some(is_authorized) = self.check(transmission, covered, key, agreed) {
                checks += 1;
                if is_authorized {
                    return Verification { is_authorized, checks };
                }
            }
        }
        if checks == 0 {
            for dummy in &DUMMY_KEYS {
                // The result does not matter, the time does; keys of other kinds are passed over.
                let checked = std::hint::black_box(self.check(transmission, covered, dummy, agreed));
                checks += usize::from(checked.is_some());
            }
        }
        Verification { is_authorized: false, checks }
    }

    /// Whether `key` made the authenticator, or nothing when there was nothing to compute: it is of another kind, or
    /// its bytes are no key. Who secures a queue names the key, and must not learn by a fast refusal that it is there.
    fn check(
        &self,
        transmission: &Transmission<'_>,
        covered: &Covered,
        key: &AuthPublicKey,
        agreed: &AgreedKeys,
    ) -> Option<bool> {
        let verified = |result: Result<(), CryptoError>| match result {
            Err(CryptoError::Key) => None,
            result => Some(result.is_ok()),
        };
        match (key, &transmission.authenticator, covered) {
            (AuthPublicKey::Ed25519(key), Authenticator::Ed25519(signature), Covered::Text(text)) => {
                verified(key.verify(text, signature))
            }
            (AuthPublicKey::Ed448(key), Authenticator::Ed448(signature), Covered::Text(text)) => {
                verified(key.verify(text, signature.as_slice()))
            }
            (AuthPublicKey::X25519(key), Authenticator::X25519(sealed), Covered::Hash(hash)) => {
                let nonce = nonce_from(transmission.correlation_id);
                let is_made_with = |box_key: &BoxKey| {
                    box_key.open(&nonce, sealed).is_ok_and(|digest| digest.ct_eq(hash).into())
                };
                if let Some(box_key) = agreed.with(key) {
                    let is_authorized = is_made_with(&box_key);
                    if !is_authorized {
                        // A refusal takes a key agreement, whatever is remembered.
                        std::hint::black_box(self.own_key.box_key(key));
                    }
                    return Some(is_authorized);
                }
                let box_key = self.own_key.box_key(key);
                let is_authorized = is_made_with(&box_key);
                if is_authorized {
                    agreed.remember(*key, box_key);
                }
                Some(is_authorized)
            }
            _ => None,
        }
    }
}
