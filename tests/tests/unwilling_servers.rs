//! The way between a relay and one of its servers is cut, or the server does not do what it is asked to: nothing is lost
//! or shown twice, nobody else is held back, and what cannot be delivered is given up by rule and in sight.

use anyhow::Context as _;
use e2e::socks::{Cut, Socks};
use e2e::stage::{GROUP, Stage, doubled, has};
use e2e::tampering::queues;
use e2e::world::{Person, Relay, eventually};
use serde_json::Value;

/// A relay that notices soon that nobody answers.
const IMPATIENT: [(&str, &str); 3] = [
    ("CHAT_RELAY_CONNECT_TIMEOUT", "2s"),
    ("CHAT_RELAY_ANSWER_TIMEOUT", "1s"),
    ("CHAT_RELAY_SILENCE_TIMEOUT", "3s"),
];

/// The relay, the owner and Ann have their queues on the first server, Ben on the second.
fn set_stage(environment: &[(&str, &str)]) -> anyhow::Result<Stage> {
    let mut stage = Stage::set(2, 1, 2, "observer")?;
    stage.relay(0)?.kill()?;
    stage.relay(0)?.start(environment)?;
    Ok(stage)
}

/// The owner says some more.
fn say(stage: &Stage, said: &mut Vec<String>, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        let words = format!("post {}", said.len());
        stage.owner.ok(&["send", GROUP, &words])?;
        said.push(words);
    }
    Ok(())
}

/// Waits until a person has all of it, in order and once.
fn heard(person: &Person, said: &[String]) -> anyhow::Result<()> {
    has(person, &said.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until the relay's operator sees that requests fail and are tried again.
fn retries(relay: &Relay) -> anyhow::Result<()> {
    eventually("requests that are tried again", || {
        let answer = relay.ctl(&["jobs"])?;
        let kinds = answer.get("jobs").and_then(Value::as_array).context("A list")?;
        let retrying = kinds.iter().filter_map(|kind| kind.get("retrying")?.as_u64()).sum::<u64>();
        Ok((retrying > 0).then_some(()))
    })
}

/// What the relay gave up since its start, by reason.
fn given_up(relay: &Relay) -> anyhow::Result<Value> {
    relay.ctl(&["jobs"])?.get("given_up_since_start").cloned().context("It says what was given up")
}

fn nothing_given_up(relay: &Relay) -> anyhow::Result<bool> {
    let given_up = given_up(relay)?;
    Ok(given_up.as_object().context("By reason")?.values().all(|count| count.as_u64() == Some(0)))
}

#[test]
fn a_member_whose_server_is_cut_off_holds_nobody_back() -> anyhow::Result<()> {
    let socks = Socks::start()?;
    let address = socks.address();
    let environment = [&IMPATIENT[..], &[("CHAT_RELAY_SOCKS_PROXY", &address)]].concat();
    let stage = set_stage(&environment)?;
    let (relay, ann, ben) = (stage.relays.first().context("A relay")?, stage.member(0)?, stage.member(1)?);
    let bens = stage.servers.get(1).context("A second server")?.port();
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    for cut in [Cut::Reset, Cut::Swallow] {
        let before = said.clone();
        socks.cut(bens, cut)?;
        say(&stage, &mut said, 5)?;
        heard(ann, &said)?;
        retries(relay)?;
        heard(ben, &before)?;
        socks.heal(bens);
        heard(ben, &said)?;
        // Not by accident: the next one comes alone.
        say(&stage, &mut said, 1)?;
        stage.members.iter().try_for_each(|member| heard(member, &said))?;
    }
    assert!(nothing_given_up(relay)?);
    Ok(())
}

#[test]
fn a_relay_that_is_cut_off_from_its_own_server_goes_on_where_it_was() -> anyhow::Result<()> {
    let socks = Socks::start()?;
    let address = socks.address();
    let environment = [&IMPATIENT[..], &[("CHAT_RELAY_SOCKS_PROXY", &address)]].concat();
    let stage = set_stage(&environment)?;
    let relay = stage.relays.first().context("A relay")?;
    let own = stage.servers.first().context("A server")?.port();
    let mut said = Vec::new();
    for cut in [Cut::Reset, Cut::Swallow] {
        say(&stage, &mut said, 1)?;
        stage.members.iter().try_for_each(|member| heard(member, &said))?;
        let before = said.clone();
        // In the middle of posting.
        say(&stage, &mut said, 2)?;
        socks.cut(own, cut)?;
        say(&stage, &mut said, 3)?;
        for member in &stage.members {
            assert!(member.texts(GROUP)?.len() <= before.len() + 2, "nothing gets through");
        }
        socks.heal(own);
        stage.members.iter().try_for_each(|member| heard(member, &said))?;
    }
    assert!(nothing_given_up(relay)?);
    Ok(())
}

#[test]
fn a_member_whose_server_says_nothing_gets_it_all_when_it_speaks_again() -> anyhow::Result<()> {
    let mut stage = set_stage(&IMPATIENT)?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    stage.server(1)?.process()?.freeze()?;
    say(&stage, &mut said, 5)?;
    heard(stage.member(0)?, &said)?;
    retries(stage.relay(0)?)?;
    stage.server(1)?.process()?.thaw()?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    assert!(nothing_given_up(stage.relay(0)?)?);
    Ok(())
}

#[test]
fn a_member_whose_queue_is_full_gets_the_rest_in_order() -> anyhow::Result<()> {
    let mut stage = Stage::set(2, 1, 2, "observer")?;
    stage.server(1)?.kill()?;
    stage.server(1)?.start(&[("SMP_SERVER_QUEUE_QUOTA", "4")])?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    // Whoever goes while it changes to two connections is sent nothing until it is back.
    doubled(stage.member(1)?)?;
    stage.listening.get_mut(2).context("Ben listens")?.kill()?;
    // One after the other: what waits long enough goes together.
    for _ in 0..12 {
        say(&stage, &mut said, 1)?;
        heard(stage.member(0)?, &said)?;
    }
    retries(stage.relay(0)?)?;
    let _listening = stage.member(1)?.listen()?;
    heard(stage.member(1)?, &said)?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    assert!(nothing_given_up(stage.relay(0)?)?);
    Ok(())
}

#[test]
fn a_member_whose_queue_is_gone_is_given_up_in_sight_and_comes_back_by_the_group_link() -> anyhow::Result<()>
{
    let mut stage = Stage::set(2, 1, 2, "observer")?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    stage.listening.get_mut(2).context("Ben listens")?.kill()?;
    let server = stage.servers.get(1).context("A second server")?;
    for queue in queues(server)? {
        server.ctl(&["delete", &queue.to_string()])?;
    }
    say(&stage, &mut said, 3)?;
    heard(stage.member(0)?, &said)?;
    let relay = stage.relays.first().context("A relay")?;
    eventually("what was given up", || {
        let count = given_up(relay)?.get("no_queue").and_then(Value::as_u64);
        Ok(count.filter(|count| *count > 0))
    })?;
    let _listening = stage.member(1)?.listen()?;
    heard(stage.member(1)?, &said)?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))
}

#[test]
fn a_member_whose_queue_is_blocked_holds_nobody_back_and_gets_the_rest_when_it_is_unblocked()
-> anyhow::Result<()> {
    let mut stage = Stage::set(2, 1, 2, "observer")?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    // Ben hears nothing of it: else he would come back with another queue.
    stage.listening.get_mut(2).context("Ben listens")?.kill()?;
    let server = stage.servers.get(1).context("A second server")?;
    let blocked = queues(server)?;
    for queue in &blocked {
        server.ctl(&["block", &queue.to_string(), "--reason", "spam"])?;
    }
    say(&stage, &mut said, 3)?;
    heard(stage.member(0)?, &said)?;
    let relay = stage.relays.first().context("A relay")?;
    retries(relay)?;
    for queue in &blocked {
        server.ctl(&["unblock", &queue.to_string()])?;
    }
    let _listening = stage.member(1)?.listen()?;
    heard(stage.member(1)?, &said)?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    assert!(nothing_given_up(relay)?);
    Ok(())
}
