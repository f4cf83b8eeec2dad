//! `conclave doctor`

use clap::Args;

use crate::error::CommandError;
use crate::event::Event;
use crate::exit_code::ExitCode;
use crate::probe;
use crate::request::Request;
use crate::session::Session;

/// Look for anything that is wrong, and say what to do about it.
///
/// Checks the home, the store, the kept servers (by connecting to them), and each group.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave doctor
  conclave doctor --offline --json")]
pub(crate) struct DoctorArgs {
    /// Do not connect to servers.
    #[arg(long)]
    offline: bool,
}

impl DoctorArgs {
    /// Looks at everything.
    ///
    /// # Errors
    /// [`ExitCode::CheckFailed`] when something is wrong.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let output = session.output();
        let mut wrong = 0_u32;
        session.ask_with(Request::Doctor, |event| {
            wrong += u32::from(matches!(event, Event::Check { ok: false, .. }));
            output.event(event)
        })?;
        if !self.offline {
            let mut servers = Vec::new();
            session.ask_with(Request::ServerList, |event| {
                if let Event::Server { address, .. } = event {
                    servers.push(address.clone());
                }
                Ok(())
            })?;
            let choice = session.network()?;
            for address in servers {
                let check = match probe::server(&address, &choice) {
                    Ok(check) => check,
                    Err(error) => {
                        wrong += 1;
                        Event::Check { name: address, ok: false, detail: error.to_string() }
                    }
                };
                session.show(&check);
            }
        }
        if wrong == 0 {
            return Ok(());
        }
        let things = if wrong == 1 { "One thing is".to_owned() } else { format!("{wrong} things are") };
        Err(CommandError::new(ExitCode::CheckFailed, format_args!("{things} wrong")))
    }
}
