//! Whether a record would become a row by today's rules. Pure.

use crate::dead_letters::origin::Origin;
use crate::dead_letters::redriven_copy::RecordBytes;
use crate::dead_letters::repair::KeyFacts;
use crate::decode::cached_schema::Schemas;
use crate::decode::{decode, framed};
use crate::error::RecordError;
use crate::flow::block::{Block, Header, RecordMetadata};

/// The key facts of the click that a processor would make of a copy of `origin` with these bytes.
/// `schemas` has the schema id of the value, if the value has a frame.
///
/// # Errors
/// A processor would dead-letter the copy.
pub fn verdict(
    bytes: &RecordBytes,
    origin: &Origin,
    schemas: &Schemas,
) -> Result<KeyFacts, RecordError> {
    // Bounds of a block cut a record as they do in a processor.
    let mut block = Block::default();
    let logged_at_ms = origin.logged_at_ms;
    let metadata = RecordMetadata { partition: 0, offset: 0, epoch: 0, logged_at_ms };
    let headers = bytes.headers.iter();
    let headers = headers.map(|(name, value)| Header { name, value: value.as_deref() });
    block.push(metadata, bytes.key.as_deref(), bytes.value.as_deref(), headers);
    let record = block.records().next().ok_or(RecordError::EmptyValue)?;
    let (id, datum) = framed(record)?;
    let schema = schemas.get(&id).ok_or(RecordError::SchemaUnknown(id))?;
    let click = decode(schema.decoder(id)?, datum, logged_at_ms)?;
    Ok(KeyFacts { event_id: click.event_id, occurred_at_us: click.occurred_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::cached_schema::CachedSchema;
    use crate::flow::stub::VALUE_BYTES_MAX;
    use schemas::{Encoder, NEWEST, RawClick, SchemaId};
    use uuid::Uuid;

    #[test]
    fn a_record_fails_by_the_rules_of_a_processor_and_the_log_time_of_its_origin() {
        let origin: Origin = "t:0:7:1700000000000".parse().unwrap();
        let (event_id, occurred_at_us) = (Uuid::from_u128(7), 1_700_000_000_000_000);
        let mut value = Vec::new();
        let click = RawClick::new(event_id, occurred_at_us, "a");
        Encoder::new(SchemaId(1)).encode(&click, &mut value).unwrap();
        let schemas: Schemas =
            [(SchemaId(1), CachedSchema::parsed(NEWEST)), (SchemaId(2), CachedSchema::Open)].into();
        let code = |value: Option<Vec<u8>>, origin: &Origin| {
            let bytes = RecordBytes { value, ..RecordBytes::default() };
            verdict(&bytes, origin, &schemas).map_err(|error| error.code())
        };
        let of_id = |id: u8| Some([&[0, 0, 0, 0, id], &value[5..]].concat());
        assert_eq!(code(of_id(1), &origin), Ok(KeyFacts { event_id, occurred_at_us }));
        let trailing = Some([&value[..], &[0]].concat());
        let before = Origin { logged_at_ms: 1_600_000_000_000, ..origin.clone() };
        for (value, origin, expected) in [
            (None, &origin, "empty_value"),
            (Some(b"{}".to_vec()), &origin, "bad_magic"),
            (Some(vec![0; VALUE_BYTES_MAX + 1]), &origin, "record_too_large"),
            (of_id(2), &origin, "schema_unknown"),
            (of_id(3), &origin, "schema_unknown"),
            (trailing, &origin, "trailing_bytes"),
            (of_id(1), &before, "occurred_at_out_of_bounds"),
        ] {
            assert_eq!(code(value, origin), Err(expected));
        }
    }
}
