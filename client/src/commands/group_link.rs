//! `conclave group link`

use std::io::IsTerminal as _;

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::error::CommandError;
use crate::event::Event;
use crate::request::Request;
use crate::session::Session;

/// Show the link by which others join, as text and as a QR code.
///
/// Give it away on a way that you trust: who has it can join, and who changes it leads people elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group link news
  conclave group link news --qr | less
  conclave group link news | wl-copy      a pipe gets the link alone")]
pub(crate) struct GroupLinkArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Print the QR code even when the output is not a terminal.
    #[arg(long, conflicts_with = "no_qr")]
    qr: bool,
    /// Print the text alone.
    #[arg(long)]
    no_qr: bool,
}

impl GroupLinkArgs {
    /// Shows the link, and the picture where a person looks; a pipe gets the link alone.
    ///
    /// # Errors
    /// When there is no such group.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let output = session.output();
        let with_qr = !output.is_json() && (self.qr || (!self.no_qr && std::io::stdout().is_terminal()));
        session.ask_with(Request::GroupLink { group: self.group }, |event| {
            if let (Event::GroupLink { link, .. }, true) = (event, with_qr)
                && let Ok(code) = QrCode::new(link.as_bytes())
            {
                // Dark on light, so that it scans on dark terminals too.
                let mut picture = code.render::<Dense1x2>();
                output.data(&picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())?;
            }
            output.event(event)
        })
    }
}
