//! A relay under its operator: what `chat-relay ctl` shows and changes while groups are served, and who may use it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};
use e2e::binaries::tested;
use e2e::stage::{GROUP, Stage, has, relay_becomes};
use e2e::world::{Person, Relay, World, eventually, text};
use serde_json::Value;

fn number(value: &Value, field: &str) -> anyhow::Result<u64> {
    value.get(field).and_then(Value::as_u64).with_context(|| format!("No number `{field}` in {value}"))
}

/// The only group of a relay.
fn only_group(relay: &Relay) -> anyhow::Result<Value> {
    let answer = relay.ctl(&["groups"])?;
    let groups = answer.get("groups").and_then(Value::as_array).context("A list")?;
    ensure!(groups.len() == 1, "one group in {answer}");
    groups.first().cloned().context("A group")
}

/// Why the relay does not serve the owner's group, once it said so in words that hold these.
fn refused(owner: &Person, group: &str, words: &str) -> anyhow::Result<String> {
    eventually(&format!("a refusal with {words:?}"), || {
        let answer = owner.ok(&["group", "relays", group])?;
        let mut rows = answer.of_type("group_relay");
        let row = rows.find(|row| text(row, "status").is_ok_and(|status| status == "rejected"));
        Ok(row.and_then(|row| text(row, "reason").ok()).filter(|reason| reason.contains(words)))
    })
}

#[test]
fn what_is_kept_back_waits_and_nothing_of_it_is_lost() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "observer")?;
    let relay = stage.relays.first().context("A relay")?;
    let group = only_group(relay)?;
    assert_eq!((text(&group, "state")?, text(&group, "name")?), ("active".into(), GROUP.into()));
    assert_eq!(number(&group, "members")?, 2);
    let id = number(&group, "number")?.to_string();

    for paused in [vec!["pause", id.as_str()], vec!["pause"]] {
        relay.ctl(&paused)?;
    }
    stage.owner.ok(&["send", GROUP, "kept back"])?;
    eventually("the relay has the message", || {
        Ok((number(&relay.ctl(&["group", &id])?, "waiting")? == 1).then_some(()))
    })?;
    relay.ctl(&["resume"])?;
    assert_eq!(number(&only_group(relay)?, "waiting")?, 1, "the group itself is still paused");
    assert_eq!(stage.member(0)?.texts(GROUP)?, Vec::<String>::new());
    relay.ctl(&["resume", &id])?;
    stage.everybody_has(&["kept back"])?;

    let stats = relay.ctl(&["stats"])?;
    assert_eq!(number(&stats, "messages_taken")?, 1);
    let queues = relay.ctl(&["queues"])?;
    let reached = queues.pointer("/servers/0/reached").and_then(Value::as_bool);
    assert_eq!(reached, Some(true), "{queues}");
    assert!(relay.ctl(&["jobs"])?.get("jobs").is_some_and(Value::is_array));
    assert!(relay.ctl(&["pause", "999"]).is_err(), "there is no such group");
    Ok(())
}

#[test]
fn a_rejected_group_is_told_so_until_the_rejection_is_cleared() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let id = number(&only_group(stage.relay(0)?)?, "number")?.to_string();
    stage.relay(0)?.ctl(&["reject", &id])?;
    relay_becomes(&stage.owner, "relay-1", &["inactive"])?;
    relay_becomes(stage.member(0)?, "relay-1", &["inactive", ""])?;
    // It said so itself, signed, before it went.
    for person in [&stage.owner, stage.member(0)?] {
        let answer = person.ok(&["group", "relays", GROUP])?;
        let row = answer.of_type("group_relay").next().context("The relay is still known")?;
        assert!(text(row, "reason")?.contains("left the group"), "{}: {row}", person.name);
        assert!(text(row, "ended_at")?.ends_with('Z'), "{row}");
        assert!(person.shown(&["group", "relays", GROUP])?.contains("\tsince 20"), "{row}");
    }
    let relay = stage.relay(0)?;
    eventually("nothing of the group is left", || {
        Ok(relay.ctl(&["groups"])?.pointer("/groups/0").is_none().then_some(()))
    })?;

    stage.owner.run(&["group", "relay", "add", GROUP, "relay-1", "--timeout", "60"])?;
    refused(&stage.owner, GROUP, "operator has left this group")?;
    // Remembered over a restart.
    stage.relay(0)?.kill()?;
    stage.relay(0)?.start(&[])?;
    let rejections = stage.relay(0)?.ctl(&["rejections"])?;
    let number = number(rejections.pointer("/rejections/0").context("It is remembered")?, "number")?;
    stage.relay(0)?.ctl(&["allow", &number.to_string()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-1", "--timeout", "60"])?;
    Ok(())
}

#[test]
fn codes_let_in_as_many_groups_as_the_operator_said() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server-1")?;
    let relay = world.relay("relay-1", &server)?;
    relay.ctl(&["access", "codes"])?;
    let owner = world.person("Olga", &[&server])?;
    let _listening = owner.listen()?;
    owner.ok(&["relay", "add", "relay-1", relay.link()])?;
    owner.run(&["group", "create", GROUP, "--timeout", "60"])?;
    refused(&owner, GROUP, "code_needed")?;

    let file = world.path().join("code").display().to_string();
    let add = |code: &str| {
        std::fs::write(&file, format!("{code}\n"))?;
        owner.run(&["group", "relay", "add", GROUP, "relay-1", "--code-file", &file, "--timeout", "60"])
    };
    add("guessed")?;
    refused(&owner, GROUP, "code_unusable")?;
    let issued = relay.ctl(&["codes", "issue", "--note", "Olga", "--expires", "1d"])?;
    let code = text(&issued, "code")?;
    let added = add(&code)?;
    assert_eq!(added.code, 0, "{}", added.talk);
    assert_eq!(text(&only_group(&relay)?, "account")?, "code:1");

    // A kept relay keeps its code; this one is used up.
    owner.ok(&["relay", "add", "relay-1", relay.link(), "--code-file", &file])?;
    owner.run(&["group", "create", "second", "--timeout", "60"])?;
    refused(&owner, "second", "code_unusable")?;

    let listed = relay.ctl(&["codes", "list"])?;
    let listed = listed.pointer("/codes/0").context("A code")?;
    assert_eq!((number(listed, "groups")?, listed.get("code")), (1, None), "the code itself is not kept");
    relay.ctl(&["codes", "revoke", "1"])?;
    Ok(())
}

#[test]
fn an_owner_who_is_not_on_the_list_is_told_the_key_to_have_allowed() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server-1")?;
    let relay = world.relay("relay-1", &server)?;
    relay.ctl(&["access", "owners"])?;
    let owner = world.person("Olga", &[&server])?;
    let _listening = owner.listen()?;
    owner.ok(&["relay", "add", "relay-1", relay.link()])?;
    owner.run(&["group", "create", GROUP, "--timeout", "60"])?;
    let reason = refused(&owner, GROUP, "owner_not_listed")?;
    let key = reason.rsplit(": ").next().context("The key comes last")?;
    relay.ctl(&["allow", key, "--note", "Olga"])?;
    owner.ok(&["group", "relay", "add", GROUP, "relay-1", "--timeout", "60"])?;

    // Another group of hers has another key.
    relay.ctl(&["access", "everyone"])?;
    relay.ctl(&["quotas", "set", "total_groups", "1"])?;
    owner.run(&["group", "create", "second", "--timeout", "60"])?;
    refused(&owner, "second", "full: ")?;
    Ok(())
}

#[test]
fn quotas_and_paces_bound_what_is_taken() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "member")?;
    let (relay, ann) = (stage.relays.first().context("A relay")?, stage.member(0)?);
    relay.ctl(&["quotas", "set", "member_messages_per_minute", "1"])?;
    ann.ok(&["send", GROUP, "one"])?;
    has(&stage.owner, &["one"])?;
    ann.ok(&["send", GROUP, "too fast"])?;
    let refusals = |reason: &str, wanted: u64| {
        eventually(reason, || {
            let stats = relay.ctl(&["stats"])?;
            let count = stats.pointer(&format!("/refusals/{reason}")).and_then(Value::as_u64);
            Ok((count == Some(wanted)).then_some(()))
        })
    };
    refusals("message_member_pace", 1)?;
    // Owners are not bound by paces, but by what a day holds.
    relay.ctl(&["quotas", "set", "owner_messages_per_day", "1"])?;
    stage.owner.ok(&["send", GROUP, "within the day's quota"])?;
    stage.owner.ok(&["send", GROUP, "beyond it"])?;
    refusals("message_owner_day", 1)?;
    has(ann, &["one", "too fast", "within the day's quota"])?;

    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    relay.ctl(&["quotas", "set", "owner_members", "2"])?;
    let refused = late.run(&["join", &stage.link, "--timeout", "60"])?;
    assert_ne!(refused.code, 0);
    assert!(refused.talk.contains("as many members as this relay allows"), "{}", refused.talk);
    Ok(())
}

#[test]
fn a_relay_that_drains_hands_out_what_waits_and_ends() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    stage.owner.ok(&["send", GROUP, "last words"])?;
    stage.relay(0)?.ctl(&["drain"])?;
    let relay = stage.relay(0)?.process()?;
    eventually("the relay ends", || Ok((!relay.is_running()).then_some(())))?;
    stage.relay(0)?.start(&[])?;
    stage.everybody_has(&["last words"])
}

/// A page of a monitoring listener: its status and its text.
fn page(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("A status")?.parse()?;
    let (_, body) = answer.split_once("\r\n\r\n").context("A body")?;
    Ok((status, body.to_owned()))
}

/// The metrics of the relay that a text names, without what histograms append.
fn named_metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("chat_relay_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn monitoring_tells_what_alerts_ask_for_and_names_nobody() -> anyhow::Result<()> {
    const ALERTS: &str = include_str!("../../packaging/prometheus/chat-relay-alerts.yml");
    const DASHBOARD: &str = include_str!("../../packaging/grafana/chat-relay.json");
    const GUIDE: &str = include_str!("../../docs/operating-relay.md");
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    stage.relay(0)?.kill()?;
    let listen = [("CHAT_RELAY_MONITORING_HTTP", "127.0.0.1:0"), ("CHAT_RELAY_MONITORING_SERVERS", "true")];
    stage.relay(0)?.start(&listen)?;
    stage.owner.ok(&["send", GROUP, "counted"])?;
    stage.everybody_has(&["counted"])?;
    let address = stage.relay(0)?.monitoring()?.to_owned();
    assert_eq!(page(&address, "/health")?.0, 200);
    assert_eq!(page(&address, "/ready")?, (200, "ready\n".to_owned()));
    // The relay may still be reading the link that lists it, or waiting for a server's answer.
    let metrics = eventually("the counts are those of the group", || {
        let (_, metrics) = page(&address, "/metrics")?;
        let awaited = ["chat_relay_groups{state=\"active\"} 1", "chat_relay_members 2"];
        let all = awaited.iter().all(|line| metrics.lines().any(|found| found == *line));
        // Another one when the member gets its second connection while the first copy is on its way.
        let copies =
            metrics.lines().find_map(|line| line.strip_prefix("chat_relay_copies_handed_out_total "));
        Ok((all && copies.is_some_and(|count| count != "0")).then_some(metrics))
    })?;
    assert!(metrics.contains("chat_relay_server_reached{server=\"127.0.0.1\"} 1"), "{metrics}");
    for name in [GROUP, "Olga", "Ann"] {
        assert!(!metrics.contains(name), "{name} in\n{metrics}");
    }
    let told: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect();
    for text in [ALERTS, DASHBOARD] {
        let named = named_metrics(text);
        assert!(named.len() > 5 && named.is_subset(&told), "{:?}", named.difference(&told));
    }
    serde_json::from_str::<Value>(DASHBOARD)?;
    for name in &told {
        assert!(GUIDE.contains(&format!("`{name}`")), "docs/operating-relay.md does not explain {name}");
    }
    Ok(())
}

#[test]
fn a_restored_relay_agrees_on_new_keys_before_it_sends_anything() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    stage.owner.ok(&["send", GROUP, "before"])?;
    stage.everybody_has(&["before"])?;
    let (backup, restored) = (stage.world.path().join("backup"), stage.world.path().join("restored"));
    let backup = backup.display().to_string();
    let made = stage.relay(0)?.run(&["backup", &backup])?;
    assert_eq!((number(&made, "groups")?, number(&made, "members")?), (1, 2));
    // The ratchets go on after the backup.
    stage.owner.ok(&["send", GROUP, "between"])?;
    stage.everybody_has(&["before", "between"])?;

    stage.relay(0)?.kill()?;
    stage.relay(0)?.directory = restored;
    stage.relay(0)?.run(&["restore", &backup])?;
    stage.relay(0)?.start(&[])?;
    stage.owner.ok(&["send", GROUP, "after"])?;
    stage.everybody_has(&["before", "between", "after"])?;
    stage.member(0)?.ok(&["send", GROUP, "from a member"])?;
    has(&stage.owner, &["before", "between", "after", "from a member"])?;
    assert!(stage.relay(0)?.process()?.has_said("agreeing on new keys"));

    // A backup that was touched is refused.
    let database = std::path::Path::new(&backup).join("relay.sqlite");
    let mut bytes = std::fs::read(&database)?;
    let last = bytes.last_mut().context("A database")?;
    *last ^= 1;
    std::fs::write(&database, bytes)?;
    stage.relay(0)?.directory = stage.world.path().join("other");
    let refused = stage.relay(0)?.run(&["restore", &backup]).expect_err("a damaged backup");
    assert!(refused.to_string().contains("not as it was written"), "{refused}");
    Ok(())
}
