//! The only folder that talks to ClickHouse.
pub mod audit_queries;
pub mod breaker_overrides;
pub mod describe_tables;
pub mod error_codes;
pub mod link_table;
pub mod migrations;
pub mod query_id;
pub mod server;
