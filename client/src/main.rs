//! `conclave`: private groups from the command line.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    client::run()
}
