//! A stage that most tests begin with: servers, relays, an owner whose group is active, and members who joined.

use std::fmt::Debug;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::binaries::tested;
use crate::process::Process;
use crate::world::{Person, Relay, Server, World, eventually, text};

/// The group's name on every stage.
pub const GROUP: &str = "news";

/// Everything that runs. Fields are public: a test takes what it needs, and kills what it wants.
#[derive(Debug)]
pub struct Stage {
    /// The directory and the programs.
    pub world: World,
    /// Queue servers, the group link is on the first.
    pub servers: Vec<Server>,
    /// Relays `relay-1`, `relay-2`…, spread over the servers.
    pub relays: Vec<Relay>,
    /// The owner of [`GROUP`].
    pub owner: Person,
    /// Members `Ann`, `Ben`, `Cem`…
    pub members: Vec<Person>,
    /// `listen` of the owner and of each member, in that order.
    pub listening: Vec<Process>,
    /// The group's link.
    pub link: String,
}

impl Stage {
    /// Sets the stage: all relays active, all members connected to all of them.
    ///
    /// # Errors
    /// When anything does not come up.
    pub fn set(servers: usize, relays: usize, members: usize, joiner_role: &str) -> anyhow::Result<Self> {
        let world = World::new(tested())?;
        let servers: Vec<Server> =
            (1..=servers).map(|n| world.server(&format!("server-{n}"))).collect::<anyhow::Result<_>>()?;
        let on = |n: usize| servers.get(n % servers.len()).context("A stage has a server");
        let relays: Vec<Relay> = (0..relays)
            .map(|n| world.relay(&format!("relay-{}", n + 1), on(n)?))
            .collect::<anyhow::Result<_>>()?;
        let count = relays.len();
        Self::with(world, servers, relays, count, members, joiner_role)
    }

    /// The same with servers and relays that run; of the relays the first `count` are relays of their own.
    ///
    /// # Errors
    /// When anything does not come up.
    pub fn with(
        world: World,
        servers: Vec<Server>,
        mut relays: Vec<Relay>,
        count: usize,
        members: usize,
        joiner_role: &str,
    ) -> anyhow::Result<Self> {
        let on = |n: usize| servers.get(n % servers.len()).context("A stage has a server");
        let owner = world.person("Olga", &servers.iter().collect::<Vec<_>>())?;
        for relay in relays.iter().take(count) {
            owner.ok(&["relay", "add", &relay.name, relay.link()])?;
        }
        let mut listening = vec![owner.listen()?];
        owner.ok(&["group", "create", GROUP, "--joiner-role", joiner_role, "--timeout", "60"])?;
        let link = owner.group_link(GROUP)?;
        let mut people = Vec::new();
        for (n, name) in ["Ann", "Ben", "Cem", "Dua"].into_iter().take(members).enumerate() {
            let member = world.person(name, &[on(n)?])?;
            listening.push(member.listen()?);
            member.ok(&["join", &link, "--timeout", "60"])?;
            connected(&member, count)?;
            people.push(member);
        }
        relays.iter_mut().take(count).try_for_each(Relay::finds_itself_listed)?;
        Ok(Self { world, servers, relays, owner, members: people, listening, link })
    }

    /// The owner says so many things with one command, the first member has them, and what they are is given.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn owner_says(&self, count: u32) -> anyhow::Result<Vec<String>> {
        let texts: Vec<String> = (1..=count).map(|number| format!("message {number}")).collect();
        let file = self.world.path().join("messages.txt");
        std::fs::write(&file, texts.join("\n"))?;
        self.owner.ok(&["send", GROUP, "--file", &file.display().to_string(), "--timeout", "5m"])?;
        has(self.member(0)?, &texts)?;
        Ok(texts)
    }

    /// A member by position.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn member(&self, index: usize) -> anyhow::Result<&Person> {
        self.members.get(index).context("The stage has that member")
    }

    /// A relay by position.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn relay(&mut self, index: usize) -> anyhow::Result<&mut Relay> {
        self.relays.get_mut(index).context("The stage has that relay")
    }

    /// A server by position.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn server(&mut self, index: usize) -> anyhow::Result<&mut Server> {
        self.servers.get_mut(index).context("The stage has that server")
    }

    /// Waits until all members show exactly these texts, in this order.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn everybody_has(&self, texts: &[&str]) -> anyhow::Result<()> {
        self.members.iter().try_for_each(|member| has(member, texts))
    }
}

/// Waits until a person shows exactly these texts, in this order.
///
/// # Errors
/// When not in time; with what was there.
pub fn has(person: &Person, texts: &[impl AsRef<str> + Debug]) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let found = eventually("the texts", || {
        last = person.texts(GROUP)?;
        Ok((last.len() >= texts.len()).then_some(()))
    });
    let are_these = last.iter().eq(texts.iter().map(AsRef::as_ref));
    ensure!(found.is_ok() && are_these, "{} has {last:?} instead of {texts:?}", person.name);
    Ok(())
}

/// Waits until a person shows exactly these texts, in this order, whatever it shows before: for what is edited or deleted
/// after it came.
///
/// # Errors
/// When not in time; with what was there.
pub fn comes_to_have(person: &Person, texts: &[&str]) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let found = eventually("the texts", || {
        last = person.texts(GROUP)?;
        Ok((last == texts).then_some(()))
    });
    found.with_context(|| format!("{} has {last:?} instead of {texts:?}", person.name))
}

/// Waits until a person's group has at least this many active relays.
///
/// # Errors
/// When not in time; with what there was.
pub fn connected(person: &Person, relays: usize) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let found = eventually("the relays", || {
        last = person.relays(GROUP)?;
        Ok((last.iter().filter(|(_, status)| status == "active").count() >= relays).then_some(()))
    });
    found.with_context(|| format!("{} is connected to {last:?}, not to {relays} relays", person.name))
}

/// Waits until a person reaches a relay by two connections.
///
/// # Errors
/// When not in time.
pub fn doubled(person: &Person) -> anyhow::Result<()> {
    eventually(&format!("{} has two connections", person.name), || {
        let answer = person.ok(&["group", "relays", GROUP])?;
        let two = |row: &Value| row.get("two_connections") == Some(&Value::Bool(true));
        Ok(answer.of_type("group_relay").any(two).then_some(()))
    })
}

/// Waits until a relay has one of these statuses for a person, or is not listed where `""` is among them.
///
/// # Errors
/// When not in time.
pub fn relay_becomes(person: &Person, relay: &str, statuses: &[&str]) -> anyhow::Result<String> {
    eventually(&format!("{} sees {relay} as {statuses:?}", person.name), || {
        let rows = person.relays(GROUP)?;
        let status =
            rows.into_iter().find(|(name, _)| name == relay).map(|(_, status)| status).unwrap_or_default();
        Ok(statuses.contains(&status.as_str()).then_some(status))
    })
}

/// What a person knows of a member by its name, as soon as anything is known.
///
/// # Errors
/// When not in time.
pub fn member_row(person: &Person, name: &str) -> anyhow::Result<Value> {
    eventually(&format!("{} knows {name}", person.name), || {
        let answer = person.ok(&["members", GROUP])?;
        let row = answer.of_type("member").find(|row| row.get("name").and_then(Value::as_str) == Some(name));
        Ok(row.cloned())
    })
}

/// The id of a member by its name, as soon as a person knows it.
///
/// # Errors
/// When not in time.
pub fn member_id(person: &Person, name: &str) -> anyhow::Result<String> {
    text(&member_row(person, name)?, "member_id")
}

/// Waits until a person knows that a member is blocked, or is not.
///
/// # Errors
/// When not in time.
pub fn knows_blocked(person: &Person, name: &str, wanted: bool) -> anyhow::Result<()> {
    eventually(&format!("{} knows whether {name} is blocked", person.name), || {
        Ok((member_row(person, name)?.get("blocked") == Some(&Value::Bool(wanted))).then_some(()))
    })
}

/// The row of a message by its text.
///
/// # Errors
/// When there is none.
pub fn message(person: &Person, words: &str) -> anyhow::Result<Value> {
    let rows = person.history(GROUP)?;
    let row = rows.into_iter().find(|row| row.get("text").and_then(Value::as_str) == Some(words));
    row.with_context(|| format!("{} has no message {words:?}", person.name))
}

/// The id of a message by its text.
///
/// # Errors
/// When there is none.
pub fn message_id(person: &Person, words: &str) -> anyhow::Result<String> {
    text(&message(person, words)?, "message_id")
}
