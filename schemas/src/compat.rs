//! Whether the current reader can read all records of a writer's schema, tested with the reader itself.
//!
//! Rules that compare two schemas accept changes that break on real data (a nullable field that is
//! read as a plain one passes, and fails at the first null). This check writes a covering set of datums
//! by the writer's schema, one for every union branch and enum symbol, and decodes each with the real
//! decoder.

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use thiserror::Error;

use crate::codec::Decoder;
use crate::decode_error::DecodeError;
use crate::released::RELEASED;

/// Why the reader cannot read all records of a schema.
#[derive(Debug, Error)]
pub enum Incompatible {
    /// Not Avro at all.
    #[error("the schema does not parse: {0}")]
    Schema(String),
    /// It has a type for which there is no covering set.
    #[error("the schema holds {0}, which clicks do not use")]
    Unsupported(String),
    /// Its writers may write a record that the reader refuses.
    #[error("a record that this schema allows cannot be read ({datum}): {cause}")]
    Unreadable {
        /// The difference between the record and the simplest one.
        datum: String,
        /// The error of the decoder.
        cause: DecodeError,
    },
}

/// Checks that the reader can read all records of `writer` (Avro JSON).
///
/// # Errors
/// The first record that it cannot read.
pub fn check(writer: &str) -> Result<(), Incompatible> {
    let schema =
        Schema::parse_str(writer).map_err(|error| Incompatible::Schema(error.to_string()))?;
    let decoder = Decoder::new(writer).map_err(|error| Incompatible::Schema(error.to_string()))?;
    let writer = GenericDatumWriter::builder(&schema)
        .build()
        .map_err(|error| Incompatible::Schema(error.to_string()))?;
    for (datum, value) in covering(&schema)? {
        let bytes = writer
            .write_value_to_vec(value)
            .map_err(|error| Incompatible::Schema(error.to_string()))?;
        match decoder.decode(&bytes) {
            // The types fit; the writer is responsible for the rules beyond them.
            Ok(_) | Err(DecodeError::Contract(_)) => {}
            Err(
                cause @ (DecodeError::Avro(_)
                | DecodeError::TrailingBytes(_)
                | DecodeError::DatumTooLong(_)),
            ) => {
                return Err(Incompatible::Unreadable { datum, cause });
            }
        }
    }
    Ok(())
}

/// Checks every released version.
///
/// # Errors
/// The first version that the reader cannot read, with its file name.
pub fn check_released() -> Result<(), (&'static str, Incompatible)> {
    RELEASED.iter().try_for_each(|(file, text)| check(text).map_err(|error| (*file, error)))
}

/// Whether two schema texts are the same schema (field order, types, defaults and docs count,
/// white space does not).
pub fn same(a: &str, b: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    value(a).is_some_and(|a| Some(a) == value(b))
}

/// The simplest record, and one more for each way in which a field can differ from it.
fn covering(schema: &Schema) -> Result<Vec<(String, Value)>, Incompatible> {
    let Schema::Record(record) = schema else {
        return Err(Incompatible::Unsupported(format!("{} at its top", schema_name(schema))));
    };
    let choices = record
        .fields
        .iter()
        .map(|field| Ok((field.name.clone(), values(&field.schema)?)))
        .collect::<Result<Vec<_>, Incompatible>>()?;
    let with = |changed: usize, choice: usize| {
        let fields = choices.iter().enumerate().map(|(index, (name, values))| {
            let choice = if index == changed { choice } else { 0 };
            (name.clone(), values[choice].1.clone())
        });
        Value::Record(fields.collect())
    };
    let mut all = vec![("the simplest".to_owned(), with(usize::MAX, 0))];
    for (index, (name, values)) in choices.iter().enumerate() {
        for (choice, (what, _)) in values.iter().enumerate().skip(1) {
            all.push((format!("{name} = {what}"), with(index, choice)));
        }
    }
    Ok(all)
}

/// Values that cover a type, the simplest first.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
fn values(schema: &Schema) -> Result<Vec<(String, Value)>, Incompatible> {
    let one = |what: &str, value: Value| vec![(what.to_owned(), value)];
    let two = |a: Value, b: Value| vec![("small".to_owned(), a), ("large".to_owned(), b)];
    Ok(match schema {
        Schema::Null => one("null", Value::Null),
        Schema::Boolean => two(Value::Boolean(false), Value::Boolean(true)),
        Schema::Int => two(Value::Int(0), Value::Int(i32::MAX)),
        Schema::Long => two(Value::Long(0), Value::Long(i64::MAX)),
        Schema::TimestampMicros => two(Value::TimestampMicros(0), Value::TimestampMicros(i64::MAX)),
        Schema::TimestampMillis => two(Value::TimestampMillis(0), Value::TimestampMillis(i64::MAX)),
        Schema::Float => two(Value::Float(0.0), Value::Float(1.5)),
        Schema::Double => two(Value::Double(0.0), Value::Double(1.5)),
        Schema::Bytes => two(Value::Bytes(vec![1; 4]), Value::Bytes(vec![2; 16])),
        Schema::String => two(Value::String(String::new()), Value::String("ü".repeat(300))),
        Schema::Fixed(fixed) => one("fixed", Value::Fixed(fixed.size, vec![1; fixed.size])),
        Schema::Enum(symbols) => (0u32..)
            .zip(&symbols.symbols)
            .map(|(index, symbol)| (symbol.clone(), Value::Enum(index, symbol.clone())))
            .collect(),
        Schema::Union(union) => {
            let mut all = Vec::new();
            for (branch, schema) in (0u32..).zip(union.variants()) {
                for (what, value) in values(schema)? {
                    all.push((what, Value::Union(branch, Box::new(value))));
                }
            }
            all
        }
        other => return Err(Incompatible::Unsupported(schema_name(other))),
    })
}

fn schema_name(schema: &Schema) -> String {
    format!("{schema:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::released::NEWEST;

    #[test]
    fn every_released_version_can_be_read() {
        check_released().unwrap();
    }

    /// The newest schema with a change that a later version might make, right or wrong.
    fn changed(edit: impl Fn(&mut Vec<serde_json::Value>)) -> String {
        let mut schema: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
        edit(schema["fields"].as_array_mut().unwrap());
        schema.to_string()
    }

    #[test]
    fn changes_that_real_data_would_break_are_found() {
        let position = |fields: &[serde_json::Value], name: &str| {
            fields.iter().position(|field| field["name"] == name).unwrap()
        };
        let fine = [
            changed(|fields| {
                fields.push(serde_json::json!({"name": "new", "type": "string", "default": ""}));
            }),
            changed(|fields| fields.retain(|field| field["name"] != "latency_us")),
            changed(|fields| {
                let at = position(fields, "method");
                fields[at]["type"]["symbols"].as_array_mut().unwrap().push("QUERY".into());
            }),
        ];
        for schema in fine {
            check(&schema).unwrap();
        }
        let broken = [
            // Passes the rule "a reader's type is one of the writer's union", fails at the null.
            changed(|fields| {
                let at = position(fields, "slug");
                fields[at]["type"] = serde_json::json!(["null", "string"]);
            }),
            changed(|fields| fields.retain(|field| field["name"] != "event_id")),
            changed(|fields| {
                let at = position(fields, "occurred_at");
                fields[at]["type"] = "string".into();
            }),
        ];
        for schema in broken {
            assert!(matches!(check(&schema), Err(Incompatible::Unreadable { .. })), "{schema}");
        }
        assert!(matches!(check("{"), Err(Incompatible::Schema(_))));
        assert!(matches!(check("\"string\""), Err(Incompatible::Unsupported(_))));
    }

    #[test]
    fn white_space_makes_no_other_schema() {
        let compact: serde_json::Value = serde_json::from_str(NEWEST).unwrap();
        assert!(same(NEWEST, &compact.to_string()));
        assert!(!same(NEWEST, &changed(|fields| fields.truncate(3))));
    }
}
