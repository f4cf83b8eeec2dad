//! A queue server for the SimpleX Messaging Protocol, versions 15 to 18.

pub mod cli;
pub mod config;
pub mod directory;
pub mod identity;
pub mod store;
