//! What people hear, and what the books say of it.

use std::collections::BTreeSet;

use anyhow::Context as _;
use chat_relay::store::RelayStore as _;
use chat_relay::store::operation::OperationStore as _;
use chat_relay::store::records::{GroupId, LinkState, Member, MemberStatus};
use protocol::group::identity::MemberId;
use serde_json::{Value, json};

use super::{Script, What};
use crate::simulation::ledger::{Audience, Post, read_text};
use crate::simulation::network::ProgramId;

impl Script {
    /// Reads what a client said to those who asked.
    pub(super) fn hear(&mut self, program: ProgramId) -> anyhow::Result<()> {
        let life = self.world.program(program)?.life;
        self.pending.retain(|pending| pending.program != program || pending.life == life);
        let mut heard = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| pending.program == program) {
            heard.extend(pending.replies.take().into_iter().map(|reply| (pending.what.clone(), reply)));
        }
        for (what, reply) in heard {
            self.heard(program, &what, &reply)?;
        }
        Ok(())
    }

    fn heard(&mut self, program: ProgramId, what: &What, reply: &Value) -> anyhow::Result<()> {
        let now = self.world.now();
        let value = &reply["value"];
        if reply["reply"] == "failure" {
            let name = self.world.program(program)?.name.clone();
            self.world.trace.note(now, format_args!("{name} is refused: {value}"));
        }
        match (what, value["type"].as_str()) {
            (What::Create(group), Some("group_link")) => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.link = value["link"].as_str().map(str::to_owned);
                }
            }
            (What::Post(group), Some("message")) if value["own"] == true => {
                self.posted(program, *group, value)?;
            }
            (What::Post(group), Some("delivery")) if value["state"] == "durable" => {
                let id = value["message_id"].as_str().unwrap_or_default();
                let group = self.groups.get_mut(*group).context("a group")?;
                if let Some(post) = group.posts.iter_mut().find(|post| post.id == id) {
                    post.is_acknowledged = true;
                }
            }
            (What::Follow, Some("message")) if value["own"] == false => {
                let id = value["message_id"].as_str().unwrap_or_default().to_owned();
                let (name, times) = (self.world.program(program)?.name.clone(), &mut self.shown);
                let times = times.entry((program, id)).or_default();
                *times += 1;
                self.world.trace.note(now, format_args!("{name} sees {}", value["text"]));
                anyhow::ensure!(*times == 1, "{name} was shown {} twice", value["text"]);
            }
            (What::Follow, Some("warning" | "evidence" | "group_ended" | "joined" | "gap" | "late")) => {
                let name = self.world.program(program)?.name.clone();
                self.world.trace.note(now, format_args!("{name} is told {value}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// A post is durable with its author: to whom is it owed?
    fn posted(&mut self, author: ProgramId, number: usize, row: &Value) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, people) = (group.alias.clone(), group.people.keys().copied().collect::<Vec<_>>());
        let mut present = BTreeSet::new();
        for person in people {
            if self.own_row(person, &alias)?.is_some_and(|row| row["status"] == "active") {
                present.insert(person);
            }
        }
        let Audience { owed, barred, blocked_at } = self.audience(author, number)?;
        let post = Post {
            author,
            number: row["text"].as_str().and_then(read_text).map_or(0, |(_, number)| number),
            id: row["message_id"].as_str().unwrap_or_default().to_owned(),
            is_acknowledged: false,
            owed,
            present,
            barred,
            blocked_at,
            changes: Vec::new(),
        };
        let posts = &mut self.groups.get_mut(number).context("a group")?.posts;
        anyhow::ensure!(posts.iter().all(|known| known.id != post.id), "{alias}: a post was told of twice");
        posts.push(post);
        Ok(())
    }

    /// Who is to get what somebody says now, and who is not.
    pub(super) fn audience(&mut self, author: ProgramId, number: usize) -> anyhow::Result<Audience> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let people: Vec<ProgramId> = group.people.keys().copied().chain([owner]).collect();
        let relays: Vec<ProgramId> =
            group.relays.keys().copied().filter(|relay| group.stays(*relay)).collect();
        let spoken_to = self.connected(author, &alias)?;
        let mut audience = Audience::default();
        for relay in relays {
            let name = self.world.program(relay)?.name.clone();
            if self.standing_at(relay, author, &alias)?.is_some_and(|member| member.blocked) {
                audience.blocked_at.push(relay);
            }
            for person in people.iter().copied().filter(|person| *person != author) {
                let Some(member) = self.standing_at(relay, person, &alias)? else { continue };
                match (member.status, member.link) {
                    (MemberStatus::Connected, LinkState::Open | LinkState::Full)
                        if spoken_to.contains(&name) && self.connected(person, &alias)?.contains(&name) =>
                    {
                        audience.owed.push((person, relay));
                    }
                    (MemberStatus::Removed, _) => audience.barred.push((person, relay)),
                    _ => {}
                }
            }
        }
        Ok(audience)
    }

    /// The names of relays to which somebody is connected, as its client sees it.
    pub(in crate::simulation) fn connected(
        &mut self,
        person: ProgramId,
        alias: &str,
    ) -> anyhow::Result<Vec<String>> {
        if self.own_row(person, alias)?.is_none() {
            return Ok(Vec::new());
        }
        let request = json!({"request": "group_relays", "group": alias, "follow": false});
        let rows = self.world.program(person)?.look(request)?;
        let connected = rows.iter().filter(|row| row["connected"] == true && row["status"] == "active");
        Ok(connected.filter_map(|row| row["relay"].as_str().map(str::to_owned)).collect())
    }

    /// Somebody's own row of a group, if it has the group.
    pub(in crate::simulation) fn own_row(
        &mut self,
        person: ProgramId,
        alias: &str,
    ) -> anyhow::Result<Option<Value>> {
        let rows = self.world.program(person)?.look(json!({"request": "group_list"}))?;
        Ok(rows.into_iter().find(|row| row["group"] == alias))
    }

    /// How a relay sees somebody.
    fn standing_at(
        &mut self,
        relay: ProgramId,
        person: ProgramId,
        alias: &str,
    ) -> anyhow::Result<Option<Member>> {
        let Some(row) = self.own_row(person, alias)? else { return Ok(None) };
        let id = row["member_id"].as_str().and_then(|id| protocol::base64url::decode(id).ok());
        let Some(id) = id.and_then(|id| MemberId::new(id).ok()) else { return Ok(None) };
        let public_id = row["public_id"].as_str().unwrap_or_default().to_owned();
        let program = self.world.program(relay)?;
        program.with_relay_store(|store| {
            for served in store.group_overviews(GroupId(0), 100)? {
                let identity = served.group.identity.as_ref();
                let is_it = identity.is_some_and(|it| it.public_group_id.to_string() == public_id);
                if is_it && served.group.life.status.serves() {
                    return store.member_by_id(served.group.id, &id);
                }
            }
            Ok(None)
        })
    }
}
