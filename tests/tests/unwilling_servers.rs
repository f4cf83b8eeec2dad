//! The way between a relay and one of its servers is cut, or the server does not do what it is asked to: nothing is lost
//! or shown twice, nobody else is held back, and what cannot be delivered is given up by rule and in sight.

use anyhow::{Context as _, ensure};
use e2e::binaries::tested;
use e2e::socks::{Cut, Socks};
use e2e::stage::{GROUP, Stage, doubled, has};
use e2e::tampering::queues;
use e2e::world::{Person, Relay, Server, World, eventually, text};
use protocol::smp::ids::SenderId;
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

/// The relay has its queues on a server of its own, the owner and Ann on another, Ben on a third.
fn relay_apart() -> anyhow::Result<(Stage, Server)> {
    let world = World::new(tested())?;
    let servers = ["server-1", "server-2"].map(|name| world.server(name));
    let servers = servers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let apart = world.server("server-3")?;
    let relay = world.relay("relay-1", &apart)?;
    Ok((Stage::with(world, servers, vec![relay], 1, 2, "observer")?, apart))
}

/// Waits until everybody has both connections to the relay: then no queue comes or goes.
fn settled(stage: &Stage) -> anyhow::Result<()> {
    std::iter::once(&stage.owner).chain(&stage.members).try_for_each(|person| {
        eventually("two connections", || {
            let answer = person.ok(&["group", "relays", GROUP])?;
            let is_double = |row: &Value| row.get("two_connections") == Some(&Value::Bool(true));
            Ok(answer.of_type("group_relay").all(is_double).then_some(()))
        })
    })
}

/// The operator of a server blocks all its queues.
fn block_all(server: &Server) -> anyhow::Result<Vec<SenderId>> {
    let all = queues(server)?;
    all.iter().try_for_each(|queue| server.ctl(&["block", &queue.to_string(), "--reason", "content"]))?;
    Ok(all)
}

fn unblock(server: &Server, blocked: &[SenderId]) -> anyhow::Result<()> {
    blocked.iter().try_for_each(|queue| server.ctl(&["unblock", &queue.to_string()]))
}

/// Waits until the relay's operator sees so many queues refused.
fn refused(relay: &Relay, wanted: usize) -> anyhow::Result<()> {
    let mut last = None;
    let found = eventually("the refused queues", || {
        let answer = relay.ctl(&["stats"])?;
        last = answer.get("queues_refused").and_then(Value::as_u64);
        Ok((last == Some(wanted as u64)).then_some(()))
    });
    found.with_context(|| format!("{last:?} queues are refused, not {wanted}"))
}

/// Waits until somebody sees nothing, or something, wrong with its relay, which is active all the while.
fn sees_refused(person: &Person, wanted: bool) -> anyhow::Result<()> {
    eventually("what is wrong with the relay", || {
        let answer = person.ok(&["group", "relays", GROUP])?;
        let row = answer.of_type("group_relay").next().context("It has the relay")?;
        ensure!(text(row, "status")? == "active", "{row}");
        let says = text(row, "reason").is_ok_and(|reason| reason.contains("blocked"));
        Ok((says == wanted).then_some(()))
    })
}

/// Says something that no server takes for now; it is kept, and goes out later.
fn say_in_vain(person: &Person, said: &mut Vec<String>) -> anyhow::Result<()> {
    /// "Still waiting".
    const WAITS: i32 = 17;
    let words = format!("post {}", said.len());
    let answer = person.run(&["send", GROUP, &words, "--timeout", "1"])?;
    ensure!(answer.code == WAITS, "{answer:?}");
    said.push(words);
    Ok(())
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
    // Ben does not hear of it.
    stage.listening.get_mut(2).context("Ben listens")?.kill()?;
    let server = stage.servers.get(1).context("A second server")?;
    let blocked = block_all(server)?;
    say(&stage, &mut said, 3)?;
    heard(stage.member(0)?, &said)?;
    let relay = stage.relays.first().context("A relay")?;
    retries(relay)?;
    unblock(server, &blocked)?;
    let _listening = stage.member(1)?.listen()?;
    heard(stage.member(1)?, &said)?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    assert!(nothing_given_up(relay)?);
    Ok(())
}

#[test]
fn a_relay_whose_own_queues_are_blocked_shows_it_and_goes_on_when_they_are_unblocked() -> anyhow::Result<()> {
    let (mut stage, apart) = relay_apart()?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    settled(&stage)?;
    let blocked = block_all(&apart)?;
    refused(stage.relay(0)?, blocked.len())?;
    say_in_vain(&stage.owner, &mut said)?;
    unblock(&apart, &blocked)?;
    refused(stage.relay(0)?, 0)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;

    // Also when it starts while they are blocked.
    let blocked = block_all(&apart)?;
    refused(stage.relay(0)?, blocked.len())?;
    stage.relay(0)?.kill()?;
    stage.relay(0)?.start(&[])?;
    refused(stage.relay(0)?, blocked.len())?;
    say_in_vain(&stage.owner, &mut said)?;
    unblock(&apart, &blocked)?;
    refused(stage.relay(0)?, 0)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    assert!(nothing_given_up(stage.relay(0)?)?);
    Ok(())
}

#[test]
fn a_member_whose_own_queue_is_blocked_sees_it_and_stays_where_it_is() -> anyhow::Result<()> {
    let stage = Stage::set(2, 1, 2, "observer")?;
    let ben = stage.member(1)?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    let server = stage.servers.get(1).context("A second server")?;
    settled(&stage)?;
    let blocked = block_all(server)?;
    sees_refused(ben, true)?;
    say(&stage, &mut said, 3)?;
    heard(stage.member(0)?, &said)?;
    unblock(server, &blocked)?;
    sees_refused(ben, false)?;
    heard(ben, &said)?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    let after = queues(server)?;
    assert!(blocked.iter().all(|queue| after.contains(queue)), "nothing was made anew");
    assert!(nothing_given_up(stage.relays.first().context("A relay")?)?);
    Ok(())
}

/// The operator of a server deletes all its queues, as if the server had lost its data.
fn delete_all(server: &Server) -> anyhow::Result<()> {
    queues(server)?.iter().try_for_each(|queue| server.ctl(&["delete", &queue.to_string()]))
}

/// The owner says something, which may have to wait until it is connected again.
fn say_sometime(stage: &Stage, said: &mut Vec<String>) -> anyhow::Result<()> {
    /// Done; no relay is connected; still waiting.
    const KEPT: [i32; 3] = [0, 13, 17];
    let words = format!("post {}", said.len());
    let answer = stage.owner.run(&["send", GROUP, &words, "--timeout", "1"])?;
    ensure!(KEPT.contains(&answer.code), "{answer:?}");
    said.push(words);
    Ok(())
}

#[test]
fn a_relay_whose_server_has_lost_its_queues_keeps_its_links_and_everybody_comes_back() -> anyhow::Result<()> {
    let (mut stage, apart) = relay_apart()?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    let address = stage.relay(0)?.link().to_owned();
    // While it runs, and while it does not.
    for runs in [true, false] {
        if !runs {
            stage.relay(0)?.kill()?;
        }
        delete_all(&apart)?;
        if !runs {
            stage.relay(0)?.start(&[])?;
        }
        say_sometime(&stage, &mut said)?;
        stage.members.iter().try_for_each(|member| heard(member, &said))?;
    }
    assert_eq!(stage.relay(0)?.link(), address);
    let newcomer = stage.world.person("Cem", &[&apart])?;
    let _listening = newcomer.listen()?;
    newcomer.ok(&["join", &stage.link, "--timeout", "60"])?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    heard(&newcomer, &said)?;
    let lost = stage.relay(0)?.ctl(&["stats"])?;
    assert!(lost.get("queues_lost").and_then(Value::as_u64) > Some(0), "{lost}");
    Ok(())
}

#[test]
fn an_owner_whose_server_has_lost_its_queues_keeps_group_link_and_relay() -> anyhow::Result<()> {
    let (mut stage, _apart) = relay_apart()?;
    let mut said = Vec::new();
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    // The owner's and Ann's.
    stage.listening.first_mut().context("The owner listens")?.kill()?;
    delete_all(stage.servers.first().context("A server")?)?;
    let _listening = stage.owner.listen()?;
    say_sometime(&stage, &mut said)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    let newcomer = stage.world.person("Cem", &[stage.servers.first().context("A server")?])?;
    let _newcomer_listens = newcomer.listen()?;
    newcomer.ok(&["join", &stage.link, "--timeout", "60"])?;
    say(&stage, &mut said, 1)?;
    stage.members.iter().try_for_each(|member| heard(member, &said))?;
    heard(&newcomer, &said)
}
