//! What goes to stdout: data for people, or one JSON object per line.

use std::io::{self, Write};

use anyhow::Context as _;
use daemon::exit_code::ExitCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

/// Prints `text`, or `value` as one line of JSON.
///
/// # Errors
/// When stdout cannot be written; a reader that went away is not an error.
pub fn print(json: bool, text: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let line = if json { serde_json::to_string(value)? } else { text.to_owned() };
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("Unable to write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints why the command failed, as one line of JSON.
///
/// # Errors
/// When stdout cannot be written.
pub fn error(code: ExitCode, message: &str) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Failure<'a> {
        r#type: &'static str,
        kind: &'static str,
        code: u8,
        message: &'a str,
    }
    print(true, "", &Failure { r#type: "error", kind: code.name(), code: code as u8, message })
}

/// A link as a QR code of half-block characters, dark on light so that it scans on dark terminals too.
///
/// # Errors
/// When the text is longer than a QR code holds.
pub fn qr_code(text: &str) -> anyhow::Result<String> {
    let code = qrcode::QrCode::new(text).context("Unable to draw the link as a QR code")?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
