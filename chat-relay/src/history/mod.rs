//! History by pages: an extension of the protocol (docs/protocol.md §5).
//!
//! ```text
//! member  ──x.grp.history.get──▶ give ──pages, as far as the owner lets relays keep──▶ member
//! relay   ──x.grp.history.peer, then the same──▶ give ──pages──▶ another relay of the group
//! relay   ◀──x.grp.history.get── peers, when we begin to serve a group
//! owner   ◀──x.grp.history.get── fill, for what no other relay could give, and when a member misses what we lack
//!         ──pages──▶ fill ──each item verified──▶ stored
//! ```

pub mod fill;
pub mod give;
pub(crate) mod order;
pub(crate) mod page;
pub mod peers;
