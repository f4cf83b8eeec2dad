//! What must be so, whatever went wrong.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use chat_relay::store::RelayStore as _;
use chat_relay::store::operation::OperationStore as _;
use serde_json::{Value, json};

use super::ledger::read_text;
use super::network::ProgramId;
use super::script::Script;

/// Most entries that a program of these runs holds in memory for what is under way: some for each connection, and none
/// for each message.
const ENTRIES_MAX: usize = 400;

impl Script {
    /// What keeps everything from being at rest, if anything does.
    pub(super) fn unsettled(&mut self) -> anyhow::Result<Option<String>> {
        for id in self.relays.clone() {
            let program = self.world.program(id)?;
            let (name, jobs) = (program.name.clone(), program.with_jobs()?);
            let (backlog, behind) =
                program.with_relay_store(|store| Ok((store.backlog(None)?, store.members_behind()?)))?;
            let kept = program.rows("bodies")? + program.rows("deliveries")?;
            if jobs > 0 || backlog > 0 || behind > 0 || kept > 0 {
                return Ok(Some(format!(
                    "{name}: {jobs} jobs, {backlog} messages, {behind} members behind, {kept} rows for them"
                )));
            }
        }
        for id in self.clients.clone() {
            let program = self.world.program(id)?;
            let (name, jobs) = (program.name.clone(), program.with_jobs()?);
            let kept = program.rows("bodies")?;
            if jobs > 0 || kept > 0 {
                return Ok(Some(format!("{name}: {jobs} jobs, {kept} rows for them")));
            }
            for row in program.look(json!({"request": "group_list"}))? {
                let is_active = row["status"] == "active" && row["relays_active"] != 0;
                if is_active && row["waiting"] != 0 {
                    return Ok(Some(format!("{name}: {} messages wait in {}", row["waiting"], row["group"])));
                }
            }
        }
        for (number, host) in self.world.network.servers.iter_mut().enumerate() {
            let waiting = host.server.waiting();
            if waiting > 0 {
                return Ok(Some(format!("server {number}: {waiting} messages")));
            }
        }
        if let Some(problem) = self.missing()? {
            return Ok(Some(problem));
        }
        self.disagreement()
    }

    /// A post that somebody should have and has not, if there is one.
    fn missing(&mut self) -> anyhow::Result<Option<String>> {
        let mut seen = BTreeMap::new();
        for number in 0..self.groups.len() {
            let group = self.groups.get(number).context("a group")?;
            let alias = group.alias.clone();
            let mut wanted = Vec::new();
            for post in group.posts.iter().filter(|post| !post.changes.iter().any(|change| change.deletes)) {
                // whoever loses a right may have done so before its word was passed on
                if group.ending.is_some() || !group.is_heard(post.author) {
                    continue;
                }
                for (person, relay) in &post.owed {
                    if group.stays(*relay) && group.is_in(*person) {
                        wanted.push((*person, *relay, post.author, post.number, post.id.clone()));
                    }
                }
            }
            for (person, relay, author, count, id) in wanted {
                if let std::collections::btree_map::Entry::Vacant(vacant) =
                    seen.entry((person, alias.clone()))
                {
                    let rows = history(&mut self.world, person, &alias)?;
                    vacant.insert(ids(&rows));
                }
                if !seen.get(&(person, alias.clone())).is_some_and(|seen| seen.contains(&id)) {
                    let name = |id: ProgramId| self.world.programs.get(id).map_or("?", |it| it.name.as_str());
                    return Ok(Some(format!(
                        "{} has not {count} of {} in {alias}, both were at {}",
                        name(person),
                        name(author),
                        name(relay)
                    )));
                }
            }
        }
        Ok(None)
    }

    /// What must be so in the end.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.count();
        for id in self.clients.clone() {
            for group in 0..self.groups.len() {
                let alias = self.groups.get(group).context("a group")?.alias.clone();
                if self.own_row(id, &alias)?.is_some() {
                    self.check_history(id, group, &alias)?;
                    self.check_shown(id, &alias)?;
                }
            }
        }
        for program in &self.world.programs {
            ensure!(
                program.entries_max <= ENTRIES_MAX,
                "{} held {} entries in memory",
                program.name,
                program.entries_max
            );
            ensure!(program.entries() == 0, "{} holds {} entries at rest", program.name, program.entries());
        }
        Ok(())
    }

    /// What counts as unread was not shown.
    pub(super) fn check_unread(&mut self, person: ProgramId) -> anyhow::Result<()> {
        for row in self.world.program(person)?.look(json!({"request": "group_list"}))? {
            let (alias, unread) = (row["group"].as_str().unwrap_or_default(), row["unread"].as_u64());
            let (name, (unseen, others)) =
                (self.world.program(person)?.name.clone(), self.unseen(person, alias)?);
            let most = unseen.len() as u64;
            ensure!(
                unread.is_some_and(|unread| unread <= most),
                "{name} has {unread:?} unread in {alias}, and was not shown {most} of {others}"
            );
        }
        Ok(())
    }

    /// In the end everything was shown, and nothing is unread.
    fn check_shown(&mut self, person: ProgramId, alias: &str) -> anyhow::Result<()> {
        let row = self.own_row(person, alias)?.context("it has the group")?;
        let (unseen, _) = self.unseen(person, alias)?;
        let program = self.world.program(person)?;
        ensure!(row["unread"] == 0, "{} has {} unread in {alias}", program.name, row["unread"]);
        let is_told = program.is_cut_short || unseen.is_empty();
        ensure!(is_told, "{} was never shown {unseen:?} in {alias}", program.name);
        Ok(())
    }

    /// What others said that stands in somebody's history and was not shown, and how much they said.
    fn unseen(&mut self, person: ProgramId, alias: &str) -> anyhow::Result<(Vec<Value>, usize)> {
        let mut rows = history(&mut self.world, person, alias)?;
        rows.retain(|row| row["own"] == false && row["deleted"] == false);
        let others = rows.len();
        let id = |row: &Value| row["message_id"].as_str().unwrap_or_default().to_owned();
        rows.retain(|row| !self.shown.contains_key(&(person, id(row))));
        Ok((rows.into_iter().map(|mut row| row["text"].take()).collect(), others))
    }

    fn count(&mut self) {
        let posts = self.groups.iter().flat_map(|group| &group.posts);
        let mut figures = self.figures;
        for post in posts {
            figures.posts += 1;
            figures.acknowledged += u64::from(post.is_acknowledged);
            figures.owed += post.owed.len() as u64;
            figures.barred += post.barred.len() as u64;
        }
        self.figures = figures;
    }

    fn check_history(&mut self, person: ProgramId, group: usize, alias: &str) -> anyhow::Result<()> {
        let rows = history(&mut self.world, person, alias)?;
        let name = self.world.program(person)?.name.clone();
        let group = self.groups.get(group).context("a group")?;
        let posts = &group.posts;
        let is_outside = group.is_reviewed && person != group.owner && !group.accepted.contains(&person);
        ensure!(!is_outside || rows.is_empty(), "{name} was never let in, and has {:?}", rows.first());
        let mut said = BTreeSet::new();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut late = 0;
        for row in &rows {
            let text = row["text"].as_str().unwrap_or_default();
            let Some((author, number)) = read_text(text) else { continue };
            ensure!(said.insert((author, number)), "{name} has {text:?} twice");
            // what was said before is history, and several relays may have several parts of it
            let is_news = posts
                .iter()
                .any(|post| row["message_id"] == post.id.as_str() && post.present.contains(&person));
            if !is_news {
                continue;
            }
            late += u64::from(row["late"] == true);
            let before = last.entry(author.to_owned()).or_default();
            ensure!(*before < number, "{name} has {text:?} after {before}");
            *before = number;
        }
        let programs = &self.world.programs;
        let relay_name = |id: ProgramId| programs.get(id).map_or("?", |program| program.name.as_str());
        for post in posts {
            let row = rows.iter().find(|row| row["message_id"] == post.id.as_str());
            let brought = row.and_then(|row| row["relays"].as_array()).cloned().unwrap_or_default();
            let brought_by = |relay: ProgramId| brought.iter().any(|by| by == relay_name(relay));
            for (_, relay) in post.barred.iter().filter(|(barred, _)| *barred == person) {
                ensure!(
                    !brought_by(*relay),
                    "{name} was removed, and got {} of {} from {}",
                    post.number,
                    relay_name(post.author),
                    relay_name(*relay)
                );
            }
            for relay in post.blocked_at.iter().filter(|_| !group.freed.contains(&post.author)) {
                ensure!(
                    !brought_by(*relay),
                    "{} was blocked, and {name} got {} of it from {}",
                    relay_name(post.author),
                    post.number,
                    relay_name(*relay)
                );
            }
        }
        self.figures.late += late;
        Ok(())
    }
}

/// The messages that somebody has in a group.
pub(super) fn history(
    world: &mut super::world::World,
    person: ProgramId,
    alias: &str,
) -> anyhow::Result<Vec<Value>> {
    let program = world.program(person)?;
    let groups = program.look(json!({"request": "group_list"}))?;
    if !groups.iter().any(|row| row["group"] == alias) {
        return Ok(Vec::new());
    }
    let rows = program.look(json!({"request": "history", "group": alias, "limit": 100_000}))?;
    Ok(rows.into_iter().filter(|row| row["type"] == "message").collect())
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row["message_id"].as_str().map(str::to_owned)).collect()
}

/// A post, its group, and somebody else who has it, with a relay that brought it.
#[cfg(test)]
pub(super) fn somebody_has(script: &mut Script) -> Option<(usize, usize, ProgramId, ProgramId)> {
    for (place, group) in script.groups.iter().enumerate() {
        for reader in group.people.keys() {
            let rows = history(&mut script.world, *reader, &group.alias).ok()?;
            for (index, post) in group.posts.iter().enumerate().filter(|(_, post)| post.author != *reader) {
                let row = rows.iter().find(|row| row["message_id"] == post.id.as_str());
                let brought = row.and_then(|row| row["relays"].as_array()).cloned().unwrap_or_default();
                let name =
                    |id: &ProgramId| script.world.programs.get(*id).map(|program| program.name.as_str());
                let by =
                    group.relays.keys().find(|relay| brought.iter().any(|by| by.as_str() == name(relay)));
                if let Some(by) = by {
                    return Some((place, index, *reader, *by));
                }
            }
        }
    }
    None
}
