//! `conclave group link`

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
pub(crate) struct GroupLinkArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Print the text alone.
    #[arg(long)]
    no_qr: bool,
}

impl GroupLinkArgs {
    /// Shows the link on stdout and the picture on stderr, so that the link can be piped.
    ///
    /// # Errors
    /// When there is no such group.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let output = session.output();
        session.ask_with(Request::GroupLink { group: self.group }, |event| {
            if let (Event::GroupLink { link, .. }, false, false) = (event, self.no_qr, output.is_json())
                && let Ok(code) = QrCode::new(link.as_bytes())
            {
                output.talk(&code.render::<Dense1x2>().build());
            }
            output.event(event)
        })
    }
}
