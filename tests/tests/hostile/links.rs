//! Group links that say what nobody signed, that name another group, or that were rolled back; and strangers who
//! write to the address behind one.

use anyhow::Context as _;
use e2e::binaries::tested;
use e2e::stage::{GROUP, Stage, connected, has, member_row, relay_becomes};
use e2e::stranger::Stranger;
use e2e::tampering::{RelayDatabase, altered, link_data, replace_link_data, waiting_messages};
use e2e::world::{Person, Server, World, event, eventually, text};
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::link_data::UserLinkData;
use protocol::agent::owner_auth::OwnerAuth;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::owner_relay::{MemberIdRole, RelayInvitation, RelayInvite};
use protocol::group::event::{Event, Message};
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::link::GroupLinkData;
use protocol::group::profile::{GroupProfile, GroupType, Profile, PublicGroup};
use protocol::group::signed::Statement;
use protocol::net::rng::system_rng;
use protocol::smp::link_key::Part;
use protocol::smp::short_link::{LinkType, ShortLink};

use super::{brought_by, evidence};

/// The exit code for a link that does not say what it should.
const WRONG_LINK: i32 = 8;

#[test]
fn a_forged_profile_is_refused_by_relay_and_joiner() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let mut relay = world.relay("relay", &server)?;
    let owner = world.person("Olga", &[&server])?;
    let late = world.person("Late", &[&server])?;
    owner.ok(&["relay", "add", "relay", relay.link()])?;
    let _listening = owner.listen()?;
    relay.kill()?;
    owner.run(&["group", "create", GROUP, "--timeout", "2"])?;
    let link = owner.group_link(GROUP)?;
    let short: ShortLink = link.parse()?;
    let (id, key) = short.link_key().contact();
    let genuine = eventually("the group link is written", || Ok(link_data(&server, &id).ok()))?;
    assert_eq!(
        late.run(&["join", &link, "--timeout", "60"])?.code,
        13,
        "the genuine link lists no relay yet"
    );

    // Somebody who has the link and the server's database writes a profile of their own over the owner's.
    let forged = altered(&key.open(&genuine)?, r#""displayName":"news""#, r#""displayName":"lies""#)?;
    replace_link_data(&server, &id, &key.seal(Part::User, &[7; 24], &forged)?)?;

    relay.start(&[])?;
    relay_becomes(&owner, "relay", &["rejected"])?;
    let answer = owner.ok(&["group", "relays", GROUP])?;
    let reason = text(answer.of_type("group_relay").next().context("The relay is listed")?, "reason")?;
    assert!(reason.contains("not signed by an owner"), "{reason}");

    let refused = late.run(&["join", &link, "--timeout", "60"])?;
    assert_eq!(refused.code, WRONG_LINK, "{}", refused.talk);
    assert!(refused.talk.contains("not signed by an owner"), "{}", refused.talk);
    assert_eq!(late.ok(&["group", "list"])?.of_type("group").count(), 0, "nothing is kept of it");
    Ok(())
}

/// What a hostile owner writes into a group link.
struct Lie {
    what: &'static str,
    /// The id bound to the link.
    bound: PublicGroupId,
    /// The id in the profile.
    named: PublicGroupId,
    /// The link in the profile; the link's own where none is given.
    link: Option<LinkText>,
    /// What relay and joiner say of it.
    refusal: &'static str,
}

#[test]
fn a_link_that_names_another_group_is_refused_by_relay_and_joiner() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let relay = world.relay("relay", &server)?;
    let late = world.person("Late", &[&server])?;
    let mut hostile = Stranger::new()?;
    let one = PublicGroupId::new([1; 32])?;
    let genuine = hostile.publish(plan(&server, &one)?, |draft| data(draft, &one, None))?;
    let lies = [
        Lie {
            what: "the profile names another group than the link",
            bound: one.clone(),
            named: PublicGroupId::new([2; 32])?,
            link: None,
            refusal: "another group",
        },
        Lie {
            what: "another group's profile, copied behind a link of one's own",
            bound: one.clone(),
            named: one.clone(),
            link: Some(LinkText::from(&genuine)),
            refusal: "another",
        },
    ];
    for lie in lies {
        let link =
            hostile.publish(plan(&server, &lie.bound)?, |draft| data(draft, &lie.named, lie.link.clone()))?;
        let refused = late.run(&["join", &link.to_string(), "--timeout", "60"])?;
        assert_eq!(refused.code, WRONG_LINK, "{}: {}", lie.what, refused.talk);
        assert!(refused.talk.contains(lie.refusal), "{}: {}", lie.what, refused.talk);
        let reason = invite(&mut hostile, &server, relay.link(), &link)?.context(lie.what)?;
        assert!(reason.contains(lie.refusal), "{}: {reason}", lie.what);
    }
    // The same without a lie is taken, so that it is the lie that is refused.
    assert_eq!(invite(&mut hostile, &server, relay.link(), &genuine)?, None);
    Ok(())
}

const OWNER: [u8; 12] = [5; 12];

fn plan(server: &Server, bound: &PublicGroupId) -> anyhow::Result<AddressPlan> {
    Ok(AddressPlan {
        server: server.address().parse()?,
        link_type: LinkType::Channel,
        root_key: Ed25519PrivateKey::generate(&mut system_rng()),
        link_entity_id: Some(bound.as_bytes().to_vec()),
        client_data: None,
    })
}

fn data(draft: &AddressDraft, named: &PublicGroupId, link: Option<LinkText>) -> anyhow::Result<UserLinkData> {
    let public_group = PublicGroup {
        group_type: GroupType::Channel,
        group_link: link.unwrap_or_else(|| LinkText::from(&draft.short_link())),
        public_group_id: named.clone(),
        public_group_access: None,
        other: Default::default(),
    };
    let data = GroupLinkData {
        group_profile: GroupProfile::new("news", public_group),
        public_group_data: None,
        link_data_version: Some(1),
        other: Default::default(),
    };
    let owner_key = Ed25519PrivateKey::generate(&mut system_rng()).public_key();
    let owner = OwnerAuth::issue(&OWNER, owner_key, draft.root_key())?;
    Ok(UserLinkData::group(vec![owner], Vec::new(), data.to_blob()))
}

/// Invites a relay; gives the reason when it refuses.
fn invite(
    owner: &mut Stranger,
    server: &Server,
    relay: &str,
    group: &ShortLink,
) -> anyhow::Result<Option<String>> {
    let invite = RelayInvite {
        group_relay_invitation: RelayInvitation {
            from_member: MemberIdRole { member_id: MemberId::new(OWNER)?, member_role: MemberRole::Owner },
            from_member_profile: Profile::named("Olga"),
            relay_member_id: MemberId::generate(&mut system_rng()),
            group_link: LinkText::from(group),
            invitation_code: None,
            history: None,
        },
    };
    let info = Message::new(None, Event::RelayInvite(Box::new(invite))).to_json();
    let address = owner.read(relay)?;
    let id = owner.request(&address.request, server.address(), &info)?;
    let answer = owner.answer(id)?;
    match Statement::parse(&answer)?.message()?.event {
        Event::RelayReject(reject) => Ok(Some(reject.explained())),
        Event::RelayAccept(_) => Ok(None),
        other => anyhow::bail!("the relay answers {other:?}"),
    }
}

#[test]
fn link_data_that_the_server_rolls_back_is_refused_by_whoever_saw_newer() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let describe = |text: &str| stage.owner.ok(&["group", "profile", GROUP, "--description", text]).map(drop);
    let (id, _) = stage.link.parse::<ShortLink>()?.link_key().contact();
    let server = &stage.servers[0];
    let old = link_data(server, &id)?;
    describe("today")?;
    ann.ok(&["group", "restore", GROUP, "--timeout", "60"])?;
    assert_eq!(description(&ann)?, "today");

    replace_link_data(server, &id, &old)?;
    let refused = ann.run(&["group", "restore", GROUP, "--timeout", "60"])?;
    assert_eq!(refused.code, WRONG_LINK, "{}", refused.talk);
    assert_eq!(text(&evidence(&mut stage.listening[1], "127.0.0.1")?, "kind")?, "rolled_back_link");
    assert_eq!(description(&ann)?, "today");

    // Who reads the link for the first time cannot tell: what is old is signed, too.
    let late = stage.world.person("Late", &[server])?;
    late.ok(&["join", &stage.link, "--timeout", "60"])?;
    assert_ne!(description(&late)?, "today");

    // Relays that are known stay in use, and what the owner writes next is newer than all before.
    stage.owner.ok(&["send", GROUP, "still here"])?;
    has(&ann, &["still here"])?;
    describe("tomorrow")?;
    ann.ok(&["group", "restore", GROUP, "--timeout", "60"])?;
    assert_eq!(description(&ann)?, "tomorrow");
    Ok(())
}

#[test]
fn relays_that_a_rolled_back_list_does_not_name_stay_in_use() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let (id, _) = stage.link.parse::<ShortLink>()?.link_key().contact();
    let old = link_data(&stage.servers[0], &id)?;
    let second = stage.world.relay("relay-2", &stage.servers[0])?;
    stage.owner.ok(&["relay", "add", "relay-2", second.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    stage.relays.push(second);
    connected(&ann, 2)?;
    let newest = link_counter(&stage.owner)?;
    eventually("Ann has read the new list", || Ok((link_counter(&ann)? >= newest).then_some(())))?;

    // A list of relays without the second one, as the owner signed it once.
    replace_link_data(&stage.servers[0], &id, &old)?;
    let watched = stage.relays[1].process()?;
    eventually("the second relay has looked for itself", || {
        Ok(watched.talk().contains("data was rolled back").then_some(()))
    })?;
    assert_eq!(ann.run(&["group", "restore", GROUP, "--timeout", "60"])?.code, WRONG_LINK);
    stage.owner.ok(&["send", GROUP, "by both of you"])?;
    eventually("both relays have brought it", || {
        let rows = ann.history(GROUP)?;
        Ok(rows.iter().any(|row| brought_by(row).len() == 2).then_some(()))
    })
}

#[test]
fn a_relay_link_that_the_relay_did_not_sign_is_not_listed() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let mut relay = world.relay("relay", &server)?;
    let owner = world.person("Olga", &[&server])?;
    owner.ok(&["relay", "add", "relay", relay.link()])?;
    relay.kill()?;
    let mut listening = owner.listen()?;
    owner.run(&["group", "create", GROUP, "--timeout", "2"])?;
    eventually("the relay is invited", || Ok((waiting_messages(&server)? > 0).then_some(())))?;
    listening.kill()?;
    // The relay has made its link for the group, and its answer to the owner is on its way.
    relay.start(&[("CONCLAVE_CRASH_POINT", "relay.owner.answered.durable")])?;
    relay.process()?.wait()?;
    let draft = RelayDatabase::stop(&mut relay)?.group_draft()?;
    let (id, key) = draft.short_link().link_key().contact();
    let genuine = link_data(&server, &id)?;
    let forged = altered(&key.open(&genuine)?, r#""displayName":"relay""#, r#""displayName":"other""#)?;
    replace_link_data(&server, &id, &key.seal(Part::User, &[7; 24], &forged)?)?;
    relay.start(&[])?;

    let _listening = owner.listen()?;
    relay_becomes(&owner, "relay", &["rejected", "inactive"])?;
    let answer = owner.ok(&["group", "relays", GROUP])?;
    let row = answer.of_type("group_relay").next().context("The relay is shown")?;
    assert!(text(row, "reason")?.contains("not signed"), "{row}");
    assert!(Stranger::new()?.read(&owner.group_link(GROUP)?)?.data.relays.is_empty());
    Ok(())
}

fn description(person: &Person) -> anyhow::Result<String> {
    Ok(profile(person)?["description"].as_str().unwrap_or_default().to_owned())
}

/// The version of the link data that a person has written or seen.
fn link_counter(person: &Person) -> anyhow::Result<u64> {
    profile(person)?["link_counter"].as_u64().context("The data has a version")
}

fn profile(person: &Person) -> anyhow::Result<serde_json::Value> {
    let answer = person.ok(&["group", "profile", GROUP])?;
    answer.of_type("group_profile").next().cloned().context("The group has a profile")
}

#[test]
fn strangers_who_write_to_the_group_link_are_ignored_and_told_of() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let mut stranger = Stranger::new()?;
    let opened = stranger.read(&stage.link)?;
    for junk in [&b""[..], b"junk", &[0; 15_000], &[0xff; 16_000]] {
        stranger.drop_bytes(&opened.request, junk)?;
    }
    stranger.request(&opened.request, stage.servers[0].address(), b"let me in")?;
    stage.listening[0].wait_for("a warning", |line| {
        event(line, "warning")
            .filter(|told| told["text"].as_str().is_some_and(|text| text.contains("group link")))
    })?;
    // Nothing is left in the way: all of it was acknowledged.
    eventually("the queues are empty", || Ok((waiting_messages(&stage.servers[0])? == 0).then_some(())))?;
    member_row(&stage.owner, "Ann")?;
    let members = stage.owner.ok(&["members", GROUP])?;
    assert_eq!(members.of_type("member").count(), 2, "the stranger is no member: {members:?}");
    stage.owner.ok(&["send", GROUP, "unharmed"])?;
    stage.everybody_has(&["unharmed"])?;
    assert!(stage.listening[0].is_running());
    Ok(())
}
