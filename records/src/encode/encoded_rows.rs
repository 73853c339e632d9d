//! Blocks of rows as parts of one Arrow stream, which costs the server a third of what single rows
//! cost. Pure.
//!
//! A stream is a head, any number of blocks, each with its own dictionaries, and an end. So a block is
//! encoded and compressed once, and each repetition of its insert sends the same bytes.

use std::sync::LazyLock;

use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use bytes::Bytes;

use crate::encode::columns::Columns;
use crate::encode::compressed_block::compress;

/// Rows of one block, encoded and compressed.
#[derive(Debug, Clone)]
pub struct EncodedRows {
    /// Number of rows.
    pub count: usize,
    bytes: Bytes,
}

/// Memory that an encoder reuses from block to block.
#[derive(Debug, Default)]
pub struct EncodeBuffers {
    stream: Vec<u8>,
    compressed: Vec<u8>,
}

/// The end of a stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
static COMPRESSED_END: LazyLock<Bytes> = LazyLock::new(|| compress(&END, &mut Vec::new()));

/// The head of a stream: the schema.
static HEAD: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
    let mut stream = Vec::new();
    let head = write(&mut Columns::default(), &mut stream).map_err(|error| error.to_string())?;
    Ok(compress(&stream[..head], &mut Vec::new()))
});

impl EncodedRows {
    /// Encodes the rows of `columns` and leaves the columns empty.
    ///
    /// # Errors
    /// More rows than a block may have.
    pub fn encode(columns: &mut Columns, buffers: &mut EncodeBuffers) -> Result<Self, ArrowError> {
        let count = columns.rows();
        let EncodeBuffers { stream, compressed } = buffers;
        let head = write(columns, stream)?;
        Ok(Self { count, bytes: compress(&stream[head..stream.len() - END.len()], compressed) })
    }

    /// Bytes that are kept until they are acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A whole stream of `blocks`.
    ///
    /// # Errors
    /// As [`EncodedRows::encode`].
    pub fn stream<'a>(
        blocks: impl Iterator<Item = &'a Self>,
    ) -> Result<impl Iterator<Item = Bytes>, ArrowError> {
        let head = HEAD.clone().map_err(ArrowError::IpcError)?;
        let blocks = blocks.map(|rows| rows.bytes.clone());
        let end = COMPRESSED_END.clone();
        Ok(std::iter::once(head).chain(blocks).chain(std::iter::once(end)))
    }
}

/// Writes a whole stream of the rows and returns where its head ends.
fn write(columns: &mut Columns, stream: &mut Vec<u8>) -> Result<usize, ArrowError> {
    let batch = columns.finish()?;
    stream.clear();
    let mut writer = StreamWriter::try_new(&mut *stream, &batch.schema())?;
    let head = writer.get_ref().len();
    writer.write(&batch)?;
    writer.finish()?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::columns::{COLUMNS, ClickRow};
    use crate::encode::compressed_block::decompress;
    use crate::encode::record_location::RecordLocation;
    use arrow_ipc::reader::StreamReader;

    #[test]
    fn blocks_with_different_dictionaries_make_one_stream() {
        let mut columns = Columns::default();
        let mut blocks = Vec::new();
        for slugs in [&["a", "b"][..], &["c"][..]] {
            for slug in slugs {
                let click = schemas::RawClick::new(uuid::Uuid::from_u128(1), 5, slug);
                let location = RecordLocation {
                    topic: "t",
                    partition: 3,
                    offset: 4,
                    logged_at_ms: 6,
                    trace_id: [7; 16],
                };
                let mut enricher = crate::enrich::Enricher::default();
                columns.push(&ClickRow::new(&click, &enricher.enrich(&click), location));
            }
            blocks.push(EncodedRows::encode(&mut columns, &mut EncodeBuffers::default()).unwrap());
        }
        assert_eq!(blocks.iter().map(|rows| rows.count).collect::<Vec<_>>(), [2, 1]);
        let bytes: Vec<u8> = EncodedRows::stream(blocks.iter()).unwrap().flatten().collect();
        let bytes = decompress(&bytes).unwrap();
        let reader = StreamReader::try_new(&bytes[..], None).unwrap();
        let mut slugs = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            assert_eq!(batch.num_columns(), COLUMNS.len());
            let column = batch.column_by_name("slug").unwrap();
            let column =
                arrow_array::cast::as_dictionary_array::<arrow_array::types::UInt16Type>(column);
            let texts = column.downcast_dict::<arrow_array::StringArray>().unwrap();
            slugs.extend(texts.into_iter().map(|text| text.unwrap().to_owned()));
        }
        assert_eq!(slugs, ["a", "b", "c"]);
    }
}
