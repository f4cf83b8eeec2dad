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
    /// Whether joiners wait for the owner's word.
    pub(super) is_reviewed: bool,
    /// Of whom the owner's client took the command to let them in.
    pub(super) accepted: BTreeSet<ProgramId>,
    /// Who was to lose a right at some time: relays may learn that at different moments.
    pub(super) lowered: BTreeSet<ProgramId>,
    /// Who was to be blocked no longer.
    pub(super) freed: BTreeSet<ProgramId>,
    /// Once the owner's client took the command to end it: who is to hear so.
    pub(super) ending: Option<Vec<Debt>>,
}

/// Something is owed to a member by a relay: to both it and the author were connected.
pub(super) type Debt = (ProgramId, ProgramId);

impl Group {
    /// Whether this relay was never told to go.
    pub(super) fn stays(&self, relay: ProgramId) -> bool {
        self.relays.get(&relay) == Some(&false)
    }

    /// Whether everybody is to pass on what somebody says, whenever that was.
    pub(super) fn is_heard(&self, person: ProgramId) -> bool {
        let may_stay = !matches!(self.people.get(&person), Some(Standing::Removed | Standing::Rejected));
        may_stay && !self.lowered.contains(&person)
    }

    /// Whether somebody is in, as far as commands went out.
    pub(super) fn is_in(&self, person: ProgramId) -> bool {
        person == self.owner || self.people.get(&person) == Some(&Standing::Joining)
    }
}

/// How somebody stands in a group, as far as commands went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Wants to be in.
    Joining,
    /// The owner's client took the command to remove it.
    Removed,
    /// The owner's client took the command not to let it in.
    Rejected,
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
    pub(super) owed: Vec<Debt>,
    /// Whoever was in the group by then, as their own clients see it.
    pub(super) present: BTreeSet<ProgramId>,
    /// Members whose removal a relay had taken by then.
    pub(super) barred: Vec<Debt>,
    /// Relays that had taken by then that the author is blocked.
    pub(super) blocked_at: Vec<ProgramId>,
    /// What was to become of it.
    pub(super) changes: Vec<Change>,
}

/// A command to change or delete a post.
#[derive(Debug)]
pub(super) struct Change {
    /// Whose.
    pub(super) by: ProgramId,
    /// Whether it deletes.
    pub(super) deletes: bool,
    /// To whom, if the command is carried out.
    pub(super) owed: Vec<Debt>,
}

/// What may be owed when somebody says something.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Members, each by a relay to which both it and the author are connected.
    pub(super) owed: Vec<Debt>,
    /// Members whose removal a relay has taken.
    pub(super) barred: Vec<Debt>,
    /// Relays that have taken that the author is blocked.
    pub(super) blocked_at: Vec<ProgramId>,
}

/// The text of a post.
pub(super) fn text(author: &str, alias: &str, number: u64) -> String {
    format!("{author} in {alias}: {number}")
}

/// The author and number of a text, which may have been changed.
pub(super) fn read_text(text: &str) -> Option<(&str, u64)> {
    let (author, rest) = text.split_once(" in ")?;
    let (_, rest) = rest.split_once(": ")?;
    let number = rest.split(' ').next()?;
    Some((author, number.parse().ok()?))
}
