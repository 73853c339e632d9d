//! Models, simulations, fault injection and the audit.
mod audit;
mod chaos;
mod durability;
mod model;
mod seeded;
mod sim;
