//! What people do.

use anyhow::Context as _;
use serde_json::json;

use super::{PATIENCE_MS, Script, What};
use crate::simulation::ledger::{Standing, text};
use crate::simulation::network::ProgramId;

impl Script {
    /// People who can say something in a group now.
    fn speakers(&mut self, number: usize) -> anyhow::Result<Vec<ProgramId>> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let mut speakers = vec![owner];
        if group.is_open {
            let people = group.people.iter().filter(|(_, standing)| **standing == Standing::Joining);
            speakers.extend(people.map(|(person, _)| *person));
        }
        let mut ready = Vec::new();
        for person in speakers {
            let is_running = self.world.program(person)?.is_running();
            if is_running && self.own_row(person, &alias)?.is_some_and(|row| row["status"] == "active") {
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
    fn members(&self, number: usize) -> Vec<ProgramId> {
        let people = self.groups.get(number).map(|group| &group.people);
        let people = people.into_iter().flatten();
        people.filter(|(_, standing)| **standing == Standing::Joining).map(|(person, _)| *person).collect()
    }

    pub(super) fn remove(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let members = self.members(number);
        let Some(person) = self.world.chance.pick(&members) else { return Ok(()) };
        let Some(row) = self.own_row(person, &alias)? else { return Ok(()) };
        if !self.world.program(owner)?.is_running() {
            return Ok(());
        }
        let known = self.world.program(owner)?.look(json!({"request": "members", "group": alias}))?;
        if !known.iter().any(|known| known["member_id"] == row["member_id"]) {
            return Ok(());
        }
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Removed);
        self.figures.removed += 1;
        let request = json!({
            "request": "remove", "group": alias, "member": row["member_id"], "messages": false,
            "timeout_ms": PATIENCE_MS,
        });
        self.ask(owner, What::Other, request)
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

    pub(super) fn change_relays(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let is_ready = self.world.program(owner)?.is_running() && group.link.is_some();
        let present: Vec<ProgramId> =
            group.relays.iter().filter(|(_, is_gone)| !**is_gone).map(|(relay, _)| *relay).collect();
        let others: Vec<ProgramId> =
            self.relays.iter().filter(|relay| !group.relays.contains_key(relay)).copied().collect();
        if !is_ready || self.own_row(owner, &alias)?.is_none_or(|row| row["status"] != "active") {
            return Ok(());
        }
        if let Some(relay) = self.world.chance.pick(&others) {
            let name = self.world.program(relay)?.name.clone();
            self.groups.get_mut(number).context("a group")?.relays.insert(relay, false);
            let request = json!({
                "request": "group_relay_add", "group": alias, "relay": name, "code": null, "timeout_ms": PATIENCE_MS,
            });
            return self.ask(owner, What::Other, request);
        }
        // one stays, so that there is somebody to hear by
        let Some(relay) = present.len().checked_sub(2).and_then(|_| self.world.chance.pick(&present)) else {
            return Ok(());
        };
        let name = self.world.program(relay)?.name.clone();
        self.groups.get_mut(number).context("a group")?.relays.insert(relay, true);
        let request = json!({
            "request": "group_relay_remove", "group": alias, "relay": name, "notice": true, "force": false,
                "timeout_ms": PATIENCE_MS,
        });
        self.ask(owner, What::Other, request)
    }
}
