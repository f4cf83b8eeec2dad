//! The harness of the end-to-end tests: real programs, as separate processes, on loopback.
//!
//! ```text
//! binaries  builds the programs once per run       process  one child: its lines, its end
//! world     servers, relays, people                stage    a group that runs
//! tampering what a dishonest relay or server does to its database
//! stranger  somebody without our programs                socks    a SOCKS proxy that remembers
//! crash_ledger, ledger, session   a queue server that is killed under load
//! simulation   whole runs from a seed, without processes, sockets and clocks
//! ```

pub mod binaries;
pub mod crash_ledger;
pub mod database;
pub mod ledger;
pub mod process;
pub mod session;
pub mod simulation;
pub mod socks;
pub mod stage;
pub mod stranger;
pub mod tampering;
pub mod troupe;
pub mod world;
