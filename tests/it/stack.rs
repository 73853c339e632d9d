//! The development stack and its ClickHouse front.
pub(crate) mod clients;
pub(crate) mod demo_lock;
pub(crate) mod disks;
pub(crate) mod front;
pub(crate) mod lifecycle;
pub(crate) mod preview;
pub(crate) mod progress;
pub(crate) mod protocol;
pub(crate) mod strain;
