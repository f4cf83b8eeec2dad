//! `conclave relay test`

use clap::Args;

use crate::error::CommandError;
use crate::event::Event;
use crate::probe;
use crate::request::Request;
use crate::session::Session;

/// Read a relay's address and see whether it is one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave relay test r1
  conclave relay test 'https://server.example/r#…'")]
pub(crate) struct RelayTestArgs {
    /// Name of a kept relay, or a relay's link.
    #[arg(value_name = "RELAY")]
    relay: String,
}

impl RelayTestArgs {
    /// Reads the address.
    ///
    /// # Errors
    /// When its server cannot be reached or the link leads to something else.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let mut link = None;
        if self.relay.contains(':') {
            link = Some(self.relay.clone());
        } else {
            session.ask_with(Request::RelayList, |event| {
                if let Event::Relay { name, link: kept } = event
                    && *name == self.relay
                {
                    link = Some(kept.clone());
                }
                Ok(())
            })?;
        }
        let link = link.ok_or_else(|| CommandError::not_found("relay", &self.relay, "relay list"))?;
        session.show(&probe::relay(&link)?);
        Ok(())
    }
}
