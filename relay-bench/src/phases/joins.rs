//! People join, while the owner posts or not. All of them run on the same machine, with whole handshakes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::net::engine::{self, EngineHandle};
use protocol::net::network::{Limits, ReadLinkError};
use protocol::smp::short_link::ShortLink;
use tokio::sync::mpsc;

use super::{Plan, between, posted};
use crate::joiners::{JoinNow, Joiners, Outcome};
use crate::report::{Measurement, Report};
use crate::world::{Group, LOOK_EVERY, PATIENCE, RelayHost, World, post};
use crate::{seed, usage};

/// Members who are in the group already, at most.
const MEMBERS_MAX: u32 = 100;
/// People who are joining at one time.
const AT_ONCE: u32 = 64;
/// The owner posts as often.
const POST_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let members = plan.members.min(MEMBERS_MAX);
    let mut scene = Scene::new(plan, members)?;
    let joined = scene.all_join(plan, Some(POST_EVERY))?;

    // What the posts took is not the joins'.
    let Scene { world, relay, group, .. } = &mut scene;
    group.members += plan.joiners;
    let copy = world.first_copy(group, Instant::now())?;
    world.read_all(group, &copy)?;
    let groups = std::slice::from_mut(group);
    let post = posted(world, relay, groups, (1, plan.text_bytes), "joins: a post after them")?;
    let of_posts = joined.copies * post.figure("relay_us_per_copy").unwrap_or_default() / 1e6;
    report.add(post);
    let joins = f64::from(plan.joiners);
    let [engine, sessions] = joined.relay;
    report.add(
        Measurement::new(format!("joins: {}, and {} posts", plan.joiners, joined.posts), members)
            .with("seconds", joined.seconds)
            .with("per_s", joins / joined.seconds)
            .with("relay_ms_with_posts", (engine + sessions) * 1e3 / joins)
            .with("of_which_database_thread", engine * 1e3 / joins)
            .with("of_which_sessions", sessions * 1e3 / joins)
            .with("copies_of_posts", joined.copies)
            .with("relay_ms", (engine + sessions - of_posts).max(0.0) * 1e3 / joins)
            .with("server_ms", joined.server * 1e3 / joins),
    );
    scene.end()
}

/// What a join costs in a group that has so many members already, while nobody posts.
pub(super) fn one_size(plan: &Plan, report: &mut Report, members: u32) -> anyhow::Result<()> {
    let mut scene = Scene::new(plan, members)?;
    let joined = scene.all_join(plan, None)?;
    let joins = f64::from(plan.joiners);
    let [engine, sessions] = joined.relay;
    report.add(
        Measurement::new(format!("growth, joins: {members}"), members)
            .with("joiners", joins)
            .with("per_s", joins / joined.seconds)
            .with("relay_ms", (engine + sessions) * 1e3 / joins)
            .with("of_which_database_thread", engine * 1e3 / joins)
            .with("server_ms", joined.server * 1e3 / joins),
    );
    scene.end()
}

/// A group with a relay link, and people who want in.
struct Scene {
    world: World,
    relay: RelayHost,
    group: Group,
    people: EngineHandle<JoinNow>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
}

/// What it took until all were in.
struct Joined {
    seconds: f64,
    posts: u32,
    copies: f64,
    /// Seconds of processor time: of the thread with the database, and of the sessions.
    relay: [f64; 2],
    server: f64,
}

impl Scene {
    fn new(plan: &Plan, members: u32) -> anyhow::Result<Self> {
        let mut world = World::start(plan)?;
        let (mut relay, mut group) = world.relay_with("relay", members)?;
        let making = seed::link(&world.network, &mut relay.store, &relay.identity, &mut group.owner);
        let link = world.own.block_on(making)?;
        relay.start(&world, true)?;
        // It takes its queues up once, and no join pays for that.
        world.server.subscribed(members.into())?;
        let opened = world.own.block_on(opened(&world, &link))?;
        let (told, outcomes) = mpsc::unbounded_channel();
        let whom = (group.owner.group.clone(), group.owner.relay.clone());
        let people = Joiners::new(opened, whom, relay.identity.server.clone(), told)?;
        let people = engine::start(people, Limits::BACKGROUND, world.own.handle())?;
        Ok(Self { world, relay, group, people, outcomes })
    }

    fn look(&self) -> ([f64; 2], f64, f64) {
        (self.relay.cpu(), self.relay.copies(), usage::process_seconds(self.world.server.pid()))
    }

    /// Everybody joins, [`AT_ONCE`] at a time, while the owner posts if it is to.
    fn all_join(&mut self, plan: &Plan, post_every: Option<Duration>) -> anyhow::Result<Joined> {
        let before = self.look();
        let started = Instant::now();
        let mut posts = 0_u32;
        let Self { world, group, people, outcomes, .. } = self;
        world.own.block_on(async {
            let (mut asked, mut done) = (0_u32, 0_u32);
            let mut next_post = tokio::time::interval(post_every.unwrap_or(PATIENCE));
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
                    _ = next_post.tick(), if post_every.is_some() => {
                        post(&world.network, &mut group.owner, plan.text_bytes).await?;
                        posts += 1;
                    }
                    () = tokio::time::sleep(PATIENCE) => bail!("Nobody joins any more: {done} are in"),
                }
            }
            anyhow::Ok(())
        })?;
        let seconds = started.elapsed().as_secs_f64();
        self.relay.all_served()?;
        let after = self.look();
        let (copies, server) = (after.1 - before.1, after.2 - before.2);
        Ok(Joined { seconds, posts, copies, relay: between(before.0, after.0), server })
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.world.own.block_on(self.people.stop())?;
        self.relay.stop(&self.world)
    }
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
