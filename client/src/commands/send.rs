//! `conclave send`

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::request::Request;

/// A file of messages is bounded: it goes through memory and through the control socket.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Post to a group.
///
/// Returns when at least one relay's server has everything on disk, and says so per relay. If none can be reached,
/// the message waits here and goes out later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave send news 'Good morning'
  date | conclave send news -
  conclave send news --file lines.txt      each line is one message")]
pub(crate) struct SendArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The text; `-` reads it from stdin.
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// A file in which each line that is not empty is one message.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for SendArgs {
    fn request(self) -> Result<Request, CommandError> {
        let texts = match (self.text, self.file) {
            (_, Some(file)) => read_lines(&file)?,
            (Some(text), None) if text == "-" => {
                vec![read_all(std::io::stdin(), "stdin")?.trim_end().to_owned()]
            }
            (Some(text), None) => vec![text],
            (None, None) => Vec::new(),
        };
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err(CommandError::new(ExitCode::Usage, "There is nothing to send"));
        }
        Ok(Request::Send { group: self.group, texts, reply_to: None, timeout_ms: self.timeout.ms() })
    }
}

fn read_lines(path: &Path) -> Result<Vec<String>, CommandError> {
    let file = std::fs::File::open(path).with_context(|| format!("Unable to open {}", path.display()))?;
    let text = read_all(file, &path.display().to_string())?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

fn read_all(source: impl Read, name: &str) -> Result<String, CommandError> {
    let mut text = String::new();
    let read = source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
        return Err(CommandError::new(ExitCode::Usage, format_args!("{name} is not text in UTF-8"))
            .hint("Messages are text: convert it first, as with `iconv -t UTF-8`."));
    }
    read.with_context(|| format!("Unable to read {name}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CommandError::new(
            ExitCode::Usage,
            format_args!("{name} is larger than {FILE_BYTES_MAX} bytes"),
        )
        .hint("Send it in parts."));
    }
    Ok(text)
}
