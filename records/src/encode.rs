//! Encodes enriched clicks as the compressed columns that ClickHouse receives. Pure.
pub mod columns;
pub mod compressed_block;
pub mod dictionary_column;
pub mod encoded_rows;
pub mod record_location;
