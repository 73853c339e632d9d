//! Decodes a record into a click, or returns why the record cannot become one. Pure.

pub mod cached_schema;

use schemas::bounds::check_occurred_at;
use schemas::{Decoder, RawClick, SchemaId, unframe};

use crate::error::RecordError;
use crate::flow::block::Record;
use crate::flow::stub::{CutParts, Stub};

/// Splits a record's value into schema id and datum.
///
/// # Errors
/// The record is not framed.
pub fn framed(record: Record<'_>) -> Result<(SchemaId, &[u8]), RecordError> {
    match record.stub() {
        Some(&Stub::Batch { last_offset }) => {
            return Err(RecordError::BatchUnreadable { last_offset });
        }
        Some(Stub::Record(CutParts { value: Some(value), .. })) => {
            return Err(RecordError::TooLarge(value.bytes));
        }
        Some(Stub::Record(_)) | None => {}
    }
    Ok(unframe(record.value().ok_or(RecordError::EmptyValue)?)?)
}

/// Decodes a datum and compares its time with the record's log time, which no sender chooses, so that
/// every replay decides the same. Of a redriven record, it is the log time of its origin.
///
/// # Errors
/// The record cannot become a click.
pub fn decode<'a>(
    decoder: &Decoder,
    datum: &'a [u8],
    logged_at_ms: i64,
) -> Result<RawClick<'a>, RecordError> {
    let click = decoder.decode(datum)?;
    match check_occurred_at(click.occurred_at, logged_at_ms.saturating_mul(1000)) {
        Ok(()) => Ok(click),
        Err(bound) => Err(RecordError::OccurredAtOutOfBounds {
            occurred_at_us: click.occurred_at,
            logged_at_ms,
            bound,
            click_source: click.source.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::bounds::{DAY_US, OCCURRED_AT_MIN_US};
    use schemas::{Encoder, NEWEST};
    use uuid::Uuid;

    #[test]
    fn the_time_of_a_click_is_bounded_by_its_log_time() {
        let logged_at_ms = 1_700_000_000_000;
        let newest = logged_at_ms * 1000 + DAY_US;
        let cases = [
            (OCCURRED_AT_MIN_US, true),
            (OCCURRED_AT_MIN_US - 1, false),
            (newest, true),
            (newest + 1, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ];
        let decoder = Decoder::new(NEWEST).unwrap();
        let encoder = Encoder::new(SchemaId(1));
        for (occurred_at, good) in cases {
            let mut value = Vec::new();
            let click = RawClick::new(Uuid::from_u128(1), occurred_at, "a");
            encoder.encode(&click, &mut value).unwrap();
            let verdict = decode(&decoder, &value[5..], logged_at_ms);
            assert_eq!(verdict.is_ok(), good, "{occurred_at}");
            if let Err(error) = verdict {
                assert_eq!(error.code(), "occurred_at_out_of_bounds");
            }
        }
    }
}
