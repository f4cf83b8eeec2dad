//! The program; see `smp-conformance --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    smp_conformance::cli::main()
}
