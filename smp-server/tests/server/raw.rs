//! The client made by hand of the conformance suite.

pub(crate) use smp_conformance::raw::*;
