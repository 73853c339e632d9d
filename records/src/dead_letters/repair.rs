//! Repairs of a value: other bytes that a redrive sends instead. Pure.
//!
//! A repair never changes a valid key fact, by which the table recognises a click. Where a key fact is
//! the fault, the repair sets it once: the bytes are stored, and every later redrive sends them.

use std::str::FromStr;

use schemas::bounds::check_occurred_at;
use schemas::writer_schema::DATUM_BYTES_MAX;
use schemas::{
    ContractError, DecodeError, EditError, EditableClick, Encoder, FrameError, PartialDatum,
    SchemaId, frame, unframe,
};
use thiserror::Error;
use uuid::Uuid;

use crate::dead_letters::record_schema::RecordSchema;
use crate::decode::decode;
use crate::error::RecordError;

/// How a value is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The bytes that follow the datum are cut.
    TrailingBytes,
    /// The schema id in the frame is replaced.
    SchemaId(SchemaId),
    /// A nil id or a time out of bounds is replaced.
    KeyFacts,
}

impl Repair {
    /// Its name in the table of repairs.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrailingBytes => "trailing_bytes",
            Self::SchemaId(_) => "schema_id",
            Self::KeyFacts => "key_facts",
        }
    }
}

/// Name of an edited value in the table of repairs.
pub const EDIT: &str = "edit";

impl FromStr for Repair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.split_once('=') {
            None if text == "trailing_bytes" => Ok(Self::TrailingBytes),
            None if text == "key_facts" => Ok(Self::KeyFacts),
            Some(("schema_id", id)) => {
                let id = id.parse().map_err(|_| "the schema id is not an integer")?;
                Ok(Self::SchemaId(SchemaId(id)))
            }
            _ => Err("not one of trailing_bytes, schema_id=N, key_facts"),
        }
    }
}

/// What identifies a click in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFacts {
    /// Event id.
    pub event_id: Uuid,
    /// Microseconds since 1970.
    pub occurred_at_us: i64,
}

/// A value to repair.
#[derive(Debug, Clone, Copy)]
pub struct RepairInput<'a> {
    /// The complete value of the record.
    pub value: &'a [u8],
    /// Log time of the origin, by which the time of its click is bounded.
    pub logged_at_ms: i64,
    /// Bits of a new event id.
    pub random: [u8; 16],
    /// The registry's id of the newest schema.
    pub newest: SchemaId,
    /// Key facts of the repair that is stored already: a later one keeps them.
    pub fixed: Option<KeyFacts>,
}

/// A repaired value, which decodes by today's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The value.
    pub value: Vec<u8>,
    /// Its key facts.
    pub key_facts: KeyFacts,
}

/// Why a value is not repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    /// It has no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The subject has no such schema.
    #[error("schema {0} is not registered under the subject of the topic, or is not one of clicks")]
    Schema(SchemaId),
    /// The value has not the fault that this repair is for.
    #[error("there is nothing to repair: {0}")]
    NotNeeded(&'static str),
    /// The value cannot be read to its end.
    #[error("the record cannot be read to its end (field {field}: {why}): edit it")]
    Unreadable {
        /// The first field that cannot be read.
        field: String,
        /// Why.
        why: String,
    },
    /// The newest schema that this version knows cannot hold the record.
    #[error("a click of this version cannot hold {0} as the record has it: edit the record")]
    Fields(String),
    /// A key fact would change that is valid, or that an earlier repair has set.
    #[error(
        "{field} is a valid key fact of the record or of an earlier repair and must stay {kept}, not {changed}"
    )]
    KeyFact {
        /// Which one.
        field: &'static str,
        /// Its value.
        kept: String,
        /// The value that the repair has.
        changed: String,
    },
    /// The edited fields are no click.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The click breaks a rule.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The repaired value is no better.
    #[error("the repaired record would fail again ({code}): {0}", code = .0.code())]
    FailsAgain(#[from] RecordError),
}

/// Repairs a value; `schema` returns the schemas of the subject.
///
/// # Errors
/// The repair does not apply, or its result would fail again or change a valid key fact.
pub fn repair<'s>(
    repair: Repair,
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> Result<Repaired, RepairError> {
    let (id, datum) = unframe(input.value)?;
    let of = |id| schema(id).ok_or(RepairError::Schema(id));
    match repair {
        Repair::TrailingBytes => {
            let kept = datum_bytes(of(id)?, datum)?;
            let mut value = Vec::with_capacity(kept);
            frame(id, &mut value);
            value.extend_from_slice(&datum[..kept]);
            checked(value, input, &schema)
        }
        Repair::SchemaId(new) if new == id => {
            Err(RepairError::NotNeeded("the record has this schema id"))
        }
        Repair::SchemaId(new) => {
            let mut value = Vec::with_capacity(input.value.len());
            frame(new, &mut value);
            value.extend_from_slice(datum);
            checked(value, input, &schema)
        }
        Repair::KeyFacts => {
            let partial = of(id)?.partial.decode(datum);
            if let Some((field, why)) = partial.stopped {
                return Err(RepairError::Unreadable { field, why });
            }
            if partial.read_bytes < datum.len() {
                let trailing = datum.len() - partial.read_bytes;
                return Err(RecordError::Decode(DecodeError::TrailingBytes(trailing)).into());
            }
            let (click, changed) = EditableClick::of(&partial);
            if !changed.is_empty() {
                return Err(RepairError::Fields(changed.join(", ")));
            }
            let valid = ValidFacts::of(&partial, input.logged_at_ms);
            if valid.event_id.is_some() && valid.occurred_at_us.is_some() {
                return Err(RepairError::NotNeeded("event_id and occurred_at are valid"));
            }
            encoded(click, valid, input, schema)
        }
    }
}

/// The value of an edited click, by the newest schema. A key fact that is null is set: to that of an
/// earlier repair, to that of the record where it is valid, else to the origin's log time or a new id.
///
/// # Errors
/// The click would fail again, or changes a valid key fact.
pub fn edited<'s>(
    click: EditableClick,
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> Result<Repaired, RepairError> {
    let (event_id, occurred_at_us) = click.key_facts();
    encoded(click, ValidFacts { event_id, occurred_at_us }, input, schema)
}

/// The value of a click with these key facts, of which those that are `None` are set.
fn encoded<'s>(
    mut click: EditableClick,
    facts: ValidFacts,
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> Result<Repaired, RepairError> {
    let valid = valid_facts(input, &schema);
    let log_time = input.logged_at_ms.saturating_mul(1000);
    let occurred_at = facts.occurred_at_us.or(valid.occurred_at_us).unwrap_or(log_time);
    let event_id = facts.event_id.or(valid.event_id);
    let event_id = event_id.unwrap_or_else(|| new_event_id(occurred_at, input.random));
    click.set_key_facts(event_id, occurred_at);
    let mut value = Vec::new();
    Encoder::new(input.newest).encode(&click.click()?, &mut value)?;
    checked(value, input, &schema)
}

/// Key facts, each where it is known to be valid: no repair may change it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ValidFacts {
    event_id: Option<Uuid>,
    occurred_at_us: Option<i64>,
}

impl ValidFacts {
    /// Of a record that cannot be read to its end, only both together: any 16 bytes are an event id, so
    /// that a wrong schema finds one too.
    fn of(datum: &PartialDatum, logged_at_ms: i64) -> Self {
        let (event_id, occurred_at) = EditableClick::of(datum).0.key_facts();
        let event_id = event_id.filter(|id| !id.is_nil());
        let occurred_at_us = occurred_at.filter(|time| is_within_bounds(*time, logged_at_ms));
        if datum.stopped.is_some() && (event_id.is_none() || occurred_at_us.is_none()) {
            return Self::default();
        }
        Self { event_id, occurred_at_us }
    }
}

fn valid_facts<'s>(
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> ValidFacts {
    if let Some(KeyFacts { event_id, occurred_at_us }) = input.fixed {
        return ValidFacts { event_id: Some(event_id), occurred_at_us: Some(occurred_at_us) };
    }
    let Ok((id, datum)) = unframe(input.value) else { return ValidFacts::default() };
    // A form shows a record of an unknown schema by the newest one.
    let schema = schema(id).or_else(|| schema(input.newest));
    let Some(schema) = schema else { return ValidFacts::default() };
    ValidFacts::of(&schema.partial.decode(datum), input.logged_at_ms)
}

fn is_within_bounds(occurred_at_us: i64, logged_at_ms: i64) -> bool {
    check_occurred_at(occurred_at_us, logged_at_ms.saturating_mul(1000)).is_ok()
}

/// A UUID v7 of this time.
fn new_event_id(occurred_at_us: i64, random: [u8; 16]) -> Uuid {
    let ms = u64::try_from(occurred_at_us / 1000).unwrap_or_default();
    let [.., a, b, c, d, e, f, g, h, i, j] = random;
    uuid::Builder::from_unix_timestamp_millis(ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
}

/// Bytes of the datum at the start of `datum`, which others follow.
fn datum_bytes(schema: &RecordSchema, datum: &[u8]) -> Result<usize, RepairError> {
    let head = &datum[..datum.len().min(DATUM_BYTES_MAX)];
    match schema.decoder.decode(head) {
        Err(DecodeError::TrailingBytes(trailing)) => Ok(head.len() - trailing),
        Ok(_) if head.len() < datum.len() => Ok(head.len()),
        Ok(_) => Err(RepairError::NotNeeded("no byte follows the datum")),
        Err(error) => Err(RecordError::Decode(error).into()),
    }
}

/// The value, if it decodes by today's rules and keeps the valid key facts.
fn checked<'s>(
    value: Vec<u8>,
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> Result<Repaired, RepairError> {
    let (id, datum) = unframe(&value)?;
    let decoder = &schema(id).ok_or(RepairError::Schema(id))?.decoder;
    let click = decode(decoder, datum, input.logged_at_ms)?;
    let key_facts = KeyFacts { event_id: click.event_id, occurred_at_us: click.occurred_at };
    let valid = valid_facts(input, schema);
    if let Some(kept) = valid.event_id.filter(|kept| *kept != key_facts.event_id) {
        return Err(RepairError::KeyFact {
            field: "event_id",
            kept: kept.to_string(),
            changed: key_facts.event_id.to_string(),
        });
    }
    if let Some(kept) = valid.occurred_at_us.filter(|kept| *kept != key_facts.occurred_at_us) {
        return Err(RepairError::KeyFact {
            field: "occurred_at",
            kept: kept.to_string(),
            changed: key_facts.occurred_at_us.to_string(),
        });
    }
    Ok(Repaired { value, key_facts })
}

#[cfg(test)]
mod tests;
