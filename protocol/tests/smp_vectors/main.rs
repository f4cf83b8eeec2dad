//! Known answers of the queue protocol: every file of `tests/vectors/smp` is a case with its expected outcome.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod case;
mod crypto;
mod formats;

use case::Case;

#[test]
fn every_case_has_its_outcome() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/smp");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 300, "cases are missing");
    for path in paths {
        let case = Case::read(&path);
        match case.text("kind") {
            "dh" => crypto::dh(&case),
            "box" => crypto::sealed_box(&case),
            "pad" => crypto::pad(&case),
            "unpad" => crypto::unpad(&case),
            "hkdf" => crypto::hkdf(&case),
            "authorized" => crypto::authorized(&case),
            "authenticator" => crypto::authenticator(&case),
            "block" => crypto::block(&case),
            "sender_id" => crypto::sender_id(&case),
            "signed_key" => crypto::signed_key(&case),
            "message_body" => crypto::message_body(&case),
            "message_quota" => crypto::message_quota(&case),
            "notification" => crypto::notification(&case),
            "transmission" => formats::transmission(&case),
            "batch" => formats::batch(&case),
            "command" => formats::command(&case),
            "credentials" => formats::credentials(&case),
            "message" => formats::message(&case),
            "error" => formats::error(&case),
            "client_hello" => formats::client_hello(&case),
            "server_hello" => formats::server_hello(&case),
            "service_response" => formats::service_response(&case),
            "envelope" => formats::envelope(&case),
            other => panic!("{}: unknown kind {other}", case.name),
        }
    }
}
