//! tls-unique out of rustls (smp.md §3.6, §22.1): the session identifier is the client's Finished message, which
//! rustls keeps to itself.
//!
//! ```text
//! provider()  the suite with its HKDF wrapped: what hmac_sign returns is also written to the slot
//! slot        thread-local, filled only while the handshake of one connection is being polled
//! Tapped      puts its own record into the slot for the span of each (synchronous) poll and takes it out again
//! ```
//!
//! rustls computes a MAC through `Hkdf::hmac_sign` exactly twice in a full handshake: for the server's Finished,
//! then for the client's. Everything else fails closed: another count, or a resumed session, is an error, because
//! a wrong identifier would bind signatures to the wrong connection.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock};
use rustls::crypto::{ActiveKeyExchange, CryptoProvider, hmac};
use rustls::{HandshakeKind, SupportedCipherSuite, Tls13CipherSuite};

use super::record_keys::AtRest;

/// Finished messages in a full TLS 1.3 handshake: the server's, then the client's.
const FINISHED_COUNT: usize = 2;

/// Longest Finished value: SHA-384 (smp.md §3.6).
const FINISHED_BYTES_MAX: usize = 48;

/// The tls-unique value of a connection: 32 bytes, or 48 with a SHA-384 suite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TlsUnique {
    bytes: [u8; FINISHED_BYTES_MAX],
    length: usize,
}

impl TlsUnique {
    /// The bytes, as they stand in the hello and in what is authorised.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn new(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; FINISHED_BYTES_MAX];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { bytes, length: value.len() })
    }
}

impl std::fmt::Debug for TlsUnique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsUnique(..)")
    }
}

/// What a handshake computed so far.
#[derive(Debug, Default)]
struct Record {
    count: usize,
    last: Option<TlsUnique>,
}

thread_local! {
    /// The record of the connection that this thread is polling right now.
    static SLOT: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// A handshake in progress whose Finished messages are recorded.
#[derive(Debug)]
pub(super) struct Tapped<F> {
    handshake: F,
    record: Option<Record>,
}

/// Records the Finished messages that `handshake` computes while it is polled.
pub(super) fn tap<F>(handshake: F) -> Tapped<F> {
    Tapped { handshake, record: Some(Record::default()) }
}

/// What a finished handshake computed; turned into the identifier by [`Finished::tls_unique`].
#[derive(Debug)]
pub(super) struct Finished(Record);

impl Finished {
    /// The client's Finished, or nothing when this was not a full handshake that computed exactly two.
    pub(super) fn tls_unique(self, kind: Option<HandshakeKind>) -> Option<TlsUnique> {
        let full = matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest));
        if full && self.0.count == FINISHED_COUNT { self.0.last } else { None }
    }
}

impl<F: Future + Unpin> Future for Tapped<F> {
    type Output = (F::Output, Finished);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        /// Puts the record back where it came from, also when the handshake panics.
        struct Installed<'a> {
            record: &'a mut Option<Record>,
            outer: Option<Record>,
        }

        impl Drop for Installed<'_> {
            fn drop(&mut self) {
                *self.record = SLOT.replace(self.outer.take());
            }
        }

        let this = &mut *self;
        let outer = SLOT.replace(this.record.take());
        let installed = Installed { record: &mut this.record, outer };
        let polled = Pin::new(&mut this.handshake).poll(context);
        drop(installed);
        polled.map(|output| (output, Finished(this.record.take().unwrap_or_default())))
    }
}

/// An HKDF that also notes down what it signs.
struct TappedHkdf(&'static dyn Hkdf);

impl Hkdf for TappedHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, rustls::Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        self.0.expander_for_okm(okm)
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        let tag = self.0.hmac_sign(key, message);
        SLOT.with_borrow_mut(|slot| {
            if let Some(record) = slot {
                record.count = record.count.saturating_add(1);
                record.last = TlsUnique::new(tag.as_ref());
            }
        });
        tag
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// The suite of SMP, and no other (smp.md §3.1): who offers only others is refused, as by every server.
static STOCK: [SupportedCipherSuite; 1] = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];

static PARTS: LazyLock<Vec<(&'static Tls13CipherSuite, TappedHkdf, AtRest)>> = LazyLock::new(|| {
    STOCK
        .iter()
        .filter_map(|suite| suite.tls13())
        .map(|suite| (suite, TappedHkdf(suite.hkdf_provider), AtRest(suite.aead_alg)))
        .collect()
});

static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    PARTS
        .iter()
        .map(|(stock, hkdf, cipher)| Tls13CipherSuite {
            common: rustls::crypto::CipherSuiteCommon {
                suite: stock.common.suite,
                hash_provider: stock.common.hash_provider,
                confidentiality_limit: stock.common.confidentiality_limit,
            },
            hkdf_provider: hkdf,
            aead_alg: cipher,
            quic: None,
        })
        .collect()
});

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.iter().map(SupportedCipherSuite::Tls13).collect(),
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
});

/// The provider of every connection here: a TLS 1.3 suite that is tapped, X25519 alone.
pub(super) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_empty_outside_of_polls_even_after_a_panic() {
        let mut tapped =
            tap(std::future::poll_fn(|_| -> Poll<()> { panic!("in the middle of a handshake") }));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = Pin::new(&mut tapped).poll(&mut Context::from_waker(std::task::Waker::noop()));
        }));
        assert!(caught.is_err());
        SLOT.with_borrow(|slot| assert!(slot.is_none()));
        assert!(tapped.record.is_some());
    }

    #[test]
    fn only_two_values_of_a_full_handshake_make_an_identifier() {
        let value = TlsUnique::new(&[7; 32]);
        let finished = |count| Finished(Record { count, last: value });
        assert_eq!(finished(2).tls_unique(Some(HandshakeKind::Full)), value);
        assert_eq!(finished(2).tls_unique(Some(HandshakeKind::FullWithHelloRetryRequest)), value);
        assert_eq!(finished(2).tls_unique(Some(HandshakeKind::Resumed)), None);
        assert_eq!(finished(2).tls_unique(None), None);
        for count in [0, 1, 3] {
            assert_eq!(finished(count).tls_unique(Some(HandshakeKind::Full)), None);
        }
        assert_eq!(TlsUnique::new(&[0; 49]), None);
    }
}
