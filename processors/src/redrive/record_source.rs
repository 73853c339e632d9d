//! Where a redrive reads the bytes of its records: in the table of payloads, else in the dead-letter
//! topic, else in the log at the origin; else those of the newest copy, or without cut headers. A stored
//! repair replaces the value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use broker::{BATCH_UNREADABLE, Brokers};
use futures_util::future::try_join;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{LetterLocation, NotSent, SelectedLetter};
use records::dead_letters::redriven_copy::RecordBytes;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::dead_letter_repairs::repairs_of;
use crate::clickhouse::first_failures::first_failures;
use crate::clickhouse::letter_history::KeptRecord;
use crate::clickhouse::letter_payloads::payloads;
use crate::clickhouse::server::Server;
use crate::kafka::offset_reader::{OffsetReader, ReadRecord};
use crate::redrive::redrive_batch::BATCH_BYTES;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};

/// The most records of a batch that are read from topics at once. The table does not hold the bytes of their
/// keys and headers.
const READ_MAX: usize = 16;

/// The bytes that a redrive sends, and whether they are those of a stored repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceRecord {
    /// The bytes.
    pub(crate) bytes: RecordBytes,
    /// A repair replaced the value before.
    pub(crate) is_repaired: bool,
    /// What the bytes lack, because nothing holds it any longer; empty: nothing.
    pub(crate) left_out: String,
}

/// Reads the bytes of records.
#[derive(Debug)]
pub(crate) struct RecordSource {
    server: Server,
    brokers: Brokers,
    attempts: ServerAttempts,
    reader: Option<OffsetReader>,
}

type Kept = HashMap<(Origin, u32), KeptRecord>;
type Found = HashMap<Origin, SourceRecord>;
type ReadRecords = BTreeMap<LetterLocation, ReadRecord>;

impl RecordSource {
    /// A source that has sent no request.
    pub(crate) fn new(server: Server, brokers: Brokers, attempts: ServerAttempts) -> Self {
        Self { server, brokers, attempts, reader: None }
    }

    /// The bytes of the record of each of the first of `letters`, or why there are none: of as many as have
    /// the bytes of a batch, and at least one.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of a server.
    pub(crate) async fn read(
        &mut self,
        letters: &[&SelectedLetter],
    ) -> Result<Vec<Result<SourceRecord, NotSent>>, Interrupt> {
        let server = self.server.clone();
        let tables = async || {
            let origins = letters.iter().map(|letter| &letter.origin);
            try_join(payloads(&server, letters), repairs_of(&server, origins)).await
        };
        let (kept, mut repairs) = self.attempts.until_ok("dead_letter_payloads", tables).await?;
        let is_whole = |letter: &SelectedLetter| whole(&kept, letter, 0).is_some();
        let copies = letters.iter().filter(|letter| letter.redrive > 0 && !is_whole(letter));
        let copies: Vec<_> = copies.map(|letter| &letter.origin).collect();
        let first = async || first_failures(&server, &copies).await;
        let first = self.attempts.until_ok("dead_letter_versions", first).await?;
        let (mut sources, mut bytes, mut rest) = (Vec::with_capacity(letters.len()), 0, letters);
        while !rest.is_empty() {
            let (part, others) = rest.split_at(part_length(rest.iter().map(|own| is_whole(own))));
            let mut found = self.found(part, &kept, &first).await?;
            for letter in part {
                let repair = repairs.remove(&letter.origin).map(|repair| repair.repaired.value);
                let source = match (found.remove(&letter.origin), repair) {
                    (Some(Err(_)), Some(value)) => Ok(repaired(SourceRecord::default(), value)),
                    (Some(Ok(source)), Some(value)) => Ok(repaired(source, value)),
                    (Some(source), None) => source,
                    (None, _) => Err(NotSent::Lost("it was not read".to_owned())),
                };
                bytes += source.as_ref().map_or(0, |source| source.bytes.bytes());
                if bytes > BATCH_BYTES && !sources.is_empty() {
                    return Ok(sources);
                }
                sources.push(source);
            }
            rest = others;
        }
        Ok(sources)
    }

    /// The record of each of `part`. A newer failure of an origin may be forged, so that the bytes of a copy
    /// are taken only where nothing holds those of the origin.
    async fn found(
        &mut self,
        part: &[&SelectedLetter],
        kept: &Kept,
        first: &HashMap<Origin, LetterLocation>,
    ) -> Result<HashMap<Origin, Result<SourceRecord, NotSent>>, Interrupt> {
        let mut found = Found::new();
        take_whole(part, &mut found, |letter| whole(kept, letter, 0));
        let own = |letter: &SelectedLetter| letter.stub.is_empty().then(|| letter.letter.clone());
        let of_origin = |letter: &SelectedLetter| match letter.redrive {
            0 => own(letter),
            _ => first.get(&letter.origin).cloned(),
        };
        self.read_dead_letters(part, &mut found, of_origin).await?;
        let is_record = |letter: &&SelectedLetter| letter.stub != "batch";
        let at = |letter: &SelectedLetter| location(&letter.origin);
        let mut in_log =
            self.read_at(missing(part, &found).filter(is_record).map(at).collect()).await?;
        let mut not_sent = HashMap::new();
        let rest: Vec<_> = missing(part, &found).collect();
        for letter in rest {
            match self::in_log(letter, &mut in_log) {
                Ok(bytes) => {
                    let source = SourceRecord { bytes, ..SourceRecord::default() };
                    drop(found.insert(letter.origin.clone(), source));
                }
                Err(why) => drop(not_sent.insert(letter.origin.clone(), why)),
            }
        }
        take_whole(part, &mut found, |letter| whole(kept, letter, letter.redrive));
        let of_copy = |letter: &SelectedLetter| own(letter).filter(|_| letter.redrive > 0);
        self.read_dead_letters(part, &mut found, of_copy).await?;
        let source = |letter: &&SelectedLetter| {
            let origin = letter.origin.clone();
            let source = match (found.remove(&origin), not_sent.remove(&origin)) {
                (Some(source), _) => Ok(source),
                (None, Some(NotSent::Lost(why))) => without_headers(letter, kept, why),
                (None, Some(why)) => Err(why),
                (None, None) => Err(NotSent::Lost("it was not read".to_owned())),
            };
            (origin, source)
        };
        Ok(part.iter().map(source).collect())
    }

    /// Reads the dead letters that are missing in `found` at their locations.
    async fn read_dead_letters(
        &mut self,
        part: &[&SelectedLetter],
        found: &mut Found,
        at: impl Fn(&SelectedLetter) -> Option<LetterLocation>,
    ) -> Result<(), Interrupt> {
        let wanted: Vec<_> =
            missing(part, found).filter_map(|letter| Some((letter, at(letter)?))).collect();
        let read = self.read_at(wanted.iter().map(|(_, at)| at.clone()).collect()).await?;
        for (letter, at) in wanted {
            if let Some(ReadRecord::Record { logged_at_ms, bytes }) = read.get(&at)
                && (bytes.is_dead_letter_of(&letter.origin)
                    || is_at(&letter.origin, &at, *logged_at_ms))
            {
                let source = SourceRecord { bytes: bytes.clone(), ..SourceRecord::default() };
                drop(found.insert(letter.origin.clone(), source));
            }
        }
        Ok(())
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

/// How many of the next records are read at once, at least one. `are_whole`: the table holds them.
fn part_length(are_whole: impl Iterator<Item = bool>) -> usize {
    let mut read = 0;
    let within = are_whole.take_while(|is_whole| {
        read += usize::from(!is_whole);
        read <= READ_MAX
    });
    within.count()
}

/// The record of this number as the table holds it, if it is complete.
fn whole<'k>(kept: &'k Kept, letter: &SelectedLetter, number: u32) -> Option<&'k RecordBytes> {
    let kept = kept.get(&(letter.origin.clone(), number))?;
    (!kept.is_cut).then_some(&kept.bytes)
}

/// Adds to `found` those of `part` that it lacks and `bytes` has.
fn take_whole<'k>(
    part: &[&SelectedLetter],
    found: &mut Found,
    bytes: impl Fn(&SelectedLetter) -> Option<&'k RecordBytes>,
) {
    for letter in part {
        if !found.contains_key(&letter.origin)
            && let Some(bytes) = bytes(letter)
        {
            let source = SourceRecord { bytes: bytes.clone(), ..SourceRecord::default() };
            drop(found.insert(letter.origin.clone(), source));
        }
    }
}

/// The record as the table holds it, if it has the whole value and the key: without headers that are cut.
fn without_headers(
    letter: &SelectedLetter,
    kept: &Kept,
    why: String,
) -> Result<SourceRecord, NotSent> {
    let of = |number: u32| kept.get(&(letter.origin.clone(), number));
    let Some(KeptRecord { bytes, .. }) = of(0).or_else(|| of(letter.redrive)) else {
        return Err(NotSent::Lost(why));
    };
    let held = bytes.value.as_ref().map_or(0, Vec::len) as u64;
    if held != letter.value_bytes {
        let all = letter.value_bytes;
        let why = format!("{why}; the table holds {held} of the {all} bytes of its value");
        return Err(NotSent::Lost(why));
    }
    let key = match bytes.key {
        Some(_) => "",
        None => ", and its key if that had more than 16 KiB",
    };
    let left_out =
        format!("sent without headers that were cut{key}: nothing holds them any longer");
    Ok(SourceRecord { bytes: bytes.clone(), is_repaired: false, left_out })
}

/// The record with the value of a stored repair.
fn repaired(source: SourceRecord, value: Vec<u8>) -> SourceRecord {
    let SourceRecord { bytes, left_out, .. } = source;
    let bytes = RecordBytes { value: Some(value), ..bytes };
    SourceRecord { bytes, is_repaired: true, left_out }
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

    fn kept(value: &[u8], key: Option<&[u8]>, is_cut: bool) -> KeptRecord {
        let bytes = |bytes: &[u8]| bytes.to_vec();
        let bytes =
            RecordBytes { key: key.map(bytes), value: Some(bytes(value)), headers: Vec::new() };
        KeptRecord { bytes, is_cut }
    }

    #[test]
    fn the_bytes_of_the_origin_are_taken_before_those_of_a_copy() {
        let own = SelectedLetter { redrive: 5, ..letter(DeadLetterState::FailedAgain) };
        let key = |number| (own.origin.clone(), number);
        let both = Kept::from([
            (key(0), kept(b"own", None, false)),
            (key(5), kept(b"forged", None, false)),
        ]);
        let mut found = Found::new();
        for number in [0, own.redrive] {
            take_whole(&[&own], &mut found, |letter| whole(&both, letter, number));
        }
        assert_eq!(found[&own.origin].bytes.value.as_deref(), Some(&b"own"[..]));
        let cut = Kept::from([(key(0), kept(b"own", None, true))]);
        assert_eq!(whole(&cut, &own, 0), None);
    }

    #[test]
    fn a_record_whose_headers_alone_were_cut_is_sent_without_them() {
        let own = SelectedLetter { value_bytes: 3, ..letter(DeadLetterState::Open) };
        let of = |payload| Kept::from([((own.origin.clone(), 0), payload)]);
        let source = |kept: Kept| without_headers(&own, &kept, "gone".to_owned());
        let whole = source(of(kept(b"abc", Some(&b"k"[..]), true))).unwrap();
        assert_eq!(whole.bytes.value.as_deref(), Some(&b"abc"[..]));
        assert!(!whole.left_out.contains("key"), "{}", whole.left_out);
        let without_key = source(of(kept(b"abc", None, true))).unwrap().left_out;
        assert!(without_key.contains("its key if that had more than 16 KiB"), "{without_key}");
        let cut = source(of(kept(b"ab", None, true))).unwrap_err().to_string();
        assert_eq!(cut, "lost: gone; the table holds 2 of the 3 bytes of its value");
        assert_eq!(source(Kept::new()).unwrap_err().to_string(), "lost: gone");
    }

    #[test]
    fn of_the_records_that_no_table_holds_some_are_read_at_once() {
        assert_eq!(part_length([true; 700].into_iter()), 700);
        assert_eq!(part_length([false; 700].into_iter()), READ_MAX);
        let mixed = (0..700).map(|at| at % 100 != 0);
        assert_eq!(part_length(mixed), 700);
    }
}
