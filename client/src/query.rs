//! Requests that the store alone answers.

use std::path::Path;

use protocol::group::identity::MemberId;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::{LinkType, ShortLink};

use crate::archive;
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::network::NetworkChoice;
use crate::request::Request;
use crate::rows;
use crate::store::evidence::Evidence;
use crate::store::group::GroupId;
use crate::store::kept::KeptRelay;
use crate::store::{Store, StoreError, member, message};

/// Answers a request that needs no network, each step in a transaction of its own.
///
/// # Errors
/// When something named does not exist, or the store fails.
pub(crate) fn answer(
    store: &mut Store,
    request: Request,
    emit: &mut dyn FnMut(Event),
) -> Result<(), CommandError> {
    // Exports write files and must not hold a transaction.
    match request {
        Request::ExportHome { path, passphrase } => {
            archive::export_home(store, Path::new(&path), passphrase.0)
                .map(|()| emit(Event::Done { what: "home exported to".into(), name: path }))
        }
        Request::ExportGroup { group, path, passphrase } => {
            let id = find_group(store, &group)?;
            archive::export_group(store, id, Path::new(&path), passphrase.0)
                .map(|()| emit(Event::Done { what: "owner keys exported to".into(), name: path }))
        }
        request => store.transaction(|store| answer_within(store, request, emit)),
    }
}

/// Answers within a transaction that is open already.
///
/// # Errors
/// As [`answer`].
pub(crate) fn answer_within(
    store: &mut Store,
    request: Request,
    emit: &mut dyn FnMut(Event),
) -> Result<(), CommandError> {
    match request {
        Request::ServerAdd { address } => {
            let server = parse_server(&address)?;
            let what = if store.keep_server(&server)? { "server kept:" } else { "server kept already:" };
            emit(Event::Done { what: what.into(), name: server.server.to_string() });
        }
        Request::ServerList => store.servers()?.iter().for_each(|kept| {
            emit(Event::Server { address: kept.server.to_string(), password: kept.password.is_some() });
        }),
        Request::ServerRemove { address } => {
            let server = parse_server(&address)?;
            if !store.forget_server(&server)? {
                return Err(CommandError::not_found("kept server", &address, "server list"));
            }
            emit(Event::Done { what: "server forgotten:".into(), name: address });
        }
        Request::Network { change } => {
            let asks = change.is_empty();
            let choice = store.network()?.changed(change)?;
            if !asks {
                store.set_network(&choice)?;
            }
            let NetworkChoice { proxy, direct_fallback, socks, socks_mode } = choice;
            emit(Event::NetworkSettings { proxy, direct_fallback, socks, socks_mode });
        }
        Request::RelayAdd { name, link, code } => add_relay(store, KeptRelay { name, link, code }, emit)?,
        Request::RelayList => {
            store
                .kept_relays()?
                .into_iter()
                .for_each(|kept| emit(Event::Relay { name: kept.name, link: kept.link }));
        }
        Request::RelayRemove { name } => {
            if !store.forget_relay(&name)? {
                return Err(CommandError::not_found("kept relay", &name, "relay list"));
            }
            emit(Event::Done { what: "relay forgotten:".into(), name });
        }
        Request::GroupList => {
            for group in store.groups()? {
                emit(Event::Group(rows::group_row(store, group.id, &group.record)?));
            }
        }
        Request::GroupProfile { group, .. } => {
            let record = store.group(find_group(store, &group)?)?;
            emit(Event::GroupProfile(rows::profile_row(&record)));
        }
        Request::GroupLink { group } => {
            let record = store.group(find_group(store, &group)?)?;
            emit(Event::GroupLink { group: record.alias, link: record.link });
        }
        Request::GroupRelays { group, .. } => {
            let id = find_group(store, &group)?;
            let record = store.group(id)?;
            for relay in store.relays(id)? {
                emit(Event::GroupRelay(rows::relay_row(&record.alias, &relay)));
            }
        }
        Request::History { group, limit } => history(store, find_group(store, &group)?, limit, emit)?,
        Request::Read { group, message } => {
            let id = find_group(store, &group)?;
            let last = message.map(|message| find_message(store, id, &message)).transpose()?;
            store.mark_shown_up_to(id, last.map(|last| last.row))?;
            let (_, unread) = store.count_messages(id)?;
            emit(Event::Unread { group: store.group(id)?.alias, unread });
        }
        Request::Members { group } => {
            let id = find_group(store, &group)?;
            let record = store.group(id)?;
            for (member_id, member) in store.members(id)? {
                emit(Event::Member(rows::member_row(&record, &member_id, &member)));
            }
        }
        Request::Knocks { group } => {
            let id = find_group(store, &group)?;
            let record = store.group(id)?;
            for (member_id, member) in store.members(id)? {
                if member.status == member::MemberStatus::Knocking && member.decision.is_none() {
                    emit(Event::Member(rows::member_row(&record, &member_id, &member)));
                }
            }
        }
        Request::Evidence { group } => {
            let id = find_group(store, &group)?;
            let group = store.group(id)?.alias;
            for (kept_at, evidence) in store.evidence(id)? {
                emit(Event::KeptEvidence {
                    group: group.clone(),
                    message_id: evidence.message_id,
                    relay: evidence.relay,
                    kind: evidence.kind,
                    detail: evidence.detail,
                    kept_at: rows::iso(kept_at),
                    bytes: protocol::base64url::encode(&evidence.bytes),
                });
            }
        }
        Request::Doctor => doctor(store, emit)?,
        other => {
            return Err(CommandError::new(ExitCode::Failure, format_args!("{other:?} needs the network")));
        }
    }
    Ok(())
}

/// The group that people mean by this name, or by the beginning of its public id.
///
/// # Errors
/// [`ExitCode::NotFound`].
pub(crate) fn find_group(store: &Store, name: &str) -> Result<GroupId, CommandError> {
    let groups = store.groups()?;
    let named =
        groups.iter().find(|group| group.record.alias == name || group.record.public_id.to_string() == name);
    named.map(|group| group.id).ok_or_else(|| CommandError::not_found("group", name, "group list"))
}

/// The member that people mean by this id or name.
///
/// # Errors
/// [`ExitCode::NotFound`], also when a name is that of several members.
pub(crate) fn find_member(
    store: &Store,
    group: GroupId,
    name: &str,
) -> Result<(MemberId, member::Member), CommandError> {
    let mut members = store.members(group)?;
    if let Some(place) = members.iter().position(|(id, _)| id.to_string() == name) {
        return Ok(members.swap_remove(place));
    }
    members.retain(|(id, member)| member.status == member::MemberStatus::Active && member.name(id) == name);
    if members.len() > 1 {
        return Err(CommandError::new(
            ExitCode::NotFound,
            format_args!("Several members are called \"{name}\""),
        )
        .hint("Use the id that `conclave members` shows."));
    }
    members.pop().ok_or_else(|| CommandError::not_found("member", name, "members"))
}

/// The joiner that people mean by this id or name: one who knocks, or by id one who was rejected.
///
/// # Errors
/// [`ExitCode::NotFound`], also when a name is that of several who knock.
pub(crate) fn find_knock(
    store: &Store,
    group: GroupId,
    name: &str,
) -> Result<(MemberId, member::Member), CommandError> {
    let mut members = store.members(group)?;
    let has_knocked =
        |status| matches!(status, member::MemberStatus::Knocking | member::MemberStatus::Rejected);
    if let Some(place) =
        members.iter().position(|(id, member)| has_knocked(member.status) && id.to_string() == name)
    {
        return Ok(members.swap_remove(place));
    }
    members.retain(|(id, member)| member.status == member::MemberStatus::Knocking && member.name(id) == name);
    if members.len() > 1 {
        let several = format_args!("Several who knock are called \"{name}\"");
        return Err(
            CommandError::new(ExitCode::NotFound, several).hint("Use the id that `conclave knocks` shows.")
        );
    }
    members.pop().ok_or_else(|| CommandError::not_found("knock of", name, "knocks"))
}

/// The message that people mean by this id or its beginning.
///
/// # Errors
/// [`ExitCode::NotFound`], also when several ids begin so.
pub(crate) fn find_message(
    store: &Store,
    group: GroupId,
    id: &str,
) -> Result<message::MessageRow, CommandError> {
    let found = match store.message_ids_like(group, id)?.as_slice() {
        [one] => store.message(group, one)?,
        [] => None,
        _ => {
            return Err(CommandError::new(
                ExitCode::NotFound,
                format_args!("Several messages begin with \"{id}\""),
            )
            .hint("Give more of the id."));
        }
    };
    found.ok_or_else(|| CommandError::not_found("message", id, "history"))
}

/// Parses a server's address as people paste it.
///
/// # Errors
/// [`ExitCode::WrongLink`].
pub(crate) fn parse_server(address: &str) -> Result<ServerAddressWithAuth, CommandError> {
    address.trim().parse().map_err(|error| CommandError {
        kind: ExitCode::WrongLink,
        message: format!("This is not the address of a server: {error}"),
        hints: vec!["It looks like smp://KEYHASH@host:port; `smp-server init` prints it.".into()],
    })
}

/// Parses a link of one kind as people paste it; older group links carry the relay links' letter.
///
/// # Errors
/// [`ExitCode::WrongLink`], with what it is instead.
pub(crate) fn parse_link(text: &str, wanted: LinkType) -> Result<ShortLink, CommandError> {
    let link: ShortLink = text.trim().parse().map_err(|error| {
        CommandError::new(ExitCode::WrongLink, format_args!("This is not a link: {error}"))
    })?;
    let found = match &link {
        ShortLink::Contact { link_type, .. } => Some(*link_type),
        ShortLink::Invitation { .. } => None,
    };
    let fits = found == Some(wanted) || (wanted == LinkType::Channel && found == Some(LinkType::Group));
    if fits {
        return Ok(link);
    }
    let name = |kind: Option<LinkType>| match kind {
        Some(LinkType::Channel) => "to a group",
        Some(LinkType::Group) => "of a relay for one group",
        Some(LinkType::Relay) => "of a relay's address",
        Some(_) => "to a person",
        None => "for one connection",
    };
    let (is, should) = (name(found), name(Some(wanted)));
    Err(CommandError::new(ExitCode::WrongLink, format_args!("This is a link {is}; one {should} is needed")))
}

fn add_relay(
    store: &mut Store,
    KeptRelay { name, link, code }: KeptRelay,
    emit: &mut dyn FnMut(Event),
) -> Result<(), CommandError> {
    let link = parse_link(&link, LinkType::Relay)?.to_string();
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err(CommandError::new(ExitCode::Usage, "A relay's name is a word without colons"));
    }
    if let Some(kept) = store.kept_relays()?.into_iter().find(|kept| kept.name == name) {
        if kept.link != link {
            return Err(CommandError::new(
                ExitCode::AlreadyThere,
                format_args!("Another relay is kept as \"{name}\" already"),
            )
            .hint("Choose another name, or remove that one first."));
        }
        if code.is_some() {
            store.forget_relay(&name)?;
            store.keep_relay(&KeptRelay { name: name.clone(), link, code })?;
        }
        emit(Event::Done { what: "relay kept already:".into(), name });
        return Ok(());
    }
    if let Some(kept) = store.kept_relays()?.into_iter().find(|kept| kept.link == link) {
        return Err(CommandError::new(
            ExitCode::AlreadyThere,
            format_args!("This relay is kept as \"{}\" already", kept.name),
        )
        .hint("Use that name, or remove it first."));
    }
    store.keep_relay(&KeptRelay { name: name.clone(), link, code })?;
    emit(Event::Done { what: "relay kept:".into(), name });
    Ok(())
}

fn history(
    store: &mut Store,
    id: GroupId,
    limit: u32,
    emit: &mut dyn FnMut(Event),
) -> Result<(), CommandError> {
    let group = store.group(id)?;
    let messages = store.newest_messages(id, limit)?;
    for message in &messages {
        emit(Event::Message(rows::message_row(store, id, &group, message)?));
    }
    for chain in store.author_chains(id)? {
        for gap in chain.chain.missing() {
            emit(Event::Gap(rows::gap_row(store, id, &group, chain.id, &chain.author, *gap)?));
        }
    }
    for (_, fork) in
        store.evidence(id)?.into_iter().filter(|(_, kept)| kept.kind == EvidenceKind::AuthorForked)
    {
        let Evidence { kind, relay, message_id, detail, .. } = fork;
        emit(Event::Evidence { group: group.alias.clone(), message_id, relay, kind, detail });
    }
    let (duplicates_dropped, conflicts) = store.count_copies(id)?;
    let messages = messages.len() as u64;
    emit(Event::HistoryEnd { group: group.alias, messages, duplicates_dropped, conflicts });
    Ok(())
}

fn doctor(store: &mut Store, emit: &mut dyn FnMut(Event)) -> Result<(), CommandError> {
    let problems = store.check()?;
    let detail =
        if problems.is_empty() { "whole, and all of it opens".to_owned() } else { problems.join("; ") };
    emit(Event::Check { name: "store".into(), ok: problems.is_empty(), detail });
    let servers = store.servers()?.len();
    let detail = match servers {
        0 => "none is kept; add one with `conclave server add`".to_owned(),
        count => format!("{count} kept"),
    };
    emit(Event::Check { name: "servers".into(), ok: servers > 0, detail });
    for group in store.groups()? {
        let row = rows::group_row(store, group.id, &group.record)?;
        let silent = !group.record.status.is_over() && row.relays_active == 0;
        let evidence = store.count_evidence(group.id)?;
        let mut detail = format!("{}, {} of {} relays active", row.status, row.relays_active, row.relays);
        if row.waiting > 0 {
            detail.push_str(&format!(", {} messages wait", row.waiting));
        }
        if evidence > 0 {
            detail.push_str(&format!(
                ", {evidence} pieces of evidence against relays, see `conclave evidence`"
            ));
        }
        if silent {
            detail.push_str("; try `conclave group restore`, or add a relay");
        }
        emit(Event::Check { name: format!("group {}", row.group), ok: !silent, detail });
    }
    Ok(())
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::from(anyhow::Error::from(error).context("Unable to use the store"))
    }
}
