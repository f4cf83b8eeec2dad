//! What both sides say before there is a session: blocks, hellos, certificates.

#![no_main]

use conclave_fuzz::binary;
use libfuzzer_sys::fuzz_target;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::net::certificate::certificate_key;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use protocol::transport::certified_key::{CertificateChain, CertifiedKey, SignedKey};
use protocol::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceResponse};

fuzz_target!(|data: &[u8]| {
    let _ = (ServerHello::parse(data), ClientHello::parse(data), ServiceResponse::parse(data));
    binary::<ServiceHello>(data);
    binary::<CertificateChain>(data);
    binary::<SignedKey>(data);
    binary::<CertifiedKey>(data);
    let _ = certificate_key(data);
    let mut block = [0; BLOCK_BYTES];
    for (byte, given) in block.iter_mut().zip(data) {
        *byte = *given;
    }
    let _ = BlockOpener::plain().open(&mut block.clone());
    let key = X25519PrivateKey::from_bytes([1; 32]);
    assert!(BlockCipher::client(b"session", &key, &key.public_key()).receive.open(&mut block).is_err());
    if let Ok(block) = BlockSealer::plain().seal(data) {
        let mut block = block.as_slice().try_into().expect("a block");
        assert_eq!(BlockOpener::plain().open(&mut block), Ok(data));
    }
});
