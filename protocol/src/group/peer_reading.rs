//! A new relay reads the history of the group's other relays, one after the other, and leaves the rest to an owner
//! (docs/protocol.md §5, "A relay is filled").
//!
//! ```text
//! Unbegun ──begin──▶ Linking ──its link read──▶ Asked ──let in──▶ Reading ──whole──▶ Over
//!                      ▲  │ failed               │ refused, gone    │ gone
//!                      │  └──────────▶ Pausing ◀─┴──────────────────┘
//!                      │ time over        │ too many tries, a lie, or something may be missing
//!                      ├──────────────────┤
//!                      │                  └─ the next relay; after the last one an owner is asked too:
//!                      └──time over── Resting ◀── when none could be read          Over ◀── when one was
//! ```
//!
//! An owner's statements are numbered and chained ([`author_chain`](super::author_chain)): a hole in what comes of them,
//! an end before number 1, or what does not lead to what the owner said to us, is a reason to ask further. What was
//! deleted leaves such a hole too, so nobody is accused of it.
//!
//! The record is stored with the items of each message: a crash at any moment loses nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::author_chain::{ChainLink, Digest};
use super::catch_up::{CatchUp, CatchUpEvent, Want};
use super::constants::{
    PEER_ANSWER_MS_MAX, PEER_PAUSE_MS_MIN, PEER_ROUND_MS_MAX, PEER_ROUND_MS_MIN, PEER_ROUNDS_MAX,
    PEER_TRIES_MAX,
};
use super::event::history::{HistoryGet, HistoryPage};
use super::identity::{LinkText, MemberId};
use crate::timestamp::Timestamp;

/// How far we are with the other relays' history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerReading {
    /// Nothing was begun.
    #[default]
    Unbegun,
    /// A relay is read.
    Going(Box<Round>),
    /// No relay could be read; all are tried again.
    Resting {
        /// Which.
        relays: Vec<LinkText>,
        /// When, in milliseconds.
        until_ms: i64,
        /// The round that begins then, from 1.
        round: u32,
    },
    /// One was read, or there is none.
    Over,
}

/// One round over all relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    relays: Vec<LinkText>,
    /// Which of them is read.
    at: usize,
    stage: Stage,
    /// Who that is, as its link says.
    relay: Option<MemberId>,
    /// How often this one was tried in vain.
    tries: u32,
    /// When the stage has lasted too long, in milliseconds; while reading, the reading tells.
    due_ms: i64,
    reading: CatchUp,
    followed: Followed,
    /// Whether one was read to its end.
    was_read: bool,
    /// From 0.
    round: u32,
}

/// How far we are with one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Its link is being read.
    Linking,
    /// It was asked to let us read.
    Asked,
    /// Its history comes.
    Reading,
    /// It is tried again.
    Pausing,
}

/// A statement of an owner that came, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Who said it.
    pub author: MemberId,
    /// Of its signed bytes.
    pub digest: Digest,
    /// Its place.
    pub link: ChainLink,
}

/// The owners' chains as one relay gives them, followed from the newest back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Followed {
    /// The lowest link of each owner.
    lowest: BTreeMap<String, ChainLink>,
    /// Something may be missing.
    is_doubtful: bool,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// We begin to serve the group, which has these other relays.
    Begin(Vec<LinkText>),
    /// The link of the relay was read, it says who that is, and the request is on its way.
    Requested(MemberId),
    /// The relay lets us read. Of each owner: the oldest statement that came to us by itself.
    LetIn(Vec<(MemberId, ChainLink)>),
    /// Its link cannot be used, it refuses, or the connection is gone.
    Failed,
    /// It gave something as its author's that the author has not signed.
    Lied,
    /// A message of an answer came.
    Page {
        /// Its header; none for an item that leaves no room for one.
        page: Option<HistoryPage>,
        /// Whether nothing older is wanted.
        is_enough: bool,
        /// Whether it held anything that could not be taken on this relay's word.
        is_doubtful: bool,
        /// What was said by owners, newest first.
        placed: Vec<Placed>,
    },
    /// [`PeerReading::deadline`] may be over.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEffect {
    /// Read this link, and ask that relay.
    ReadLink(LinkText),
    /// Ask it for a page.
    Get(HistoryGet),
    /// Give up the connection, if there is one.
    Close,
    /// Ask an owner for all, too.
    AskOwner,
}

impl PeerReading {
    /// What follows.
    #[must_use]
    pub fn apply(self, event: PeerEvent, now: Timestamp) -> (Self, Vec<PeerEffect>) {
        match (self, event) {
            (Self::Unbegun, PeerEvent::Begin(relays)) if relays.is_empty() => {
                (Self::Over, vec![PeerEffect::AskOwner])
            }
            (Self::Unbegun, PeerEvent::Begin(relays)) => Round::begin(relays, 0).link(now),
            (Self::Resting { relays, until_ms, round }, PeerEvent::Timeout) if now.0 >= until_ms => {
                Round::begin(relays, round).link(now)
            }
            (
                state @ (Self::Unbegun | Self::Resting { .. } | Self::Over),
                PeerEvent::Begin(_)
                | PeerEvent::Requested(_)
                | PeerEvent::LetIn(_)
                | PeerEvent::Failed
                | PeerEvent::Lied
                | PeerEvent::Page { .. }
                | PeerEvent::Timeout,
            ) => (state, Vec::new()),
            (Self::Going(round), event) => round.apply(event, now),
        }
    }

    /// When [`PeerEvent::Timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Unbegun | Self::Over => None,
            Self::Resting { until_ms, .. } => Some(Timestamp(*until_ms)),
            Self::Going(round) => match round.stage {
                Stage::Linking | Stage::Asked | Stage::Pausing => Some(Timestamp(round.due_ms)),
                Stage::Reading => round.reading.deadline(),
            },
        }
    }

    /// The relay whose link is being read.
    #[must_use]
    pub fn linking(&self) -> Option<&LinkText> {
        match self {
            Self::Going(round) if round.stage == Stage::Linking => round.relays.get(round.at),
            Self::Going(_) | Self::Unbegun | Self::Resting { .. } | Self::Over => None,
        }
    }

    /// The relay whose history is being read.
    #[must_use]
    pub fn reading(&self) -> Option<&MemberId> {
        match self {
            Self::Going(round) if round.stage == Stage::Reading => round.relay.as_ref(),
            Self::Going(_) | Self::Unbegun | Self::Resting { .. } | Self::Over => None,
        }
    }
}

impl Round {
    fn begin(relays: Vec<LinkText>, round: u32) -> Self {
        Self {
            relays,
            at: 0,
            stage: Stage::Linking,
            relay: None,
            tries: 0,
            due_ms: 0,
            reading: CatchUp::Unasked,
            followed: Followed::default(),
            was_read: false,
            round,
        }
    }

    fn apply(self, event: PeerEvent, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let silently = |round: Self| (PeerReading::Going(Box::new(round)), Vec::new());
        match (self.stage, event) {
            (Stage::Linking, PeerEvent::Requested(relay)) => {
                let due_ms = now.plus_ms(PEER_ANSWER_MS_MAX).0;
                silently(Self { stage: Stage::Asked, relay: Some(relay), due_ms, ..self })
            }
            (Stage::Asked, PeerEvent::LetIn(heads)) => self.let_in(heads, now),
            (Stage::Linking | Stage::Asked | Stage::Reading, PeerEvent::Failed) => self.again(now),
            (Stage::Reading, PeerEvent::Lied) => self.next(now),
            (Stage::Reading, PeerEvent::Page { page, is_enough, is_doubtful, placed }) => {
                let mut followed = self.followed.clone();
                followed.is_doubtful |= is_doubtful;
                followed.follow(placed);
                let round = Self { followed, tries: 0, ..self };
                match page {
                    Some(page) => round.page(page, is_enough, now),
                    None => silently(round),
                }
            }
            (Stage::Linking | Stage::Asked | Stage::Pausing, PeerEvent::Timeout) if now.0 < self.due_ms => {
                silently(self)
            }
            (Stage::Linking | Stage::Asked, PeerEvent::Timeout) => self.again(now),
            (Stage::Pausing, PeerEvent::Timeout) => self.link(now),
            (Stage::Reading, PeerEvent::Timeout) => {
                let (reading, get) = self.reading.clone().apply(CatchUpEvent::Timeout, now);
                let is_given_up = reading.reading().is_none();
                let round = Self { reading, ..self };
                if is_given_up {
                    return round.next(now);
                }
                (PeerReading::Going(Box::new(round)), get.into_iter().map(PeerEffect::Get).collect())
            }
            // Of an attempt that was given up.
            (Stage::Linking, PeerEvent::LetIn(_) | PeerEvent::Lied | PeerEvent::Page { .. })
            | (Stage::Asked, PeerEvent::Requested(_) | PeerEvent::Lied | PeerEvent::Page { .. })
            | (Stage::Reading, PeerEvent::Requested(_) | PeerEvent::LetIn(_))
            | (
                Stage::Pausing,
                PeerEvent::Requested(_)
                | PeerEvent::LetIn(_)
                | PeerEvent::Failed
                | PeerEvent::Lied
                | PeerEvent::Page { .. },
            )
            | (Stage::Linking | Stage::Asked | Stage::Reading | Stage::Pausing, PeerEvent::Begin(_)) => {
                silently(self)
            }
        }
    }

    fn link(self, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let Some(relay) = self.relays.get(self.at).cloned() else { return self.end(now) };
        let due_ms = now.plus_ms(PEER_ANSWER_MS_MAX).0;
        (
            PeerReading::Going(Box::new(Self { stage: Stage::Linking, due_ms, ..self })),
            vec![PeerEffect::ReadLink(relay)],
        )
    }

    /// Goes on where a former connection with it ended.
    fn let_in(mut self, heads: Vec<(MemberId, ChainLink)>, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        for (owner, link) in heads {
            self.followed.lowest.entry(owner.to_string()).or_insert(link);
        }
        let (reading, get) = self.reading.clone().apply(CatchUpEvent::Returned(Want::Everything), now);
        let round = Self { stage: Stage::Reading, reading, ..self };
        (PeerReading::Going(Box::new(round)), get.into_iter().map(PeerEffect::Get).collect())
    }

    fn page(self, page: HistoryPage, is_enough: bool, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let (reading, get) = self.reading.clone().apply(CatchUpEvent::Page { page, is_enough }, now);
        let is_over = reading.reading().is_none();
        let round = Self { reading, ..self };
        if !is_over {
            return (PeerReading::Going(Box::new(round)), get.into_iter().map(PeerEffect::Get).collect());
        }
        if !round.followed.is_doubtful && (is_enough || round.followed.reaches_the_beginning()) {
            return (PeerReading::Over, vec![PeerEffect::Close]);
        }
        Self { was_read: true, ..round }.next(now)
    }

    /// The same relay later, as often as it is worth it.
    fn again(self, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let tries = self.tries.saturating_add(1);
        if tries >= PEER_TRIES_MAX {
            return self.next(now);
        }
        let pause = PEER_PAUSE_MS_MIN.saturating_mul(1 << self.tries.min(PEER_TRIES_MAX));
        let due_ms = now.plus_ms(pause).0;
        (
            PeerReading::Going(Box::new(Self { stage: Stage::Pausing, tries, due_ms, ..self })),
            vec![PeerEffect::Close],
        )
    }

    fn next(self, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let at = self.at.saturating_add(1);
        let (reading, followed) = (CatchUp::Unasked, Followed::default());
        let (state, mut effects) = Self { at, tries: 0, reading, followed, ..self }.link(now);
        effects.insert(0, PeerEffect::Close);
        (state, effects)
    }

    fn end(self, now: Timestamp) -> (PeerReading, Vec<PeerEffect>) {
        let effects = vec![PeerEffect::AskOwner];
        let next = self.round.saturating_add(1);
        if self.was_read || next >= PEER_ROUNDS_MAX {
            return (PeerReading::Over, effects);
        }
        let pause = PEER_ROUND_MS_MIN.saturating_mul(1 << self.round.min(PEER_ROUNDS_MAX));
        let until_ms = now.plus_ms(pause.min(PEER_ROUND_MS_MAX)).0;
        (PeerReading::Resting { relays: self.relays, until_ms, round: next }, effects)
    }
}

impl Followed {
    fn follow(&mut self, newest_first: Vec<Placed>) {
        for Placed { author, digest, link } in newest_first {
            let author = author.to_string();
            let is_next = match self.lowest.get(&author) {
                None => true,
                // It came by itself, too, or again.
                Some(lowest) if lowest.epoch == link.epoch && link.number() >= lowest.number() => continue,
                Some(lowest) if lowest.epoch == link.epoch => {
                    link.number() + 1 == lowest.number() && lowest.previous() == Some(&digest)
                }
                Some(lowest) => lowest.number() == 1,
            };
            self.is_doubtful |= !is_next;
            self.lowest.insert(author, link);
        }
    }

    fn reaches_the_beginning(&self) -> bool {
        self.lowest.values().all(|lowest| lowest.number() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::author_chain::Epoch;
    use super::super::event::history::HistoryPosition;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn relay(name: &str) -> LinkText {
        LinkText::new(name).unwrap()
    }

    fn relays() -> Vec<LinkText> {
        vec![relay("first"), relay("second")]
    }

    fn requested() -> PeerEvent {
        PeerEvent::Requested(MemberId::new([8; 12]).unwrap())
    }

    fn apply_all(events: impl IntoIterator<Item = PeerEvent>) -> (PeerReading, Vec<PeerEffect>) {
        events.into_iter().fold((PeerReading::Unbegun, Vec::new()), |(state, _), event| {
            let now = state.deadline().filter(|_| event == PeerEvent::Timeout).unwrap_or(NOW);
            state.apply(event, now)
        })
    }

    fn begun(stage: Stage) -> Vec<PeerEvent> {
        let mut events = vec![PeerEvent::Begin(relays())];
        events.extend(match stage {
            Stage::Linking => vec![],
            Stage::Asked => vec![requested()],
            Stage::Reading => vec![requested(), PeerEvent::LetIn(Vec::new())],
            Stage::Pausing => vec![PeerEvent::Failed],
        });
        events
    }

    fn digest(number: u64) -> Digest {
        [u8::try_from(number).unwrap(); 32]
    }

    fn placed(numbers: impl IntoIterator<Item = u64>) -> Vec<Placed> {
        let author = MemberId::new([7; 12]).unwrap();
        let placed =
            |number: u64| Placed { author: author.clone(), digest: digest(number), link: link(number) };
        numbers.into_iter().map(placed).collect()
    }

    fn link(number: u64) -> ChainLink {
        let previous = (number > 1).then(|| digest(number - 1));
        ChainLink::new(Epoch([1; 12]), number, previous).unwrap()
    }

    fn page(next: Option<&str>, placed: Vec<Placed>) -> PeerEvent {
        let next = next.map(|next| HistoryPosition::new(next).unwrap());
        let page = Some(HistoryPage { before: None, next, last: true });
        PeerEvent::Page { page, is_enough: false, is_doubtful: false, placed }
    }

    fn is_first_get(effects: &[PeerEffect]) -> bool {
        matches!(effects, [PeerEffect::Get(get)] if get.before.is_none() && !get.ask_owner)
    }

    #[test]
    fn without_other_relays_the_owner_is_asked_at_once() {
        let (state, effects) = apply_all([PeerEvent::Begin(Vec::new())]);
        assert_eq!((state, effects), (PeerReading::Over, vec![PeerEffect::AskOwner]));
    }

    #[test]
    fn a_whole_history_is_enough() {
        let (state, effects) = apply_all(begun(Stage::Reading));
        assert!(state.reading().is_some() && is_first_get(&effects));
        let mut events = begun(Stage::Reading);
        events.push(page(None, placed([3, 2, 1])));
        assert_eq!(apply_all(events), (PeerReading::Over, vec![PeerEffect::Close]));
    }

    /// Whatever may be missing leads to the next relay, and then to the owner.
    #[test]
    fn a_hole_a_cut_or_a_wrong_digest_leads_on() {
        let mut reordered = placed([3, 1, 2]);
        let mut forked = placed([3, 2, 1]);
        forked[1].digest = digest(9);
        for came in [placed([3, 1]), placed([3, 2]), forked, std::mem::take(&mut reordered)] {
            let mut events = begun(Stage::Reading);
            events.push(page(None, came));
            let next = vec![PeerEffect::Close, PeerEffect::ReadLink(relay("second"))];
            assert_eq!(apply_all(events.clone()).1, next);
            events.extend([requested(), PeerEvent::LetIn(Vec::new()), page(None, placed([2]))]);
            let (state, effects) = apply_all(events);
            assert_eq!((state, effects), (PeerReading::Over, vec![PeerEffect::Close, PeerEffect::AskOwner]));
        }
    }

    #[test]
    fn what_the_owner_said_to_us_must_lead_to_what_comes() {
        let head = |number| PeerEvent::LetIn(vec![(MemberId::new([7; 12]).unwrap(), link(number))]);
        for (number, is_whole) in [(4, true), (3, true), (5, false)] {
            let mut events = begun(Stage::Asked);
            events.extend([head(number), page(None, placed([3, 2, 1]))]);
            assert_eq!(apply_all(events).0 == PeerReading::Over, is_whole, "{number}");
        }
    }

    #[test]
    fn who_lies_is_not_read_further() {
        let mut events = begun(Stage::Reading);
        events.push(PeerEvent::Lied);
        let (state, effects) = apply_all(events);
        assert_eq!(effects, [PeerEffect::Close, PeerEffect::ReadLink(relay("second"))]);
        assert_eq!(state.linking(), Some(&relay("second")));
    }

    #[test]
    fn a_reading_goes_on_where_its_connection_ended() {
        let mut events = begun(Stage::Reading);
        events.extend([page(Some("40"), placed([9, 8])), PeerEvent::Failed, PeerEvent::Timeout]);
        assert_eq!(apply_all(events.clone()).1, [PeerEffect::ReadLink(relay("first"))]);
        events.extend([requested(), PeerEvent::LetIn(Vec::new())]);
        let (_, effects) = apply_all(events);
        let [PeerEffect::Get(get)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(get.before, Some(HistoryPosition::new("40").unwrap()));
    }

    /// With a relay that never answers, and one that always refuses, tries grow rare and end; the owner is asked each round.
    #[test]
    fn who_cannot_be_read_is_tried_ever_later_and_not_for_ever() {
        let (mut state, mut effects) = PeerReading::Unbegun.apply(PeerEvent::Begin(relays()), NOW);
        let (mut now, mut asked, mut owner) = (NOW, 0, 0);
        loop {
            owner += effects.iter().filter(|effect| **effect == PeerEffect::AskOwner).count();
            let linked = effects.iter().any(|effect| matches!(effect, PeerEffect::ReadLink(_)));
            asked += u32::from(linked);
            if state == PeerReading::Over {
                break;
            }
            let event = match state.linking() {
                Some(link) if linked && *link == relay("first") => PeerEvent::Failed,
                Some(_) if linked => requested(),
                _ => PeerEvent::Timeout,
            };
            if event == PeerEvent::Timeout {
                now = now.max(state.deadline().unwrap());
            }
            (state, effects) = state.apply(event, now);
        }
        assert_eq!((asked, owner), (PEER_ROUNDS_MAX * 2 * PEER_TRIES_MAX, PEER_ROUNDS_MAX as usize));
        assert!(now.0 - NOW.0 > 20 * PEER_ROUND_MS_MAX);
    }

    #[test]
    fn what_belongs_to_another_stage_changes_nothing() {
        let all = || {
            [
                PeerEvent::Begin(relays()),
                requested(),
                PeerEvent::LetIn(Vec::new()),
                PeerEvent::Failed,
                PeerEvent::Lied,
                page(None, Vec::new()),
                PeerEvent::Timeout,
            ]
        };
        let states = [
            (apply_all([]).0, vec![0]),
            (apply_all(begun(Stage::Linking)).0, vec![1, 3]),
            (apply_all(begun(Stage::Asked)).0, vec![2, 3]),
            (apply_all(begun(Stage::Reading)).0, vec![3, 4, 5]),
            (apply_all(begun(Stage::Pausing)).0, vec![]),
            (PeerReading::Resting { relays: relays(), until_ms: NOW.0 + 1, round: 1 }, vec![]),
            (PeerReading::Over, vec![]),
        ];
        for (state, moves) in states {
            for (place, event) in all().into_iter().enumerate() {
                let (after, effects) = state.clone().apply(event.clone(), NOW);
                let moved = after != state || !effects.is_empty();
                assert_eq!(moved, moves.contains(&place), "{state:?} {event:?}");
            }
        }
    }
}
