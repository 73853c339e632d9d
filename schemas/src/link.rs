//! A link as a record of the topic of links: borrowed plain data, encoded and decoded.
//!
//! Fields are in the order of the newest schema, whose `doc`s define each one.

use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;
use serde_avro_fast::ser::{SerializerConfig, SerializerState};
use thiserror::Error;

use crate::decode_error::DecodeError;
use crate::frame::{SchemaId, frame};
use crate::writer_schema::WriterSchema;

/// Released versions of the schema of links, oldest first. A released file is never edited.
pub const LINKS_RELEASED: &[(&str, &str)] =
    &[("links.v1.avsc", include_str!("../avro/links.v1.avsc"))];

/// The schema that publishers write: the newest of [`LINKS_RELEASED`].
pub const LINKS_NEWEST: &str = LINKS_RELEASED[LINKS_RELEASED.len() - 1].1;

/// Greatest version of a link: 2^53. Every program that reads JSON numbers as doubles reads it exactly,
/// and no addition of ours overflows.
pub const LINK_VERSION_MAX: i64 = 1 << 53;

/// Why a reader refuses a decoded link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LinkContractError {
    /// Its version is out of range.
    #[error("version {0} is not between 1 and {LINK_VERSION_MAX}")]
    Version(i64),
}
/// Bytes of key and value of a record of the topic of links. A link has at most 4 KiB; a larger record is
/// none.
pub const LINK_BYTES_MAX: usize = 16 << 10;

/// One version of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are documented in the schema")]
pub struct RawLink<'a> {
    pub id: &'a str,
    pub version: i64,
    #[serde(default)]
    pub domain: &'a str,
    pub slug: &'a str,
    pub target: &'a str,
    #[serde(default = "found")]
    pub status: i32,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub expires_at: Option<i64>,
    #[serde(default)]
    pub pass_query: bool,
    #[serde(default)]
    pub opt_out: bool,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub changed_at: i64,
}

fn found() -> i32 {
    302
}

impl RawLink<'_> {
    /// Checks what the schema cannot express.
    ///
    /// # Errors
    /// [`LinkContractError`]; the record is refused.
    pub fn check(&self) -> Result<(), LinkContractError> {
        if (1..=LINK_VERSION_MAX).contains(&self.version) {
            Ok(())
        } else {
            Err(LinkContractError::Version(self.version))
        }
    }
}

/// Reads links of one writer's schema. Callers keep one for each schema id.
#[derive(Debug)]
pub struct LinkDecoder {
    writer: WriterSchema,
}

impl LinkDecoder {
    /// A decoder of records that were written with `schema` (Avro JSON).
    ///
    /// # Errors
    /// [`DecodeError::Avro`]: the schema does not parse, or allows a datum of unbounded cost.
    pub fn new(schema: &str) -> Result<Self, DecodeError> {
        WriterSchema::parse(schema).map(|writer| Self { writer })
    }

    /// Decodes one datum, which must fill `datum` to its last byte.
    ///
    /// # Errors
    /// Any [`DecodeError`]; the same bytes always fail with the same error.
    pub fn decode<'a>(&self, datum: &'a [u8]) -> Result<RawLink<'a>, DecodeError> {
        self.writer.read(datum)
    }
}

/// Why a schema or link cannot be written.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EncodeError(String);

/// Writes links by the newest schema.
#[derive(Debug)]
pub struct LinkEncoder {
    schema: Schema,
    id: SchemaId,
}

impl LinkEncoder {
    /// An encoder that frames with the id which the registry gave [`LINKS_NEWEST`].
    ///
    /// # Errors
    /// Only when the released schema itself does not parse.
    pub fn new(id: SchemaId) -> Result<Self, EncodeError> {
        let schema = LINKS_NEWEST.parse().map_err(|error| EncodeError(format!("{error}")))?;
        Ok(Self { schema, id })
    }

    /// Replaces the content of `buffer` with the framed link.
    ///
    /// # Errors
    /// A bug: the schema can express every link.
    pub fn encode(&self, link: &RawLink<'_>, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        frame(self.id, buffer);
        let mut config = SerializerConfig::new(&self.schema);
        let mut state = SerializerState::from_writer(buffer, &mut config);
        link.serialize(state.serializer()).map_err(|error| EncodeError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::reader::datum::GenericDatumReader;

    use super::*;
    use crate::unframe;

    fn link() -> RawLink<'static> {
        RawLink {
            id: "go.example/a",
            version: 7,
            domain: "go.example",
            slug: "a",
            target: "https://example.com/ü",
            status: 301,
            disabled: true,
            expires_at: Some(1_577_836_800_000_000),
            pass_query: true,
            opt_out: true,
            deleted: false,
            changed_at: 1_577_836_800_000_001,
        }
    }

    #[test]
    fn a_link_comes_back_as_it_went_in_and_another_library_reads_it() {
        let mut value = Vec::new();
        let plain = RawLink { expires_at: None, domain: "", deleted: true, target: "", ..link() };
        let schema = apache_avro::Schema::parse_str(LINKS_NEWEST).unwrap();
        for link in [link(), plain] {
            LinkEncoder::new(SchemaId(7)).unwrap().encode(&link, &mut value).unwrap();
            let (id, datum) = unframe(&value).unwrap();
            assert_eq!(id, SchemaId(7));
            assert_eq!(LinkDecoder::new(LINKS_NEWEST).unwrap().decode(datum).unwrap(), link);
            let reader = GenericDatumReader::builder(&schema).build().unwrap();
            let read = reader.read_value(&mut &*datum).unwrap();
            assert!(format!("{read:?}").contains(link.id));
        }
    }

    #[test]
    fn m12_a_version_outside_its_bounds_is_refused() {
        for version in [i64::MIN, -1, 0, LINK_VERSION_MAX + 1, 1 << 60, i64::MAX] {
            let refused = RawLink { version, ..link() }.check();
            assert_eq!(refused, Err(LinkContractError::Version(version)));
        }
        for version in [1, LINK_VERSION_MAX] {
            assert_eq!(RawLink { version, ..link() }.check(), Ok(()));
        }
    }

    #[test]
    fn a_record_cut_anywhere_or_followed_by_anything_is_refused() {
        let mut value = Vec::new();
        LinkEncoder::new(SchemaId(7)).unwrap().encode(&link(), &mut value).unwrap();
        let decoder = LinkDecoder::new(LINKS_NEWEST).unwrap();
        for end in 5..value.len() {
            assert!(decoder.decode(&value[5..end]).is_err(), "{end}");
        }
        value.push(0);
        assert!(matches!(decoder.decode(&value[5..]), Err(DecodeError::TrailingBytes(1))));
    }
}
