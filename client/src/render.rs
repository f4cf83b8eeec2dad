//! Events as people read them. Every text that may come from a peer is sanitised here.

use std::fmt::Write;

use crate::event::{
    DeliveryState, Event, EvidenceKind, GapRow, GroupRelayRow, GroupRow, MemberRow, MessageRow, ProfileRow,
    Signature,
};
use protocol::group::entrance::{Entrance, Otherwise};
use protocol::sanitize::{line, lines};

/// How many characters of an id people see; enough to tell messages of a day apart, and commands accept it.
const SHOWN_ID_CHARACTERS: usize = 8;

/// One event as text, without a line break at the end.
pub(crate) fn human(event: &Event) -> String {
    match event {
        Event::Server { address, password } => {
            format!("{}{}", line(address), if *password { "  (with password)" } else { "" })
        }
        Event::NetworkSettings { proxy, direct_fallback, socks, socks_mode } => {
            let fallback = if *direct_fallback { "on" } else { "off" };
            let socks = match socks {
                Some(socks) => format!("{} ({})", line(socks), line(socks_mode)),
                None => "none".to_owned(),
            };
            format!("proxy {}, direct fallback {fallback}, SOCKS {socks}", line(proxy))
        }
        Event::Relay { name, link } => format!("{}\t{}", line(name), line(link)),
        Event::Check { name, ok, detail } => {
            format!("{} {}: {}", if *ok { "ok  " } else { "FAIL" }, line(name), line(detail))
        }
        Event::Done { what, name } => format!("{} {}", line(what), line(name)),
        Event::Group(row) => group(row),
        Event::GroupLink { link, .. } => line(link).into_owned(),
        Event::GroupProfile(row) => profile(row),
        Event::GroupRelay(row) => relay(row),
        Event::RelayNotice { group, relay, text, count, about, .. } => {
            let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
            let about = about.as_ref().map(|about| format!(" [{}]", line(about))).unwrap_or_default();
            format!("!! {}: relay {}{about}: {}{times}", line(group), line(relay), line(text))
        }
        Event::Member(row) => member(row),
        Event::Entrance { group, asks: entrance, .. } => {
            format!("{} asks those who join: {}", line(group), asks(entrance))
        }
        Event::Knock { group, member_id, name, .. } => {
            let (group, name) = (line(group), line(name));
            format!("{group}: {name} knocks: `conclave accept {group} {member_id}`, or `conclave reject`")
        }
        Event::KnockEnded { group, name, outcome, by, reason, .. } => {
            let outcome = match outcome.as_str() {
                "accepted" => "was let in",
                "rejected" => "was not let in",
                _ => "knocks no more",
            };
            let by = by.as_ref().map(|by| format!(" by {}", line(by))).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(": {}", line(reason))).unwrap_or_default();
            format!("{}: {} {outcome}{by}{reason}", line(group), line(name))
        }
        Event::Message(row) => message(row),
        Event::Edited { message_id, author, text, signature, .. } => {
            format!("[{}] {}{} changed: {}", short(message_id), line(author), mark(*signature), indent(text))
        }
        Event::Deleted { message_id, by, signature, .. } => {
            format!("[{}] deleted by {}{}", short(message_id), line(by), mark(*signature))
        }
        Event::Reaction { message_id, emoji, by, added, .. } => {
            let verb = if *added { "reacted with" } else { "took back" };
            format!("[{}] {} {verb} {}", short(message_id), line(by), line(emoji))
        }
        Event::Delivery { message_id, relay, state, reason, .. } => {
            let state = match state {
                DeliveryState::Waiting => "waits for",
                DeliveryState::Durable => "is with the server of",
                DeliveryState::Failed => "will not reach",
            };
            let reason = reason.as_ref().map(|reason| format!(": {}", line(reason))).unwrap_or_default();
            format!("[{}] {state} {}{reason}", short(message_id), line(relay))
        }
        Event::Waiting { group, messages } => {
            format!("{}: {messages} of your messages wait for a relay that can be reached", line(group))
        }
        Event::HistoryEnd { messages, duplicates_dropped, conflicts, .. } => {
            let copies = if *duplicates_dropped == 1 { "copy" } else { "copies" };
            let messages = counted(*messages, "message");
            let mut text = format!("-- {messages}, {duplicates_dropped} second {copies} dropped");
            if *conflicts > 0 {
                let _ = write!(text, ", {conflicts} WITH COPIES THAT DIFFER");
            }
            text
        }
        Event::Gap(row) => gap(row),
        Event::Late { author, message_id, relay, skipped_by, .. } => {
            let skipped = named(", left out by", skipped_by);
            format!(
                "-- [{}] came late: relay {} brought what {} said earlier{skipped}",
                short(message_id),
                line(relay),
                line(author)
            )
        }
        Event::Restarted { author, .. } => {
            format!("-- {} counts anew: another device, or one restored from a backup", line(author))
        }
        Event::Unread { group, unread } => format!("{}: {unread} unread", line(group)),
        Event::Evidence { message_id, relay, kind, detail, .. } => {
            let id = message_id.as_ref().map(|id| format!("[{}] ", short(id))).unwrap_or_default();
            format!("!! {id}{} {}: {}", line(relay), accusation(*kind), line(detail))
        }
        Event::KeptEvidence { message_id, relay, kind, detail, kept_at, .. } => {
            let id = message_id.as_ref().map(|id| format!("[{}] ", short(id))).unwrap_or_default();
            format!("{} {id}{} {}: {}", shown_time(kept_at), line(relay), accusation(*kind), line(detail))
        }
        Event::Joined { group, relay } => format!("joined {} through {}", line(group), line(relay)),
        Event::GroupEnded { group, status } => format!("{}: {}", line(group), line(status)),
        Event::Warning { group, text } => {
            let group = group.as_ref().map(|group| format!("{}: ", line(group))).unwrap_or_default();
            format!("warning: {group}{}", line(text))
        }
        Event::Listening { servers, connections } => {
            let (connections, servers) = (counted(*connections, "connection"), counted(*servers, "server"));
            format!("-- listening: {connections} on {servers}")
        }
        Event::Network { server, up, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {}", line(reason))).unwrap_or_default();
            format!("-- {} is {}{reason}", line(server), if *up { "reached" } else { "out of reach" })
        }
    }
}

fn gap(row: &GapRow) -> String {
    let numbers = if row.from == row.to {
        format!("number {}", row.from)
    } else {
        format!("numbers {} to {}", row.from, row.to)
    };
    let (skipped, silent) = (named("; left out by", &row.skipped_by), named("; nothing yet by", &row.silent));
    let asked = named("; asked of", &row.asked);
    format!("!! of {} {numbers} did not come{skipped}{silent}{asked}", line(&row.author))
}

/// `what` relays, when there are any.
fn named(what: &str, relays: &[String]) -> String {
    if relays.is_empty() {
        return String::new();
    }
    let names: Vec<_> = relays.iter().map(|name| line(name)).collect();
    format!("{what} relay {}", names.join(", "))
}

fn counted(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn group(row: &GroupRow) -> String {
    let mut text = format!(
        "{}\t{}\t{}\t{}/{} relays\t{}\t{}",
        line(&row.group),
        row.role,
        row.status,
        row.relays_active,
        row.relays,
        counted(row.members, "member"),
        counted(row.messages, "message")
    );
    if row.unread > 0 {
        let _ = write!(text, "\t{} new", row.unread);
    }
    if row.waiting > 0 {
        let _ = write!(text, "\t{} waiting", row.waiting);
    }
    text
}

fn profile(row: &ProfileRow) -> String {
    let mut text = format!("name:        {}", line(&row.display_name));
    if !row.full_name.is_empty() {
        let _ = write!(text, "\nfull name:   {}", line(&row.full_name));
    }
    if let Some(description) = &row.description {
        let _ = write!(text, "\ndescription: {}", indent(description));
    }
    if let Some(entrance) = &row.entrance {
        let otherwise = match entrance.otherwise {
            Otherwise::Refuse => "others are refused",
            Otherwise::Review | Otherwise::Unknown => "others wait for a moderator",
        };
        let _ = write!(text, "\nentrance:    {}; {otherwise}", asks(entrance));
    }
    if row.review {
        text.push_str("\njoiners:     wait for a moderator");
    }
    let signed = if row.sign_messages { "signed by their authors" } else { "not all signed" };
    let _ = write!(text, "\nposts:       {signed}\nhistory:     {}", history_kept(row));
    let _ = write!(text, "\nlink:        {}", line(&row.link));
    text
}

fn history_kept(row: &ProfileRow) -> String {
    if row.history_items == 0 {
        return "none".to_owned();
    }
    let mut text = format!("the newest {}", counted(row.history_items, "post"));
    if let Some(seconds) = row.history_age_seconds {
        let _ = write!(text, ", of the last {}", counted(seconds.div_ceil(86_400), "day"));
    }
    if let Some(bytes) = row.history_bytes {
        let _ = write!(text, ", at most {}", counted(bytes, "byte"));
    }
    text
}

/// What joiners are asked for.
fn asks(entrance: &Entrance) -> String {
    let question = entrance.question.as_ref().map(|question| line(&question.text).into_owned());
    let work = entrance.work.map(|work| format!("a proof of work of {} bits", work.bits));
    question.into_iter().chain(work).collect::<Vec<_>>().join("; ")
}

fn relay(row: &GroupRelayRow) -> String {
    let connected = if row.connected { "connected" } else { "not connected" };
    let reason = row.reason.as_ref().map(|reason| format!("\t{}", line(reason))).unwrap_or_default();
    let ended = row.ended_at.as_ref().map(|at| format!("\tsince {}", shown_time(at))).unwrap_or_default();
    let mut text = format!("{}\t{}\t{connected}{reason}{ended}", line(&row.relay), row.status);
    if let (Some(notice), Some(at)) = (&row.notice, &row.notice_at) {
        let _ = write!(text, "\n    | {} {}", shown_time(at), line(notice));
    }
    text
}

fn member(row: &MemberRow) -> String {
    let mut text = format!("{}\t{}\t{}\t{}", row.member_id, line(&row.name), row.role, row.status);
    if row.blocked {
        text.push_str("\tblocked");
    }
    if row.me {
        text.push_str("\t(you)");
    }
    text
}

fn message(row: &MessageRow) -> String {
    let time = shown_time(&row.sent_at);
    let mut text =
        format!("[{}] {time} {}{}", short(&row.message_id), line(&row.author), mark(row.signature));
    if let (Signature::Unsigned, Some(relay)) = (row.signature, row.relays.first()) {
        let _ = write!(text, " (says relay {})", line(relay));
    }
    if let Some(reply_to) = &row.reply_to {
        let _ = write!(text, " re [{}]", short(reply_to));
    }
    text.push_str(": ");
    text.push_str(&if row.deleted { "(deleted)".to_owned() } else { indent(&row.text) });
    if row.edited && !row.deleted {
        text.push_str(" (edited)");
    }
    for reaction in &row.reactions {
        let _ = write!(text, " {}{}", line(&reaction.emoji), reaction.count);
    }
    if row.conflict {
        text.push_str("  !! relays brought different copies");
    }
    if row.late {
        text.push_str("  (came late)");
    }
    if row.own && !row.delivered {
        text.push_str("  (waits)");
    }
    text
}

fn mark(signature: Signature) -> &'static str {
    match signature {
        Signature::Verified | Signature::Own => "",
        Signature::KeyUnknown => " [key unknown]",
        Signature::Unsigned => " [UNSIGNED]",
    }
}

fn accusation(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::DifferentCopies => "brought a copy that differs",
        EvidenceKind::BadSignature => "brought a signature that does not fit",
        EvidenceKind::MissingSignature => "brought something without the signature it needs",
        EvidenceKind::UnsignedPost => "brought an unsigned post",
        EvidenceKind::NotAllowed => "brought something that its author may not do",
        EvidenceKind::RolledBackLink => "showed older data of the group link",
        EvidenceKind::AuthorForked => "brought one of two statements that contradict each other",
        EvidenceKind::Malformed => "sent what is no message",
    }
}

/// Date and time to the minute.
fn shown_time(iso: &str) -> String {
    iso.get(..16).unwrap_or(iso).replace('T', " ")
}

fn short(id: &str) -> &str {
    id.get(..SHOWN_ID_CHARACTERS).unwrap_or(id)
}

/// Further lines of a text stand under the first, so that no message can imitate another.
fn indent(text: &str) -> String {
    lines(text).replace('\n', "\n    | ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A post of somebody else.
    pub(crate) fn post(text: &str) -> MessageRow {
        MessageRow {
            group: "g".into(),
            message_id: "abcdefghijkl".into(),
            author: "eve\u{1b}[2J".into(),
            author_id: "x".into(),
            own: false,
            text: text.into(),
            sent_at: "2026-11-21T08:15:00Z".into(),
            signature: Signature::Unsigned,
            relays: vec!["r1".into()],
            duplicates: 0,
            conflict: false,
            edited: false,
            deleted: false,
            reply_to: None,
            reactions: Vec::new(),
            delivered: false,
            number: None,
            late: false,
        }
    }

    #[test]
    fn an_unsigned_post_names_its_relay_and_cannot_imitate_another() {
        let shown = human(&Event::Message(post("hi\n[12345678] 2026-11-21 08:15 alice: yes")));
        assert_eq!(
            shown,
            "[abcdefgh] 2026-11-21 08:15 eve<U+001B>[2J [UNSIGNED] (says relay r1): hi\n    | [12345678] \
             2026-11-21 08:15 alice: yes"
        );
    }

    #[test]
    fn events_are_one_line_of_json() {
        let json = serde_json::to_string(&Event::Message(post("a\nb"))).unwrap();
        assert!(!json.contains('\n'));
        assert!(json.starts_with(r#"{"type":"message","group":"g","message_id":"abcdefghijkl""#));
    }
}
