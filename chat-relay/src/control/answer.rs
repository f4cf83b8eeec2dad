//! What a running relay answers its operator. Decided on the engine's thread, inside its transaction: an answer goes out
//! when what it says is durable.

use protocol::base64url;
use protocol::crypto::hash::sha256;
use protocol::crypto::random_bytes;
use protocol::encoding::Decode as _;
use protocol::group::identity::LinkText;
use protocol::group::served_group::{ServedEvent, ServedStatus};
use protocol::net::engine::Fatal;
use protocol::smp::address::ServerAddress;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;
use serde_json::{Value, json};

use super::request::{Codes, Quotas, Request};
use crate::access::{key_text, read_key};
use crate::invitation::GROUP_LINK_BYTES_MAX;
use crate::operation::{Change, Quota, Rules, ServerHealth};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::operation::{CodeId, GroupOverview, IssuedCode, Usage};
use crate::store::records::GroupId;
use crate::store::workers::WorkerOverview;
use crate::turn::Turn;
use crate::{closing, intake, lifecycle, sharing};

/// Requests to servers that are looked at for `jobs` and for metrics.
pub(crate) const JOBS_MAX: u32 = 10_000;
/// Bytes of an invitation code: nobody guesses one.
const CODE_BYTES: usize = 16;
/// Longest note of an operator, bytes.
const NOTE_BYTES_MAX: usize = 200;

/// An answer, or why there is none.
type Answered = Result<Result<Value, String>, Fatal>;

/// Does what is asked; the answer as JSON.
///
/// # Errors
/// When the store fails; so for every function here.
pub(crate) fn answer<S: RelayStore>(turn: &mut Turn<'_, '_, S>, request: Request) -> Result<Value, Fatal> {
    let answered = match request {
        Request::Stats => stats(turn),
        Request::Groups { after, limit } => groups(turn, after, limit),
        Request::Group { group } => one_group(turn, group),
        Request::Workers => workers(turn),
        Request::Queues => queues(turn),
        Request::Jobs => jobs(turn),
        Request::Pause { group } => pause(turn, group, true),
        Request::Resume { group } => pause(turn, group, false),
        Request::Reject { group } => reject(turn, &group),
        Request::Rejections => rejections(turn),
        Request::Access { mode } => access(turn, mode),
        Request::Allow { whom, note } => allow(turn, &whom, &note),
        Request::Disallow { key } => disallow(turn, &key),
        Request::Allowed => allowed(turn),
        Request::Codes { codes } => match codes {
            Codes::Issue { note, groups, expires } => {
                let until = expires.map(|length| turn.now().plus_ms(length.ms()));
                issue(turn, &note, groups, until)
            }
            Codes::List => {
                let codes = turn.store.codes()?;
                Ok(Ok(json!({ "codes": codes.iter().map(code_row).collect::<Vec<_>>() })))
            }
            Codes::Revoke { code } => match turn.store.revoke_code(CodeId(code))? {
                true => Ok(Ok(json!({ "done": "the code lets no further group in" }))),
                false => Ok(Err(format!("there is no code {code}: see `ctl codes list`"))),
            },
        },
        Request::Quotas { quotas } => match quotas {
            Quotas::Show => Ok(Ok(quotas_in_force(&turn.operation.rules))),
            Quotas::Used { limit } => used(turn, limit),
            Quotas::Set { quota, value } => {
                change(turn, &Change::quota(quota, value))?;
                Ok(Ok(quotas_in_force(&turn.operation.rules)))
            }
        },
        Request::Drain => {
            let until = turn.now().plus_ms(turn.limits.drain_timeout.ms());
            turn.operation.drain_until = Some(until);
            let now = turn.now();
            turn.wake_at(now);
            Ok(Ok(json!({ "done": "draining: the end when what waits is handed out" })))
        }
    }?;
    Ok(answered.unwrap_or_else(super::refusal))
}

fn stats<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    let totals = turn.store.totals()?;
    let waiting = turn.store.backlog(None)?;
    let mut out = turn.operation.metrics.snapshot();
    let groups: serde_json::Map<_, _> =
        totals.groups.iter().map(|(word, count)| ((*word).to_owned(), json!(count))).collect();
    out.insert("groups".to_owned(), groups.into());
    for (name, value) in [
        ("groups_paused", totals.paused_groups),
        ("members", totals.members),
        ("knocks_waiting", totals.knocks),
        ("messages_kept", totals.messages),
        ("messages_waiting", waiting),
        ("members_behind", turn.store.members_behind()?),
        ("queues_refused", turn.operation.refused.len() as u64),
    ] {
        out.insert(name.to_owned(), json!(value));
    }
    out.insert("access".to_owned(), json!(turn.operation.rules.access));
    out.insert("paused".to_owned(), json!(turn.operation.rules.paused));
    Ok(Ok(out.into()))
}

fn groups<S: RelayStore>(turn: &mut Turn<'_, '_, S>, after: i64, limit: u32) -> Answered {
    let overviews = turn.store.group_overviews(GroupId(after), limit.clamp(1, 1000))?;
    let rows = overviews.iter().map(|overview| group_row(turn, overview)).collect::<Result<Vec<_>, _>>()?;
    Ok(Ok(json!({ "groups": rows })))
}

fn group_row<S: RelayStore>(turn: &mut Turn<'_, '_, S>, overview: &GroupOverview) -> Result<Value, Fatal> {
    let group = &overview.group;
    Ok(json!({
        "number": group.id.0,
        "name": group.identity.as_ref().map(|identity| identity.profile.display_name.as_str()),
        "state": group.life.status.word(),
        "members": overview.members,
        "knocks": overview.knocks,
        "waiting": turn.store.backlog(Some(group.id))?,
        "paused": overview.paused,
        "account": overview.account,
        "here": turn.store.holds(group.id),
    }))
}

fn one_group<S: RelayStore>(turn: &mut Turn<'_, '_, S>, number: i64) -> Answered {
    let before = GroupId(number.saturating_sub(1));
    let found = turn.store.group_overviews(before, 1)?.pop().filter(|found| found.group.id.0 == number);
    let Some(found) = found else { return Ok(Err(no_group(number))) };
    let mut row = group_row(turn, &found)?;
    let since = found.group.life.since;
    let connections = turn.store.connections_of_group(found.group.id)?.len();
    let roster = turn.store.roster(found.group.id)?.map(|roster| roster.version);
    let purposes = turn.operation.refused.values().flatten();
    let refused = purposes.filter(|purpose| purpose.group() == Some(found.group.id)).count();
    if let Value::Object(fields) = &mut row {
        fields.insert("in_state_for_seconds".to_owned(), json!(seconds_since(turn.now(), since)));
        fields.insert("connections".to_owned(), json!(connections));
        fields.insert("queues_refused".to_owned(), json!(refused));
        fields.insert("roster_version".to_owned(), json!(roster));
        fields.insert("link".to_owned(), json!(found.group.key.group_link.as_str()));
    }
    Ok(Ok(row))
}

fn workers<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    if !turn.store.is_shared() {
        return Ok(Err("this relay has one worker: its state is in a file".to_owned()));
    }
    let row = |worker: &WorkerOverview| {
        json!({
            "number": worker.id,
            "name": worker.name,
            "groups": worker.groups,
            "members": worker.members,
            "has_address": worker.has_address,
            "asked": worker.is_asked,
        })
    };
    let workers = turn.store.workers()?;
    Ok(Ok(json!({ "workers": workers.iter().map(row).collect::<Vec<_>>() })))
}

fn queues<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    let mut rows = Vec::new();
    for (server, queues) in turn.store.queues_by_server()? {
        let server = ServerAddress::from_bytes(&server)?;
        rows.push(json!({
            "server": server.first_host().to_string(),
            "queues": queues,
            "refused": turn.operation.refused.keys().filter(|(refuses, _)| *refuses == server).count(),
            "reached": match turn.operation.servers.get(&server) {
                Some(ServerHealth::Up) => Some(true),
                Some(ServerHealth::Down) => Some(false),
                None => None,
            },
        }));
    }
    Ok(Ok(json!({ "servers": rows })))
}

fn jobs<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    let (kinds, has_more) = turn.store.waiting_jobs(JOBS_MAX)?;
    let rows: Vec<_> = kinds
        .iter()
        .map(|kind| json!({ "kind": kind.kind, "waiting": kind.waiting, "retrying": kind.retrying }))
        .collect();
    let given_up = turn.operation.metrics.given_up();
    Ok(Ok(json!({ "jobs": rows, "has_more": has_more, "given_up_since_start": given_up })))
}

fn pause<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: Option<i64>, paused: bool) -> Answered {
    match group {
        None => change(turn, &Change::paused(paused))?,
        Some(number) => {
            if turn.store.group(GroupId(number))?.is_none() {
                return Ok(Err(no_group(number)));
            }
            if !turn.store.holds(GroupId(number)) {
                return Ok(Err(sharing::elsewhere(GroupId(number))));
            }
            turn.store.set_paused(GroupId(number), paused)?;
            turn.deliver(GroupId(number));
        }
    }
    let now = turn.now();
    turn.wake_at(now);
    let whose = if group.is_some() { "the group's messages" } else { "messages" };
    let what = if paused { "are taken and kept back" } else { "are handed out" };
    Ok(Ok(json!({ "done": format!("{whose} {what}") })))
}

fn reject<S: RelayStore>(turn: &mut Turn<'_, '_, S>, wanted: &str) -> Answered {
    let link = match wanted.parse().map(GroupId) {
        Ok(id) => match turn.store.group(id)? {
            Some(group) => group.key.group_link,
            None => return Ok(Err(no_group(id.0))),
        },
        Err(_) => match wanted.parse::<ShortLink>() {
            Ok(link) if link.to_string().len() <= GROUP_LINK_BYTES_MAX => LinkText::from(&link),
            _ => return Ok(Err("name a group by its number, or by its link".to_owned())),
        },
    };
    let now = turn.now();
    let served = turn.store.groups_by_link(&link)?;
    if let Some(group) = served.iter().find(|group| !turn.store.holds(group.id)) {
        return Ok(Err(sharing::elsewhere(group.id)));
    }
    let identity = served.iter().find_map(|group| group.identity.as_ref());
    let name = identity.map(|identity| identity.profile.display_name.clone()).unwrap_or_default();
    let public_id = identity.map(|identity| identity.public_group_id.clone());
    turn.store.reject(&link, public_id.as_ref(), &name, now)?;
    turn.reached(Step::GroupRejected);
    for group in &served {
        // The members are told, whatever was kept back.
        turn.store.set_paused(group.id, false)?;
        lifecycle::advance(turn, group.id, ServedEvent::OperatorLeaves)?;
        let rests =
            turn.store.group(group.id)?.is_some_and(|group| group.life.status == ServedStatus::Rejected);
        if rests {
            closing::close(turn, group.id)?;
        }
    }
    tracing::info!(groups = served.len(), "the operator rejects a group");
    Ok(Ok(json!({ "done": "the group is not served", "groups_ended": served.len() })))
}

fn rejections<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    let now = turn.now();
    let row = |rejection: crate::store::operation::Rejection| {
        json!({
            "number": rejection.id,
            "name": rejection.group_name,
            "for_seconds": seconds_since(now, rejection.since),
            "link": rejection.group_link.as_str(),
        })
    };
    Ok(Ok(json!({ "rejections": turn.store.rejections()?.into_iter().map(row).collect::<Vec<_>>() })))
}

/// Forgets a rejection.
fn forgive<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id_or_link: &str) -> Answered {
    if turn.store.clear_rejection(id_or_link)? {
        turn.reached(Step::RejectionForgotten);
        tracing::info!("the operator forgets a rejection");
        Ok(Ok(json!({ "done": "the next invitation of the group is looked at again" })))
    } else {
        Ok(Err(format!("no rejection {id_or_link}: see `ctl rejections`")))
    }
}

fn access<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mode: Option<crate::access::Access>) -> Answered {
    if let Some(mode) = mode {
        change(turn, &Change::access(mode))?;
    }
    Ok(Ok(json!({ "access": turn.operation.rules.access })))
}

fn allow<S: RelayStore>(turn: &mut Turn<'_, '_, S>, whom: &str, note: &str) -> Answered {
    if let Ok(link) = whom.parse::<ShortLink>() {
        return forgive(turn, LinkText::from(&link).as_str());
    }
    if whom.parse::<i64>().is_ok() {
        return forgive(turn, whom);
    }
    let Some(key) = read_key(whom) else { return Ok(Err(no_key(whom))) };
    if let Err(reason) = check_note(note) {
        return Ok(Err(reason));
    }
    let now = turn.now();
    turn.store.allow_owner(&key, note, now)?;
    turn.reached(Step::OwnerAllowed);
    Ok(Ok(json!({ "done": "the owner is on the list" })))
}

fn disallow<S: RelayStore>(turn: &mut Turn<'_, '_, S>, text: &str) -> Answered {
    let Some(key) = read_key(text) else { return Ok(Err(no_key(text))) };
    if turn.store.disallow_owner(&key)? {
        Ok(Ok(json!({ "done": "the owner is not on the list any more" })))
    } else {
        Ok(Err("this key is not on the list: see `ctl allowed`".to_owned()))
    }
}

fn allowed<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Answered {
    let now = turn.now();
    let owners = turn.store.allowed_owners()?;
    let row = |owner: &crate::store::operation::AllowedOwner| {
        json!({
            "key": key_text(&owner.key),
            "note": owner.note,
            "for_seconds": seconds_since(now, owner.since),
        })
    };
    Ok(Ok(json!({ "owners": owners.iter().map(row).collect::<Vec<_>>() })))
}

fn issue<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    note: &str,
    groups: u32,
    until: Option<Timestamp>,
) -> Answered {
    if let Err(reason) = check_note(note) {
        return Ok(Err(reason));
    }
    let code = base64url::encode_unpadded(&random_bytes::<CODE_BYTES>(turn.context.rng()));
    let now = turn.now();
    let id = turn.store.issue_code(&sha256(code.as_bytes()), note, groups, until, now)?;
    turn.reached(Step::CodeIssued);
    Ok(Ok(json!({ "number": id.0, "code": code, "groups_max": groups })))
}

fn code_row(code: &IssuedCode) -> Value {
    json!({
        "number": code.id.0,
        "note": code.note,
        "groups": code.groups,
        "groups_max": code.groups_max,
        "revoked": code.revoked,
        "expires_ms": code.until.map(|until| until.0),
    })
}

fn quotas_in_force(rules: &Rules) -> Value {
    let quotas =
        Quota::ALL.iter().map(|quota| (quota.word().to_owned(), json!(rules.quota(*quota).unwrap_or(0))));
    Value::Object(quotas.collect())
}

fn used<S: RelayStore>(turn: &mut Turn<'_, '_, S>, limit: u32) -> Answered {
    let today = intake::day(turn.now());
    let row = |account: &str, usage: &Usage| {
        json!({
            "account": account,
            "groups": usage.groups,
            "members": usage.members,
            "messages_today": usage.taken.messages,
            "bytes_today": usage.taken.bytes,
        })
    };
    let all = turn.store.usage_of_all(today)?;
    let accounts = turn.store.usage(today, limit.clamp(1, 1000))?;
    let accounts = accounts.iter().map(|(account, usage)| row(account, usage));
    Ok(Ok(json!({ "used": std::iter::once(row("all", &all)).chain(accounts).collect::<Vec<_>>() })))
}

/// Stores a rule and puts it into force.
fn change<S: RelayStore>(turn: &mut Turn<'_, '_, S>, change: &Change) -> Result<(), Fatal> {
    turn.store.set_operator_setting(&change.name, change.value.as_deref())?;
    turn.operation.rules = Rules::new(turn.limits, &turn.store.operator_settings()?);
    turn.reached(Step::RuleChanged);
    tracing::info!(setting = change.name, value = change.value.as_deref(), "the operator changes a rule");
    Ok(())
}

fn check_note(note: &str) -> Result<(), String> {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        return Err(format!("a note is one line of at most {NOTE_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn no_group(number: i64) -> String {
    format!("there is no group {number}: see `ctl groups`")
}

fn no_key(text: &str) -> String {
    format!("{text:?} is no key of an owner: it is shown to owners who are refused")
}

fn seconds_since(now: Timestamp, then: Timestamp) -> i64 {
    now.0.saturating_sub(then.0).max(0) / 1000
}
