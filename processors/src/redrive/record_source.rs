//! Where a redrive reads the bytes of its records: in the table of payloads, else in the dead-letter
//! topic, else in the log at the origin; else without the headers that the table cut; else those of the
//! newest copy. A stored repair replaces the value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use broker::{BATCH_UNREADABLE, Brokers};
use futures_util::future::try_join;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{LetterLocation, NotSent, SelectedLetter};
use records::dead_letters::redriven_copy::RecordBytes;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::dead_letter_repairs::{StoredRepair, repairs_of};
use crate::clickhouse::dead_letter_table::VALUE_BYTES_MAX;
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
/// The dead letters whose bytes are read from the tables at once: 112 KiB for the origin and as many for a
/// copy, and the value of a repair.
const LOOKED_UP_MAX: usize = 100;

/// The bytes that a redrive sends, and whether they are those of a stored repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceRecord {
    /// The bytes.
    pub(crate) bytes: RecordBytes,
    /// A repair replaced the value before.
    pub(crate) is_repaired: bool,
    /// What the bytes lack, because no table or topic has it any longer; empty: nothing.
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
type Repairs = HashMap<Origin, StoredRepair>;
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
        let (mut sources, mut bytes) = (Vec::with_capacity(letters.len()), 0);
        for looked_up in letters.chunks(LOOKED_UP_MAX) {
            let (mut kept, mut repairs) = self.looked_up(looked_up).await?;
            let is_whole: Vec<_> = looked_up.iter().map(|own| is_whole(&kept, own, 0)).collect();
            let first = self.first_failures(looked_up, &is_whole).await?;
            let (mut rest, mut is_whole) = (looked_up, is_whole.as_slice());
            while !rest.is_empty() {
                let length = part_length(is_whole.iter().copied());
                let (part, others) = rest.split_at(length);
                (rest, is_whole) = (others, &is_whole[length..]);
                let mut found = self.found(part, &mut kept, &first).await?;
                for letter in part {
                    let repair = repairs.remove(&letter.origin).map(|own| own.repaired.value);
                    let source = found.remove(&letter.origin);
                    let source = source.unwrap_or_else(|| Err(not_read()));
                    let source = match (source, repair) {
                        (Err(_), Some(value)) => Ok(repaired(parts_kept(letter, &kept), value)),
                        (Ok(source), Some(value)) => Ok(repaired(source, value)),
                        (source, None) => source,
                    };
                    bytes += source.as_ref().map_or(0, |source| source.bytes.bytes());
                    if bytes > BATCH_BYTES && !sources.is_empty() {
                        return Ok(sources);
                    }
                    sources.push(source);
                }
            }
        }
        Ok(sources)
    }

    /// What the tables hold of these dead letters.
    async fn looked_up(&self, letters: &[&SelectedLetter]) -> Result<(Kept, Repairs), Interrupt> {
        let tables = async || {
            let origins = letters.iter().map(|letter| &letter.origin);
            try_join(payloads(&self.server, letters), repairs_of(&self.server, origins)).await
        };
        self.attempts.until_ok("dead_letter_payloads", tables).await
    }

    /// Where the dead letters of those origins are whose newest failure is one of a copy, and that the table
    /// does not hold (`is_whole`).
    async fn first_failures(
        &self,
        letters: &[&SelectedLetter],
        is_whole: &[bool],
    ) -> Result<HashMap<Origin, LetterLocation>, Interrupt> {
        let copies = letters.iter().zip(is_whole);
        let copies = copies.filter(|(letter, is_whole)| letter.redrive > 0 && !**is_whole);
        let copies: Vec<_> = copies.map(|(letter, _)| &letter.origin).collect();
        let first = async || first_failures(&self.server, &copies).await;
        self.attempts.until_ok("dead_letter_versions", first).await
    }

    /// The record of each of `part`; removes from `kept` what it takes. A newer failure of an origin may be
    /// forged, so that the bytes of a copy are taken only where no table or topic has those of the origin.
    async fn found(
        &mut self,
        part: &[&SelectedLetter],
        kept: &mut Kept,
        first: &HashMap<Origin, LetterLocation>,
    ) -> Result<HashMap<Origin, Result<SourceRecord, NotSent>>, Interrupt> {
        let mut found = Found::new();
        take(part, &mut found, |letter| whole(kept, letter, 0));
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
        take(part, &mut found, |letter| without_headers(kept, letter, 0));
        take(part, &mut found, |letter| whole(kept, letter, letter.redrive));
        let of_copy = |letter: &SelectedLetter| own(letter).filter(|_| letter.redrive > 0);
        self.read_dead_letters(part, &mut found, of_copy).await?;
        take(part, &mut found, |letter| without_headers(kept, letter, letter.redrive));
        let source = |letter: &&SelectedLetter| {
            let origin = letter.origin.clone();
            let source = match (found.remove(&origin), not_sent.remove(&origin)) {
                (Some(source), _) => Ok(source),
                (None, Some(NotSent::Lost(why))) => Err(lost(letter, kept, why)),
                (None, Some(why)) => Err(why),
                (None, None) => Err(not_read()),
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

/// Whether the table holds the complete record of this number.
fn is_whole(kept: &Kept, letter: &SelectedLetter, number: u32) -> bool {
    kept.get(&(letter.origin.clone(), number)).is_some_and(|kept| !kept.is_cut)
}

/// The record of this number as the table holds it, if it is complete; removes it.
fn whole(kept: &mut Kept, letter: &SelectedLetter, number: u32) -> Option<SourceRecord> {
    if !is_whole(kept, letter, number) {
        return None;
    }
    let bytes = kept.remove(&(letter.origin.clone(), number))?.bytes;
    Some(SourceRecord { bytes, ..SourceRecord::default() })
}

/// The record of this number as the table holds it, if it has the whole value; removes it. It lacks headers
/// that are cut, and a key that is.
fn without_headers(kept: &mut Kept, letter: &SelectedLetter, number: u32) -> Option<SourceRecord> {
    let key = (letter.origin.clone(), number);
    if !has_whole_value(letter, number, &kept.get(&key)?.bytes) {
        return None;
    }
    Some(cut(kept.remove(&key)?.bytes))
}

/// Whether a value that the table holds is whole. The length of the value is known of the newest failure
/// only, which may be a forged copy. Of a stub, the table has no value.
fn has_whole_value(letter: &SelectedLetter, number: u32, bytes: &RecordBytes) -> bool {
    let held = bytes.value.as_ref().map(Vec::len);
    if letter.redrive == number {
        return held.unwrap_or_default() as u64 == letter.value_bytes;
    }
    held.is_some_and(|held| held < VALUE_BYTES_MAX)
}

/// Adds to `found` those of `part` that it lacks and `source` has.
fn take(
    part: &[&SelectedLetter],
    found: &mut Found,
    mut source: impl FnMut(&SelectedLetter) -> Option<SourceRecord>,
) {
    for letter in part {
        if !found.contains_key(&letter.origin)
            && let Some(source) = source(letter)
        {
            drop(found.insert(letter.origin.clone(), source));
        }
    }
}

/// A record whose headers the table has cut.
fn cut(bytes: RecordBytes) -> SourceRecord {
    let key = match bytes.key {
        Some(_) => "",
        None => ", and its key if that had more than 16 KiB",
    };
    let left_out =
        format!("sent without headers that were cut{key}: no table or topic has them any longer");
    SourceRecord { bytes, is_repaired: false, left_out }
}

/// Key and headers of a record whose value is lost, as far as the table holds them.
fn parts_kept(letter: &SelectedLetter, kept: &Kept) -> SourceRecord {
    let of = |number: u32| kept.get(&(letter.origin.clone(), number));
    let Some(KeptRecord { bytes, .. }) = of(0).or_else(|| of(letter.redrive)) else {
        let left_out =
            "sent without key and headers: no table or topic has them any longer".to_owned();
        return SourceRecord { left_out, ..SourceRecord::default() };
    };
    cut(RecordBytes { value: None, ..bytes.clone() })
}

/// Why a record is lost, with what the table holds of it.
fn lost(letter: &SelectedLetter, kept: &Kept, why: String) -> NotSent {
    let Some(KeptRecord { bytes, .. }) = kept.get(&(letter.origin.clone(), letter.redrive)) else {
        return NotSent::Lost(why);
    };
    let (held, all) = (bytes.value.as_ref().map_or(0, Vec::len), letter.value_bytes);
    NotSent::Lost(format!("{why}; the table holds {held} of the {all} bytes of its value"))
}

fn not_read() -> NotSent {
    NotSent::Lost("it was not read".to_owned())
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
    use records::flow::stub::{HEADER_BYTES_MAX, KEY_BYTES_MAX};

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
        let mut both = Kept::from([
            (key(0), kept(b"own", None, false)),
            (key(5), kept(b"forged", None, false)),
        ]);
        let mut found = Found::new();
        for number in [0, own.redrive] {
            take(&[&own], &mut found, |letter| whole(&mut both, letter, number));
        }
        assert_eq!(found[&own.origin].bytes.value.as_deref(), Some(&b"own"[..]));
        let mut cut = Kept::from([(key(0), kept(b"own", None, true))]);
        assert_eq!(whole(&mut cut, &own, 0), None);
    }

    #[test]
    fn a_record_whose_headers_alone_were_cut_is_sent_without_them() {
        let own = SelectedLetter { value_bytes: 3, ..letter(DeadLetterState::Open) };
        let of = |payload| Kept::from([((own.origin.clone(), 0), payload)]);
        let source = |mut kept: Kept| without_headers(&mut kept, &own, 0);
        let whole = source(of(kept(b"abc", Some(&b"k"[..]), true))).unwrap();
        assert_eq!(whole.bytes.value.as_deref(), Some(&b"abc"[..]));
        assert!(!whole.left_out.contains("key"), "{}", whole.left_out);
        let without_key = source(of(kept(b"abc", None, true))).unwrap().left_out;
        assert!(without_key.contains("its key if that had more than 16 KiB"), "{without_key}");
        let cut = of(kept(b"ab", None, true));
        let why = lost(&own, &cut, "gone".to_owned()).to_string();
        assert_eq!(why, "lost: gone; the table holds 2 of the 3 bytes of its value");
        assert_eq!(source(cut), None);
        assert_eq!(source(Kept::new()), None);
        assert_eq!(lost(&own, &Kept::new(), "gone".to_owned()).to_string(), "lost: gone");
    }

    /// The length that is known is the one of the newest failure, which anyone who writes the log can forge.
    #[test]
    fn a_whole_value_of_the_origin_is_taken_though_a_copy_states_another_length() {
        let own = SelectedLetter {
            redrive: 5,
            value_bytes: VALUE_BYTES_MAX as u64,
            ..letter(DeadLetterState::FailedAgain)
        };
        let full = vec![7; VALUE_BYTES_MAX];
        let stub = RecordBytes::default();
        for (value, of_origin, of_copy) in [(&b"own"[..], true, false), (&full, false, true)] {
            let bytes = kept(value, None, true).bytes;
            assert_eq!(has_whole_value(&own, 0, &bytes), of_origin, "{}", value.len());
            assert_eq!(has_whole_value(&own, own.redrive, &bytes), of_copy, "{}", value.len());
        }
        assert!(!has_whole_value(&own, 0, &stub));
    }

    #[test]
    fn a_repaired_record_keeps_the_parts_that_the_table_holds_and_names_the_lost_ones() {
        let own = letter(DeadLetterState::Open);
        let mut held = kept(b"cut", Some(&b"k"[..]), true);
        held.bytes.headers = vec![("own".to_owned(), None)];
        let held = Kept::from([((own.origin.clone(), 0), held)]);
        let source = repaired(parts_kept(&own, &held), b"fixed".to_vec());
        let SourceRecord { bytes: RecordBytes { key, value, headers }, .. } = &source;
        assert_eq!((key.as_deref(), value.as_deref()), (Some(&b"k"[..]), Some(&b"fixed"[..])));
        assert_eq!(headers.len(), 1);
        assert!(source.left_out.starts_with("sent without headers"), "{}", source.left_out);
        let none = repaired(parts_kept(&own, &Kept::new()), b"fixed".to_vec());
        assert!(none.left_out.starts_with("sent without key and headers"), "{}", none.left_out);
    }

    #[test]
    fn the_tables_bytes_of_the_dead_letters_that_are_looked_up_at_once_are_bounded() {
        let row = VALUE_BYTES_MAX + KEY_BYTES_MAX + HEADER_BYTES_MAX;
        assert_eq!(row, 112 << 10);
        // Of the origin, and of the newest copy; docs/bounds.md states it.
        assert_eq!((LOOKED_UP_MAX * 2 * row) >> 20, 21);
    }

    #[test]
    fn of_the_records_that_no_table_holds_some_are_read_at_once() {
        assert_eq!(part_length([true; 700].into_iter()), 700);
        assert_eq!(part_length([false; 700].into_iter()), READ_MAX);
        let mixed = (0..700).map(|at| at % 100 != 0);
        assert_eq!(part_length(mixed), 700);
    }
}
