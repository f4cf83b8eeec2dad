//! `conclave group entrance`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use protocol::crypto::random_bytes;
use protocol::group::entrance::{ANSWERS_MAX, Entrance, Otherwise, Question, SALT_BYTES, Work};
use protocol::group::identity::MemberKey;
use protocol::net::rng::system_rng;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::entrance::answer_key;
use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::request::{EntranceChange, ProfileChange, Request};

/// Ask something of those who join a group: the answer to a question, a proof of work, or both.
///
/// Answers are kept as keys that are dear to draw from a guess, so that relays and members cannot read them. Apps that
/// know nothing of this show no answer: whoever uses them waits for a moderator, or is refused. Members who are in stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group entrance news --question 'Who founded the club?' --answers-file answers.txt
  conclave group entrance news --work 20
  conclave group entrance news --work 22 --otherwise refuse
  conclave group entrance news --off")]
pub(crate) struct GroupEntranceArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// A question that those who join answer.
    #[arg(long, value_name = "TEXT", requires = "answers_file")]
    question: Option<String>,
    /// The file with the answers that are right, one on each line; case and spaces do not matter.
    #[arg(long, value_name = "FILE", requires = "question")]
    answers_file: Option<PathBuf>,
    /// Work that a joiner's machine does: 8 to 26 bits, twice as much with each; 20 takes about a second.
    #[arg(long, value_name = "BITS")]
    work: Option<u8>,
    /// What becomes of those who show nothing: `review` by a moderator, or `refuse`.
    #[arg(long, value_name = "WORD", default_value = "review", value_parser = ["review", "refuse"])]
    otherwise: String,
    /// Ask nothing any more.
    #[arg(long, conflicts_with_all = ["question", "work"])]
    off: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupEntranceArgs {
    fn request(self) -> Result<Request, CommandError> {
        let question = match (self.question, self.answers_file) {
            (Some(text), Some(path)) => {
                let answers = std::fs::read_to_string(&path)
                    .with_context(|| format!("Unable to read {}", path.display()))?;
                Some(question(text, &answers)?)
            }
            _ => None,
        };
        let work = self.work.map(|bits| Work { bits });
        let entrance = if self.off {
            Some(EntranceChange::Free)
        } else if question.is_some() || work.is_some() {
            let otherwise = Otherwise::from_word(&self.otherwise);
            Some(EntranceChange::Asks(Entrance { question, work, otherwise }))
        } else {
            None
        };
        // Without a change the profile is shown, and what is asked with it.
        let change =
            entrance.map(|entrance| ProfileChange { entrance: Some(entrance), ..ProfileChange::default() });
        Ok(Request::GroupProfile { group: self.group, change, timeout_ms: self.timeout.ms() })
    }
}

fn question(text: String, answers: &str) -> Result<Question, CommandError> {
    let answers: Vec<&str> = answers.lines().filter(|line| !line.trim().is_empty()).collect();
    // Each costs as much as a passphrase: not before they are counted.
    if answers.is_empty() || answers.len() > ANSWERS_MAX {
        let text = format_args!("The file holds {} answers; 1 to {ANSWERS_MAX} are needed", answers.len());
        return Err(CommandError::new(ExitCode::Usage, text));
    }
    let salt = random_bytes::<SALT_BYTES>(&mut system_rng()).to_vec();
    let key = |answer: &&str| Ok(MemberKey(answer_key(answer, &salt)?.public_key()));
    let answers = answers.iter().map(key).collect::<Result<_, CommandError>>()?;
    Ok(Question { text, salt, answers })
}
