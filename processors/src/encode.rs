//! From an enriched click to the compressed columns that ClickHouse receives. Pure.
pub mod columns;
pub mod row;
