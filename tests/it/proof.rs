//! Models, simulations, fault injection and the audit.
pub(crate) mod audit;
pub(crate) mod chaos;
pub(crate) mod durability;
pub(crate) mod model;
pub(crate) mod seeded;
pub(crate) mod sim;
pub(crate) mod verdicts;
