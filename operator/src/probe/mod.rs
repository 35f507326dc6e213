//! What a probe of the way to a location's store found, step by step. It only interprets answers: `run::locations` and
//! `store` send the requests.

pub mod report;

pub use crate::probe_step::ProbeStep;
pub use report::ProbeReport;
pub(crate) use report::clock_words;
