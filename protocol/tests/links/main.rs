//! Addresses, links and envelopes against known answers, against refusals, and against chance.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod addresses;
mod drafts;
mod envelopes;
mod link_data;
mod opening;
mod properties;
mod vectors;
