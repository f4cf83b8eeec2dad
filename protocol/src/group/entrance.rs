//! What a group asks of those who join: the answer to a question, or work (docs/protocol.md §5). An extension inside
//! `memberAdmission` of the group's profile, which the owner signs; what a joiner shows stands in `x.member`.
//!
//! ```text
//! "entrance": { "question"?: { "text", "salt", "answers": [ key, … ] }, "work"?: { "bits" }, "otherwise"?: "refuse" }
//! ```
//!
//! An answer is the seed of a key, drawn from its text by a slow function: the profile holds the public keys, and a joiner
//! signs the group's id and its own member key. So neither members nor relays read the answers, and what one joiner
//! shows is of no use to another, nor to a relay. Work is bound to the same two, and to a day.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::identity::{MemberKey, PublicGroupId, words};
use super::json_bytes;
use super::profile::GroupProfile;
use crate::crypto::hash::sha256;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::timestamp::Timestamp;

/// The key of all this in `memberAdmission`.
const ENTRANCE: &str = "entrance";
/// Ahead of what is signed with an answer's key.
const ANSWER_CONTEXT: &[u8] = b"conclave entrance answer";
/// Ahead of what is hashed for work.
const WORK_CONTEXT: &[u8] = b"conclave entrance work";

/// Longest question, in bytes.
pub const QUESTION_BYTES_MAX: usize = 512;
/// Bytes of a question's salt.
pub const SALT_BYTES: usize = 16;
/// The most answers of one question.
pub const ANSWERS_MAX: usize = 16;
/// Memory for one key of an answer, KiB (Argon2id): 64 MiB, so that guessing is dear.
pub const ANSWER_MEMORY_KIB: u32 = 65_536;
/// Passes for one key of an answer (Argon2id), with one lane.
pub const ANSWER_PASSES: u32 = 3;
/// The least bits of work that are worth asking for.
pub const WORK_BITS_MIN: u8 = 8;
/// The most bits of work: 64 million hashes on average, about half a minute of one core. More is read as this.
pub const WORK_BITS_MAX: u8 = 26;
/// Work counts on its day (UTC), the day before and the day after: clocks differ, and relays are slow to answer.
const WORK_DAYS: i64 = 1;
/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

words!(
    /// What becomes of those who show nothing, as stock clients do.
    Otherwise {
        /// They wait for a moderator.
        Review = "review",
        /// They are refused.
        Refuse = "refuse",
    } else Unknown
);

/// What joiners are asked for. Where there are both, both are needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// A question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// What becomes of those who show nothing; review when absent or not known.
    #[serde(default = "review")]
    pub otherwise: Otherwise,
}

/// A question and the keys of its answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What people read; of at most [`QUESTION_BYTES_MAX`].
    pub text: String,
    /// [`SALT_BYTES`] that the owner drew for this question.
    #[serde(with = "json_bytes")]
    pub salt: Vec<u8>,
    /// Each accepted answer's key; at most [`ANSWERS_MAX`].
    pub answers: Vec<MemberKey>,
}

/// Hashes to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Leading zero bits; twice the work for each.
    pub bits: u8,
}

/// What a joiner shows, in `x.member`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// By the key of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ShownAnswer>,
    /// The work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<ShownWork>,
}

/// An answer's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownAnswer {
    /// 64 bytes.
    #[serde(with = "json_bytes")]
    pub signature: Vec<u8>,
}

/// What makes the hash begin with zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownWork {
    /// The day on which it was done, counted from 1970.
    pub day: i64,
    /// What was found.
    pub nonce: u64,
}

/// Why what a joiner shows does not do. The joiner reads these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotShown {
    /// No answer.
    #[error("the group asks a question of those who join: use an app that shows it, such as conclave")]
    NoAnswer,
    /// No work, or of another day.
    #[error(
        "the group asks those who join for a proof of work: use an app that does it, such as conclave, and join anew"
    )]
    NoWork,
    /// Another answer.
    #[error("the answer to the group's question is not right: join again with another")]
    WrongAnswer,
    /// Other work.
    #[error("the proof of work is not right: join again")]
    WrongWork,
}

impl NotShown {
    /// Whether nothing was shown, as opposed to something that is not right.
    #[must_use]
    pub const fn is_absence(self) -> bool {
        matches!(self, Self::NoAnswer | Self::NoWork)
    }
}

/// Why an owner's entrance cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntranceProblem {
    /// The text.
    #[error("a question has 1 to {QUESTION_BYTES_MAX} bytes")]
    Question,
    /// The answers.
    #[error("a question has 1 to {ANSWERS_MAX} answers")]
    Answers,
    /// The salt.
    #[error("the salt of a question has {SALT_BYTES} bytes")]
    Salt,
    /// The work.
    #[error("work is {WORK_BITS_MIN} to {WORK_BITS_MAX} bits")]
    Work,
}

fn review() -> Otherwise {
    Otherwise::Review
}

impl Entrance {
    /// Checks what an owner is to sign.
    ///
    /// # Errors
    /// [`EntranceProblem`].
    pub fn check(&self) -> Result<(), EntranceProblem> {
        if let Some(question) = &self.question {
            if question.text.trim().is_empty() || question.text.len() > QUESTION_BYTES_MAX {
                return Err(EntranceProblem::Question);
            }
            if question.answers.is_empty() || question.answers.len() > ANSWERS_MAX {
                return Err(EntranceProblem::Answers);
            }
            if question.salt.len() != SALT_BYTES {
                return Err(EntranceProblem::Salt);
            }
        }
        match self.work {
            Some(Work { bits }) if !(WORK_BITS_MIN..=WORK_BITS_MAX).contains(&bits) => {
                Err(EntranceProblem::Work)
            }
            _ => Ok(()),
        }
    }

    /// Whether what somebody with this key shows is enough. Costs at most one hash and [`ANSWERS_MAX`] checks of a
    /// signature, the hash first.
    ///
    /// # Errors
    /// [`NotShown`].
    pub fn judge(
        &self,
        shown: Option<&Shown>,
        group: &PublicGroupId,
        key: &MemberKey,
        now: Timestamp,
    ) -> Result<(), NotShown> {
        if let Some(work) = self.work {
            let today = day_of(now);
            let is_recent = |work: &ShownWork| (today - WORK_DAYS..=today + WORK_DAYS).contains(&work.day);
            let done = shown.and_then(|shown| shown.work).filter(is_recent).ok_or(NotShown::NoWork)?;
            if !work.is_done(group, key, done) {
                return Err(NotShown::WrongWork);
            }
        }
        if let Some(question) = &self.question {
            let answer = shown.and_then(|shown| shown.answer.as_ref()).ok_or(NotShown::NoAnswer)?;
            let said = answer_input(group, key);
            let mut answers = question.answers.iter().take(ANSWERS_MAX);
            if !answers.any(|known| known.0.verify(&said, &answer.signature).is_ok()) {
                return Err(NotShown::WrongAnswer);
            }
        }
        Ok(())
    }
}

impl Work {
    /// Whether a nonce does.
    #[must_use]
    pub fn is_done(self, group: &PublicGroupId, key: &MemberKey, shown: ShownWork) -> bool {
        let mut input = WORK_CONTEXT.to_vec();
        input.extend_from_slice(&answer_input(group, key));
        input.extend_from_slice(&shown.day.to_be_bytes());
        input.extend_from_slice(&shown.nonce.to_be_bytes());
        leading_zeroes(&sha256(&input)) >= u32::from(self.bits.min(WORK_BITS_MAX))
    }

    /// Looks for a nonce among `tries` from `from` on.
    #[must_use]
    pub fn search(
        self,
        group: &PublicGroupId,
        key: &MemberKey,
        day: i64,
        from: u64,
        tries: u64,
    ) -> Option<ShownWork> {
        let shown = |nonce| ShownWork { day, nonce };
        (from..from.saturating_add(tries)).map(shown).find(|shown| self.is_done(group, key, *shown))
    }
}

/// The day of a moment (UTC), counted from 1970.
#[must_use]
pub const fn day_of(now: Timestamp) -> i64 {
    now.0.div_euclid(DAY_MS)
}

/// An answer as it is hashed: how people write it does not matter.
#[must_use]
pub fn canonical_answer(answer: &str) -> String {
    answer.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What a joiner shows who knows an answer, by the key that is drawn from it.
#[must_use]
pub fn show_answer(answer: &Ed25519PrivateKey, group: &PublicGroupId, key: &MemberKey) -> ShownAnswer {
    ShownAnswer { signature: answer.sign(&answer_input(group, key)).to_vec() }
}

fn answer_input(group: &PublicGroupId, key: &MemberKey) -> Vec<u8> {
    let mut input = ANSWER_CONTEXT.to_vec();
    let id = group.as_bytes();
    input.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
    input.extend_from_slice(id);
    input.extend_from_slice(&key.0.0);
    input
}

fn leading_zeroes(hash: &[u8; 32]) -> u32 {
    let (head, _) = hash.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    u32::from_be_bytes(*head).leading_zeros()
}

impl GroupProfile {
    /// Whether there is an entrance of another form than we know.
    pub(super) fn has_unknown_entrance(&self) -> bool {
        let field = self.member_admission.as_ref().and_then(|admission| admission.get(ENTRANCE));
        field.is_some_and(|field| !field.is_null()) && self.entrance().is_none()
    }

    /// What joiners are asked for. Nobody can show what cannot be read: [`Self::reviews_joiners`] then.
    #[must_use]
    pub fn entrance(&self) -> Option<Entrance> {
        let field = self.member_admission.as_ref()?.get(ENTRANCE).filter(|field| !field.is_null())?;
        Entrance::deserialize(field)
            .ok()
            .filter(|entrance| entrance.question.is_some() || entrance.work.is_some())
    }

    /// Says what joiners are asked for. What else the admission holds stays.
    pub fn set_entrance(&mut self, entrance: Option<&Entrance>) {
        let mut admission = match self.member_admission.take() {
            Some(Value::Object(admission)) => admission,
            _ => serde_json::Map::new(),
        };
        match entrance.map(serde_json::to_value) {
            Some(Ok(entrance)) => drop(admission.insert(ENTRANCE.to_owned(), entrance)),
            Some(Err(_)) | None => drop(admission.remove(ENTRANCE)),
        }
        self.member_admission = (!admission.is_empty()).then_some(Value::Object(admission));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(20_000 * DAY_MS + 5);

    fn group(byte: u8) -> PublicGroupId {
        PublicGroupId::new([byte; 32]).unwrap()
    }

    fn answer(byte: u8) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&[byte; 32])
    }

    fn key(byte: u8) -> MemberKey {
        MemberKey(answer(byte).public_key())
    }

    fn question() -> Question {
        Question { text: "Whose tea?".to_owned(), salt: vec![1; SALT_BYTES], answers: vec![key(10), key(11)] }
    }

    fn entrance(question: Option<Question>, bits: Option<u8>) -> Entrance {
        Entrance { question, work: bits.map(|bits| Work { bits }), otherwise: Otherwise::Refuse }
    }

    #[test]
    fn an_answer_is_of_use_to_one_joiner_of_one_group() {
        let asks = entrance(Some(question()), None);
        for known in [10, 11] {
            let shown = Shown { answer: Some(show_answer(&answer(known), &group(1), &key(2))), work: None };
            let judge = |group, key| asks.judge(Some(&shown), &group, &key, NOW);
            assert_eq!(judge(group(1), key(2)), Ok(()));
            assert_eq!(judge(group(1), key(3)), Err(NotShown::WrongAnswer), "another joiner");
            assert_eq!(judge(group(2), key(2)), Err(NotShown::WrongAnswer), "another group");
        }
        let wrong = Shown { answer: Some(show_answer(&answer(12), &group(1), &key(2))), work: None };
        assert_eq!(asks.judge(Some(&wrong), &group(1), &key(2), NOW), Err(NotShown::WrongAnswer));
        let odd = Shown { answer: Some(ShownAnswer { signature: vec![1; 3] }), work: None };
        assert_eq!(asks.judge(Some(&odd), &group(1), &key(2), NOW), Err(NotShown::WrongAnswer));
        for nothing in [None, Some(Shown::default())] {
            let judged = asks.judge(nothing.as_ref(), &group(1), &key(2), NOW);
            assert_eq!(judged, Err(NotShown::NoAnswer));
        }
        assert!(NotShown::NoAnswer.is_absence() && !NotShown::WrongAnswer.is_absence());
    }

    #[test]
    fn work_counts_for_a_key_and_for_some_days() {
        let asks = entrance(None, Some(10));
        let today = day_of(NOW);
        let done = Work { bits: 10 }.search(&group(1), &key(2), today, 0, 1 << 20).unwrap();
        let judge =
            |shown, key| asks.judge(Some(&Shown { answer: None, work: Some(shown) }), &group(1), &key, NOW);
        assert_eq!(judge(done, key(2)), Ok(()));
        assert_eq!(judge(done, key(3)), Err(NotShown::WrongWork));
        assert_eq!(judge(ShownWork { nonce: done.nonce ^ 1, ..done }, key(2)), Err(NotShown::WrongWork));
        for days in [-2, 2] {
            let other = ShownWork { day: today + days, ..done };
            assert_eq!(judge(other, key(2)), Err(NotShown::NoWork), "work of {days} days away");
        }
        let both = entrance(Some(question()), Some(10));
        let shown = Shown { answer: None, work: Some(done) };
        assert_eq!(both.judge(Some(&shown), &group(1), &key(2), NOW), Err(NotShown::NoAnswer));
        assert_eq!(both.judge(None, &group(1), &key(2), NOW), Err(NotShown::NoWork));
    }

    #[test]
    fn how_an_answer_is_written_does_not_matter() {
        assert_eq!(canonical_answer("  Earl\tGREY \n tea"), "earl grey tea");
        assert_ne!(canonical_answer("earl grey"), canonical_answer("earlgrey"));
    }

    #[test]
    fn owners_are_told_what_cannot_be_asked() {
        let check = |question, bits| entrance(question, bits).check();
        assert_eq!(check(Some(question()), Some(WORK_BITS_MAX)), Ok(()));
        assert_eq!(check(None, Some(WORK_BITS_MAX + 1)), Err(EntranceProblem::Work));
        assert_eq!(check(None, Some(WORK_BITS_MIN - 1)), Err(EntranceProblem::Work));
        let with = |change: fn(&mut Question)| {
            let mut question = question();
            change(&mut question);
            check(Some(question), None)
        };
        assert_eq!(with(|question| question.text = " ".to_owned()), Err(EntranceProblem::Question));
        assert_eq!(with(|question| question.text = "x".repeat(513)), Err(EntranceProblem::Question));
        assert_eq!(with(|question| question.answers.clear()), Err(EntranceProblem::Answers));
        assert_eq!(with(|question| question.answers = vec![key(1); 17]), Err(EntranceProblem::Answers));
        assert_eq!(with(|question| question.salt.truncate(3)), Err(EntranceProblem::Salt));
    }

    #[test]
    fn an_entrance_stands_in_the_profile_and_an_unknown_one_means_review() {
        let mut profile: GroupProfile = serde_json::from_str(r#"{"displayName":"Tea"}"#).unwrap();
        let asks = entrance(Some(question()), Some(12));
        profile.set_entrance(Some(&asks));
        profile.set_review(true);
        let read: GroupProfile = serde_json::from_slice(&serde_json::to_vec(&profile).unwrap()).unwrap();
        assert_eq!(read.entrance(), Some(asks));
        assert!(read.reviews_joiners());
        profile.set_review(false);
        assert!(!profile.reviews_joiners());
        profile.set_entrance(None);
        assert_eq!((profile.entrance(), &profile.member_admission), (None, &None));

        for unknown in [r#""riddle""#, r#"{"question":7}"#, r#"{"dance":{}}"#, r#"{"work":{"bits":300}}"#] {
            let json = format!(r#"{{"displayName":"Tea","memberAdmission":{{"entrance":{unknown}}}}}"#);
            let profile: GroupProfile = serde_json::from_str(&json).unwrap();
            assert!(profile.entrance().is_none() && profile.reviews_joiners(), "{unknown}");
        }
        let later =
            r#"{"displayName":"Tea","memberAdmission":{"entrance":{"work":{"bits":9},"otherwise":"later"}}}"#;
        let later: GroupProfile = serde_json::from_str(later).unwrap();
        assert_eq!(later.entrance().unwrap().otherwise, Otherwise::Unknown);
        let plain = r#"{"displayName":"Tea","memberAdmission":{"entrance":{"work":{"bits":9}}}}"#;
        let plain: GroupProfile = serde_json::from_str(plain).unwrap();
        assert_eq!(plain.entrance().unwrap().otherwise, Otherwise::Review);
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_judged(signature in prop::collection::vec(any::<u8>(), 0..80), day: i64, nonce: u64) {
            let asks = entrance(Some(question()), Some(WORK_BITS_MAX));
            let shown = Shown { answer: Some(ShownAnswer { signature }), work: Some(ShownWork { day, nonce }) };
            prop_assert!(asks.judge(Some(&shown), &group(1), &key(2), NOW).is_err());
        }
    }
}
