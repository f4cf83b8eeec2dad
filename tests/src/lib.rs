//! The harness of the end-to-end tests: real programs, as separate processes, on loopback.
//!
//! ```text
//! binaries  builds the programs once per run       process  one child: its lines, its end
//! world     servers, relays, people                crash    named points where a program is made to abort
//! ```

pub mod binaries;
pub mod process;
pub mod stage;
pub mod troupe;
pub mod world;
