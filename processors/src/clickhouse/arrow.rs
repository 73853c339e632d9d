//! Blocks of rows as pieces of one Arrow stream, which the server reads three times cheaper than
//! rows one by one. Pure.
//!
//! A stream is a head, any number of blocks, each with dictionaries of its own, and an end. So a
//! block is encoded and compressed once, and sent as often as its insert has to be repeated.

use std::sync::LazyLock;

use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::ArrowError;
use bytes::Bytes;

use super::columns::Columns;

/// Encoded rows.
#[derive(Debug, Clone)]
pub struct Rows {
    /// How many.
    pub count: usize,
    bytes: Bytes,
}

/// What stands at the end of a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// What stands at its head: the schema.
static HEAD: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
    let stream = stream(&mut Columns::default()).map_err(|error| error.to_string())?;
    Ok(Bytes::copy_from_slice(&stream.bytes[..stream.head]))
});

impl Rows {
    /// Encodes the rows of `columns` and takes them out.
    ///
    /// # Errors
    /// More rows than a block may have.
    pub fn encode(columns: &mut Columns) -> Result<Self, ArrowError> {
        let count = columns.rows();
        let Stream { bytes, head } = stream(columns)?;
        // A copy, for it is kept a while and takes no more than it needs.
        Ok(Self { count, bytes: Bytes::copy_from_slice(&bytes[head..bytes.len() - END.len()]) })
    }

    /// Bytes that are kept until they are acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A whole stream of `blocks`.
    ///
    /// # Errors
    /// What [`Rows::encode`] would have said.
    pub fn stream<'a>(
        blocks: impl Iterator<Item = &'a Self>,
    ) -> Result<impl Iterator<Item = Bytes>, ArrowError> {
        let head = HEAD.clone().map_err(ArrowError::IpcError)?;
        let blocks = blocks.map(|rows| rows.bytes.clone());
        let end = Bytes::from_static(&END);
        Ok(std::iter::once(head).chain(blocks).chain(std::iter::once(end)))
    }
}

struct Stream {
    bytes: Vec<u8>,
    head: usize,
}

fn stream(columns: &mut Columns) -> Result<Stream, ArrowError> {
    let capacity = columns.rows() * 64;
    let batch = columns.finish()?;
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let schema = batch.schema();
    let mut writer =
        StreamWriter::try_new_with_options(Vec::with_capacity(capacity), &schema, options)?;
    let head = writer.get_ref().len();
    writer.write(&batch)?;
    Ok(Stream { bytes: writer.into_inner()?, head })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::columns::COLUMNS;
    use crate::row::{ClickRow, Place};
    use arrow_ipc::reader::StreamReader;

    #[test]
    fn blocks_of_different_words_make_one_stream() {
        let mut columns = Columns::default();
        let mut blocks = Vec::new();
        for slugs in [&["a", "b"][..], &["c"][..]] {
            for slug in slugs {
                let click = schemas::RawClick::new(uuid::Uuid::from_u128(1), 5, slug);
                let place = Place {
                    topic: "t",
                    partition: 3,
                    offset: 4,
                    logged_at_ms: 6,
                    trace_id: [7; 16],
                };
                let mut enricher = crate::enrich::Enricher::default();
                columns.push(&ClickRow::new(&click, &enricher.enrich(&click), place));
            }
            blocks.push(Rows::encode(&mut columns).unwrap());
        }
        assert_eq!(blocks.iter().map(|rows| rows.count).collect::<Vec<_>>(), [2, 1]);
        let bytes: Vec<u8> = Rows::stream(blocks.iter()).unwrap().flatten().collect();
        let reader = StreamReader::try_new(&bytes[..], None).unwrap();
        let mut slugs = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            assert_eq!(batch.num_columns(), COLUMNS.len());
            let column = batch.column_by_name("slug").unwrap();
            let column =
                arrow_array::cast::as_dictionary_array::<arrow_array::types::UInt16Type>(column);
            let words = column.downcast_dict::<arrow_array::StringArray>().unwrap();
            slugs.extend(words.into_iter().map(|word| word.unwrap().to_owned()));
        }
        assert_eq!(slugs, ["a", "b", "c"]);
    }
}
