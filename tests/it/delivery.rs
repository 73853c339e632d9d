//! From the click to the row: outbox, broker, processors, dead letters.
mod brokers;
mod contract;
mod dead_letters;
mod exactly_once;
mod group;
mod kill_storm;
mod outbox;
mod positions;
mod replay;
mod storm_breaker;
