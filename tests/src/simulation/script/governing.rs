//! What owners do.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{PATIENCE_MS, Script, What};
use crate::simulation::ledger::Standing;
use crate::simulation::network::ProgramId;

impl Script {
    /// A member, with its row, of whom the owner's client knows and which it can be told something about.
    fn somebody(&mut self, number: usize) -> anyhow::Result<Option<(ProgramId, Value)>> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let members = self.members(number);
        let Some(person) = self.world.chance.pick(&members) else { return Ok(None) };
        let Some(row) = self.own_row(person, &alias)? else { return Ok(None) };
        if !self.can_govern(number)? {
            return Ok(None);
        }
        let known = self.world.program(owner)?.look(json!({"request": "members", "group": alias}))?;
        let known = known.into_iter().find(|known| known["member_id"] == row["member_id"]);
        Ok(known.map(|row| (person, row)))
    }

    fn can_govern(&mut self, number: usize) -> anyhow::Result<bool> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner, has_link) = (group.alias.clone(), group.owner, group.link.is_some());
        let is_ready = has_link && self.world.program(owner)?.is_running();
        Ok(is_ready && self.own_row(owner, &alias)?.is_some_and(|row| row["status"] == "active"))
    }

    pub(super) fn remove(&mut self, number: usize) -> anyhow::Result<()> {
        let Some((person, row)) = self.somebody(number)? else { return Ok(()) };
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Removed);
        self.figures.removed += 1;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let request = json!({
            "request": "remove", "group": alias, "member": row["member_id"], "messages": false,
            "timeout_ms": PATIENCE_MS,
        });
        self.ask(owner, What::Other, request)
    }

    /// Somebody is given another role, or is blocked or freed.
    pub(super) fn change_rights(&mut self, number: usize) -> anyhow::Result<()> {
        let Some((person, row)) = self.somebody(number)? else { return Ok(()) };
        if row["status"] == "pending_review" {
            return Ok(());
        }
        let role = self.world.chance.pick(&["observer", "member", "moderator"]).unwrap_or("member");
        let blocks = self.world.chance.happens(3_000).then(|| row["blocked"] != true);
        let group = self.groups.get_mut(number).context("a group")?;
        let rank = |role: &str| ["observer", "member", "moderator"].iter().position(|known| *known == role);
        match blocks {
            Some(false) => drop(group.freed.insert(person)),
            None if rank(role) >= row["role"].as_str().and_then(rank) => {}
            Some(true) | None => drop(group.lowered.insert(person)),
        }
        self.figures.rights += 1;
        let (alias, owner, member) = (group.alias.clone(), group.owner, &row["member_id"]);
        let request = match blocks {
            Some(blocked) => json!({
                "request": "restrict", "group": alias, "member": member, "blocked": blocked, "timeout_ms": PATIENCE_MS,
            }),
            None => json!({
                "request": "role", "group": alias, "member": member, "role": role, "timeout_ms": PATIENCE_MS,
            }),
        };
        self.ask(owner, What::Other, request)
    }

    /// The owner decides about somebody who waits to be let in.
    pub(super) fn decide(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        if !group.is_reviewed || !self.can_govern(number)? {
            return self.post(number);
        }
        let knocks = self.world.program(owner)?.look(json!({"request": "knocks", "group": alias}))?;
        let mut waiting = Vec::new();
        for person in self.members(number) {
            let row = self.own_row(person, &alias)?;
            if row.is_some_and(|row| knocks.iter().any(|knock| knock["member_id"] == row["member_id"])) {
                waiting.push(person);
            }
        }
        let Some(person) = self.world.chance.pick(&waiting) else { return self.post(number) };
        let member = self.own_row(person, &alias)?.context("it knocks")?["member_id"].clone();
        let group = self.groups.get_mut(number).context("a group")?;
        self.figures.decided += 1;
        let request = if self.world.chance.happens(7_500) {
            group.accepted.insert(person);
            json!({"request": "accept", "group": alias, "member": member, "timeout_ms": PATIENCE_MS})
        } else {
            group.people.insert(person, Standing::Rejected);
            json!({
                "request": "reject", "group": alias, "member": member, "reason": "not today",
                "timeout_ms": PATIENCE_MS,
            })
        };
        self.ask(owner, What::Other, request)
    }

    /// The owner says what the group is, and how much of the history relays keep.
    pub(super) fn change_profile(&mut self, number: usize) -> anyhow::Result<()> {
        if !self.can_govern(number)? {
            return Ok(());
        }
        let items = self.world.chance.pick(&[0, 3, 100]).unwrap_or(100);
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let description = format!("with {items} to look back on");
        let request = json!({
            "request": "group_profile", "group": alias, "timeout_ms": PATIENCE_MS,
            "change": {"description": description, "history_items": items},
        });
        self.ask(owner, What::Other, request)
    }

    /// The owner ends the group for everybody.
    pub(super) fn end_group(&mut self, number: usize) -> anyhow::Result<()> {
        if !self.can_govern(number)? || !self.world.chance.happens(3_000) {
            return Ok(());
        }
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let told = self.audience(owner, number)?.owed;
        self.groups.get_mut(number).context("a group")?.ending = Some(told);
        self.figures.ended += 1;
        self.ask(
            owner,
            What::Other,
            json!({"request": "group_delete", "group": alias, "timeout_ms": PATIENCE_MS}),
        )
    }

    pub(super) fn change_relays(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let present: Vec<ProgramId> =
            group.relays.iter().filter(|(_, is_gone)| !**is_gone).map(|(relay, _)| *relay).collect();
        let others: Vec<ProgramId> =
            self.relays.iter().filter(|relay| !group.relays.contains_key(relay)).copied().collect();
        if !self.can_govern(number)? {
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
