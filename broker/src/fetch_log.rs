//! The fetch log: what librdkafka's debug lines report about the replies of a broker. Pure.
//!
//! Where a length inside a batch is wrong, librdkafka runs out of bytes in the middle of a record. It takes
//! the batch for one that the broker cut, drops what is left of it, asks again, and reports neither a record
//! nor an error. Only its debug lines report a reply of which it read nothing, the offset that it had asked
//! for, and the records that it read and skipped because they precede that offset. A broker that does not
//! answer, or answers without a batch, leaves no such line, so no silence counts by itself. Brokers send the
//! first batch of a reply whole (KIP-74).
//!
//! The texts are those of librdkafka 2.12. If another version changes them, nothing counts as unreadable here;
//! such a partition waits, and `partition_stalled` still names it.

use std::collections::BTreeMap;

/// Replies in a row of which nothing was read, after which it is the batch that cannot be read.
const SILENT_REPLIES: u32 = 2;

/// What the lines reported about the partitions that were asked about last.
#[derive(Debug)]
pub(crate) struct FetchLog {
    topic: String,
    asked: BTreeMap<i32, AskedPartition>,
}

#[derive(Debug)]
struct AskedPartition {
    /// The offset that was asked for.
    offset: i64,
    request: Option<Request>,
}

/// The request that the library repeats.
#[derive(Debug)]
struct Request {
    /// Its offset. The library continues behind a batch without records; no record lies between.
    offset: i64,
    /// Replies to it in a row of which nothing was read.
    silent: u32,
    /// The offset of the first record of the last reply, if it precedes that of the request.
    first_record: Option<i64>,
}

/// A line that counts.
enum Line {
    /// A request for this offset.
    Request(i64),
    /// A record at this offset was skipped: it precedes the offset of the request.
    Skipped(i64),
    /// A reply with a batch.
    Reply { is_silent: bool },
}

impl FetchLog {
    /// A log of a topic of which nothing was asked.
    pub(crate) fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), asked: BTreeMap::new() }
    }

    /// From now on, lines about these offsets by partition count, and no others.
    pub(crate) fn ask(&mut self, offsets: &BTreeMap<i32, i64>) {
        let asked = |(&partition, &offset): (&i32, &i64)| {
            (partition, AskedPartition { offset, request: None })
        };
        self.asked = offsets.iter().map(asked).collect();
    }

    /// Notes a line of the library.
    pub(crate) fn note(&mut self, line: &str) {
        let Some((partition, line)) = recognise(line, &self.topic) else { return };
        let Some(asked) = self.asked.get_mut(&partition) else { return };
        match (line, &mut asked.request) {
            // An earlier request may still be in flight.
            (Line::Request(offset), None) if offset != asked.offset => {}
            (Line::Request(offset), Some(request)) if request.offset == offset => {
                request.first_record = None;
            }
            (Line::Request(offset), request) => {
                *request = Some(Request { offset, silent: 0, first_record: None });
            }
            (Line::Skipped(_) | Line::Reply { .. }, None) => {}
            (Line::Skipped(offset), Some(request)) => {
                request.first_record.get_or_insert(offset);
            }
            (Line::Reply { is_silent: true }, Some(request)) => request.silent += 1,
            (Line::Reply { is_silent: false }, Some(request)) => request.silent = 0,
        }
    }

    /// A partition whose batch cannot be read, and the offset of the request for it. Each is returned once.
    pub(crate) fn take_silent(&mut self) -> Option<(i32, i64)> {
        let silent = self.asked.iter().find_map(|(partition, asked)| {
            let request = asked.request.as_ref().filter(|own| own.silent >= SILENT_REPLIES)?;
            Some((*partition, request.offset))
        })?;
        self.asked.remove(&silent.0);
        Some(silent)
    }

    /// Whether the first record of a batch that was asked about is known.
    pub(crate) fn has_first_record(&self) -> bool {
        let is_known = |asked: &AskedPartition| {
            asked.request.as_ref().is_some_and(|request| request.first_record.is_some())
        };
        self.asked.values().any(is_known)
    }

    /// The offset of the first record of the batch that was asked about, as far as it is known: that of the
    /// request, if no record precedes it.
    pub(crate) fn first_record(&self, partition: i32) -> Option<i64> {
        let request = self.asked.get(&partition)?.request.as_ref()?;
        request.first_record.or((request.silent > 0).then_some(request.offset))
    }
}

/// The partition of a line about `topic`, and what the line reports.
fn recognise(line: &str, topic: &str) -> Option<(i32, Line)> {
    if let Some((_, request)) = line.split_once(": Fetch topic ") {
        let (partition, rest) = of_topic(request, topic)?;
        return Some((partition, Line::Request(offset(rest.strip_prefix(" at offset ")?)?)));
    }
    if let Some((reader, skipped)) = line.split_once(": Skip offset ") {
        let (partition, _) = of_topic(reader.rsplit(": ").next()?, topic)?;
        return Some((partition, Line::Skipped(offset(skipped)?)));
    }
    let (_, reply) = line.split_once(": Enqueue ")?;
    let (read, rest) = reply.split_once(" ops) on ")?;
    let (partition, rest) = of_topic(rest, topic)?;
    // Control records and aborted transactions hold no record either, and the library continues behind them.
    let holds_records = rest.contains(", 0 ctrl msgs, 0 aborted msgsets, ");
    let is_silent = read == "0 message(s) (0 bytes, 0" && holds_records;
    Some((partition, Line::Reply { is_silent }))
}

/// The partition in `TOPIC [PARTITION]`, and what follows.
fn of_topic<'l>(text: &'l str, topic: &str) -> Option<(i32, &'l str)> {
    let (number, rest) = text.strip_prefix(topic)?.strip_prefix(" [")?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

/// The number at the start of `text`.
fn offset(text: &str) -> Option<i64> {
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: &str = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: ";

    fn request(partition: i32, offset: i64) -> String {
        let epochs = "(leader epoch -1, current leader epoch 0, v2)";
        format!("{BROKER}Fetch topic t.v1 [{partition}] at offset {offset} {epochs}")
    }

    fn skipped(partition: i32, offset: i64) -> String {
        let asked = "offset 9 (leader epoch 0)";
        format!("{BROKER}t.v1 [{partition}]: Skip offset {offset} (leader epoch 0) < fetch {asked}")
    }

    /// A reply with so many records, errors, control records and aborted batches.
    fn reply(partition: i32, [records, errors, controls, aborted]: [u32; 4]) -> String {
        let (bytes, ops) = (records * 9, records + errors);
        format!(
            "{BROKER}Enqueue {records} message(s) ({bytes} bytes, {ops} ops) on t.v1 [{partition}] fetch \
             queue (qlen {ops}, v2, last_offset -1, {controls} ctrl msgs, {aborted} aborted msgsets, zstd)"
        )
    }

    fn silent(partition: i32) -> String {
        reply(partition, [0; 4])
    }

    /// The log after questions about offset 9 of partitions 0 and 1, and these lines.
    fn log(lines: &[String]) -> FetchLog {
        let mut log = FetchLog::new("t.v1");
        log.ask(&BTreeMap::from([(0, 9), (1, 9)]));
        lines.iter().for_each(|line| log.note(line));
        log
    }

    #[test]
    fn a_batch_of_which_two_replies_give_nothing_cannot_be_read_and_is_reported_once() {
        let mut log = log(&[request(0, 9), silent(0), request(0, 9)]);
        assert_eq!(log.take_silent(), None, "one reply");
        log.note(&silent(0));
        assert_eq!((log.take_silent(), log.take_silent()), (Some((0, 9)), None));
    }

    #[test]
    fn records_errors_control_records_and_aborted_batches_are_not_silent() {
        for counts in [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] {
            let one = [request(0, 9), silent(0), request(0, 9), reply(0, counts), request(0, 9)];
            let mut log = log(&[&one[..], &[silent(0)]].concat());
            assert_eq!(log.take_silent(), None, "{counts:?}");
        }
    }

    #[test]
    fn lines_of_other_topics_partitions_and_requests_do_not_count() {
        let twice = |own: &str, reply: &str| [own, reply, own, reply].map(str::to_owned);
        let other = |line: String| line.replace("t.v1", "t.v1.dlq");
        for lines in [
            twice(&other(request(0, 9)), &other(silent(0))),
            twice(&request(0, 9), &other(silent(0))),
            twice(&request(0, 9), &silent(1)),
            twice(&request(2, 9), &silent(2)),
            // Of an earlier question.
            twice(&request(0, 8), &silent(0)),
            twice("", &silent(0)),
            twice("a line", "[thrd:main]: Enqueue 0 message(s)"),
        ] {
            assert_eq!(log(&lines).take_silent(), None, "{lines:?}");
        }
    }

    #[test]
    fn a_batch_without_records_is_passed_and_the_offset_behind_it_counts() {
        let mut log = log(&[request(0, 9), silent(0), request(0, 12), silent(0)]);
        assert_eq!(log.take_silent(), None, "one reply for each offset");
        log.note(&silent(0));
        assert_eq!((log.first_record(0), log.take_silent()), (Some(12), Some((0, 12))));
    }

    #[test]
    fn the_first_record_before_the_request_identifies_its_batch() {
        let log = log(&[request(0, 9), skipped(0, 6), skipped(0, 7), request(1, 9)]);
        assert_eq!((log.first_record(0), log.first_record(1)), (Some(6), None));
        assert!(log.has_first_record());
    }
}
