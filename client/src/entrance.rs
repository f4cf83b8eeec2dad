//! What a group asks of those who join, on the people's side: questions are answered and work is done outside of the
//! engine, which has better things to wait for.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Params, Version};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::entrance::{
    ANSWER_MEMORY_KIB, ANSWER_PASSES, Entrance, Otherwise, Question, Shown, ShownWork, Work,
    canonical_answer, day_of, show_answer,
};
use protocol::group::identity::{MemberKey, PublicGroupId};
use protocol::timestamp::Timestamp;
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::exit_code::ExitCode;

/// How often a person may answer before the command ends.
const TRIES: usize = 3;
/// Hashes between two looks at the clock and the terminal.
const HASHES_PER_LOOK: u64 = 1 << 17;

/// What a joiner is asked, and as whom it answers.
pub(crate) struct Asked<'a> {
    /// The group.
    pub(crate) group: &'a PublicGroupId,
    /// Our key there.
    pub(crate) key: &'a MemberKey,
    /// What is asked.
    pub(crate) entrance: &'a Entrance,
}

/// How a joiner answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// The answer stands in this file.
    pub(crate) file: Option<PathBuf>,
    /// Nothing is shown: a moderator decides.
    pub(crate) none: bool,
}

/// Does what is asked; on a terminal people are asked.
///
/// # Errors
/// [`ExitCode::AnswerNeeded`] when there is no right answer.
pub(crate) fn meet(asked: &Asked<'_>, answers: &Answers) -> Result<Shown, CommandError> {
    if answers.none {
        if asked.entrance.otherwise == Otherwise::Refuse {
            let text = "This group lets nobody in without an answer: no moderator is asked";
            return Err(CommandError::new(ExitCode::AnswerNeeded, text));
        }
        return Ok(Shown::default());
    }
    let answer = match &asked.entrance.question {
        Some(question) => {
            let key = match &answers.file {
                Some(path) => answer_in(path, question)?,
                None => ask(question)?,
            };
            Some(show_answer(&key, asked.group, asked.key))
        }
        None => None,
    };
    let work = asked.entrance.work.map(|work| do_work(work, asked)).transpose()?;
    Ok(Shown { answer, work })
}

/// The key of an answer: dear to try, so that nobody guesses answers from the profile.
///
/// # Errors
/// When there is not enough memory.
pub(crate) fn answer_key(answer: &str, salt: &[u8]) -> Result<Ed25519PrivateKey, CommandError> {
    let params = Params::new(ANSWER_MEMORY_KIB, ANSWER_PASSES, 1, Some(32));
    let mut seed = Zeroizing::new([0; 32]);
    params
        .and_then(|params| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into(canonical_answer(answer).as_bytes(), salt, &mut seed[..])
        })
        .map_err(|error| {
            CommandError::new(ExitCode::Failure, format_args!("Unable to draw an answer's key: {error}"))
        })?;
    Ok(Ed25519PrivateKey::from_seed(&seed))
}

/// The key of an answer that is right: the profile holds the public keys.
fn right(answer: &str, question: &Question) -> Result<Option<Ed25519PrivateKey>, CommandError> {
    let key = answer_key(answer, &question.salt)?;
    Ok(question.answers.contains(&MemberKey(key.public_key())).then_some(key))
}

fn answer_in(path: &Path, question: &Question) -> Result<Ed25519PrivateKey, CommandError> {
    let text = std::fs::read_to_string(path).with_context(|| format!("Unable to read {}", path.display()))?;
    right(&text, question)?.ok_or_else(wrong)
}

fn ask(question: &Question) -> Result<Ed25519PrivateKey, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::new(ExitCode::AnswerNeeded, "The group asks a question of those who join"));
    }
    for left in (0..TRIES).rev() {
        // The question was shown with what the engine told.
        let _ = write!(std::io::stderr(), "Answer: ").and_then(|()| std::io::stderr().flush());
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).context("Unable to read the answer")?;
        if read == 0 {
            break;
        }
        if let Some(key) = right(&answer, question)? {
            return Ok(key);
        }
        let _ = writeln!(std::io::stderr(), "This is not the answer; {left} tries left.");
    }
    Err(wrong())
}

fn wrong() -> CommandError {
    CommandError::new(ExitCode::AnswerNeeded, "This is not the answer to the group's question")
}

/// Tries nonces until one does; a line on the terminal says how far it is.
fn do_work(work: Work, asked: &Asked<'_>) -> Result<ShownWork, CommandError> {
    let day = day_of(now());
    let expected = 1_u64 << work.bits.min(protocol::group::entrance::WORK_BITS_MAX);
    let mut terminal = std::io::stderr().is_terminal().then(std::io::stderr);
    let mut tried = 0_u64;
    let found = loop {
        if let Some(found) = work.search(asked.group, asked.key, day, tried, HASHES_PER_LOOK) {
            break found;
        }
        tried = tried.saturating_add(HASHES_PER_LOOK);
        if let Some(terminal) = &mut terminal {
            let _ = write!(terminal, "\rProof of work: {tried} of about {expected} hashes")
                .and_then(|()| terminal.flush());
        }
    };
    if let Some(terminal) = &mut terminal {
        let _ = writeln!(terminal, "\rProof of work: done                                  ");
    }
    Ok(found)
}

fn now() -> Timestamp {
    protocol::net::clock::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106's function with our parameters: the key of an answer never changes.
    #[test]
    fn an_answer_has_one_key_however_it_is_written() {
        let salt = [7; 16];
        let key = answer_key("  Earl GREY ", &salt).unwrap();
        assert_eq!(answer_key("earl grey", &salt).unwrap().public_key(), key.public_key());
        assert_ne!(answer_key("earl grey", &[8; 16]).unwrap().public_key(), key.public_key());
    }

    #[test]
    fn an_answer_from_a_file_is_shown_if_it_is_right() {
        let (group, member) = (PublicGroupId::new([1; 32]).unwrap(), Ed25519PrivateKey::from_seed(&[2; 32]));
        let salt = vec![3; 16];
        let answers = vec![MemberKey(answer_key("tea", &salt).unwrap().public_key())];
        let question = Question { text: "What?".into(), salt, answers };
        let entrance =
            Entrance { question: Some(question), work: Some(Work { bits: 8 }), otherwise: Otherwise::Refuse };
        let key = MemberKey(member.public_key());
        let asked = Asked { group: &group, key: &key, entrance: &entrance };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("answer");
        let with = |answer: &str| {
            std::fs::write(&file, answer).unwrap();
            meet(&asked, &Answers { file: Some(file.clone()), none: false })
        };
        let shown = with("Tea\n").unwrap();
        assert_eq!(entrance.judge(Some(&shown), &group, &key, now()), Ok(()));
        assert_eq!(with("coffee").unwrap_err().kind, ExitCode::AnswerNeeded);
        let none = meet(&asked, &Answers { file: None, none: true });
        assert_eq!(none.unwrap_err().kind, ExitCode::AnswerNeeded, "nobody would be asked");
    }
}
