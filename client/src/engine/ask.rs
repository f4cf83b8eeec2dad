//! Requests of commands: what each one begins, and what it then waits for.

use std::path::Path;

use super::app::listening;
use super::goal::Goal;
use super::join::Wish;
use super::knocks::checked_reason;
use super::step::{Done, Step};
use crate::archive;
use crate::event::Event;
use crate::query;
use crate::request::Request;
use crate::rows;
use crate::store::group::GroupId;
use crate::store::member::Decision;
use crate::store::relay::RelayRow;

/// How long a request may take; those that follow, or need nobody, have no limit.
pub(super) fn timeout_ms(request: &Request) -> u64 {
    match request {
        Request::GroupCreate(create) => create.timeout_ms,
        Request::GroupProfile { timeout_ms, .. }
        | Request::GroupRelayAdd { timeout_ms, .. }
        | Request::GroupRelayRemove { timeout_ms, .. }
        | Request::GroupRestore { timeout_ms, .. }
        | Request::GroupDelete { timeout_ms, .. }
        | Request::Join { timeout_ms, .. }
        | Request::Enter { timeout_ms, .. }
        | Request::Send { timeout_ms, .. }
        | Request::Role { timeout_ms, .. }
        | Request::Remove { timeout_ms, .. }
        | Request::Restrict { timeout_ms, .. }
        | Request::Accept { timeout_ms, .. }
        | Request::Reject { timeout_ms, .. }
        | Request::Leave { timeout_ms, .. }
        | Request::Edit { timeout_ms, .. }
        | Request::Delete { timeout_ms, .. }
        | Request::React { timeout_ms, .. }
        | Request::Flush { timeout_ms }
        | Request::ImportGroup { timeout_ms, .. } => *timeout_ms,
        _ => 0,
    }
}

impl Step<'_, '_> {
    /// Begins what is asked; `rows` are shown at once, the goal is waited for.
    pub(super) fn asked(
        &mut self,
        number: u64,
        request: Request,
        rows: &mut Vec<Event>,
    ) -> Done<Option<Goal>> {
        Ok(Some(match request {
            Request::GroupCreate(create) => Goal::Created(self.create_group(&create)?),
            Request::GroupProfile { group, change: Some(change), .. } => {
                let id = query::find_group(self.store, &group)?;
                let shared_id = self.change_profile(id, &change)?;
                Goal::Published(id, shared_id)
            }
            Request::RelayTest { relay, timeout_ms } => {
                for wanted in self.wanted_relays(&[relay])? {
                    self.test_relay(number, &wanted.link, timeout_ms)?;
                }
                Goal::RelayTested
            }
            Request::GroupRelays { group, follow: true } => {
                let id = query::find_group(self.store, &group)?;
                let alias = self.store.group(id)?.alias;
                let relays = self.store.relays(id)?;
                rows.extend(relays.iter().map(|relay| Event::GroupRelay(rows::relay_row(&alias, relay))));
                Goal::Watched(alias)
            }
            Request::GroupRelayAdd { group, relay, code, .. } => {
                let id = query::find_group(self.store, &group)?;
                Goal::Relay(id, self.add_relay(id, &relay, code)?)
            }
            Request::GroupRelayRemove { group, relay, notice, force, .. } => {
                let id = query::find_group(self.store, &group)?;
                self.remove_relay(id, &relay, notice, force)?;
                Goal::RelayRemoved(id)
            }
            Request::GroupRestore { group, .. } => {
                let id = query::find_group(self.store, &group)?;
                self.restore(id)?;
                Goal::RestoreLink(id)
            }
            Request::GroupDelete { group, .. } => self.sent_goal(&group, |step, id| step.delete_group(id))?,
            Request::Join { link, .. } => match self.join(number, &link)? {
                Wish::Reading => Goal::JoinLink,
                Wish::Waiting(id) => Goal::Joined(id),
            },
            Request::Enter { group, shown, .. } => {
                let id = query::find_group(self.store, &group)?;
                self.enter(id, shown)?;
                Goal::Joined(id)
            }
            Request::Send { group, texts, reply_to, .. } => {
                let id = query::find_group(self.store, &group)?;
                let mut ids = Vec::new();
                for text in &texts {
                    ids.push(self.post(id, text, reply_to.as_deref())?);
                }
                Goal::Delivered(id, ids)
            }
            Request::Listen { group, history } => self.follow(group, history, rows)?,
            Request::Role { group, member, role, .. } => {
                self.sent_goal(&group, |step, id| step.give_role(id, &member, &role))?
            }
            Request::Remove { group, member, messages, .. } => {
                self.sent_goal(&group, |step, id| step.remove_member(id, &member, messages))?
            }
            Request::Restrict { group, member, blocked, .. } => {
                self.sent_goal(&group, |step, id| step.restrict(id, &member, blocked))?
            }
            Request::Accept { group, member, .. } => {
                self.sent_goal(&group, |step, id| step.decide(id, &member, Decision::Accepted))?
            }
            Request::Reject { group, member, reason, .. } => {
                let reason = checked_reason(&reason)?;
                self.sent_goal(&group, |step, id| step.decide(id, &member, Decision::Rejected { reason }))?
            }
            Request::Leave { group, .. } => self.sent_goal(&group, |step, id| step.leave(id))?,
            Request::Edit { group, message, text, .. } => {
                self.sent_goal(&group, |step, id| step.edit(id, &message, &text))?
            }
            Request::Delete { group, message, .. } => {
                self.sent_goal(&group, |step, id| step.delete(id, &message))?
            }
            Request::React { group, message, emoji, add, .. } => {
                self.sent_goal(&group, |step, id| step.react(id, &message, &emoji, add))?
            }
            Request::Flush { .. } => Goal::Flushed,
            Request::ImportGroup { path, passphrase, .. } => {
                let taken = archive::read_group(Path::new(&path), passphrase.0)?;
                Goal::Restored(self.take_over(&taken)?)
            }
            Request::ExportHome { path, passphrase } => {
                let (path, passphrase) = (Path::new(&path), passphrase.0);
                archive::export_home(self.store, path, passphrase)?;
                rows.push(Event::Done { what: "home exported to".into(), name: path.display().to_string() });
                return Ok(None);
            }
            Request::ExportGroup { group, path, passphrase } => {
                let id = query::find_group(self.store, &group)?;
                archive::export_group(self.store, id, Path::new(&path), passphrase.0)?;
                rows.push(Event::Done { what: "owner keys exported to".into(), name: path });
                return Ok(None);
            }
            local => {
                query::answer_within(self.store, local, &mut |event| rows.push(event))?;
                return Ok(None);
            }
        }))
    }

    /// A command that sends one event waits until some relay's server has it.
    fn sent_goal(
        &mut self,
        group: &str,
        act: impl FnOnce(&mut Self, GroupId) -> Done<protocol::group::msg_id::SharedMessageId>,
    ) -> Done<Goal> {
        let id = query::find_group(self.store, group)?;
        let shared_id = act(self, id)?;
        Ok(Goal::Delivered(id, vec![shared_id]))
    }

    /// Shows what was not shown yet, or everything, and follows from there.
    fn follow(&mut self, group: Option<String>, history: bool, rows: &mut Vec<Event>) -> Done<Goal> {
        let mut alias = None;
        if let Some(name) = &group {
            alias = Some(self.store.group(query::find_group(self.store, name)?)?.alias);
        }
        rows.push(listening(self.store)?);
        for group in self.store.groups()? {
            if alias.as_ref().is_some_and(|alias| *alias != group.record.alias) {
                continue;
            }
            let unshown = self.store.unshown_messages(group.id)?;
            for message in &unshown {
                self.store.mark_shown(message.row)?;
            }
            let shown = if history { self.store.newest_messages(group.id, u32::MAX)? } else { unshown };
            for message in shown {
                rows.push(Event::Message(rows::message_row(self.store, group.id, &group.record, &message)?));
            }
        }
        Ok(Goal::Followed(alias))
    }

    /// Adds a relay, or starts again with one that was given up.
    fn add_relay(
        &mut self,
        id: GroupId,
        name: &str,
        code: Option<String>,
    ) -> Done<crate::store::relay::RelayId> {
        use protocol::group::relay_status::RelayEvent;
        let group = self.store.group(id)?;
        if group.owner.is_none() || group.status.is_over() {
            return Err(super::step::Stop::refuse(
                crate::exit_code::ExitCode::NotAllowed,
                "Only the owner adds relays to a group",
            ));
        }
        let mut wanted = self.wanted_relays(&[name.to_owned()])?;
        let Some(mut wanted) = wanted.pop() else { return Err(crate::store::StoreError::Missing.into()) };
        wanted.code = code.or(wanted.code);
        let same = |relay: &&RelayRow| relay.record.address.as_deref() == Some(wanted.link.as_str());
        let relays = self.store.relays(id)?;
        if let Some(relay) = relays.iter().filter(same).find(|relay| !relay.record.is_over()) {
            return Ok(relay.id);
        }
        match relays.iter().filter(same).find(|relay| relay.record.is_refused()).cloned() {
            Some(mut relay) => {
                relay.record.code = wanted.code;
                // The connection of the refusal may not have ended yet: another answer is awaited now.
                self.part_with(relay.clone(), true)?;
                self.relay_event(relay.id, RelayEvent::Retry)?;
                Ok(relay.id)
            }
            None => self.choose_relay(id, wanted),
        }
    }
}
