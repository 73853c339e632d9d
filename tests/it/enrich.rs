//! What the rules make of a click.
mod arrivals;
mod golden;
mod rules;
