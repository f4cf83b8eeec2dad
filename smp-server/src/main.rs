//! `smp-server`: a queue server.

use std::process::ExitCode;

fn main() -> ExitCode {
    smp_server::cli::run()
}
