//! Addresses, links and envelopes against known answers, against refusals, and against chance.

mod addresses;
mod drafts;
mod envelopes;
mod link_data;
mod opening;
mod properties;
mod vectors;
