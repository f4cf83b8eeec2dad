//! History by pages: an extension of the protocol (docs/protocol.md §5).
//!
//! ```text
//! member  ──x.grp.history.get──▶ give ──pages, as far as the owner lets relays keep──▶ member
//! owner   ◀──x.grp.history.get── fill, when we begin to serve a group, and when a member misses what we lack
//!         ──pages──▶ fill ──each item verified──▶ stored
//! ```

pub mod fill;
pub mod give;
