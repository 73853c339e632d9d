//! Every metric of the processors and of the audit: names, units and labels.

pub mod audit;
mod labels;
pub mod processor;
pub mod rules;
