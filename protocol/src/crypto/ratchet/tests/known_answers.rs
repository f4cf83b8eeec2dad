use super::super::agreement::AgreementKeys;
use super::super::header::{HEADER_PADDED_BYTES, Header};
use super::super::parameters::{KemElement, RatchetOffer, RatchetParameters};
use super::super::secret::{ChainKey, RootKey};
use super::super::{MessageKey, Ratchet, RatchetError};
use super::{Script, keys, private};
use crate::crypto::dh::{X448PrivateKey, X448PublicKey};
use crate::crypto::hash::sha256;
use crate::crypto::kdf::hkdf;
use crate::crypto::{aead, padding};
use crate::encoding::{Decode as _, Encode as _};

/// The padded size in the vectors; real messages are larger.
const PADDED: u16 = 100;

/// A file of `name [length] = value` lines, read from some line on.
#[derive(Clone, Copy)]
struct Vectors(&'static str);

impl Vectors {
    /// From the first line that starts with `prefix`.
    fn from(self, prefix: &str) -> Self {
        let at = self.0.lines().position(|line| line.starts_with(prefix)).expect(prefix);
        let offset: usize = self.0.lines().take(at).map(|line| line.len() + 1).sum();
        Self(&self.0[offset..])
    }

    /// What stands behind the separator on the first line with this name.
    fn text(self, name: &str, separator: &str) -> &'static str {
        let line = self.0.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        line.split_once(separator).expect(separator).1
    }

    fn hex(self, name: &str) -> Vec<u8> {
        unhex(self.text(name, " = "))
    }

    fn base64(self, name: &str) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(self.text(name, " b64=").trim_end_matches('='))
            .unwrap()
    }

    fn sha256(self, name: &str) -> Vec<u8> {
        unhex(self.text(name, " sha256=").split_once(' ').unwrap().0)
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const A1: Vectors = Vectors(include_str!("../../../../tests/vectors/agent-a1-primitives.txt"));
const A2: Vectors = Vectors(include_str!("../../../../tests/vectors/agent-a2-ratchet-v3.txt"));
const A3: Vectors = Vectors(include_str!("../../../../tests/vectors/agent-a3-ratchet-v2-upgrade.txt"));
const A4: Vectors = Vectors(include_str!("../../../../tests/vectors/agent-a4-pq-later.txt"));
const A5: Vectors = Vectors(include_str!("../../../../tests/vectors/agent-a5-ratchet-pq.txt"));

#[test]
fn primitives() {
    let sequence = |count: u8| (0..count).collect::<Vec<_>>();
    assert_eq!(padding::pad(b"hello", 32).unwrap(), A1.hex("pad("));
    let (tag, text) = aead::encrypt_padded(
        &sequence(32).try_into().unwrap(),
        &sequence(16).try_into().unwrap(),
        b"ad",
        b"hello",
        32,
    )
    .unwrap();
    assert_eq!((tag.to_vec(), text), (A1.hex("encryptAEAD(key"), A1.hex("encryptAEAD.ct")));

    let (chain, body, header_iv) = ChainKey([0x0b; 32]).step();
    assert_eq!(chain.0.to_vec(), A1.hex("chainKdf(0b*32).ck'"));
    assert_eq!(body.key.to_vec(), A1.hex("chainKdf.mk"));
    assert_eq!(body.iv.to_vec(), A1.hex("chainKdf.iv1"));
    assert_eq!(header_iv.to_vec(), A1.hex("chainKdf.iv2"));

    let (xa, xb) = (private("xa"), private("xb"));
    assert_eq!(xa.as_bytes().to_vec(), A1.hex("x448 priv SHA512('xa')"));
    assert_eq!(xa.to_der(), A1.hex("x448 priv(xa) DER"));
    assert_eq!(xa.public_key().to_der(), A1.hex("x448 pub(xa)"));
    assert_eq!(xb.public_key().to_der(), A1.hex("x448 pub(xb)"));
    assert_eq!(xa.diffie_hellman(&xb.public_key()).unwrap().to_vec(), A1.hex("x448 dh"));
    let step = RootKey([0x0c; 32]).step(&xb.public_key(), &xa).unwrap();
    assert_eq!(step.root.0.to_vec(), A1.hex("rootKdf(0c*32"));
    assert_eq!(step.chain.0.to_vec(), A1.hex("rootKdf.ck"));
    assert_eq!(step.next_header_key.0.to_vec(), A1.hex("rootKdf.nhk"));
    assert_eq!(hkdf::<32>(b"", b"ikm", "info").to_vec(), A1.hex("hkdf('', 'ikm'"));
}

/// Compares a ratchet with a `state` of the vectors.
fn assert_state(ratchet: &Ratchet, vectors: Vectors, name: &str) {
    let state = vectors.from(&format!("state {name}:"));
    let head = state.text("state", ": ");
    let counters = format!("Ns={} Nr={} PN={} ", ratchet.sent, ratchet.received, ratchet.previous);
    assert!(head.contains(&counters), "{head}: {counters}");
    assert!(head.starts_with(&format!("cur=Version {} max=Version 3", ratchet.version)), "{head}");
    assert_eq!(ratchet.own_key.private.as_bytes().to_vec(), state.hex("DHRs.priv"));
    assert_eq!(ratchet.own_key.public, ratchet.own_key.private.public_key());
    assert_eq!(ratchet.root.0.to_vec(), state.hex("RK"));
    assert_eq!(ratchet.next_sending_header_key.0.to_vec(), state.hex("NHKs"));
    assert_eq!(ratchet.next_receiving_header_key.0.to_vec(), state.hex("NHKr"));
    if let Some(sending) = &ratchet.sending {
        assert_eq!(sending.chain.0.to_vec(), state.hex("CKs"));
        assert_eq!(sending.header_key.0.to_vec(), state.hex("HKs"));
    }
    if let Some(receiving) = &ratchet.receiving {
        assert_eq!(receiving.chain.0.to_vec(), state.hex("CKr"));
        assert_eq!(receiving.header_key.0.to_vec(), state.hex("HKr"));
    }
    assert_eq!(Ratchet::from_bytes(&ratchet.to_bytes()).as_ref(), Ok(ratchet), "the form at rest");
}

fn send(ratchet: &mut Ratchet, message: &[u8]) -> Vec<u8> {
    let key = ratchet.encrypt_header(message.len(), PADDED).unwrap();
    let key = MessageKey::from_bytes(&key.to_bytes()).unwrap();
    let sealed = key.encrypt_body(message).unwrap();
    assert_eq!(key.encrypt_body(message).unwrap(), sealed, "the same bytes at each attempt");
    sealed
}

/// Two parties with the keys of the vectors, agreed on `version`.
fn parties(version: u16) -> (Ratchet, Ratchet) {
    let (alice, bob) = (keys("alice1", "alice2"), keys("bob1", "bob2"));
    let mut rng = Script::new(&[private("alice3").as_bytes()]);
    let joiner = Ratchet::new_joiner(&alice, &bob.parameters(version), &mut rng).unwrap();
    let initiator = Ratchet::new_initiator(&bob, &alice.parameters(version)).unwrap();
    (joiner, initiator)
}

#[test]
fn parameters() {
    let (alice, bob) = (keys("alice1", "alice2"), keys("bob1", "bob2"));
    assert_eq!(bob.parameters(3).to_bytes(), A2.hex("bob params (v3, no kem)"));
    assert_eq!(alice.parameters(3).to_bytes(), A2.hex("alice params"));
    assert_eq!(alice.parameters(2).to_bytes(), A3.hex("alice params v2"));
    let offer = bob.offer(super::super::RATCHET_VERSIONS);
    assert_eq!(offer.to_bytes(), A2.hex("bob params uri smp"));
    assert_eq!(offer.to_string(), A2.text("bob params uri str", " = "));
    assert_eq!(offer.to_string().parse(), Ok(offer));
    let of_three = |version| RatchetParameters::from_bytes(&alice.parameters(version).to_bytes());
    assert_eq!((of_three(2), of_three(3)), (Ok(alice.parameters(2)), Ok(alice.parameters(3))));
}

/// A.2, every line of it.
#[test]
fn ratchet_version_3() {
    let (mut alice, mut bob) = parties(3);
    assert_eq!(alice.associated_data.to_vec(), A2.hex("AD"));
    let agreement = AgreementKeys::agree_as_joiner(
        &keys("alice1", "alice2"),
        &private("bob1").public_key(),
        &private("bob2").public_key(),
    )
    .unwrap();
    assert_eq!(agreement.root.0.to_vec(), A2.hex("x3dh sk"));
    assert_eq!(agreement.header_key.0.to_vec(), A2.hex("x3dh hk"));
    assert_eq!(agreement.next_header_key.0.to_vec(), A2.hex("x3dh nhk"));
    assert_state(&alice, A2, "alice0");
    assert_state(&bob, A2, "bob0");
    assert_eq!(bob.encrypt_header(5, PADDED), Err(RatchetError::NoSendingChain));

    let m1 = send(&mut alice, b"hello bob");
    assert_eq!(m1, A2.hex("m1"));
    let m2 = send(&mut alice, b"second");
    assert_eq!(sha256(&m2).to_vec(), A2.sha256("m2"));

    let mut rng = Script::new(&[&A2.from("state bob1").hex("DHRs.priv")]);
    assert_eq!(bob.decrypt(&m1, &mut rng).unwrap(), b"hello bob");
    assert_state(&bob, A2, "bob1");
    let m3 = send(&mut bob, b"hello alice");
    assert_eq!(m3, A2.hex("m3"));
    let mut rng = Script::new(&[&A2.from("state alice3").hex("DHRs.priv")]);
    assert_eq!(alice.decrypt(&m3, &mut rng).unwrap(), b"hello alice");
    assert_state(&alice, A2, "alice3");
    let m4 = send(&mut alice, b"third, after ratchet step");
    assert_eq!(m4, A2.hex("m4"));

    let mut rng = Script::new(&[private("any").as_bytes()]);
    assert_eq!(bob.decrypt(&m4, &mut rng).unwrap(), b"third, after ratchet step");
    assert_eq!(bob.skipped_keys(), 1);
    let header_key = bob.skipped.header_keys().next().unwrap().clone();
    assert_eq!(header_key.0.to_vec(), A2.hex("skipped HK"));
    let key = bob.skipped.clone().take(&header_key, 1).unwrap();
    assert_eq!((key.key.to_vec(), key.iv.to_vec()), (A2.hex("skipped mk"), A2.hex("skipped iv")));
    assert_eq!(Ratchet::from_bytes(&bob.to_bytes()).as_ref(), Ok(&bob));
    assert_eq!(bob.decrypt(&m2, &mut rng).unwrap(), b"second");
    assert_eq!(bob.skipped_keys(), 0);
}

/// A.3: the first message has the old format, and both move on with the first header.
#[test]
fn ratchet_version_2_upgrades() {
    let (mut alice, mut bob) = parties(2);
    let m1 = send(&mut alice, b"hello bob");
    assert_eq!(m1, A3.hex("m1"));
    let mut rng = Script::new(&[private("x").as_bytes(), private("y").as_bytes()]);
    assert_eq!(bob.decrypt(&m1, &mut rng).unwrap(), b"hello bob");
    assert_eq!(bob.version(), 3);
    let m2 = send(&mut bob, b"hello alice");
    assert_eq!((m2.len(), &m2[..4]), (242, &[0x00, 0x7c, 0x00, 0x03][..]));
    assert_eq!(alice.decrypt(&m2, &mut rng).unwrap(), b"hello alice");
    assert_eq!(alice.version(), 3);
}

/// A.4: sizes of messages with the small and the large header. The peer that wants a KEM proposes in vain.
#[test]
fn large_headers_are_read() {
    const LARGE_HEADER: usize = 2_310;
    for line in A4.0.lines().skip(1) {
        let length: usize = line.split("len=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let header = if line.contains("len=242") { HEADER_PADDED_BYTES } else { LARGE_HEADER };
        let sealed_header = 2 + 16 + 16 + 2 + header;
        assert_eq!(length, 2 + sealed_header + 16 + usize::from(PADDED), "{line}");
    }
    let (alice, mut bob) = parties(3);
    let public_key = A5.base64("alice kem sk")[382..1540].to_vec();
    for (kem, size, outcome) in [
        (None, "none", Ok(b"body".to_vec())),
        (Some(KemElement::Proposed { public_key: public_key.clone() }), "proposed", Ok(b"body".to_vec())),
        (
            Some(KemElement::Accepted { ciphertext: A5.base64("kem ct"), public_key }),
            "accepted",
            Err(RatchetError::UnexpectedKem),
        ),
    ] {
        let message = as_a_kem_peer(&alice, kem, LARGE_HEADER);
        assert_eq!(message.len(), 2_464, "{size}");
        let before = bob.clone();
        let mut rng = Script::new(&[private("z").as_bytes()]);
        let result = bob.decrypt(&message, &mut rng);
        assert_eq!(result, outcome, "{size}");
        if result.is_ok() {
            // what we send stays small, and bears no KEM
            assert_eq!(send(&mut bob, b"answer").len(), 242);
            bob = before;
        } else {
            assert_eq!(bob, before, "a refused KEM spends nothing");
        }
    }
}

/// What `sender`, had it a KEM, would send: its next message with this element in a header of that size.
fn as_a_kem_peer(sender: &Ratchet, kem: Option<KemElement>, header_bytes: usize) -> Vec<u8> {
    let sending = sender.sending.as_ref().unwrap();
    let (_, body, header_iv) = sending.chain.step();
    let mut plain = vec![0, 3];
    sender.own_key.public.encode(&mut plain);
    crate::encoding::put_maybe(&mut plain, kem, |out, kem| kem.encode(out));
    plain.extend_from_slice(&[0; 8]);
    let (tag, text) = aead::encrypt_padded(
        &sending.header_key.0,
        &header_iv,
        &sender.associated_data,
        &plain,
        header_bytes,
    )
    .unwrap();
    let mut header = [&[0, 3][..], &header_iv, &tag].concat();
    crate::encoding::put_large(&mut header, &text);
    let key = MessageKey {
        version: 3,
        body,
        associated_data: sender.associated_data,
        header,
        padded_bytes: PADDED,
    };
    key.encrypt_body(b"body").unwrap()
}

/// A.5, what of it does not need a KEM: parsing, sizes, and refusing what answers no proposal of ours.
#[test]
fn parameters_and_headers_with_a_kem() {
    let public = |name: &str| A5.base64(name)[382..1540].to_vec();
    let offered = RatchetOffer {
        kem: Some(KemElement::Proposed { public_key: public("bob kem sk") }),
        ..keys("bob1", "bob2").offer(super::super::RATCHET_VERSIONS)
    };
    let bytes = offered.to_bytes();
    assert_eq!((bytes.len(), sha256(&bytes).to_vec()), (1_304, A5.sha256("bob params uri smp")));
    assert_eq!(RatchetOffer::from_bytes(&bytes), Ok(offered.clone()));
    assert_eq!(offered.to_string().len(), 1_749);
    assert_eq!(offered.to_string().parse(), Ok(offered));

    let proposed = RatchetParameters {
        kem: Some(KemElement::Proposed { public_key: public("bob kem sk") }),
        ..keys("bob1", "bob2").parameters(3)
    };
    let bytes = proposed.to_bytes();
    assert_eq!((bytes.len(), sha256(&bytes).to_vec()), (1_302, A5.sha256("bob params smp")));
    assert_eq!(RatchetParameters::from_bytes(&bytes), Ok(proposed.clone()));

    let accepted = RatchetParameters {
        kem: Some(KemElement::Accepted {
            ciphertext: A5.base64("kem ct"),
            public_key: public("alice kem sk"),
        }),
        ..keys("alice1", "alice2").parameters(3)
    };
    let bytes = accepted.to_bytes();
    assert_eq!((bytes.len(), sha256(&bytes).to_vec()), (2_343, A5.sha256("alice params smp")));
    assert_eq!(RatchetParameters::from_bytes(&bytes), Ok(accepted.clone()));

    // a proposal goes unanswered, an answer to nothing is refused
    let own = keys("bob1", "bob2");
    assert!(Ratchet::new_initiator(&own, &proposed).is_ok());
    assert_eq!(Ratchet::new_initiator(&own, &accepted), Err(RatchetError::UnexpectedKem));
    let mut rng = Script::new(&[]);
    assert_eq!(Ratchet::new_joiner(&own, &accepted, &mut rng), Err(RatchetError::UnexpectedKem));
}

#[test]
fn plain_headers() {
    let header = Header {
        max_version: 3,
        ratchet_key: private("alice1").public_key(),
        kem: None,
        previous: 0,
        number: 0,
    };
    for (version, name, numbers) in [(3, "plain header no kem", (0, 0)), (2, "plain header v2", (1, 2))] {
        let header = Header { previous: numbers.0, number: numbers.1, ..header.clone() };
        let expected = A5.hex(name);
        assert_eq!(opened(&header, version), expected, "{name}");
    }
}

/// The plain bytes of a header, by sealing it and taking the cipher off.
fn opened(header: &Header, version: u16) -> Vec<u8> {
    let key = super::super::secret::HeaderKey([1; 32]);
    let sealed = header.seal(version, &key, &[2; 16], b"").unwrap();
    let length_bytes = if version == 2 { 1 } else { 2 };
    let tag = sealed[18..34].try_into().unwrap();
    aead::decrypt_padded(&key.0, &[2; 16], b"", &tag, &sealed[34 + length_bytes..]).unwrap()
}

#[test]
fn an_all_zero_secret_is_refused() {
    let zero = RatchetParameters {
        first: X448PublicKey([0; 56]),
        ..AgreementKeys::new(X448PrivateKey::from_bytes([7; 56]), private("q")).parameters(3)
    };
    assert_eq!(Ratchet::new_initiator(&keys("bob1", "bob2"), &zero), Err(RatchetError::Parameters));
}
