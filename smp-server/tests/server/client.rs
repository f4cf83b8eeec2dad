//! The raw client of the conformance suite.

pub(crate) use smp_conformance::client::*;
