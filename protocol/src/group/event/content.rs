//! Posts and what is done to them (channels.md §9.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::group::identity::MemberId;
use crate::group::msg_id::SharedMessageId;

/// The body of a post. A type that we do not know is kept, and shown as its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// A type that we know.
    Known(KnownContent),
    /// Any other, or a known one with fields that we cannot read.
    Unknown(Map<String, Value>),
}

/// The types of content that we know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum KnownContent {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// Words with a preview of a web page.
    Link {
        /// The words.
        text: String,
        /// The preview.
        preview: Value,
    },
    /// A picture.
    Image {
        /// The words.
        text: String,
        /// A `data:` URI.
        image: String,
    },
    /// A film.
    Video {
        /// The words.
        text: String,
        /// A still as `data:` URI.
        image: String,
        /// Seconds.
        duration: i64,
    },
    /// Speech.
    Voice {
        /// The words.
        text: String,
        /// Seconds.
        duration: i64,
    },
    /// A file.
    File {
        /// The words.
        text: String,
    },
    /// A complaint to the moderators.
    Report {
        /// The words.
        text: String,
        /// A word.
        reason: Value,
    },
    /// A card of another chat.
    Chat {
        /// The words.
        text: String,
        /// Where it is.
        chat_link: Value,
        /// The owner's signature over the card.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner_sig: Option<Value>,
    },
}

impl Content {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Known(KnownContent::Text { text: text.into() })
    }

    /// Whether it is a complaint to the moderators.
    #[must_use]
    pub fn is_report(&self) -> bool {
        match self {
            Self::Known(known) => matches!(known, KnownContent::Report { .. }),
            Self::Unknown(fields) => fields.get("type").and_then(Value::as_str) == Some("report"),
        }
    }

    /// The words that every type of content carries; empty when an unknown one has none.
    #[must_use]
    pub fn as_text(&self) -> &str {
        match self {
            Self::Known(
                KnownContent::Text { text }
                | KnownContent::Link { text, .. }
                | KnownContent::Image { text, .. }
                | KnownContent::Video { text, .. }
                | KnownContent::Voice { text, .. }
                | KnownContent::File { text }
                | KnownContent::Report { text, .. }
                | KnownContent::Chat { text, .. },
            ) => text,
            Self::Unknown(fields) => fields.get("text").and_then(Value::as_str).unwrap_or(""),
        }
    }
}

/// A sub-conversation; the main one when absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Scope {
    /// Between one member and the moderators.
    Member {
        /// Whose.
        member_id: MemberId,
    },
}

/// Whom a name in the text stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mention {
    /// Who.
    pub member_id: MemberId,
}

/// A post that is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// Which one.
    pub msg_ref: MessageReference,
    /// What it said, as the quoting side remembers it: a claim.
    pub content: Content,
}

/// Points at a post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageReference {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<SharedMessageId>,
    /// When it was sent, ISO 8601.
    pub sent_at: String,
    /// Whether the quoting side sent it.
    pub sent: bool,
    /// Its author; none for a post in the group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
}

/// x.msg.new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageNew {
    /// The post.
    pub content: Content,
    /// Names in the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mentions: BTreeMap<String, Mention>,
    /// An invitation to fetch a file, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Value>,
    /// Seconds after which it vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// Whether its author is still writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Posted in the group's name; only an owner may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_group: Option<bool>,
    /// The post that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The post that this one comments on, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Value>,
    /// Whether it was posted elsewhere before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<bool>,
}

impl MessageNew {
    /// A post of nothing but `content`.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            mentions: BTreeMap::new(),
            file: None,
            ttl: None,
            live: None,
            scope: None,
            as_group: None,
            quote: None,
            parent: None,
            forward: None,
        }
    }
}

/// x.msg.update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageUpdate {
    /// The post that changes.
    pub msg_id: SharedMessageId,
    /// What it says now.
    pub content: Content,
    /// Names in the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mentions: BTreeMap<String, Mention>,
    /// Seconds after which it vanishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// Whether its author is still writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Posted in the group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_group: Option<bool>,
    /// Preferences of the chat, as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefs: Option<Value>,
}

/// x.msg.del.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageDelete {
    /// The post that goes.
    pub msg_id: SharedMessageId,
    /// Its author, when a moderator deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Only relays forget it; not forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_history: Option<bool>,
}

/// x.msg.react.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageReact {
    /// The post.
    pub msg_id: SharedMessageId,
    /// Its author; none for a post in the group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Which reaction.
    pub reaction: Reaction,
    /// Comes (or goes).
    pub add: bool,
}

/// A reaction; a type or an emoji that we do not know is ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reaction {
    /// A type that we know.
    Known(KnownReaction),
    /// Another type.
    Unknown(Value),
}

/// The types of reaction that we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum KnownReaction {
    /// An emoji.
    Emoji {
        /// One of [`EMOJI`], or another to be ignored.
        emoji: String,
    },
}

/// The emoji that can be reacted with.
pub const EMOJI: [&str; 8] = ["👍", "👎", "😀", "😂", "😢", "❤️", "🚀", "✅"];

impl Reaction {
    /// A reaction by `emoji`, or nothing when it is not of the set.
    #[must_use]
    pub fn emoji(emoji: &str) -> Option<Self> {
        let known = known_emoji(emoji)?;
        Some(Self::Known(KnownReaction::Emoji { emoji: known.to_owned() }))
    }

    /// The emoji of the set, or nothing when this reaction is to be ignored.
    #[must_use]
    pub fn as_emoji(&self) -> Option<&'static str> {
        match self {
            Self::Known(KnownReaction::Emoji { emoji }) => known_emoji(emoji),
            Self::Unknown(_) => None,
        }
    }
}

/// The heart travels with or without its variation selector.
fn known_emoji(emoji: &str) -> Option<&'static str> {
    let bare = |text: &'_ str| text.trim_end_matches('\u{fe0f}').to_owned();
    EMOJI.into_iter().find(|known| bare(known) == bare(emoji))
}

/// x.msg.file.descr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDescription {
    /// The post that announced the file.
    pub msg_id: SharedMessageId,
    /// The part.
    pub file_descr: FileDescriptionPart,
}

/// A part of a file's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDescriptionPart {
    /// The text.
    pub file_descr_text: String,
    /// Which part.
    pub file_descr_part_no: i64,
    /// Whether it is the last.
    pub file_descr_complete: bool,
}

/// x.file.cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileCancel {
    /// The post that announced the file.
    pub msg_id: SharedMessageId,
}

/// x.msg.deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deleted {}

/// x.ok.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acknowledge {}

/// x.grp.msg.forward: the older forward. What is inside is a JSON message of its own, never another forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsonForward {
    /// The author; none for the group itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// The author's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_name: Option<String>,
    /// The message.
    pub msg: Value,
    /// When it was sent, ISO 8601.
    pub msg_ts: String,
}
