//! What a relay's word about a member is worth (channels.md §9.3).
//!
//! x.grp.mem.new and x.grp.mem.intro are not signed. A relay may tell name and picture of anybody, and bring up members
//! without privileges; roles from member upwards come from the roster, owners from the group link, and a key that
//! was seen once stays.

use super::event::members::MemberInfo;
use super::identity::{MemberKey, MemberRole};

/// What the receiver knows of the member already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// By record, roster or link.
    pub role: MemberRole,
    /// The key at first sight.
    pub key: Option<MemberKey>,
}

/// How the introduction came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// x.grp.mem.new.
    New,
    /// x.grp.mem.intro.
    Intro,
}

/// What is taken from an introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A new record.
    Record {
        /// With this role.
        role: MemberRole,
        /// With this key.
        key: Option<MemberKey>,
    },
    /// The profile only.
    Profile,
    /// The profile, and a key where there was none.
    ProfileAndKey(MemberKey),
    /// Nothing: a role is claimed that the roster has not given.
    Nothing,
    /// The profile; the relay names another key than the one that is pinned, which is reported.
    ProfileAndConflict,
}

/// Judges an introduction. `default_role` is what joiners get.
#[must_use]
pub fn take(info: &MemberInfo, manner: Manner, known: Option<Known>, default_role: MemberRole) -> Taken {
    // In a group where every joiner may post, "member" is no privilege.
    let is_privilege = |role: MemberRole| role >= MemberRole::Member && role > default_role;
    let is_privileged = is_privilege(info.member_role);
    let Some(known) = known else {
        return match manner {
            Manner::New if is_privileged => Taken::Nothing,
            // Until the roster confirms it: no role, and no key that would have to be unlearnt.
            Manner::Intro if is_privileged => Taken::Record { role: default_role, key: None },
            _ => Taken::Record { role: info.member_role.min(default_role), key: info.member_key },
        };
    };
    match (known.key, info.member_key) {
        (Some(pinned), Some(named)) if pinned != named => Taken::ProfileAndConflict,
        // A privileged member's key comes from the roster or the link alone.
        (None, Some(named)) if !is_privilege(known.role) && !is_privileged => Taken::ProfileAndKey(named),
        _ => Taken::Profile,
    }
}

#[cfg(test)]
mod tests {
    use MemberRole::{Admin, Member, Observer, Owner};

    use super::*;
    use crate::crypto::sign::Ed25519PublicKey;
    use crate::group::identity::MemberId;
    use crate::group::profile::Profile;

    fn key(byte: u8) -> MemberKey {
        MemberKey(Ed25519PublicKey([byte; 32]))
    }

    fn claim(role: MemberRole, manner: Manner, known: Option<Known>) -> Taken {
        let info = MemberInfo {
            member_id: MemberId::new(*b"ann").unwrap(),
            member_role: role,
            v: None,
            profile: Profile::named("Ann"),
            member_key: Some(key(1)),
        };
        take(&info, manner, known, Observer)
    }

    #[test]
    fn a_relay_gives_no_privileges() {
        for role in [Member, Admin, Owner] {
            assert_eq!(claim(role, Manner::New, None), Taken::Nothing);
            assert_eq!(claim(role, Manner::Intro, None), Taken::Record { role: Observer, key: None });
            let known = Known { role: Observer, key: None };
            assert_eq!(claim(role, Manner::Intro, Some(known)), Taken::Profile);
        }
        let observer = Taken::Record { role: Observer, key: Some(key(1)) };
        assert_eq!(claim(Observer, Manner::New, None), observer);
        assert_eq!(claim(MemberRole::Author, Manner::New, None), observer);
    }

    #[test]
    fn where_joiners_post_member_is_no_privilege() {
        let info = MemberInfo {
            member_id: MemberId::new(*b"ann").unwrap(),
            member_role: Member,
            v: None,
            profile: Profile::named("Ann"),
            member_key: Some(key(1)),
        };
        let record = Taken::Record { role: Member, key: Some(key(1)) };
        assert_eq!(take(&info, Manner::New, None, Member), record);
    }

    #[test]
    fn who_is_known_keeps_role_and_key() {
        let owner = Known { role: Owner, key: Some(key(1)) };
        assert_eq!(claim(Owner, Manner::Intro, Some(owner)), Taken::Profile);
        assert_eq!(claim(Observer, Manner::New, Some(owner)), Taken::Profile);
        let other = Known { role: Owner, key: Some(key(2)) };
        assert_eq!(claim(Owner, Manner::New, Some(other)), Taken::ProfileAndConflict);
        let keyless = Known { role: Observer, key: None };
        assert_eq!(claim(Observer, Manner::New, Some(keyless)), Taken::ProfileAndKey(key(1)));
        assert_eq!(claim(Observer, Manner::New, Some(Known { role: Admin, key: None })), Taken::Profile);
    }
}
