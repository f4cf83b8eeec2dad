//! What was said, to whom it is owed, and what people saw.

use std::collections::{BTreeMap, BTreeSet};

use super::network::ProgramId;

/// A group and those who have to do with it.
#[derive(Debug)]
pub(super) struct Group {
    /// What its owner and everybody else calls it.
    pub(super) alias: String,
    /// Whose it is.
    pub(super) owner: ProgramId,
    /// Whether joiners may post.
    pub(super) is_open: bool,
    /// Once it is made.
    pub(super) link: Option<String>,
    /// Relays, and whether they were told to go.
    pub(super) relays: BTreeMap<ProgramId, bool>,
    /// Whoever asked to join, and what became of them.
    pub(super) people: BTreeMap<ProgramId, Standing>,
    /// Everything that was said, in the order in which it became durable with its author.
    pub(super) posts: Vec<Post>,
    /// How many texts each author was given.
    pub(super) said: BTreeMap<ProgramId, u64>,
}

/// How somebody stands in a group, as far as commands went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Wants to be in.
    Joining,
    /// The owner's client took the command to remove it.
    Removed,
    /// Took the command to leave.
    Left,
}

/// A post that is durable with its author.
#[derive(Debug)]
pub(super) struct Post {
    /// Who said it.
    pub(super) author: ProgramId,
    /// The author's own count.
    pub(super) number: u64,
    /// Its id.
    pub(super) id: String,
    /// Whether the author was told that a relay's server has it.
    pub(super) is_acknowledged: bool,
    /// Members, each by a relay to which both it and the author were connected when it was said.
    pub(super) owed: Vec<(ProgramId, ProgramId)>,
    /// Whoever was in the group by then, as their own clients see it.
    pub(super) present: BTreeSet<ProgramId>,
    /// Members whose removal a relay had taken by then.
    pub(super) barred: Vec<(ProgramId, ProgramId)>,
}

/// The text of a post.
pub(super) fn text(author: &str, alias: &str, number: u64) -> String {
    format!("{author} in {alias}: {number}")
}

/// The author and number of a text.
pub(super) fn read_text(text: &str) -> Option<(&str, u64)> {
    let (author, rest) = text.split_once(" in ")?;
    let (_, number) = rest.split_once(": ")?;
    Some((author, number.parse().ok()?))
}
