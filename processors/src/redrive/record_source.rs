//! Where a redrive reads the bytes of its records: in the table of payloads, else in the dead-letter
//! topic, else in the log at the origin. A stored repair replaces the value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use broker::{BATCH_UNREADABLE, Brokers};
use futures_util::future::try_join;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{LetterLocation, NotSent, SelectedLetter};
use records::dead_letters::redriven_copy::RecordBytes;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::dead_letter_repairs::repairs_of;
use crate::clickhouse::letter_payloads::payloads;
use crate::clickhouse::server::Server;
use crate::kafka::offset_reader::{OffsetReader, ReadRecord};
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};

/// The bytes that a redrive sends, and whether they are those of a stored repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceRecord {
    /// The bytes.
    pub(crate) bytes: RecordBytes,
    /// A repair replaced the value before.
    pub(crate) is_repaired: bool,
}

/// Reads the bytes of records.
#[derive(Debug)]
pub(crate) struct RecordSource {
    server: Server,
    brokers: Brokers,
    attempts: ServerAttempts,
    reader: Option<OffsetReader>,
}

type Found = HashMap<Origin, RecordBytes>;
type ReadRecords = BTreeMap<LetterLocation, ReadRecord>;

impl RecordSource {
    /// A source that has sent no request.
    pub(crate) fn new(server: Server, brokers: Brokers, attempts: ServerAttempts) -> Self {
        Self { server, brokers, attempts, reader: None }
    }

    /// The bytes of the record of each of `letters`, or why there are none.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server.
    pub(crate) async fn read(
        &mut self,
        letters: &[&SelectedLetter],
    ) -> Result<HashMap<Origin, Result<SourceRecord, NotSent>>, Interrupt> {
        let server = self.server.clone();
        let (mut found, mut repairs) = self
            .attempts
            .until_ok("dead_letter_payloads", async || {
                let origins = letters.iter().map(|letter| &letter.origin);
                try_join(payloads(&server, letters), repairs_of(&server, origins)).await
            })
            .await?;
        let complete = |letter: &&SelectedLetter| letter.stub.is_empty();
        let at = |letter: &SelectedLetter| letter.letter.clone();
        let missing = missing(letters, &found).filter(complete).map(at).collect();
        let read = self.read_at(missing).await?;
        for letter in letters.iter().copied().filter(complete) {
            if let Some(ReadRecord::Record { logged_at_ms, bytes }) = read.get(&letter.letter)
                && (bytes.is_dead_letter_of(&letter.origin)
                    || is_at(&letter.origin, &letter.letter, *logged_at_ms))
            {
                found.insert(letter.origin.clone(), bytes.clone());
            }
        }
        drop(read);
        let is_record = |letter: &&SelectedLetter| letter.stub != "batch";
        let at = |letter: &SelectedLetter| location(&letter.origin);
        let missing = self::missing(letters, &found).filter(is_record).map(at).collect();
        let mut read = self.read_at(missing).await?;
        let mut sources = HashMap::new();
        for letter in letters {
            let bytes = found.remove(&letter.origin).map_or_else(|| in_log(letter, &mut read), Ok);
            let source = match (repairs.remove(&letter.origin), bytes) {
                (Some(repair), bytes) => {
                    let bytes = bytes.unwrap_or_default();
                    let value = Some(repair.repaired.value);
                    Ok(SourceRecord { bytes: RecordBytes { value, ..bytes }, is_repaired: true })
                }
                (None, bytes) => bytes.map(|bytes| SourceRecord { bytes, is_repaired: false }),
            };
            sources.insert(letter.origin.clone(), source);
        }
        Ok(sources)
    }

    /// Reads records of any topics; the result has no record of a partition that does not exist.
    async fn read_at(
        &mut self,
        wanted: BTreeSet<LetterLocation>,
    ) -> Result<ReadRecords, Interrupt> {
        let mut partitions: BTreeMap<(String, u32), BTreeSet<i64>> = BTreeMap::new();
        for LetterLocation { topic, partition, offset } in wanted {
            let Ok(offset) = i64::try_from(offset) else { continue };
            partitions.entry((topic, partition)).or_default().insert(offset);
        }
        let mut found = ReadRecords::new();
        for ((topic, partition), offsets) in partitions {
            let Ok(number) = i32::try_from(partition) else { continue };
            let (reader, brokers) = (&mut self.reader, &self.brokers);
            let read = self.attempts.until_ok("offset_reader", async || {
                let mut own = match reader.take() {
                    Some(own) => own,
                    None => OffsetReader::new(brokers)?,
                };
                let (topic, offsets) = (topic.clone(), offsets.clone());
                let read = blocking(move || {
                    let read = own.read(&topic, number, offsets)?;
                    Ok((own, read))
                });
                let (own, read) = read.await?;
                *reader = Some(own);
                Ok(read)
            });
            let read = read.await?.into_iter().map(|(offset, record)| {
                let offset = offset.unsigned_abs();
                (LetterLocation { topic: topic.clone(), partition, offset }, record)
            });
            found.extend(read);
        }
        Ok(found)
    }
}

fn missing<'l>(
    letters: &'l [&'l SelectedLetter],
    found: &Found,
) -> impl Iterator<Item = &'l SelectedLetter> {
    letters.iter().copied().filter(|letter| !found.contains_key(&letter.origin))
}

fn location(origin: &Origin) -> LetterLocation {
    let Origin { topic, partition, offset, .. } = origin;
    LetterLocation { topic: topic.clone(), partition: *partition, offset: *offset }
}

/// Whether a record that was read there is the origin: its topic may have been recreated.
fn is_at(origin: &Origin, read_at: &LetterLocation, logged_at_ms: i64) -> bool {
    *read_at == location(origin) && logged_at_ms == origin.logged_at_ms
}

/// The record of a dead letter in the log.
fn in_log(letter: &SelectedLetter, read: &mut ReadRecords) -> Result<RecordBytes, NotSent> {
    if letter.stub == "batch" {
        return Err(NotSent::WouldFail {
            code: BATCH_UNREADABLE.to_owned(),
            message: "the library cannot read the batch of the record".to_owned(),
            unrepaired: None,
        });
    }
    let origin = &letter.origin;
    match read.remove(&location(origin)) {
        Some(ReadRecord::Record { logged_at_ms, bytes }) if logged_at_ms == origin.logged_at_ms => {
            Ok(bytes)
        }
        Some(ReadRecord::Unreadable) => {
            Err(NotSent::Lost("the library cannot read the record or its headers".to_owned()))
        }
        Some(ReadRecord::Record { .. } | ReadRecord::Gone) | None => Err(NotSent::Lost(
            "neither the table, nor the dead-letter topic, nor the log holds the record any longer"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redrive::example_letter::letter;
    use records::dead_letters::state::DeadLetterState;

    #[test]
    fn only_the_record_of_the_origin_is_taken_from_the_log() {
        let own = letter(DeadLetterState::Open);
        let bytes = RecordBytes { value: Some(vec![1]), ..RecordBytes::default() };
        let of = |logged_at_ms| ReadRecord::Record { logged_at_ms, bytes: bytes.clone() };
        for (read, is_found) in [
            (Some(of(1000)), true),
            (Some(of(1001)), false),
            (Some(ReadRecord::Gone), false),
            (Some(ReadRecord::Unreadable), false),
            (None, false),
        ] {
            let mut records: ReadRecords =
                read.clone().into_iter().map(|read| (location(&own.origin), read)).collect();
            match in_log(&own, &mut records) {
                Ok(found) => assert!(is_found && found == bytes, "{read:?}"),
                Err(not_sent) => assert!(!is_found && not_sent.cause() == "lost", "{read:?}"),
            }
        }
        let batch = SelectedLetter { stub: "batch".to_owned(), ..own };
        let not_sent = in_log(&batch, &mut ReadRecords::new()).unwrap_err();
        assert_eq!(not_sent.cause(), BATCH_UNREADABLE);
    }
}
