//! Several workers of one relay on one PostgreSQL: one dies, one stands still, the database restarts, and members
//! notice nothing but a delay.

use std::process::Command;

use anyhow::Context as _;
use e2e::binaries::tested;
use e2e::database::Database;
use e2e::stage::{GROUP, Stage};
use e2e::world::{Relay, World, eventually};
use serde_json::Value;

/// Short, so that a test does not wait for long until a dead worker is taken for dead; long enough for one that lives on a
/// busy machine, where also the database takes its time to restart.
const LEASE: &str = "10s";

/// A relay with two workers, an owner and two members. The first worker has the address and the group.
struct Workers {
    stage: Stage,
    database: Database,
}

impl Workers {
    /// Nothing when there is no PostgreSQL.
    fn start() -> anyhow::Result<Option<Self>> {
        let Some(database) = Database::start()? else { return Ok(None) };
        let world = World::new(tested())?;
        let servers = vec![world.server("server-1")?];
        let server = servers.first().context("The first server")?;
        let workers = ["one", "two"].map(|name| world.worker(name, server, database.connection(), LEASE));
        let workers = workers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        assert_eq!(workers.first().map(Relay::link), workers.last().map(Relay::link), "they are one relay");
        let stage = Stage::with(world, servers, workers, 1, 2, "observer")?;
        Ok(Some(Self { stage, database }))
    }

    /// Groups and the address, as a worker sees them: of itself, and of the others.
    fn shares(&self, asked: usize) -> anyhow::Result<(u64, bool, u64)> {
        let answer = self.stage.relays.get(asked).context("That worker")?.ctl(&["workers"])?;
        let rows = answer.get("workers").and_then(Value::as_array).context("Rows")?;
        let groups = |is_asked: bool| {
            let rows = rows.iter().filter(move |row| row.get("asked") == Some(&Value::Bool(is_asked)));
            rows.filter_map(|row| row.get("groups").and_then(Value::as_u64)).sum()
        };
        let has_address = |row: &Value| {
            row.get("asked") == Some(&Value::Bool(true)) && row.get("has_address") == Some(&Value::Bool(true))
        };
        Ok((groups(true), rows.iter().any(has_address), groups(false)))
    }

    /// Waits until a worker has all groups and the address.
    fn has_all(&self, asked: usize, groups: u64) -> anyhow::Result<()> {
        eventually("a worker has everything", || Ok((self.shares(asked)? == (groups, true, 0)).then_some(())))
    }

    fn post(&self, texts: &[String]) -> anyhow::Result<()> {
        texts.iter().try_for_each(|text| self.stage.owner.ok(&["send", GROUP, text]).map(drop))
    }

    fn all_have(&self, texts: &[String]) -> anyhow::Result<()> {
        self.stage.everybody_has(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn signal(&mut self, worker: usize, signal: &str) -> anyhow::Result<()> {
        let id = self.stage.relay(worker)?.process()?.id().to_string();
        Command::new("kill").args([signal, &id]).status().context("Unable to send a signal").map(drop)
    }
}

/// Groups that count as huge: their members are only counted, in the database.
fn make_huge(database: &Database, groups: usize) -> anyhow::Result<()> {
    let huge = format!(
        "UPDATE group_counts SET members = members + 50000
         WHERE group_id IN (SELECT group_id FROM group_counts ORDER BY group_id LIMIT {groups})"
    );
    Ok(postgres::Client::connect(database.connection(), postgres::NoTls)?.batch_execute(&huge)?)
}

fn texts(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("post {number}")).collect()
}

#[test]
fn a_killed_worker_is_replaced_while_posts_come_in() -> anyhow::Result<()> {
    let Some(mut workers) = Workers::start()? else { return Ok(()) };
    workers.has_all(0, 1)?;
    workers.post(&texts(0, 4))?;
    workers.stage.relay(0)?.kill()?;
    workers.post(&texts(4, 8))?;
    workers.all_have(&texts(0, 8))?;
    workers.has_all(1, 1)?;

    // It comes back, and a second group is shared out.
    workers.stage.relay(0)?.start(&[])?;
    workers.stage.owner.ok(&["group", "create", "tea", "--timeout", "60"])?;
    for asked in [0, 1] {
        eventually("each has one group", || {
            let (own, _, others) = workers.shares(asked)?;
            Ok((own == 1 && others == 1).then_some(()))
        })?;
    }
    workers.post(&texts(8, 12))?;
    workers.all_have(&texts(0, 12))?;

    // A clean stop hands over at once.
    workers.stage.relay(1)?.process()?.stop()?;
    workers.has_all(0, 2)?;
    workers.post(&texts(12, 14))?;
    workers.all_have(&texts(0, 14))
}

#[test]
fn a_worker_that_stood_still_past_its_lease_delivers_nothing_twice() -> anyhow::Result<()> {
    let Some(mut workers) = Workers::start()? else { return Ok(()) };
    workers.post(&texts(0, 3))?;
    workers.signal(0, "-STOP")?;
    workers.post(&texts(3, 6))?;
    workers.all_have(&texts(0, 6))?;
    workers.has_all(1, 1)?;
    workers.signal(0, "-CONT")?;
    workers.post(&texts(6, 9))?;
    workers.all_have(&texts(0, 9))?;
    let process = workers.stage.relay(0)?.process()?;
    eventually("it begins anew", || Ok(process.has_said("begins anew").then_some(())))?;
    eventually("both are workers again", || {
        let answer = workers.stage.relays.first().context("The first")?.ctl(&["workers"]);
        let rows = answer.ok().and_then(|answer| answer.get("workers")?.as_array().map(Vec::len));
        Ok((rows == Some(2)).then_some(()))
    })?;
    workers.post(&texts(9, 12))?;
    workers.all_have(&texts(0, 12))
}

#[test]
fn the_database_may_restart_while_posts_come_in() -> anyhow::Result<()> {
    let Some(workers) = Workers::start()? else { return Ok(()) };
    workers.post(&texts(0, 3))?;
    workers.database.restart()?;
    workers.post(&texts(3, 6))?;
    workers.database.restart()?;
    workers.post(&texts(6, 9))?;
    workers.all_have(&texts(0, 9))
}

#[test]
fn huge_groups_are_not_all_one_workers() -> anyhow::Result<()> {
    let Some(mut workers) = Workers::start()? else { return Ok(()) };
    workers.stage.relay(1)?.process()?.stop()?;
    for name in ["tea", "chess", "boats"] {
        workers.stage.owner.ok(&["group", "create", name, "--timeout", "60"])?;
    }
    workers.has_all(0, 4)?;
    make_huge(&workers.database, 2)?;
    workers.stage.relay(1)?.start(&[])?;
    eventually("each has a huge group", || {
        let answer = workers.stage.relays.first().context("The first")?.ctl(&["workers"])?;
        let rows = answer.get("workers").and_then(Value::as_array).context("Rows")?;
        let members: Vec<_> = rows.iter().filter_map(|row| row.get("members")?.as_u64()).collect();
        Ok((members.len() == 2 && members.iter().all(|members| *members > 50_000)).then_some(()))
    })?;
    workers.post(&texts(0, 3))?;
    workers.all_have(&texts(0, 3))
}

#[test]
fn a_relay_that_outgrew_its_file_goes_on_in_postgresql() -> anyhow::Result<()> {
    let Some(database) = Database::start()? else { return Ok(()) };
    let mut stage = Stage::set(1, 1, 2, "observer")?;
    let post = |stage: &Stage, texts: &[String]| {
        texts.iter().try_for_each(|text| stage.owner.ok(&["send", GROUP, text]).map(drop))
    };
    let all_have = |stage: &Stage, texts: &[String]| {
        stage.everybody_has(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    post(&stage, &texts(0, 3))?;
    all_have(&stage, &texts(0, 3))?;
    stage.relay(0)?.kill()?;
    post(&stage, &texts(3, 5))?;

    let directory = stage.relay(0)?.directory.clone();
    std::fs::write(directory.join("postgres"), database.connection())?;
    let moved = stage.relay(0)?.run(&["to-postgres"])?;
    assert_eq!(moved.get("members").and_then(Value::as_u64), Some(3), "{moved}");
    assert!(!directory.join("relay.sqlite").exists(), "it cannot be started from its file again");
    stage.relay(0)?.start(&[])?;
    post(&stage, &texts(5, 8))?;
    all_have(&stage, &texts(0, 8))?;
    let workers = stage.relay(0)?.ctl(&["workers"])?;
    assert_eq!(workers.pointer("/workers/0/members").and_then(Value::as_u64), Some(3), "{workers}");
    Ok(())
}
