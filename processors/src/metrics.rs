//! Every metric of the processors and of the audit: names, units and labels.

pub mod audit;
pub mod processor;
pub mod rules;
