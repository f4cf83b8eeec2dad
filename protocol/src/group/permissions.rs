//! Who may do what (channels.md §10). Relays and receivers ask the same question and get the same answer.

use thiserror::Error;

use super::constants::MINOR_ROLES_CHANGED_BY;
use super::event::Event;
use super::event::content::Scope;
use super::identity::{MemberId, MemberRole};
use super::profile::GroupPreferences;

/// Whoever wants to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// As what.
    pub role: MemberRole,
    /// Blocked for all by a moderator.
    pub blocked: bool,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Post in the main conversation.
    Post,
    /// Post or edit in the group's name.
    PostAsGroup,
    /// Post or edit in the conversation of one member with the moderators.
    PostInSupport {
        /// Whether it is the actor's own conversation.
        own: bool,
    },
    /// React, or take a reaction back.
    React,
    /// Edit or delete a post of one's own: the author may, whatever the role has become since.
    ChangeOwn,
    /// Delete another's post.
    DeleteOther {
        /// The author's role.
        author: MemberRole,
    },
    /// Make only the relays forget a post of one's own.
    DeleteHistory,
    /// Block or unblock.
    Restrict {
        /// The role of whom.
        target: MemberRole,
    },
    /// Remove from the group.
    Remove {
        /// The role of whom.
        target: MemberRole,
    },
    /// Give a role.
    ChangeRole {
        /// The role held.
        from: MemberRole,
        /// The role to be.
        to: MemberRole,
    },
    /// Change the profile or preferences, publish a roster, add a relay, end the group.
    Govern,
    /// Let somebody in who knocks, or not.
    Review,
    /// Introduce members: relays do it.
    Introduce,
    /// Change one's own profile.
    ChangeOwnProfile,
    /// Leave.
    Leave,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotPermitted {
    /// The role is too low.
    #[error("this needs the role {0}")]
    NeedsRole(MemberRole),
    /// The other one stands above.
    #[error("the other member's role is higher")]
    TargetAbove,
    /// Blocked for all.
    #[error("the member is blocked by a moderator")]
    Blocked,
    /// Relays do not take part in the conversation.
    #[error("a relay does not author messages")]
    Relay,
    /// Only relays introduce members.
    #[error("only a relay introduces members")]
    NotARelay,
    /// The role of a relay never changes, and no role becomes "relay".
    #[error("the role of a relay cannot be given or taken")]
    RelayRole,
    /// Owners are established by the group link.
    #[error("owners are made by the group link, not by a role")]
    OwnerRole,
    /// A role that this version does not know.
    #[error("a role that this version does not know cannot be given")]
    UnknownRole,
    /// The group's preferences say no.
    #[error("the group does not allow this")]
    Preference,
    /// The event has no place in a group's conversation.
    #[error("this message has no place in a group's conversation")]
    Misplaced,
    /// The one it is about is not a member.
    #[error("the member it is about is not known")]
    NoSuchMember,
}

/// The table of §10, total over every actor and action.
///
/// # Errors
/// [`NotPermitted`] with the reason.
pub fn permit(actor: Actor, action: Action) -> Result<(), NotPermitted> {
    let Actor { role, blocked } = actor;
    let needs = |least: MemberRole| if role >= least { Ok(()) } else { Err(NotPermitted::NeedsRole(least)) };
    let reaches = |target: MemberRole| if role >= target { Ok(()) } else { Err(NotPermitted::TargetAbove) };

    match action {
        Action::Leave => return Ok(()),
        Action::Introduce if role == MemberRole::Relay => return Ok(()),
        Action::Introduce => return Err(NotPermitted::NotARelay),
        Action::ChangeOwnProfile if role == MemberRole::Relay => return Ok(()),
        _ if role == MemberRole::Relay => return Err(NotPermitted::Relay),
        _ if blocked => return Err(NotPermitted::Blocked),
        _ => {}
    }
    match action {
        Action::React | Action::ChangeOwn | Action::ChangeOwnProfile | Action::Leave | Action::Introduce => {
            Ok(())
        }
        Action::Post if role.may_post() => Ok(()),
        Action::Post => Err(NotPermitted::NeedsRole(MemberRole::Member)),
        Action::PostInSupport { own: true } => Ok(()),
        Action::PostInSupport { own: false } | Action::Review | Action::DeleteHistory => {
            needs(MemberRole::Moderator)
        }
        Action::PostAsGroup | Action::Govern => needs(MemberRole::Owner),
        Action::DeleteOther { author } => needs(MemberRole::Moderator).and_then(|()| reaches(author)),
        Action::Restrict { target } => needs(MemberRole::Moderator).and_then(|()| reaches(target)),
        // A relay's removal is a change of the group link, which only owners write.
        Action::Remove { target } if target.is_roster_role() || target == MemberRole::Relay => {
            needs(MemberRole::Owner)
        }
        Action::Remove { target } => needs(MemberRole::Admin).and_then(|()| reaches(target)),
        Action::ChangeRole { from, to } => change_role(from, to).and_then(needs),
    }
}

/// The least role that may make this change.
fn change_role(from: MemberRole, to: MemberRole) -> Result<MemberRole, NotPermitted> {
    match (from, to) {
        (MemberRole::Relay, _) | (_, MemberRole::Relay) => Err(NotPermitted::RelayRole),
        (MemberRole::Owner, _) | (_, MemberRole::Owner) => Err(NotPermitted::OwnerRole),
        (_, MemberRole::Unknown) => Err(NotPermitted::UnknownRole),
        (from, to) if from.is_roster_role() || to.is_roster_role() => Ok(MemberRole::Owner),
        (_, _) => Ok(MINOR_ROLES_CHANGED_BY),
    }
}

/// Judges an event by its author's place in the group, before anything is applied or passed on.
///
/// `role_of` tells the role of another member. Whether a post that is edited or deleted is the author's own is
/// asked of the post itself, see [`moderation`](super::moderation).
///
/// # Errors
/// [`NotPermitted`] with the reason.
pub fn judge(
    event: &Event,
    author: &MemberId,
    actor: Actor,
    preferences: &GroupPreferences,
    role_of: impl Fn(&MemberId) -> Option<MemberRole>,
) -> Result<(), NotPermitted> {
    let target = |id: &MemberId| role_of(id).ok_or(NotPermitted::NoSuchMember);
    let said = |scope: Option<&Scope>, as_group: Option<bool>| match scope {
        Some(_) if !preferences.allows_support() => Err(NotPermitted::Preference),
        Some(Scope::Member { member_id }) => Ok(Action::PostInSupport { own: member_id == author }),
        None if as_group.unwrap_or(false) => Ok(Action::PostAsGroup),
        None => Ok(Action::Post),
    };
    let action = match event {
        Event::MessageNew(post) => said(post.scope.as_ref(), post.as_group)?,
        Event::MessageUpdate(edit) => match said(edit.scope.as_ref(), edit.as_group)? {
            Action::Post => Action::ChangeOwn,
            action => action,
        },
        // Part of the post that announces the file, wherever that was allowed.
        Event::FileDescription(_) | Event::FileCancel(_) => Action::ChangeOwn,
        Event::MessageDelete(delete) => match &delete.member_id {
            Some(of) if of != author => Action::DeleteOther { author: target(of)? },
            _ if delete.only_history.unwrap_or(false) => Action::DeleteHistory,
            _ => Action::ChangeOwn,
        },
        Event::MessageReact(_) if !preferences.allows_reactions() => return Err(NotPermitted::Preference),
        Event::MessageReact(_) => Action::React,
        Event::MemberRestrict(restrict) => Action::Restrict { target: target(&restrict.member_id)? },
        Event::MemberDelete(delete) => Action::Remove { target: target(&delete.member_id)? },
        Event::MemberRole(change) => {
            // Somebody may be given a roster role before this receiver has met them.
            let from = role_of(&change.member_id).unwrap_or(MemberRole::Observer);
            Action::ChangeRole { from, to: change.role }
        }
        Event::Leave(_) => Action::Leave,
        Event::Info(_) => Action::ChangeOwnProfile,
        Event::GroupInfo(_)
        | Event::GroupPreferences(_)
        | Event::GroupDelete(_)
        | Event::Roster(_)
        | Event::RelayNew(_) => Action::Govern,
        Event::MemberNew(_) | Event::MemberIntro(_) => Action::Introduce,
        Event::LinkAccept(_) | Event::LinkReject(_) => Action::Review,
        Event::RelayInvite(_)
        | Event::RelayAccept(_)
        | Event::RelayReject(_)
        | Event::RelayCapabilities(_)
        | Event::RelayNotice(_)
        | Event::RelayTest(_)
        | Event::RosterAck(_)
        | Event::RosterRequest(_)
        | Event::MemberRulings(_)
        | Event::HistoryGet(_)
        | Event::HistoryPage(_)
        | Event::HistoryGap(_)
        | Event::HistoryPeer(_)
        | Event::BulkJoin(_)
        | Event::BulkBegin(_)
        | Event::BulkReady(_)
        | Event::BulkGo(_)
        | Event::BulkEnd(_)
        | Event::BulkAhead(_)
        | Event::Join(_)
        | Event::LinkInvitation(_)
        | Event::LinkMember(_)
        | Event::Contact(_)
        | Event::Deleted(_)
        | Event::JsonForward(_)
        | Event::Acknowledge(_)
        | Event::Unknown(_) => return Err(NotPermitted::Misplaced),
    };
    permit(actor, action)
}

#[cfg(test)]
mod tests {
    use MemberRole::{Admin, Author, Member, Moderator, Observer, Owner, Relay, Unknown};

    use super::*;

    const ROLES: [MemberRole; 8] = [Unknown, Relay, Observer, Author, Member, Moderator, Admin, Owner];

    /// The roles that may do `action`, in ascending order.
    fn who(action: Action) -> Vec<MemberRole> {
        ROLES
            .into_iter()
            .filter(|role| permit(Actor { role: *role, blocked: false }, action).is_ok())
            .collect()
    }

    /// Everybody from `least` on; relays are never among them.
    fn from(least: MemberRole) -> Vec<MemberRole> {
        ROLES.into_iter().filter(|role| *role >= least && *role != Relay).collect()
    }

    #[test]
    fn the_table() {
        assert_eq!(who(Action::Post), from(Author));
        assert_eq!(who(Action::PostAsGroup), [Owner]);
        assert_eq!(who(Action::PostInSupport { own: true }), from(Unknown));
        assert_eq!(who(Action::PostInSupport { own: false }), from(Moderator));
        assert_eq!(who(Action::React), from(Unknown));
        assert_eq!(who(Action::Review), from(Moderator));
        assert_eq!(who(Action::ChangeOwn), from(Unknown));
        assert_eq!(who(Action::DeleteHistory), from(Moderator));
        assert_eq!(who(Action::Govern), [Owner]);
        assert_eq!(who(Action::Introduce), [Relay]);
        assert_eq!(who(Action::Leave), ROLES);
        for target in ROLES {
            assert_eq!(who(Action::DeleteOther { author: target }), from(Moderator.max(target)), "{target}");
            assert_eq!(who(Action::Restrict { target }), from(Moderator.max(target)), "{target}");
            let removes = match target {
                Member | Moderator | Admin | Relay | Owner => vec![Owner],
                Unknown | Observer | Author => from(Admin),
            };
            assert_eq!(who(Action::Remove { target }), removes, "{target}");
        }
    }

    #[test]
    fn roles_are_given_by_owners_wherever_the_roster_is_concerned() {
        for from_role in ROLES {
            for to in ROLES {
                let expected = match (from_role, to) {
                    (Relay | Owner, _) | (_, Relay | Owner | Unknown) => vec![],
                    (Unknown | Observer | Author, Observer | Author) => from(Moderator),
                    _ => vec![Owner],
                };
                assert_eq!(who(Action::ChangeRole { from: from_role, to }), expected, "{from_role} → {to}");
            }
        }
    }

    #[test]
    fn who_is_blocked_can_only_leave() {
        for role in from(Unknown) {
            let blocked = Actor { role, blocked: true };
            assert_eq!(permit(blocked, Action::Leave), Ok(()));
            for action in [Action::Post, Action::React, Action::ChangeOwn, Action::ChangeOwnProfile] {
                assert_eq!(permit(blocked, action), Err(NotPermitted::Blocked));
            }
        }
    }

    #[test]
    fn events_ask_for_their_action() {
        use crate::group::event::Message;
        let author = MemberId::new(*b"author").unwrap();
        let judge = |role, preferences: &GroupPreferences, event: &str, params: &str| {
            let json = format!(r#"{{"event":"{event}","params":{params}}}"#);
            let event = Message::parse(json.as_bytes()).unwrap().event;
            let actor = Actor { role, blocked: false };
            super::judge(&event, &author, actor, preferences, |id| {
                (id.as_bytes() == b"other").then_some(Owner)
            })
        };
        let closed = GroupPreferences {
            support: Some(crate::group::profile::Preference::off()),
            ..Default::default()
        };
        let none = GroupPreferences::default();
        let (own, other) = (author.to_string(), MemberId::new(*b"other").unwrap().to_string());
        let content = r#""content":{"type":"text","text":""}"#;

        assert_eq!(judge(Member, &none, "x.msg.new", &format!("{{{content}}}")), Ok(()));
        let as_group = format!(r#"{{{content},"asGroup":true}}"#);
        assert_eq!(judge(Member, &none, "x.msg.new", &as_group), Err(NotPermitted::NeedsRole(Owner)));
        let support = format!(r#"{{{content},"scope":{{"type":"member","memberId":"{own}"}}}}"#);
        assert_eq!(judge(Observer, &closed, "x.msg.new", &support), Err(NotPermitted::Preference));
        assert_eq!(judge(Observer, &none, "x.msg.new", &support), Ok(()), "older apps do not say");
        let others = support.replace(&own, &other);
        assert_eq!(judge(Observer, &none, "x.msg.new", &others), Err(NotPermitted::NeedsRole(Moderator)));
        let edit = format!(r#"{{"msgId":"AQID",{content}}}"#);
        assert_eq!(judge(Observer, &none, "x.msg.update", &edit), Ok(()), "once an author");
        let delete = |of: &str| format!(r#"{{"msgId":"AQID","memberId":"{of}"}}"#);
        assert_eq!(judge(Observer, &none, "x.msg.del", &delete(&own)), Ok(()));
        assert_eq!(judge(Moderator, &none, "x.msg.del", &delete(&other)), Err(NotPermitted::TargetAbove));
        assert_eq!(judge(Owner, &none, "x.msg.del", &delete("AQID")), Err(NotPermitted::NoSuchMember));
        assert_eq!(judge(Owner, &none, "x.grp.del", "{}"), Ok(()));
        assert_eq!(judge(Admin, &none, "x.grp.del", "{}"), Err(NotPermitted::NeedsRole(Owner)));
        assert_eq!(judge(Owner, &none, "x.ok", "{}"), Err(NotPermitted::Misplaced));
        let role = r#"{"memberId":"AQID","role":"member"}"#;
        assert_eq!(judge(Owner, &none, "x.grp.mem.role", role), Ok(()), "somebody who was not met yet");
    }
}
