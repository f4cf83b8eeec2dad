//! People join while the owner posts. All of them run on the same machine, with whole handshakes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::net::engine;
use protocol::net::network::{Limits, ReadLinkError};
use protocol::smp::short_link::ShortLink;
use tokio::sync::mpsc;

use super::{Plan, between, posted};
use crate::joiners::{JoinNow, Joiners};
use crate::report::{Measurement, Report};
use crate::world::{LOOK_EVERY, PATIENCE, World, post};
use crate::{seed, usage};

/// Members who are in the group already, at most.
const MEMBERS_MAX: u32 = 100;
/// People who are joining at one time.
const AT_ONCE: u32 = 64;
/// The owner posts as often.
const POST_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::start(&plan.program)?;
    let members = plan.members.min(MEMBERS_MAX);
    let (mut relay, mut group) = world.relay_with("relay", members)?;
    let making = seed::link(&world.network, &mut relay.store, &relay.identity, &mut group.owner);
    let link = world.own.block_on(making)?;
    relay.start(&world, true)?;
    let opened = world.own.block_on(opened(&world, &link))?;
    let (told, mut outcomes) = mpsc::unbounded_channel();
    let whom = (group.owner.group.clone(), group.owner.relay.clone());
    let people = Joiners::new(opened, whom, relay.identity.server.clone(), told)?;
    let people = engine::start(people, Limits::BACKGROUND, world.own.handle())?;

    let before = (relay.cpu(), relay.copies(), usage::process_seconds(world.server.pid()));
    let started = Instant::now();
    let mut posts = 0_u32;
    world.own.block_on(async {
        let (mut asked, mut done) = (0_u32, 0_u32);
        let mut next_post = tokio::time::interval(POST_EVERY);
        while done < plan.joiners {
            while asked < plan.joiners && asked.saturating_sub(done) < AT_ONCE {
                people.command(JoinNow).await.context("The joiners stopped")?;
                asked += 1;
            }
            tokio::select! {
                outcome = outcomes.recv() => {
                    outcome.context("The joiners stopped")?.context("Somebody cannot join")?;
                    done += 1;
                }
                _ = next_post.tick() => {
                    post(&world.network, &mut group.owner, plan.text_bytes).await?;
                    posts += 1;
                }
                () = tokio::time::sleep(PATIENCE) => bail!("Nobody joins any more: {done} are in"),
            }
        }
        anyhow::Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    relay.all_served()?;
    let after = (relay.cpu(), relay.copies(), usage::process_seconds(world.server.pid()));
    let copies = after.1 - before.1;

    // What the posts took is not the joins'.
    group.members += plan.joiners;
    let copy = world.first_copy(&group, Instant::now())?;
    world.read_all(&group, &copy)?;
    let mut groups = [group];
    let post = posted(&mut world, &mut relay, &mut groups, (1, plan.text_bytes), "joins: a post after them")?;
    let of_posts = copies * post.figure("relay_us_per_copy").unwrap_or_default() / 1e6;
    report.add(post);
    let joins = f64::from(plan.joiners);
    let [engine, sessions] = between(before.0, after.0);
    report.add(
        Measurement::new(format!("joins: {}, and {posts} posts", plan.joiners), members)
            .with("seconds", seconds)
            .with("per_s", joins / seconds)
            .with("relay_ms_with_posts", (engine + sessions) * 1e3 / joins)
            .with("of_which_database_thread", engine * 1e3 / joins)
            .with("of_which_sessions", sessions * 1e3 / joins)
            .with("copies_of_posts", copies)
            .with("relay_ms", (engine + sessions - of_posts).max(0.0) * 1e3 / joins)
            .with("server_ms", (after.2 - before.2) * 1e3 / joins),
    );
    world.own.block_on(people.stop())?;
    relay.stop(&world)
}

/// What the relay link leads to, once the relay has made it.
async fn opened(
    world: &World,
    link: &ShortLink,
) -> anyhow::Result<protocol::agent::signed_link_data::OpenedLink> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match world.network.read_link(link).await {
            Err(ReadLinkError::NotFound) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            read => return read.context("Unable to read the relay link"),
        }
    }
}
