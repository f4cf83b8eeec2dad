//! `conclave join`

use std::path::PathBuf;

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::entrance::{Answers, Asked, meet};
use crate::error::CommandError;
use crate::event::Event;
use crate::exit_code::ExitCode;
use crate::request::Request;
use crate::session::Session;

/// Join a group by its link.
///
/// The link leads to data that the owner signed: the group's profile and its relays. All of it is checked before
/// anything is sent. Where the group asks a question of those who join, or a proof of work, that comes next.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave join 'https://server.example/c#…'
  conclave join 'https://server.example/c#…' --answer-file answer.txt

Whoever joins for the first time cannot tell whether the server shows the newest data; later readings can.")]
pub(crate) struct JoinArgs {
    /// The link that the owner gave you.
    #[arg(value_name = "LINK")]
    link: String,
    /// Read the answer to the group's question from this file, instead of asking on the terminal.
    #[arg(long, value_name = "FILE")]
    answer_file: Option<PathBuf>,
    /// Do not answer: a moderator of the group decides.
    #[arg(long, conflicts_with = "answer_file")]
    no_answer: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl JoinArgs {
    /// Joins; what the group asks is answered between two requests.
    ///
    /// # Errors
    /// What the engine says, or when there is no right answer.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let output = session.output();
        let timeout_ms = self.timeout.ms();
        let mut asks = None;
        let joined = session.ask_with(Request::Join { link: self.link, timeout_ms }, |event| {
            if let Event::Entrance { .. } = event {
                asks = Some(event.clone());
            }
            output.event(event)
        });
        let asked = match (&joined, asks) {
            (Err(error), Some(asked)) if error.kind == ExitCode::AnswerNeeded => asked,
            _ => return joined,
        };
        let Event::Entrance { group, public_id, member_key, asks } = asked else { return joined };
        let Ok(public_id) = public_id.parse() else { return joined };
        let answers = Answers { file: self.answer_file, none: self.no_answer };
        let shown = meet(&Asked { group: &public_id, key: &member_key, entrance: &asks }, &answers)?;
        session.ask(Request::Enter { group, shown, timeout_ms })
    }
}
