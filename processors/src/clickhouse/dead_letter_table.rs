//! The tables of dead letters: rows by origin and number of the redrive, of which readers see the earliest
//! failure.
//!
//! A row depends on the dead letter alone, so that a second copy of the topic inserts the same rows.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::letter::{Letter, LetterStub};
use records::dead_letters::message_pattern::group_id;
use records::flow::stub::{HEADER_BYTES_MAX, KEY_BYTES_MAX};
use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::clickhouse::insert_settings::{ACKNOWLEDGE_TIMEOUT, PINNED, SEND_TIMEOUT, WAIT};
use crate::clickhouse::server::{Server, server_error};

/// Bytes of a value that the table keeps.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 10;

/// Both rows of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterRow {
    version: VersionRow,
    payload: PayloadRow,
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize)]
struct VersionRow {
    origin_topic: String,
    origin_partition: u32,
    origin_offset: u64,
    origin_logged_at: i64,
    redrive: u32,
    precedence: u64,
    failed_at: i64,
    code: String,
    stage: String,
    message: String,
    pattern: String,
    group_id: String,
    schema_id: u32,
    stub: &'static str,
    last_offset: u64,
    failed_topic: String,
    failed_partition: u32,
    failed_offset: u64,
    letter_topic: String,
    letter_partition: u32,
    letter_offset: u64,
    value_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize)]
struct PayloadRow {
    origin_topic: String,
    origin_partition: u32,
    origin_offset: u64,
    origin_logged_at: i64,
    redrive: u32,
    precedence: u64,
    value: Option<ByteBuf>,
    is_cut: bool,
    key: Option<ByteBuf>,
    headers: Vec<(String, Option<ByteBuf>)>,
}

/// The first bytes, at most `max`.
fn within(max: usize, bytes: &[u8]) -> ByteBuf {
    ByteBuf::from(&bytes[..bytes.len().min(max)])
}

impl LetterRow {
    /// The rows of a dead letter.
    pub fn new(letter: &Letter<'_>) -> Self {
        let (pattern, origin) = (letter.pattern(), &letter.origin);
        let precedence = u64::MAX - letter.failed_at_ms.unsigned_abs();
        let version = VersionRow {
            origin_topic: origin.topic.clone(),
            origin_partition: origin.partition,
            origin_offset: origin.offset,
            origin_logged_at: origin.logged_at_ms,
            redrive: letter.redrive,
            precedence,
            failed_at: letter.failed_at_ms,
            code: letter.code.clone(),
            stage: letter.stage.clone(),
            message: letter.message.clone(),
            group_id: group_id(&letter.code, &pattern, letter.schema_id),
            pattern,
            schema_id: letter.schema_id.map_or(0, |id| id.0),
            stub: letter.stub.map_or("", LetterStub::name),
            last_offset: letter.last_offset,
            failed_topic: letter.failed.topic.clone(),
            failed_partition: letter.failed.partition,
            failed_offset: letter.failed.offset,
            letter_topic: letter.letter.topic.clone(),
            letter_partition: letter.letter.partition,
            letter_offset: letter.letter.offset,
            value_bytes: letter.value_bytes,
        };
        Self { version, payload: PayloadRow::new(letter, precedence) }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let VersionRow { origin_topic, message, pattern, failed_topic, letter_topic, .. } =
            &self.version;
        let texts = [origin_topic, message, pattern, failed_topic, letter_topic];
        let of = |bytes: &Option<ByteBuf>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let headers = self.payload.headers.iter().map(|(name, value)| name.len() + of(value));
        texts.map(String::len).into_iter().sum::<usize>()
            + size_of::<Self>()
            + self.payload.headers.len() * size_of::<(String, Option<ByteBuf>)>()
            + headers.sum::<usize>()
            + of(&self.payload.value)
            + of(&self.payload.key)
    }
}

impl PayloadRow {
    fn new(letter: &Letter<'_>, precedence: u64) -> Self {
        let mut bytes = 0;
        let kept = letter.headers.iter().take_while(|header| {
            bytes += header.name.len() + header.value.map_or(0, <[u8]>::len);
            bytes <= HEADER_BYTES_MAX
        });
        let value = |value| within(HEADER_BYTES_MAX, value);
        let headers: Vec<_> =
            kept.map(|header| (header.name.to_owned(), header.value.map(value))).collect();
        let is_longer = |bytes: Option<&[u8]>, max| bytes.is_some_and(|bytes| bytes.len() > max);
        let origin = &letter.origin;
        Self {
            origin_topic: origin.topic.clone(),
            origin_partition: origin.partition,
            origin_offset: origin.offset,
            origin_logged_at: origin.logged_at_ms,
            redrive: letter.redrive,
            precedence,
            value: letter.value.map(|bytes| within(VALUE_BYTES_MAX, bytes)),
            is_cut: letter.stub.is_some()
                || is_longer(letter.value, VALUE_BYTES_MAX)
                || is_longer(letter.key, KEY_BYTES_MAX)
                || headers.len() < letter.headers.len(),
            key: letter.key.map(|bytes| within(KEY_BYTES_MAX, bytes)),
            headers,
        }
    }
}

/// Inserts dead letters: first the payloads, so that a dead letter that a reader sees has its payload. To
/// insert them again changes nothing that a reader sees.
///
/// # Errors
/// The server's refusal.
pub async fn insert_letters(server: &Server, rows: &[LetterRow]) -> Result<(), ServerError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut client = server.client();
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    let timeouts = (Some(SEND_TIMEOUT), Some(ACKNOWLEDGE_TIMEOUT));
    // The client does not know the type of the column `headers`.
    let unchecked = client.clone().with_validation(false);
    let insert = unchecked.insert::<PayloadRow>("dead_letter_payloads").await;
    let mut insert = insert.map_err(server_error)?.with_timeouts(timeouts.0, timeouts.1);
    for row in rows {
        insert.write(&row.payload).await.map_err(server_error)?;
    }
    insert.end().await.map_err(server_error)?;
    let insert = client.insert::<VersionRow>("dead_letter_versions").await;
    let mut insert = insert.map_err(server_error)?.with_timeouts(timeouts.0, timeouts.1);
    for row in rows {
        insert.write(&row.version).await.map_err(server_error)?;
    }
    insert.end().await.map_err(server_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::flow::block::Header;
    use records::flow::topic_record::TopicRecord;
    use schemas::headers as names;

    fn row(failed_at_ms: &str, offset: i64, value: Option<&[u8]>, own: &[Header<'_>]) -> LetterRow {
        let headers = [
            Header { name: names::DEAD_LETTER_ORIGIN, value: Some(b"t:3:41:1000") },
            Header { name: names::DEAD_LETTER_FIRST_FAILURE, value: Some(failed_at_ms.as_bytes()) },
        ];
        LetterRow::new(&Letter::parse(TopicRecord {
            topic: "t.dlq",
            partition: 2,
            offset,
            logged_at_ms: 5000,
            key: Some(b"k"),
            value,
            headers: [own, &headers].concat(),
        }))
    }

    #[test]
    fn of_dead_letters_of_one_origin_the_earliest_failure_takes_precedence() {
        let [first, again, copy] =
            [("2000", 7), ("3000", 9), ("2000", 7)].map(|(at, offset)| row(at, offset, None, &[]));
        assert_eq!(first, copy, "a second copy of the topic inserts the same rows");
        let key = |row: &LetterRow| {
            let VersionRow { origin_topic, origin_partition, origin_offset, redrive, .. } =
                row.version.clone();
            (origin_topic, origin_partition, origin_offset, row.version.origin_logged_at, redrive)
        };
        assert_eq!(key(&first), key(&again));
        assert!(first.version.precedence > again.version.precedence);
        for row in [&first, &again] {
            assert_eq!(row.version.precedence, row.payload.precedence);
            assert_eq!(row.version.origin_logged_at, row.payload.origin_logged_at);
        }
    }

    #[test]
    fn a_payload_is_cut_at_its_bounds_and_marked() {
        let header = |value| Header { name: "own", value: Some(value) };
        let (value, large) = (vec![7; VALUE_BYTES_MAX], vec![8; HEADER_BYTES_MAX]);
        let whole = row("1", 1, Some(&value), &[header(&[0xff]), header(&large[6 + 1..])]);
        assert!(!whole.payload.is_cut);
        assert_eq!((whole.payload.headers.len(), whole.version.value_bytes), (2, 65_536));
        assert!(
            whole.memory_bytes() < 100_000 && whole.memory_bytes() > 98_000,
            "{}",
            whole.memory_bytes()
        );
        let cut = row("1", 1, Some(&vec![7; 1 << 20]), &[]);
        assert!(cut.payload.is_cut);
        assert_eq!(cut.payload.value, Some(ByteBuf::from(value)));
        assert_eq!(cut.version.value_bytes, 1 << 20);
        let cut = row("1", 1, None, &[header(&[0xff]), header(&large[6..])]);
        assert_eq!((cut.payload.is_cut, cut.payload.headers.len()), (true, 1));
        assert_eq!(cut.payload.value, None);
        let stub = Header { name: names::DEAD_LETTER_STUB, value: Some(b"record") };
        assert!(row("1", 1, None, &[stub]).payload.is_cut);
    }
}
