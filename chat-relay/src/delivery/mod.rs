//! From a stored message to the queues of all members (channels.md §16), by positions instead of copies.
//!
//! ```text
//! message ─▶ the group's stream ──round over the members, page by page──▶ member: what it has not, as fits one body
//!                                  └──members apart: who was slow or away──▶    └─ server has it ─▶ position moves
//! ```
//!
//! A message is stored once. What is on its way to a member is one item, which names the messages of its body; so a
//! member who is away costs its position and no more, and holds up nobody. A request to send is stored in the
//! transaction that notes it for the member, and the position moves in the one that takes the server's answer: a crash
//! neither loses nor repeats anything.
//!
//! | file | what |
//! |---|---|
//! | `stage` | how one member is served (pure) |
//! | `plan` | what a member gets next (pure) |
//! | `worker` | rounds, members apart, fairness between groups |
//! | `outcome` | what the server's answer, or none, means for a position |
//! | `forwarding` | a message becomes part of the stream |
//! | `ahead` | copies of roles and removals, for members with two connections |

pub mod ahead;
pub mod forwarding;
pub mod outcome;
pub mod plan;
pub mod stage;
pub mod worker;
