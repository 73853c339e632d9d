//! From the click to the row: outbox, broker, processors, dead letters.
pub(crate) mod brokers;
pub(crate) mod contract;
pub(crate) mod dead_letters;
pub(crate) mod exactly_once;
pub(crate) mod group;
pub(crate) mod kill_storm;
pub(crate) mod linger;
pub(crate) mod outbox;
pub(crate) mod positions;
pub(crate) mod replay;
pub(crate) mod status;
pub(crate) mod storm_breaker;
