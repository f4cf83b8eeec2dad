//! Profiles of groups, people and relays (channels.md §5.3, §5.4), and what is wrong with one that is refused.
//!
//! Fields that we do not know are kept, so that rewriting a profile loses nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::constants::{
    DESCRIPTION_BYTES_MAX, DISPLAY_NAME_BYTES_MAX, FULL_NAME_BYTES_MAX, HISTORY_ITEMS_MAX, IMAGE_BYTES_MAX,
    SHORT_DESCRIPTION_BYTES_MAX,
};
use super::identity::{LinkText, MemberRole, PublicGroupId, words};

/// The key in `memberAdmission` that says who is reviewed.
const REVIEW: &str = "review";
/// Everybody is.
const REVIEW_ALL: &str = "all";

/// What a group shows of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupProfile {
    /// The name in lists; never empty.
    pub display_name: String,
    /// A longer name; may be empty.
    #[serde(default)]
    pub full_name: String,
    /// One line about the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_descr: Option<String>,
    /// More lines, also the welcome message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A `data:` URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What makes it a relay group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_group: Option<PublicGroup>,
    /// What members may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_preferences: Option<GroupPreferences>,
    /// Review of joiners: see [`Self::reviews_joiners`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_admission: Option<Value>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The identity of a relay group inside its profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicGroup {
    /// Who may post by default.
    pub group_type: GroupType,
    /// The group link, known before it is created (§5.1).
    pub group_link: LinkText,
    /// Equal to the link's `linkEntityId`; never changes.
    pub public_group_id: PublicGroupId,
    /// Web access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_group_access: Option<Value>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

words!(
    /// Kinds of relay groups. A client does not join a kind that it does not know.
    GroupType {
        /// Owners post, joiners read.
        Channel = "channel",
        /// Joiners post.
        Group = "group",
    } else Unknown
);

impl GroupType {
    /// The role of a joiner whom neither roster nor link knows; a constant of relays until a profile can say it.
    #[must_use]
    pub const fn joiner_role(self) -> MemberRole {
        match self {
            Self::Group => MemberRole::Member,
            Self::Channel | Self::Unknown => MemberRole::Observer,
        }
    }
}

words!(
    /// A preference's switch.
    Switch {
        /// Not allowed.
        Off = "off",
        /// Allowed.
        On = "on",
    } else Unknown
);

/// A preference that is on or off, perhaps from a role on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// On or off.
    pub enable: Switch,
    /// The role from which on it is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// Fields that we do not know, and `ttl` of timed messages.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Preference {
    /// On for everybody.
    #[must_use]
    pub fn on() -> Self {
        Self { enable: Switch::On, role: None, other: BTreeMap::new() }
    }

    /// Off for everybody.
    #[must_use]
    pub fn off() -> Self {
        Self { enable: Switch::Off, role: None, other: BTreeMap::new() }
    }
}

/// What members of a group may use. A preference that is missing has its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPreferences {
    /// Members may react.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactions: Option<Preference>,
    /// A joiner is given recent messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Preference>,
    /// Conversations of one member with the moderators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<Preference>,
    /// Authors sign what they post; an unsigned post is shown as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_messages: Option<Preference>,
    /// The others: timedMessages, directMessages, fullDelete, voice, files, simplexLinks, reports, sessions, comments.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl GroupPreferences {
    /// What we write for a new group: signed messages, reactions and history on, support off.
    #[must_use]
    pub fn of_new_group() -> Self {
        Self {
            reactions: Some(Preference::on()),
            history: Some(Preference::on()),
            support: Some(Preference::off()),
            sign_messages: Some(Preference::on()),
            other: BTreeMap::new(),
        }
    }

    /// Whether authors are expected to sign; off by default.
    #[must_use]
    pub fn signs_messages(&self) -> bool {
        is_on(self.sign_messages.as_ref(), false)
    }

    /// Whether a joiner is given recent messages; off by default.
    #[must_use]
    pub fn gives_history(&self) -> bool {
        is_on(self.history.as_ref(), false)
    }

    /// How much of what was said relays keep and give; the default when the owner has not said, or in words that we do not
    /// know.
    #[must_use]
    pub fn history_kept(&self) -> HistoryKept {
        let said = self.history.as_ref().and_then(|history| history.other.get(HISTORY_KEPT_KEY));
        said.and_then(|said| HistoryKept::deserialize(said).ok()).unwrap_or_default()
    }

    /// Says how much of what was said relays keep and give.
    pub fn keep_history(&mut self, kept: HistoryKept) {
        let said = serde_json::to_value(kept).expect("numbers are JSON");
        self.history.get_or_insert_with(Preference::on).other.insert(HISTORY_KEPT_KEY.to_owned(), said);
    }

    /// Whether members may react; on by default.
    #[must_use]
    pub fn allows_reactions(&self) -> bool {
        is_on(self.reactions.as_ref(), true)
    }

    /// Whether a member may write to the moderators; on by default, since apps that do not know the preference allow it.
    #[must_use]
    pub fn allows_support(&self) -> bool {
        is_on(self.support.as_ref(), true)
    }
}

/// Where [`HistoryKept`] stands in the preference for history: an addition of ours.
const HISTORY_KEPT_KEY: &str = "kept";

/// How much of what was said relays keep and give (docs/protocol.md §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryKept {
    /// The newest posts, at most so many.
    pub items: u32,
    /// None older than so many seconds; of any age when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u32>,
    /// Together at most so many bytes; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Default for HistoryKept {
    fn default() -> Self {
        Self { items: HISTORY_ITEMS_MAX, age_seconds: None, bytes: None }
    }
}

fn is_on(preference: Option<&Preference>, default: bool) -> bool {
    preference.map_or(default, |preference| preference.enable == Switch::On)
}

/// What a person or a relay shows of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The name in lists; never empty.
    pub display_name: String,
    /// A longer name; may be empty.
    #[serde(default)]
    pub full_name: String,
    /// One line about the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_descr: Option<String>,
    /// A `data:` URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Fields that we do not know: contact link, preferences, peer type.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Profile {
    /// A profile with nothing but a name.
    #[must_use]
    pub fn named(display_name: impl Into<String>) -> Self {
        Self {
            display_name: display_name.into(),
            full_name: String::new(),
            short_descr: None,
            image: None,
            other: BTreeMap::new(),
        }
    }

    /// Checks every field that is shown.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn check(&self) -> Result<(), ProfileProblem> {
        check_names(&self.display_name, &self.full_name)?;
        check_line(self.short_descr.as_deref())?;
        check_image(self.image.as_deref())
    }
}

impl GroupProfile {
    /// A profile of a new channel or group, with the preferences of [`GroupPreferences::of_new_group`].
    #[must_use]
    pub fn new(display_name: impl Into<String>, public_group: PublicGroup) -> Self {
        Self {
            display_name: display_name.into(),
            full_name: String::new(),
            short_descr: None,
            description: None,
            image: None,
            public_group: Some(public_group),
            group_preferences: Some(GroupPreferences::of_new_group()),
            member_admission: None,
            other: BTreeMap::new(),
        }
    }

    /// Whether joiners wait for a moderator to let them in: `review` is `all`. Criteria of later versions count as this
    /// one, so that nobody gets in whom an owner wants to be looked at.
    #[must_use]
    pub fn reviews_joiners(&self) -> bool {
        let review = self.member_admission.as_ref().and_then(|admission| admission.get(REVIEW));
        review.is_some_and(|criteria| !criteria.is_null()) || self.has_unknown_entrance()
    }

    /// Says whether joiners are reviewed. What else the admission holds stays.
    pub fn set_review(&mut self, reviews: bool) {
        let mut admission = match self.member_admission.take() {
            Some(Value::Object(admission)) => admission,
            _ => serde_json::Map::new(),
        };
        if reviews {
            admission.entry(REVIEW).or_insert_with(|| REVIEW_ALL.into());
        } else {
            admission.remove(REVIEW);
        }
        self.member_admission = (!admission.is_empty()).then_some(Value::Object(admission));
    }

    /// The preferences, or the defaults when there are none.
    #[must_use]
    pub fn preferences(&self) -> GroupPreferences {
        self.group_preferences.clone().unwrap_or_default()
    }

    /// Checks every field that is shown, and that it is a relay group of a kind we know.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn check(&self) -> Result<&PublicGroup, ProfileProblem> {
        check_names(&self.display_name, &self.full_name)?;
        check_line(self.short_descr.as_deref())?;
        within("description", self.description.as_deref().unwrap_or(""), DESCRIPTION_BYTES_MAX)?;
        check_image(self.image.as_deref())?;
        let public_group = self.public_group.as_ref().ok_or(ProfileProblem::NotPublic)?;
        match public_group.group_type {
            GroupType::Channel | GroupType::Group => Ok(public_group),
            GroupType::Unknown => Err(ProfileProblem::UnknownGroupType),
        }
    }

    /// Checks that this profile may replace `current`: it is valid, and the group stays the same one (§9.4).
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn check_update_of(&self, current: &PublicGroupId) -> Result<(), ProfileProblem> {
        if self.check()?.public_group_id == *current { Ok(()) } else { Err(ProfileProblem::AnotherGroup) }
    }
}

/// Why a profile is refused; a text that the owner of the profile can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProfileProblem {
    /// No display name.
    #[error("the display name is empty")]
    NoName,
    /// A control character in a name would break every list it stands in.
    #[error("the {0} contains a control character")]
    ControlCharacter(&'static str),
    /// Too long.
    #[error("the {field} is longer than {bytes_max} bytes")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its bound.
        bytes_max: usize,
    },
    /// The image would have to be fetched from somewhere.
    #[error("the image is not a data: URI of an image")]
    Image,
    /// No `publicGroup`.
    #[error("the profile is not that of a group with relays")]
    NotPublic,
    /// A kind of group that this version does not know.
    #[error("the group is of a kind that this version does not know: an update is needed")]
    UnknownGroupType,
    /// `publicGroupId` changed.
    #[error("the profile belongs to another group")]
    AnotherGroup,
}

fn check_names(display_name: &str, full_name: &str) -> Result<(), ProfileProblem> {
    if display_name.trim().is_empty() {
        return Err(ProfileProblem::NoName);
    }
    within("display name", display_name, DISPLAY_NAME_BYTES_MAX)?;
    within("full name", full_name, FULL_NAME_BYTES_MAX)?;
    for (field, text) in [("display name", display_name), ("full name", full_name)] {
        if text.chars().any(char::is_control) {
            return Err(ProfileProblem::ControlCharacter(field));
        }
    }
    Ok(())
}

fn check_line(text: Option<&str>) -> Result<(), ProfileProblem> {
    within("short description", text.unwrap_or(""), SHORT_DESCRIPTION_BYTES_MAX)
}

fn check_image(image: Option<&str>) -> Result<(), ProfileProblem> {
    let Some(image) = image else { return Ok(()) };
    within("image", image, IMAGE_BYTES_MAX)?;
    if image.is_empty() || image.starts_with("data:image/") { Ok(()) } else { Err(ProfileProblem::Image) }
}

fn within(field: &'static str, text: &str, bytes_max: usize) -> Result<(), ProfileProblem> {
    if text.len() <= bytes_max { Ok(()) } else { Err(ProfileProblem::TooLong { field, bytes_max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough() {
        let profile: Profile = serde_json::from_str(r#"{"displayName":"Ann"}"#).unwrap();
        assert_eq!(profile, Profile::named("Ann"));
    }

    fn profile() -> GroupProfile {
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::new("https://smp1.example.org/c#abc").unwrap(),
            public_group_id: PublicGroupId::new([7; 32]).unwrap(),
            public_group_access: None,
            other: BTreeMap::new(),
        };
        GroupProfile::new("Tea", public_group)
    }

    #[test]
    fn unknown_fields_survive_a_rewrite() {
        let json = r#"{"displayName":"Tea","fullName":"","later":{"a":1},"groupPreferences":{"voice":{"enable":"off"},
            "signMessages":{"enable":"on","since":5},"history":{"enable":"perhaps"}}}"#;
        let profile: GroupProfile = serde_json::from_str(json).unwrap();
        assert!(profile.preferences().signs_messages() && !profile.preferences().gives_history());
        let again = serde_json::to_value(&profile).unwrap();
        assert_eq!(again["later"]["a"], 1);
        assert_eq!(again["groupPreferences"]["voice"]["enable"], "off");
        assert_eq!(again["groupPreferences"]["signMessages"]["since"], 5);
    }

    #[test]
    fn review_comes_and_goes_and_leaves_the_rest() {
        let mut profile = profile();
        assert!(!profile.reviews_joiners());
        profile.set_review(true);
        assert!(profile.reviews_joiners());
        assert_eq!(serde_json::to_value(&profile).unwrap()["memberAdmission"]["review"], "all");
        profile.set_review(false);
        assert!(!profile.reviews_joiners() && profile.member_admission.is_none());

        let later = r#"{"displayName":"Tea","memberAdmission":{"review":{"later":1},"more":2}}"#;
        let mut later: GroupProfile = serde_json::from_str(later).unwrap();
        assert!(later.reviews_joiners(), "what we do not know is no way in");
        later.set_review(true);
        assert_eq!(later.member_admission.as_ref().unwrap()["review"]["later"], 1);
        later.set_review(false);
        assert_eq!(later.member_admission.as_ref().unwrap()["more"], 2);
        for absent in ["null", "{}", r#"{"review":null}"#, "7"] {
            let json = format!(r#"{{"displayName":"Tea","memberAdmission":{absent}}}"#);
            assert!(!serde_json::from_str::<GroupProfile>(&json).unwrap().reviews_joiners(), "{absent}");
        }
    }

    #[test]
    fn new_groups_expect_signatures() {
        let json = serde_json::to_value(profile()).unwrap();
        assert_eq!(json["groupPreferences"]["signMessages"]["enable"], "on");
        assert_eq!(json["publicGroup"]["groupType"], "channel");
        assert!(json.get("description").is_none(), "absent fields are left out");
    }

    #[test]
    fn what_is_kept_of_the_history_is_the_owners_word_and_else_the_default() {
        let kept = |history: &str| {
            let json = format!(r#"{{"history":{history}}}"#);
            serde_json::from_str::<GroupPreferences>(&json).unwrap().history_kept()
        };
        assert_eq!(GroupPreferences::default().history_kept().items, 100);
        for unclear in
            [r#"{"enable":"on"}"#, r#"{"enable":"on","kept":7}"#, r#"{"enable":"on","kept":{"items":-1}}"#]
        {
            assert_eq!(kept(unclear), HistoryKept::default(), "{unclear}");
        }
        let said = HistoryKept { items: 500, age_seconds: Some(86_400), bytes: Some(1_000_000) };
        assert_eq!(
            kept(r#"{"enable":"on","kept":{"items":500,"ageSeconds":86400,"bytes":1000000,"later":1}}"#),
            said
        );
        let mut preferences = GroupPreferences::of_new_group();
        preferences.keep_history(said);
        let again: GroupPreferences =
            serde_json::from_str(&serde_json::to_string(&preferences).unwrap()).unwrap();
        assert_eq!((again.history_kept(), again.gives_history()), (said, true));
    }

    #[test]
    fn each_problem_is_named() {
        let problem = |change: fn(&mut GroupProfile)| {
            let mut profile = profile();
            change(&mut profile);
            profile.check().err()
        };
        assert_eq!(problem(|_| ()), None);
        assert_eq!(problem(|p| p.display_name = "  ".into()), Some(ProfileProblem::NoName));
        assert_eq!(
            problem(|p| p.display_name = "a\nb".into()),
            Some(ProfileProblem::ControlCharacter("display name"))
        );
        assert!(matches!(
            problem(|p| p.display_name = "x".repeat(DISPLAY_NAME_BYTES_MAX + 1)),
            Some(ProfileProblem::TooLong { .. })
        ));
        assert!(matches!(
            problem(|p| p.description = Some("x".repeat(DESCRIPTION_BYTES_MAX + 1))),
            Some(ProfileProblem::TooLong { field: "description", .. })
        ));
        assert_eq!(problem(|p| p.image = Some("https://e.org/a.png".into())), Some(ProfileProblem::Image));
        assert_eq!(problem(|p| p.public_group = None), Some(ProfileProblem::NotPublic));
        let unknown = |p: &mut GroupProfile| p.public_group.as_mut().unwrap().group_type = GroupType::Unknown;
        assert_eq!(problem(unknown), Some(ProfileProblem::UnknownGroupType));
    }

    #[test]
    fn an_update_stays_within_its_group() {
        let other = PublicGroupId::new([8; 32]).unwrap();
        assert_eq!(profile().check_update_of(&other), Err(ProfileProblem::AnotherGroup));
        assert_eq!(profile().check_update_of(&PublicGroupId::new([7; 32]).unwrap()), Ok(()));
    }
}
