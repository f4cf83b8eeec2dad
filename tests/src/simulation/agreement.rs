//! What people must agree on in the end: what a group is, who may do what in it, and what became of posts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::ledger::{Change, Debt};
use super::network::ProgramId;
use super::script::Script;

/// Messages of one person in one group, by their ids.
type Rows = BTreeMap<String, Value>;

impl Script {
    /// Something on which people who hear of each other do not agree, if there is anything.
    pub(super) fn disagreement(&mut self) -> anyhow::Result<Option<String>> {
        for number in 0..self.groups.len() {
            let group = self.groups.get(number).context("a group")?;
            let (alias, owner, told) = (group.alias.clone(), group.owner, group.ending.clone());
            let Some(own) = self.own_row(owner, &alias)? else { continue };
            let problem = match (told, own["status"].as_str()) {
                (Some(told), Some("deleted")) => self.not_ended(number, &alias, &told)?,
                (None, Some("active")) => match self.state_differs(number, &alias)? {
                    Some(problem) => Some(problem),
                    None => self.posts_differ(number, &alias)?,
                },
                _ => None,
            };
            if problem.is_some() {
                return Ok(problem);
            }
        }
        Ok(None)
    }

    /// Whoever was to hear that the group has ended knows it.
    fn not_ended(&mut self, number: usize, alias: &str, told: &[Debt]) -> anyhow::Result<Option<String>> {
        for (person, relay) in told {
            let group = self.groups.get(number).context("a group")?;
            if !group.stays(*relay) || !group.is_in(*person) {
                continue;
            }
            let row = self.own_row(*person, alias)?;
            if row.as_ref().is_some_and(|row| row["status"] == "active") {
                let (person, relay) = (self.name(*person), self.name(*relay));
                return Ok(Some(format!("{person} has not heard from {relay} that {alias} has ended")));
            }
        }
        Ok(None)
    }

    /// Whoever hears of the owner sees the same profile, and itself as the owner sees it.
    fn state_differs(&mut self, number: usize, alias: &str) -> anyhow::Result<Option<String>> {
        let group = self.groups.get(number).context("a group")?;
        let owner = group.owner;
        let staying: Vec<ProgramId> =
            group.relays.keys().copied().filter(|relay| group.stays(*relay)).collect();
        let members: Vec<ProgramId> =
            group.people.keys().copied().filter(|person| group.is_in(*person)).collect();
        let staying: Vec<String> = staying.into_iter().map(|relay| self.name(relay)).collect();
        let mut common = self.connected(owner, alias)?;
        common.retain(|relay| staying.contains(relay));
        let profile = json!({"request": "group_profile", "group": alias, "change": null, "timeout_ms": 0});
        let roster = json!({"request": "members", "group": alias});
        let shown = self.world.program(owner)?.look(profile.clone())?;
        let known = self.world.program(owner)?.look(roster.clone())?;
        for person in members {
            let hears = self.connected(person, alias)?.iter().any(|relay| common.contains(relay));
            let Some(own) = self.own_row(person, alias)?.filter(|row| hears && row["status"] == "active")
            else {
                continue;
            };
            let name = self.name(person);
            let theirs = self.world.program(person)?.look(profile.clone())?;
            for field in ["full_name", "description", "history_items"] {
                let (shown, theirs) = (value(&shown, field), value(&theirs, field));
                if shown != theirs {
                    return Ok(Some(format!("{name} has as {field} of {alias} {theirs}, the owner {shown}")));
                }
            }
            let Some(as_known) = known.iter().find(|row| row["member_id"] == own["member_id"]) else {
                return Ok(Some(format!("the owner of {alias} does not know {name}")));
            };
            if own["role"] != as_known["role"] {
                let (role, known) = (&own["role"], &as_known["role"]);
                return Ok(Some(format!("{name} is {role} in {alias}, and {known} to the owner")));
            }
            for row in self.world.program(person)?.look(roster.clone())? {
                // who is known by a change alone, and was never introduced, has no name
                let is_same = |known: &&Value| {
                    let fields = ["member_id", "name", "status"];
                    fields.iter().all(|field| known[field] == row[field]) && row["status"] == "active"
                };
                if let Some(same) = known.iter().find(is_same)
                    && (&same["blocked"], &same["role"]) != (&row["blocked"], &row["role"])
                {
                    return Ok(Some(format!("{name} sees {row} in {alias}, the owner {same}")));
                }
            }
        }
        Ok(None)
    }

    /// Whoever was to hear of every change of a post shows it as its author does, or not at all.
    fn posts_differ(&mut self, number: usize, alias: &str) -> anyhow::Result<Option<String>> {
        let group = self.groups.get(number).context("a group")?;
        let (owner, changed) = (group.owner, group.posts.iter().filter(|post| !post.changes.is_empty()));
        let mut wanted = Vec::new();
        for post in changed.filter(|post| group.is_heard(post.author)) {
            let by: Vec<ProgramId> = post.changes.iter().filter(|it| it.deletes).map(|it| it.by).collect();
            let is_told = |person: &ProgramId| {
                let hears = |change: &Change| {
                    change.by == *person
                        || change.owed.iter().any(|(who, relay)| who == person && group.stays(*relay))
                };
                group.is_in(*person) && post.changes.iter().all(hears)
            };
            let people = group.people.keys().copied().chain([owner]);
            let told: Vec<ProgramId> = people.filter(is_told).collect();
            wanted.push((post.id.clone(), post.author, by, told));
        }
        let mut seen: BTreeMap<ProgramId, Rows> = BTreeMap::new();
        for (id, author, by, told) in wanted {
            for person in told.iter().chain(&by).chain([&author]) {
                if !seen.contains_key(person) {
                    let rows = super::invariants::history(&mut self.world, *person, alias)?;
                    let id = |row: &Value| row["message_id"].as_str().unwrap_or_default().to_owned();
                    seen.insert(*person, rows.into_iter().map(|row| (id(&row), row)).collect());
                }
            }
            let row = |person: &ProgramId| seen.get(person).and_then(|rows| rows.get(&id));
            let is_deleted = |person: &ProgramId| row(person).is_some_and(|row| row["deleted"] == true);
            let is_gone = by.iter().any(is_deleted);
            for person in &told {
                let differs = match (row(person), row(&author)) {
                    (Some(theirs), _) if is_gone => theirs["deleted"] != true,
                    (Some(theirs), Some(own)) => theirs["text"] != own["text"],
                    _ => false,
                };
                if differs {
                    let (name, text) = (self.name(*person), row(person).map(|row| row["text"].clone()));
                    let own = row(&author).map(|row| row["text"].clone());
                    return Ok(Some(format!("{name} has {text:?} in {alias}, its author {own:?}")));
                }
            }
        }
        Ok(None)
    }

    fn name(&self, id: ProgramId) -> String {
        self.world.programs.get(id).map_or("?", |program| program.name.as_str()).to_owned()
    }
}

/// A field of an answer of one row.
fn value<'a>(rows: &'a [Value], field: &str) -> &'a Value {
    rows.first().map_or(&Value::Null, |row| &row[field])
}
