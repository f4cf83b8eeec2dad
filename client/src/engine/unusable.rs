//! Servers that answer and cannot be used: another one is in their place, or they speak other versions. Waiting does
//! not help then, so a command that runs out of time says so instead.

use std::collections::BTreeMap;

use protocol::net::error::CallError;
use protocol::smp::address::ServerAddress;

use super::join::call_error_kind;
use super::step::chain;
use crate::error::CommandError;
use crate::exit_code::ExitCode;

/// What is wrong with which server.
#[derive(Debug, Default)]
pub(super) struct UnusableServers(BTreeMap<ServerAddress, CommandError>);

impl UnusableServers {
    /// There is no session with this server.
    pub(super) fn down(&mut self, server: &ServerAddress, reason: &CallError) {
        if !reason.is_temporary() {
            let problem = CommandError::new(call_error_kind(reason), chain(reason));
            self.0.insert(server.clone(), problem);
        }
    }

    /// There is a session with this server.
    pub(super) fn up(&mut self, server: &ServerAddress) {
        self.0.remove(server);
    }

    /// The error of a command that ran out of time, by its cause.
    pub(super) fn explain(&self, error: CommandError) -> CommandError {
        let Some((server, problem)) = self.0.first_key_value() else { return error };
        if error.kind != ExitCode::StillWaiting {
            return error;
        }
        let message = format!("{}. The server {}: {}", error.message, server.first_host(), problem.message);
        let hints = [problem.hints.as_slice(), &error.hints].concat();
        CommandError { kind: problem.kind, message, hints }
    }
}

#[cfg(test)]
mod tests {
    use protocol::net::error::ConnectError;

    use super::*;

    #[test]
    fn only_what_waiting_cannot_mend_is_the_cause() {
        let server: ServerAddress =
            "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@smp.example.org".parse().unwrap();
        let late = || CommandError::new(ExitCode::StillWaiting, "It waits");
        let mut servers = UnusableServers::default();
        servers.down(&server, &CallError::Disconnected);
        assert_eq!(servers.explain(late()), late());

        servers.down(&server, &ConnectError::UnknownIdentity.into());
        let explained = servers.explain(late());
        assert_eq!(explained.kind, ExitCode::ServerIdentity);
        assert!(explained.message.starts_with("It waits. The server smp.example.org: "), "{explained}");
        let other = CommandError::new(ExitCode::JoinRefused, "No");
        assert_eq!(servers.explain(other.clone()), other);

        servers.up(&server);
        assert_eq!(servers.explain(late()), late());
    }
}
