//! A relay of the network's stock app in the place of ours: what `conclave` says to it, word by word, and that it needs
//! no more than what such a relay says. The relay is a stranger who knows the library's lower layers alone; what it
//! says of the group is written out here, as the app writes it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use e2e::binaries::tested;
use e2e::stage::{GROUP, comes_to_have, has, member_row, message, relay_becomes};
use e2e::stranger::Stranger;
use e2e::world::{Person, World, event, eventually, text};
use protocol::agent::address_draft::AddressPlan;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::store::ConnectionId;
use protocol::base64url;
use protocol::crypto::hash::sha512;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::group::identity::{MemberId, MemberKey, PublicGroupId};
use protocol::group::signed::{SignatureState, Statement, sign};
use protocol::net::rng::system_rng;
use protocol::smp::short_link::{LinkType, ShortLink};
use serde_json::{Value, json};

/// Signed by one key: tag, binding, count, tag, length, signature.
const SEAL_BYTES: usize = 1 + 1 + 1 + 1 + 1 + 64;
/// 2026-07-01 10:00:00 UTC.
const TIME: i64 = 1_782_900_000;

/// What a relay's link says of it, with fields that only the app knows.
const PROFILE: &str = r#"{"relayProfile":{"displayName":"Stock","fullName":"","shortDescr":"a relay","peerType":"bot",
    "preferences":{"files":{"allow":"no"}}}}"#;

#[test]
fn an_owner_and_a_member_get_on_with_a_stock_relay() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let owner = world.person("Olga", &[&server])?;
    let ann = world.person("Ann", &[&server])?;
    let mut relay = Stranger::new()?;
    let key = Ed25519PrivateKey::generate(&mut system_rng());
    let _listening = owner.listen()?;
    let group = Group::of(&owner, &mut relay, &key, server.address(), "observer")?;

    // A member joins by it, and is told what the app tells a joiner.
    let _reading = ann.listen()?;
    let (to_ann, ann_id, ann_key) = group.joins(&ann, &mut relay, server.address())?;
    let member = json!({ "memberId": ann_id.to_string(), "memberRole": "observer", "v": "1-19",
        "profile": { "displayName": "Ann", "fullName": "" }, "memberKey": ann_key });
    group.say(&mut relay, group.to_owner, "x.grp.mem.new", &json!({ "memberInfo": member }))?;
    group.say(
        &mut relay,
        to_ann,
        "x.grp.link.mem",
        &json!({ "profile": { "displayName": "Stock", "fullName": "" } }),
    )?;
    let intro = json!({ "memberId": group.owner_id.to_string(), "memberRole": "owner", "v": "1-21",
        "profile": { "displayName": "Olga", "fullName": "", "peerType": "human" },
        "memberKey": base64url::encode(&group.owner_key.0.to_der()) });
    group.say(&mut relay, to_ann, "x.grp.mem.intro", &json!({ "memberInfo": intro }))?;
    let (header, pieces) = group.roster.clone();
    relay.say(to_ann, &batch(&[group.by_owner(&header)]))?;
    relay.say(to_ann, &pieces)?;

    // History: posts in the group's name, written anew by the relay, and where a file is, without an id.
    let post = |id: &str, params: Value| {
        json!({ "v": "1-21", "msgId": id, "event": "x.msg.new", "params": params }).to_string()
    };
    let film = json!({ "asGroup": true, "content": { "type": "file", "text": "a film" },
        "file": { "fileName": "film.mkv", "fileSize": 4_000_000,
            "fileDescr": { "fileDescrText": "", "fileDescrPartNo": 0, "fileDescrComplete": false } } });
    let place = json!({ "v": "1-21", "event": "x.msg.file.descr", "params": { "msgId": "Zmlyc3Q=",
        "fileDescr": { "fileDescrText": "name: film.mkv", "fileDescrPartNo": 1, "fileDescrComplete": true } } });
    let history = [in_its_name(&post("Zmlyc3Q=", film)), in_its_name(&place.to_string())];
    relay.say(to_ann, &batch(&history))?;
    has(&ann, &["a film"])?;

    // A post that is live, edited, and comes once more in a history, as when Ann comes back: it is one post.
    let quote = |sent_at: &str, sent: bool| {
        json!({ "msgRef": { "msgId": "Zmlyc3Q=", "sentAt": sent_at, "sent": sent },
            "content": { "type": "file", "text": "a film" } })
    };
    let live = json!({ "asGroup": true, "content": { "type": "text", "text": "and?" }, "live": true,
        "quote": quote("2026-07-01T09:59:59.123456Z", true) });
    relay.say(to_ann, &batch(&[in_its_name(&post("c2Vjb25k", live))]))?;
    let anew = |words: &str| {
        json!({ "asGroup": true, "content": { "type": "text", "text": words },
            "quote": quote("2026-07-01T10:00:00Z", false) })
    };
    relay.say(to_ann, &batch(&[in_its_name(&post("c2Vjb25k", anew("and?")))]))?;
    let edit = json!({ "v": "1-21", "msgId": "dGhpcmQ=", "event": "x.msg.update", "params": { "asGroup": true,
        "msgId": "c2Vjb25k", "content": { "type": "text", "text": "and now?" } } });
    relay.say(to_ann, &batch(&[in_its_name(&edit.to_string())]))?;
    relay.say(to_ann, &batch(&[in_its_name(&post("c2Vjb25k", anew("and now?")))]))?;
    eventually("the edit", || {
        Ok((ann.texts(GROUP)?.last().map(String::as_str) == Some("and now?")).then_some(()))
    })?;
    has(&ann, &["a film", "and now?"])?;

    // The owner posts, signed; the relay passes the bytes on.
    owner.ok(&["send", GROUP, "hello"])?;
    let said = group.heard(&mut relay, group.to_owner, "x.msg.new")?;
    assert_eq!(group.check(&said, &group.owner_id, &group.owner_key)?, SignatureState::Verified);
    assert_eq!(body(&said)?["params"]["content"], json!({ "type": "text", "text": "hello" }));
    relay.say(to_ann, &batch(&[group.by_owner(&said)]))?;
    has(&ann, &["a film", "and now?", "hello"])?;

    // The owner makes Ann a member: first the roster, then the change that names its version.
    member_row(&owner, "Ann")?;
    std::thread::scope(|scope| {
        let giving = scope.spawn(|| owner.ok(&["role", GROUP, "Ann", "member", "--timeout", "60"]));
        let header = group.heard(&mut relay, group.to_owner, "x.grp.roster")?;
        let pieces = relay.message(group.to_owner)?;
        let change = group.heard(&mut relay, group.to_owner, "x.grp.mem.role")?;
        assert_eq!(group.check(&change, &group.owner_id, &group.owner_key)?, SignatureState::Verified);
        assert_eq!(body(&header)?["params"]["version"], 1);
        let params = &body(&change)?["params"];
        assert_eq!(params["memberId"], ann_id.to_string().as_str());
        assert_eq!((&params["role"], &params["rosterVersion"]), (&json!("member"), &json!(1)));
        assert_eq!(params["memberKey"].as_str(), Some(ann_key.as_str()));
        relay.say(to_ann, &batch(&[group.by_owner(&header)]))?;
        relay.say(to_ann, &pieces)?;
        relay.say(to_ann, &batch(&[group.by_owner(&change)]))?;
        giving.join().expect("the command does not panic").map(drop)
    })?;
    eventually("Ann may post", || Ok((ann.run(&["send", GROUP, "me too"])?.code == 0).then_some(())))?;
    let said = group.heard(&mut relay, to_ann, "x.msg.new")?;
    let key_of_ann: MemberKey = serde_json::from_value(json!(ann_key))?;
    assert_eq!(group.check(&said, &ann_id, &key_of_ann)?, SignatureState::Verified);
    relay.say(group.to_owner, &batch(&[forward(Some((&ann_id, "Ann")), &said)]))?;
    has(&owner, &["hello", "me too"])?;

    // Nothing of this is held against the relay, but that posts in the group's name are not signed.
    assert_eq!(evidence(&owner)?, BTreeSet::new());
    assert_eq!(evidence(&ann)?, BTreeSet::from(["unsigned_post".to_owned()]));

    // The relay leaves, in its own signed words.
    let leave = json!({ "v": "1-21", "msgId": "bGVhdmU=", "event": "x.grp.leave", "params": {} }).to_string();
    relay.say(group.to_owner, &sign(&key, &group.id, &group.relay_id, leave.as_bytes()))?;
    relay_becomes(&owner, "stock", &["inactive"])?;
    eventually("the relay is not listed", || {
        Ok(relay.read(&group.group_link)?.data.relays.is_empty().then_some(()))
    })
}

#[test]
fn what_comes_before_its_author_is_introduced_is_judged_again_then() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let owner = world.person("Olga", &[&server])?;
    let ann = world.person("Ann", &[&server])?;
    let mut relay = Stranger::new()?;
    let key = Ed25519PrivateKey::generate(&mut system_rng());
    let _listening = owner.listen()?;
    let group = Group::of(&owner, &mut relay, &key, server.address(), "member")?;
    let mut reading = ann.listen()?;
    let (to_ann, ann_id, _) = group.joins(&ann, &mut relay, server.address())?;
    ann.ok(&["send", GROUP, "mine"])?;

    let mut rng = system_rng();
    let (ben_id, ben) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let by = |key: &Ed25519PrivateKey, id: &[u8], event: &str, params: Value| {
        let said = json!({ "v": "1-21", "msgId": base64url::encode(id), "event": event, "params": params });
        forward(Some((&ben_id, "Ben")), &sign(key, &group.id, &ben_id, said.to_string().as_bytes()))
    };
    let words = |text: &str| json!({ "content": { "type": "text", "text": text } });
    let edited = |text: &str| json!({ "msgId": base64url::encode(b"two"), "content": { "type": "text", "text": text } });
    let mine = message(&ann, "mine")?["message_id"].clone();
    let forger = Ed25519PrivateKey::generate(&mut rng);
    for element in [
        by(&ben, b"one", "x.msg.new", words("truly Ben's")),
        by(&forger, b"forged", "x.msg.new", words("in Ben's name")),
        by(&ben, b"two", "x.msg.new", words("edited by nobody")),
        by(&forger, b"forged edit", "x.msg.update", edited("edited in Ben's name")),
        by(&ben, b"three", "x.msg.del", json!({ "msgId": mine, "memberId": ann_id.to_string() })),
        by(&ben, b"four", "x.msg.new", words("last")),
    ] {
        relay.say(to_ann, &batch(&[element]))?;
    }
    // They are said to be from before Ann came.
    has(&ann, &["truly Ben's", "in Ben's name", "edited in Ben's name", "last", "mine"])?;
    for words in ["truly Ben's", "in Ben's name", "last"] {
        assert_eq!(message(&ann, words)?["signature"], "key_unknown");
    }
    assert_eq!(evidence(&ann)?, BTreeSet::new());

    // His name comes with his key, and his role with the roster.
    let ben_key = base64url::encode(&ben.public_key().to_der());
    let member = json!({ "memberId": ben_id.to_string(), "memberRole": "member", "v": "1-19",
        "profile": { "displayName": "Ben", "fullName": "" }, "memberKey": ben_key });
    for to in [to_ann, group.to_owner] {
        group.say(&mut relay, to, "x.grp.mem.new", &json!({ "memberInfo": member }))?;
    }
    reading.wait_for("the proof", |line| event(line, "evidence"))?;
    comes_to_have(&ann, &["truly Ben's", "edited by nobody", "last", "mine"])?;
    for words in ["truly Ben's", "edited by nobody", "last"] {
        assert_eq!(message(&ann, words)?["signature"], "verified");
    }
    assert_eq!(evidence(&ann)?, BTreeSet::from(["bad_signature".to_owned()]));
    std::thread::scope(|scope| {
        let id = ben_id.to_string();
        let giving = scope.spawn(move || {
            member_row(&owner, "Ben")?;
            owner.ok(&["role", GROUP, &id, "moderator", "--timeout", "60"])
        });
        let header = group.heard(&mut relay, group.to_owner, "x.grp.roster")?;
        let pieces = relay.message(group.to_owner)?;
        relay.say(to_ann, &batch(&[group.by_owner(&header)]))?;
        relay.say(to_ann, &pieces)?;
        let change = group.heard(&mut relay, group.to_owner, "x.grp.mem.role")?;
        relay.say(to_ann, &batch(&[group.by_owner(&change)]))?;
        giving.join().expect("the command does not panic").map(drop)
    })?;
    // Nothing is left of what the moderator has deleted.
    comes_to_have(&ann, &["truly Ben's", "edited by nobody", "last", ""])
}

/// A group as this relay knows it.
struct Group {
    id: PublicGroupId,
    /// The word for it.
    kind: String,
    group_link: String,
    relay_id: MemberId,
    relay_link: ShortLink,
    /// Where requests to join come.
    entrance: ConnectionId,
    owner_id: MemberId,
    owner_key: MemberKey,
    to_owner: ConnectionId,
    /// The owner's header, and the pieces of the list.
    roster: (Vec<u8>, Vec<u8>),
}

impl Group {
    /// The owner creates a group with this relay.
    fn of(
        owner: &Person,
        relay: &mut Stranger,
        key: &Ed25519PrivateKey,
        server: &str,
        joiner_role: &str,
    ) -> anyhow::Result<Self> {
        let plan = |link_type, link_entity_id| -> anyhow::Result<AddressPlan> {
            let client_data = Some(r#"{"type":"group","groupLinkId":"AAAAAAAAAAAAAAAAAAAAAA=="}"#.to_owned());
            let server = server.parse()?;
            Ok(AddressPlan { server, link_type, root_key: key.clone(), link_entity_id, client_data })
        };
        let profile = |_: &_| Ok(UserLinkData::direct(PROFILE.as_bytes().to_vec()));
        let (address, relay_address) = relay.address(plan(LinkType::Relay, None)?, profile)?;
        owner.ok(&["relay", "add", "stock", &relay_address.to_string()])?;
        let create = ["group", "create", GROUP, "--joiner-role", joiner_role, "--timeout", "60"];
        std::thread::scope(|scope| {
            let creating = scope.spawn(|| owner.ok(&create));
            let group = Self::of_invitation(relay, address, server, |relay, member_id| {
                relay.address(plan(LinkType::Group, Some(member_id.as_bytes().to_vec()))?, profile)
            })?;
            group.take_empty_roster(relay)?;
            group.say(relay, group.to_owner, "x.grp.roster.ack", &json!({ "version": 0 }))?;
            eventually("the relay is listed", || {
                let listed = relay.read(&group.group_link)?.data.relays;
                // The app looks for its link as it wrote it.
                Ok(listed.iter().any(|link| link.to_bytes() == group.relay_link.to_bytes()).then_some(()))
            })?;
            creating.join().expect("the command does not panic").map(|_| group)
        })
    }

    /// Takes the owner's invitation and answers it, up to where the owner has sent the roster.
    fn of_invitation(
        relay: &mut Stranger,
        address: ConnectionId,
        server: &str,
        make_link: impl FnOnce(&mut Stranger, &MemberId) -> anyhow::Result<(ConnectionId, ShortLink)>,
    ) -> anyhow::Result<Self> {
        let mut found = None;
        let to_owner = relay.accept(address, server, |relay, words| {
            let said = body(words)?;
            assert_eq!(said["event"], "x.grp.relay.inv");
            let invitation = &said["params"]["groupRelayInvitation"];
            assert_eq!(invitation["fromMember"]["memberRole"], "owner");
            assert_eq!(invitation["fromMemberProfile"], json!({ "displayName": "Olga", "fullName": "" }));
            let group_link = text(invitation, "groupLink")?;
            let relay_id: MemberId = text(invitation, "relayMemberId")?.parse()?;
            let opened = relay.read(&group_link)?;
            let profile = &serde_json::from_slice::<Value>(&opened.data.user_data)?["groupProfile"];
            let id: PublicGroupId = text(&profile["publicGroup"], "publicGroupId")?.parse()?;
            assert_eq!(opened.link_entity_id.as_deref(), Some(id.as_bytes()));
            assert_eq!(profile["publicGroup"]["groupLink"], group_link.as_str());
            let [owner] = opened.data.owners.as_slice() else { anyhow::bail!("one owner is listed") };
            assert_eq!(base64url::encode(owner.owner_id()), text(&invitation["fromMember"], "memberId")?);
            let (owner_id, owner_key) = (MemberId::new(owner.owner_id())?, MemberKey(*owner.owner_key()));
            let (entrance, relay_link) = make_link(relay, &relay_id)?;
            let answer = json!({ "v": "1-21", "event": "x.grp.relay.acpt",
                "params": { "relayLink": relay_link.to_string(), "relayCap": {} } });
            let kind = text(&profile["publicGroup"], "groupType")?;
            found = Some((id, kind, group_link, relay_id, relay_link, entrance, owner_id, owner_key));
            Ok(answer.to_string().into_bytes())
        })?;
        let (id, kind, group_link, relay_id, relay_link, entrance, owner_id, owner_key) =
            found.context("The invitation was read")?;
        assert_eq!(body(&relay.connected(to_owner)?)?["event"], "x.ok");
        let roster = (relay.message(to_owner)?, relay.message(to_owner)?);
        Ok(Self {
            id,
            kind,
            group_link,
            relay_id,
            relay_link,
            entrance,
            owner_id,
            owner_key,
            to_owner,
            roster,
        })
    }

    /// The roster of a new group: signed by the owner, and empty.
    fn take_empty_roster(&self, _: &mut Stranger) -> anyhow::Result<()> {
        let (header, piece) = &self.roster;
        assert_eq!(self.check(header, &self.owner_id, &self.owner_key)?, SignatureState::Verified);
        let said = body(header)?;
        let digest = base64url::encode(&sha512(&[0, 0]));
        let params = json!({ "version": 0, "fileInv": { "fileSize": 2, "fileDigest": digest } });
        assert_eq!((&said["event"], &said["params"]), (&json!("x.grp.roster"), &params));
        let id = base64url::decode(said["msgId"].as_str().context("It has an id")?)?;
        let expected = [&b"F\0"[..], &[u8::try_from(id.len())?], &id, &[1, 0, 0]].concat();
        assert_eq!(*piece, expected);
        Ok(())
    }

    /// Somebody joins by command, and is let in.
    fn joins(
        &self,
        person: &Person,
        relay: &mut Stranger,
        server: &str,
    ) -> anyhow::Result<(ConnectionId, MemberId, String)> {
        std::thread::scope(|scope| {
            let joining = scope.spawn(|| person.ok(&["join", &self.group_link, "--timeout", "60"]));
            let joined = self.let_in(relay, server)?;
            joining.join().expect("the command does not panic").map(|_| joined)
        })
    }

    /// Takes a joiner's request and lets it in.
    fn let_in(&self, relay: &mut Stranger, server: &str) -> anyhow::Result<(ConnectionId, MemberId, String)> {
        let mut found = None;
        let to_member = relay.accept(self.entrance, server, |_, words| {
            let said = body(words)?;
            let params = &said["params"];
            assert_eq!(said["event"], "x.member");
            assert_eq!(params["profile"], json!({ "displayName": "Ann", "fullName": "" }));
            assert_eq!(params["viaRelay"], self.relay_id.to_string().as_str());
            let id: MemberId = text(params, "newMemberId")?.parse()?;
            let key: MemberKey = serde_json::from_value(params["newMemberKey"].clone())?;
            assert_eq!(self.check(words, &id, &key)?, SignatureState::Verified);
            let public_group = json!({ "groupType": self.kind, "groupLink": self.group_link,
                "publicGroupId": self.id.to_string() });
            let invitation = json!({
                "fromMember": { "memberId": self.relay_id.to_string(), "memberRole": "relay" },
                "fromMemberName": "Stock",
                "invitedMember": { "memberId": id.to_string(), "memberRole": "observer" },
                "groupProfile": { "displayName": GROUP, "fullName": "", "publicGroup": public_group,
                    "groupPreferences": { "history": { "enable": "on" }, "sessions": { "enable": "off" } } },
                "accepted": "accepted", "groupSize": 1 });
            found = Some((id, text(params, "newMemberKey")?));
            let params = json!({ "groupLinkInvitation": invitation });
            let answer = json!({ "v": "1-21", "event": "x.grp.link.inv", "params": params });
            Ok(answer.to_string().into_bytes())
        })?;
        assert_eq!(body(&relay.connected(to_member)?)?["event"], "x.info");
        let (id, key) = found.context("The request was read")?;
        Ok((to_member, id, key))
    }

    /// The relay's own words: unsigned, with an id.
    fn say(&self, relay: &mut Stranger, to: ConnectionId, event: &str, params: &Value) -> anyhow::Result<()> {
        let id = base64url::encode(event.as_bytes());
        let message = json!({ "v": "1-21", "msgId": id, "event": event, "params": params });
        relay.say(to, message.to_string().as_bytes())
    }

    /// The next message, which is to be this event.
    fn heard(&self, relay: &mut Stranger, from: ConnectionId, event: &str) -> anyhow::Result<Vec<u8>> {
        let message = relay.message(from)?;
        let said = body(&message)?;
        ensure!(said["event"] == event, "{said} instead of {event}");
        Ok(message)
    }

    fn check(&self, message: &[u8], by: &MemberId, key: &MemberKey) -> anyhow::Result<SignatureState> {
        Ok(Statement::parse(message)?.check(&self.id, by, Some(key)))
    }

    fn by_owner(&self, statement: &[u8]) -> Vec<u8> {
        forward(Some((&self.owner_id, "Olga")), statement)
    }
}

/// The JSON of a message, signed or not.
fn body(message: &[u8]) -> anyhow::Result<Value> {
    let json = if message.first() == Some(&b'/') { message.get(SEAL_BYTES..) } else { Some(message) };
    Ok(serde_json::from_slice(json.context("A signature is followed by JSON")?)?)
}

/// Passed on in the name of the group.
fn in_its_name(json: &str) -> Vec<u8> {
    forward(None, json.as_bytes())
}

/// Passed on for its author.
fn forward(author: Option<(&MemberId, &str)>, statement: &[u8]) -> Vec<u8> {
    let mut out = b">".to_vec();
    match author {
        None => out.push(b'C'),
        Some((id, name)) => {
            out.push(b'M');
            for part in [id.as_bytes(), name.as_bytes()] {
                out.push(u8::try_from(part.len()).expect("ids and names are short"));
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(&TIME.to_be_bytes());
    out.extend_from_slice(statement);
    out
}

fn batch(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![b'=', u8::try_from(elements.len()).expect("a few")];
    for element in elements {
        let bytes = u16::try_from(element.len()).expect("a message has room for it");
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(element);
    }
    out
}

/// What kinds of proof a person keeps.
fn evidence(person: &Person) -> anyhow::Result<BTreeSet<String>> {
    person.ok(&["evidence", GROUP])?.of_type("kept_evidence").map(|row| text(row, "kind")).collect()
}
