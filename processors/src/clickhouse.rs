//! The only folder that uses the client of ClickHouse.

pub mod audit_queries;
pub mod breaker_overrides;
pub mod click_table;
pub mod describe_tables;
pub mod error_codes;
pub mod insert_settings;
pub mod link_table;
pub mod migrations;
pub mod query_id;
pub mod server;
pub mod stale_rows;
