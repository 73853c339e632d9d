//! The development stack and its ClickHouse front.
mod clients;
mod disks;
mod front;
mod lifecycle;
mod progress;
mod protocol;
mod strain;
