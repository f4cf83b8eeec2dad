//! Known answers of the group layer: every file of `tests/vectors/group` is a case with its expected outcome.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../smp_vectors/case.rs"]
#[allow(dead_code, reason = "the reader of cases is shared, and not all of it is needed here")]
mod case;

use case::{Case, bytes};
use protocol::agent::owner_auth::{OwnerAuth, check_owner_chain};
use protocol::crypto::hash::sha256;
use protocol::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use protocol::encoding::{Decode, Encode};
use protocol::group::batch::{Element, pack};
use protocol::group::container::{elements, unfold};
use protocol::group::forward::{Forward, ForwardSender, forward};
use protocol::group::identity::{MemberId, MemberKey, PublicGroupId};
use protocol::group::opened::Owner;
use protocol::group::signed::{SignatureState, Statement, sign};
use protocol::timestamp::Timestamp;

#[test]
fn every_case_has_its_outcome() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/group");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 30, "cases are missing");
    for path in paths {
        let case = Case::read(&path);
        match case.text("kind") {
            "group_id" => group_id(&case),
            "owner" => owner(&case),
            "signed" => signed(&case),
            "check" => check(&case),
            "forward" => forwarded(&case),
            "batch" => batch(&case),
            "container" => container(&case),
            other => panic!("{}: unknown kind {other}", case.name),
        }
    }
}

fn key(case: &Case, field: &str) -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_seed(&case.array(field))
}

fn member(case: &Case) -> MemberId {
    MemberId::new(case.bytes("member")).unwrap()
}

fn group(case: &Case) -> PublicGroupId {
    PublicGroupId::new(case.bytes("group")).unwrap()
}

fn assert_length(case: &Case, content: &[u8], field: &str) {
    case.assert_eq(content.len(), case.number(field));
}

fn group_id(case: &Case) {
    let root_key = key(case, "root_seed").public_key();
    case.assert_eq(root_key, Ed25519PublicKey(case.array("root_key")));
    case.assert_eq(PublicGroupId::of_root_key(&root_key), group(case));
    assert!(group(case).is_of_root_key(&root_key));
    // The other reading is never a reason to refuse: it only is not what we write.
    let other = PublicGroupId::new(case.bytes("other_reading")).unwrap();
    case.assert_eq(sha256(&root_key.to_der()).to_vec(), other.as_bytes().to_vec());
    assert!(!other.is_of_root_key(&root_key));
}

fn owner(case: &Case) {
    let (root, own) = (key(case, "root_seed"), key(case, "owner_seed").public_key());
    case.assert_eq(own.to_der(), case.bytes("owner_key_der"));
    let auth = Owner { member_id: member(case), key: MemberKey(own) }.to_auth(&root).unwrap();
    let inner = case.bytes("inner");
    assert_length(case, &inner, "inner_bytes");
    let with_length = [&[u8::try_from(inner.len()).unwrap()], &inner[..]].concat();
    case.assert_eq(auth.to_bytes(), with_length.clone());
    case.assert_eq(OwnerAuth::from_bytes(&with_length), Ok(auth.clone()));
    case.assert_eq(check_owner_chain(&[auth], &root.public_key()), Ok(()));
}

fn signed(case: &Case) {
    let (key, group, member, json) = (key(case, "seed"), group(case), member(case), case.bytes("json"));
    let content = case.bytes("content");
    assert_length(case, &content, "content_bytes");
    case.assert_eq(sign(&key, &group, &member, &json), content.clone());
    let statement = Statement::parse(&content).unwrap();
    case.assert_eq(statement.body(), &json[..]);
    // The prefix is what the signature covers in front of the body.
    let covered = [case.bytes("prefix"), json.clone()].concat();
    case.assert_eq(key.public_key().verify(&covered, &statement.seal().unwrap().signatures[0]), Ok(()));
}

fn check(case: &Case) {
    let content = case.bytes("content");
    let key = MemberKey(key(case, "seed").public_key());
    let state = Statement::parse(&content).unwrap().check(&group(case), &member(case), Some(&key));
    let expected = match case.text("state") {
        "Verified" => SignatureState::Verified,
        "Bad" => SignatureState::Bad,
        other => panic!("{}: unknown state {other}", case.name),
    };
    case.assert_eq(state, expected);
}

fn forwarded(case: &Case) {
    let (content, statement) = (case.bytes("content"), case.bytes("statement"));
    assert_length(case, &content, "content_bytes");
    let name = String::from_utf8(case.bytes("name")).unwrap();
    let sender = ForwardSender::Member { id: member(case), name };
    let sent_at = Timestamp::from_seconds(case.number("seconds"));
    let statement = Statement::parse(&statement).unwrap();
    case.assert_eq(forward(&sender, sent_at, &statement), content.clone());
    case.assert_eq(Forward::parse(&content), Ok(Forward { sender, sent_at, statement }));
}

fn batch(case: &Case) {
    let (content, element) = (case.bytes("content"), case.bytes("element"));
    assert_length(case, &content, "content_bytes");
    case.assert_eq(pack([&element[..]]), (vec![content.clone()], vec![]));
    case.assert_eq(sha256(&content), case.array("sha256"));
}

fn container(case: &Case) {
    let content = bytes(case.maybe("content").unwrap_or(""));
    let opened = unfold(&content).and_then(|unfolded| {
        let kinds = elements(&unfolded)?.into_iter().map(|element| match element {
            Ok(Element::Statement(_)) => "statement",
            Ok(Element::Forward(_)) => "forward",
            Ok(Element::Chunk(_)) => "chunk",
            Err(_) => "malformed",
        });
        Ok(kinds.collect::<Vec<_>>())
    });
    if let Some(kinds) = case.expect_format(opened) {
        case.assert_eq(kinds, case.all("element").collect());
    }
}
