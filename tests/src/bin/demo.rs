//! `cargo demo`: the main job, as separate processes on loopback in a temporary directory.
//!
//! Two queue servers, three relays, an owner and three members. A group is made and talks; relays die, return, leave
//! and are replaced; nothing is lost and nothing is shown twice. Ends with a summary, and with a failure if anything
//! is off.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::binaries::{Build, build};
use e2e::process::Process;
use e2e::world::{Person, Relay, Server, World, eventually, text};
use serde_json::Value;

const GROUP: &str = "harbour";
const CONVERSATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/conversation.txt");

fn main() -> std::process::ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(_) => {
            println!(
                "Usage: cargo demo [--keep]\n\n--keep  leave everything running, and say how to join in by hand"
            );
            return std::process::ExitCode::from(2);
        }
    };
    match demonstrate(keep) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Figures for the summary.
#[derive(Default)]
struct Times {
    relays_active: Duration,
    joins: Vec<Duration>,
    send_to_shown: Vec<Duration>,
    restored: Duration,
}

fn demonstrate(keep: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut times = Times::default();

    section("Building the programs");
    let binaries = build(Build::Plain)?;
    let mut world = World::new(&binaries)?;

    section("Two queue servers, three relays, an owner and three members");
    let servers = [world.server("server-1")?, world.server("server-2")?];
    for server in &servers {
        say(&format!("{} listens on port {}", server.name, server.port()));
    }
    let mut relays = Vec::new();
    for (name, server) in [("relay-1", &servers[0]), ("relay-2", &servers[1]), ("relay-3", &servers[0])] {
        let relay = world.relay(name, server)?;
        say(&format!("{name} answers at {}", relay.link()));
        relays.push(relay);
    }
    let owner = world.person("Olga", &[&servers[0], &servers[1]])?;
    let members = [
        world.person("Ann", &[&servers[0]])?,
        world.person("Ben", &[&servers[1]])?,
        world.person("Cem", &[&servers[0]])?,
    ];
    for relay in &relays {
        owner.ok(&["relay", "add", &relay.name, relay.link()])?;
    }

    section("Olga makes a group and invites the relays");
    let mut listening = vec![owner.listen()?];
    let asked = Instant::now();
    create_and_watch(&owner)?;
    times.relays_active = asked.elapsed();
    let link = owner.group_link(GROUP)?;
    say(&format!("all relays are active after {}; the group's link: {link}", seconds(times.relays_active)));

    section("Three members join by the link");
    for member in &members {
        listening.push(member.listen()?);
        let asked = Instant::now();
        member.ok(&["join", &link])?;
        times.joins.push(asked.elapsed());
        wait_for_relays(member, 3)?;
        say(&format!("{} is in after {}", member.name, seconds(asked.elapsed())));
    }

    section("A conversation is posted from a file and forwarded by all relays");
    let conversation =
        std::fs::read_to_string(CONVERSATION).context("The conversation is part of the repository")?;
    let mut posted: Vec<String> = conversation.lines().map(str::to_owned).collect();
    owner.ok(&["send", GROUP, "--file", CONVERSATION])?;
    everybody_has(&members, &posted)?;
    say(&format!("{} messages reached {} members, each through three relays", posted.len(), members.len()));

    section("relay-1 is killed, the conversation goes on, relay-1 returns");
    let first = relays.first_mut().context("There are three relays")?;
    first.kill()?;
    say("relay-1: killed with SIGKILL");
    post(&owner, &members, &mut posted, "Did anybody notice that a relay just died?", &mut times)?;
    first.start(&[])?;
    say("relay-1: started again, goes on where it was");
    post(&owner, &members, &mut posted, "And it is back.", &mut times)?;

    section("relay-2 is removed with notice");
    owner.ok(&["group", "relay", "remove", GROUP, "relay-2"])?;
    for member in &members {
        wait_until_gone(member, "relay-2")?;
    }
    say("the members have the owner's signed notice and disconnected from relay-2");
    post(&owner, &members, &mut posted, "Two relays left.", &mut times)?;

    section("relay-3 is removed without notice");
    owner.ok(&["group", "relay", "remove", GROUP, "relay-3", "--without-notice"])?;
    for member in &members {
        wait_until_gone(member, "relay-3")?;
    }
    say("relay-3 found itself missing from the group link, told its members and cleaned up");
    post(&owner, &members, &mut posted, "One relay left.", &mut times)?;

    section("The last relay goes: nobody hears the owner");
    owner.ok(&["group", "relay", "remove", GROUP, "relay-1", "--force"])?;
    for member in &members {
        wait_until_gone(member, "relay-1")?;
    }
    let unheard = "Can anybody hear me?";
    let answer = owner.run(&["send", GROUP, unheard, "--timeout", "2"])?;
    ensure!(answer.code != 0, "a message was called sent although there is no relay");
    say("the message waits in Olga's outbox");
    for member in &members {
        ensure!(
            !member.texts(GROUP)?.iter().any(|text| text == unheard),
            "{} heard without a relay",
            member.name
        );
    }

    section("A new relay joins, and the members come back by themselves");
    let asked = Instant::now();
    let fresh = world.relay("relay-4", &servers[1])?;
    owner.ok(&["relay", "add", "relay-4", fresh.link()])?;
    owner.ok(&["group", "relay", "add", GROUP, "relay-4", "--timeout", "60"])?;
    relays.push(fresh);
    for member in &members {
        wait_for_relays(member, 1)?;
        say(&format!("{} found relay-4 in the group link", member.name));
    }
    posted.push(unheard.to_owned());
    post(&owner, &members, &mut posted, "There you are again.", &mut times)?;
    times.restored = asked.elapsed();

    section("Transcripts");
    let summary = compare(&owner, &members, &posted)?;
    print_summary(&summary, &times, started.elapsed());
    if keep {
        keep_running(&mut world, servers, relays, listening, &owner, &members)?;
    }
    Ok(())
}

/// Runs `group create`, and shows each relay's status as it changes.
fn create_and_watch(owner: &Person) -> anyhow::Result<()> {
    let mut create = owner.command(&["group", "create", GROUP, "--joiner-role", "member", "--timeout", "60"]);
    let mut create = Process::spawn("group create", &mut create)?;
    let mut shown = BTreeSet::new();
    while create.is_running() {
        // The group may not be there yet: that is no failure here.
        let Ok(relays) = owner.relays(GROUP) else { continue };
        for (relay, status) in relays {
            if shown.insert((relay.clone(), status.clone())) {
                say(&format!("{relay}: {status}"));
            }
        }
    }
    let status = create.wait()?;
    ensure!(status.success(), "group create failed: {}", create.talk());
    for (relay, status) in owner.relays(GROUP)? {
        if shown.insert((relay.clone(), status.clone())) {
            say(&format!("{relay}: {status}"));
        }
        ensure!(status == "active", "{relay} is {status}");
    }
    Ok(())
}

fn wait_for_relays(person: &Person, count: usize) -> anyhow::Result<()> {
    eventually(&format!("{} connects to {count} relays", person.name), || {
        let active = person.relays(GROUP)?.iter().filter(|(_, status)| status == "active").count();
        Ok((active >= count).then_some(()))
    })
}

fn wait_until_gone(member: &Person, relay: &str) -> anyhow::Result<()> {
    eventually(&format!("{} disconnects from {relay}", member.name), || {
        let gone = member.relays(GROUP)?.iter().all(|(name, status)| name != relay || status != "active");
        Ok(gone.then_some(()))
    })
}

/// Posts one message and waits until all members show it.
fn post(
    owner: &Person,
    members: &[Person],
    posted: &mut Vec<String>,
    words: &str,
    times: &mut Times,
) -> anyhow::Result<()> {
    let asked = Instant::now();
    owner.ok(&["send", GROUP, words])?;
    posted.push(words.to_owned());
    everybody_has(members, posted)?;
    times.send_to_shown.push(asked.elapsed());
    say(&format!("\"{words}\" reached everybody after {}", seconds(asked.elapsed())));
    Ok(())
}

fn everybody_has(members: &[Person], posted: &[String]) -> anyhow::Result<()> {
    for member in members {
        eventually(&format!("{} has all {} messages", member.name, posted.len()), || {
            Ok((member.texts(GROUP)?.len() >= posted.len()).then_some(()))
        })?;
    }
    Ok(())
}

/// Counts over all members.
struct Summary {
    sent: usize,
    delivered: usize,
    duplicates_dropped: u64,
    lost: usize,
    twice: usize,
    conflicts: u64,
}

fn compare(owner: &Person, members: &[Person], posted: &[String]) -> anyhow::Result<Summary> {
    let wanted: BTreeSet<&String> = posted.iter().collect();
    let mut summary =
        Summary { sent: posted.len(), delivered: 0, duplicates_dropped: 0, lost: 0, twice: 0, conflicts: 0 };
    for member in members {
        let texts = member.texts(GROUP)?;
        let got: BTreeSet<&String> = texts.iter().collect();
        summary.delivered += got.len();
        summary.lost += wanted.difference(&got).count();
        summary.twice += texts.len() - got.len();
        let answer = member.ok(&["history", GROUP])?;
        let end = answer.of_type("history_end").next().context("History ends with its counts")?;
        summary.duplicates_dropped += end.get("duplicates_dropped").and_then(Value::as_u64).unwrap_or(0);
        summary.conflicts += end.get("conflicts").and_then(Value::as_u64).unwrap_or(0);
        let verdict = if texts == *posted { "identical to what was posted, in order" } else { "DIFFERENT" };
        say(&format!("{}: {} messages, {verdict}", member.name, texts.len()));
        if texts != *posted {
            for (index, (got, wanted)) in
                texts.iter().zip(posted).enumerate().filter(|(_, (got, want))| got != want)
            {
                say(&format!("  {index}: {got:?} instead of {wanted:?}"));
            }
            bail!("{}'s transcript differs from what was posted", member.name);
        }
        for message in member.history(GROUP)? {
            let signature = text(&message, "signature")?;
            ensure!(signature == "verified", "{}: a post is {signature}", member.name);
        }
    }
    ensure!(
        summary.lost == 0 && summary.twice == 0 && summary.conflicts == 0,
        "messages were lost or repeated"
    );
    ensure!(summary.duplicates_dropped > 0, "no second copy was dropped, although several relays forwarded");
    ensure!(owner.texts(GROUP)? == *posted, "the owner's own transcript differs");
    Ok(summary)
}

fn print_summary(summary: &Summary, times: &Times, whole: Duration) {
    let middle = |durations: &[Duration]| {
        let mut sorted = durations.to_vec();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    println!("\n  sent                 {:>6}", summary.sent);
    println!("  delivered            {:>6}   ({} members)", summary.delivered, 3);
    println!("  duplicates dropped   {:>6}", summary.duplicates_dropped);
    println!("  lost                 {:>6}", summary.lost);
    println!("  shown twice          {:>6}", summary.twice);
    println!("  relays active after  {:>8}", seconds(times.relays_active));
    println!("  join, median         {:>8}", seconds(middle(&times.joins)));
    println!(
        "  send to shown, median{:>8}   (all members, asked by commands)",
        seconds(middle(&times.send_to_shown))
    );
    println!(
        "  restored after       {:>8}   (new relay started to first message shown)",
        seconds(times.restored)
    );
    println!("  whole demonstration  {:>8}", seconds(whole));
}

fn keep_running(
    world: &mut World,
    servers: [Server; 2],
    relays: Vec<Relay>,
    listening: Vec<Process>,
    owner: &Person,
    members: &[Person],
) -> anyhow::Result<()> {
    world.keep();
    println!("\nEverything goes on running in {}. To join in:", world.path().display());
    for person in std::iter::once(owner).chain(members) {
        println!("  {} history {GROUP}", person.by_hand());
    }
    println!("  {} send {GROUP} 'Hello from the keyboard'", owner.by_hand());
    println!("  {} group relays {GROUP}", owner.by_hand());
    println!("Press Ctrl-C to stop all programs.");
    let all = (servers, relays, listening);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    drop(all);
    Ok(())
}

fn section(title: &str) {
    println!("\n== {title}");
}

fn say(words: &str) {
    println!("   {words}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
