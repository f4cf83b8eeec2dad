//! What people do.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{PATIENCE_MS, Script, What};
use crate::simulation::ledger::{Change, Standing, text};
use crate::simulation::network::ProgramId;

impl Script {
    /// People who can say something in a group now.
    fn speakers(&mut self, number: usize) -> anyhow::Result<Vec<ProgramId>> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let mut ready = Vec::new();
        for person in [owner].into_iter().chain(self.members(number)) {
            let is_running = self.world.program(person)?.is_running();
            let may = |row: Value| row["status"] == "active" && row["role"] != "observer";
            if is_running && self.own_row(person, &alias)?.is_some_and(may) {
                ready.push(person);
            }
        }
        Ok(ready)
    }

    pub(super) fn post(&mut self, number: usize) -> anyhow::Result<()> {
        let speakers = self.speakers(number)?;
        let Some(author) = self.world.chance.pick(&speakers) else { return Ok(()) };
        let name = self.world.program(author)?.name.clone();
        let count = self.world.chance.pick(&[1, 1, 1, 2, 3, 12]).unwrap_or(1);
        let group = self.groups.get_mut(number).context("a group")?;
        let said = group.said.entry(author).or_default();
        let texts: Vec<String> = (0..count)
            .map(|_| {
                *said += 1;
                text(&name, &group.alias, *said)
            })
            .collect();
        let request = json!({
            "request": "send", "group": group.alias, "texts": texts, "reply_to": null, "timeout_ms": PATIENCE_MS,
        });
        self.ask(author, What::Post(number), request)
    }

    /// An author changes or takes back something, or the owner takes back what somebody said.
    pub(super) fn change_post(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let recent: Vec<usize> = (0..group.posts.len()).rev().take(12).collect();
        let Some(index) = self.world.chance.pick(&recent) else { return Ok(()) };
        let (author, id, count, changes) = group
            .posts
            .get(index)
            .map(|it| (it.author, it.id.clone(), it.number, it.changes.len()))
            .context("a post")?;
        let by = if self.world.chance.happens(3_000) { owner } else { author };
        let deletes = by != author || self.world.chance.happens(3_000);
        if !self.speakers(number)?.contains(&by) {
            return Ok(());
        }
        let owed = self.audience(by, number)?.owed;
        let group = self.groups.get_mut(number).context("a group")?;
        group.posts.get_mut(index).context("a post")?.changes.push(Change { by, deletes, owed });
        let name = self.world.program(author)?.name.clone();
        let request = if deletes {
            json!({"request": "delete", "group": alias, "message": id, "timeout_ms": PATIENCE_MS})
        } else {
            let text = format!("{} (changed {})", text(&name, &alias, count), changes + 1);
            json!({
                "request": "edit", "group": alias, "message": id, "text": text, "timeout_ms": PATIENCE_MS,
            })
        };
        self.figures.changes += 1;
        self.ask(by, What::Other, request)
    }

    pub(super) fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let Some(link) = group.link.clone() else { return Ok(()) };
        let alias = group.alias.clone();
        let owners: Vec<ProgramId> = self.groups.iter().map(|group| group.owner).collect();
        let mut candidates = Vec::new();
        for person in self.clients.clone() {
            let is_free = !owners.contains(&person) && self.world.program(person)?.is_running();
            if is_free && self.own_row(person, &alias)?.is_none() {
                candidates.push(person);
            }
        }
        let Some(person) = self.world.chance.pick(&candidates) else { return Ok(()) };
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Joining);
        self.ask(person, What::Other, json!({"request": "join", "link": link, "timeout_ms": PATIENCE_MS}))
    }

    /// Members whom nobody told to go.
    pub(super) fn members(&self, number: usize) -> Vec<ProgramId> {
        let people = self.groups.get(number).map(|group| &group.people);
        let people = people.into_iter().flatten();
        people.filter(|(_, standing)| **standing == Standing::Joining).map(|(person, _)| *person).collect()
    }

    pub(super) fn leave(&mut self, number: usize) -> anyhow::Result<()> {
        let alias = self.groups.get(number).context("a group")?.alias.clone();
        let members = self.members(number);
        let Some(person) = self.world.chance.pick(&members) else { return Ok(()) };
        let is_running = self.world.program(person)?.is_running();
        if !is_running || self.own_row(person, &alias)?.is_none() {
            return Ok(());
        }
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Left);
        self.ask(person, What::Other, json!({"request": "leave", "group": alias, "timeout_ms": PATIENCE_MS}))
    }
}
