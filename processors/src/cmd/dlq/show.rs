//! `processors dlq show`: one dead letter, with its value as far as it decodes.

use std::collections::{BTreeMap, BTreeSet};

use broker::{Brokers, ServerError};
use clap::Args;
use records::dead_letters::headers::is_own;
use records::dead_letters::inspection::{Inspection, inspect};
use records::dead_letters::record_report::RecordReport;
use records::dead_letters::redriven_copy::RecordBytes;
use records::dead_letters::shown_text::{json_line, shown};
use schemas::{headers as names, unframe};
use serde_json::{Value, json};

use crate::clickhouse::clicks_at::{ClicksAt, clicks_at};
use crate::clickhouse::dead_letter_filter::OriginArgument;
use crate::clickhouse::dead_letter_queries::{self, ListedLetter};
use crate::clickhouse::letter_history::{KeptRecord, LetterHistory, letter_history};
use crate::cmd::dlq::known_schemas::known_schemas;
use crate::cmd::dlq::letter_lines::{history, history_lines, letter_lines};
use crate::cmd::dlq::ls;
use crate::cmd::dlq::next_command::next_commands;
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, print_error, print_line};
use crate::kafka::offset_reader::{OffsetReader, ReadRecord};

/// Arguments of `dlq show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The dead letter: topic:partition:offset:log time, or partition:offset of the source topic.
    #[arg(value_name = "ORIGIN")]
    origin: OriginArgument,
    /// Print all bytes of the value that do not decode, not the first 4096; read a record that the table
    /// keeps in part from the dead-letter topic.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Bytes of the rest of a value that are printed, unless all are wanted.
const REST_MAX: usize = 4096;

/// Error code of a click without an id.
const NIL_CODE: &str = "event_id_nil";

/// All that is known of a dead letter.
#[derive(Debug)]
struct ShownLetter {
    letter: ListedLetter,
    history: LetterHistory,
    /// Headers of the dead letter that state what a stub leaves out.
    cut_parts: BTreeMap<String, String>,
    /// `None`: the table has deleted the bytes.
    record: Option<KeptRecord>,
    inspection: Option<Inspection>,
    /// What could not be read.
    notes: Vec<String>,
}

pub(super) async fn show(servers: &Servers, args: ShowArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    let mut found = None;
    let condition = args.origin.sql(servers.kafka.topic.as_str());
    dead_letter_queries::list(&server, &condition, 1, |letter| {
        found = Some(letter);
        Ok(())
    })
    .await?;
    let Some(letter) = found else {
        let origin = shown(&args.origin.to_string());
        print_error(format_args!("no dead letter {origin}: `processors dlq ls` lists them"));
        return Ok(DIFFERS);
    };
    let history = letter_history(&server, &letter.origin, letter.redrive).await?;
    let shown_letter = read(servers, letter, history, args.all).await?;
    let rest_max = if args.all { usize::MAX } else { REST_MAX };
    if args.json {
        print_line(json_line(&shown_letter.object(rest_max)));
    } else {
        shown_letter.lines(rest_max).iter().for_each(print_line);
    }
    Ok(DONE)
}

/// Reads what the tables do not hold: the dead letter, if it is a stub or `all` of it is wanted, and the
/// schemas.
async fn read(
    servers: &Servers,
    letter: ListedLetter,
    mut history: LetterHistory,
    all: bool,
) -> Result<ShownLetter, ServerError> {
    let mut notes = Vec::new();
    let mut record = history.record.take();
    let is_incomplete = record.as_ref().is_none_or(|record| record.is_cut);
    let mut cut_parts = BTreeMap::new();
    if !letter.stub.is_empty() || (all && is_incomplete) {
        match read_copy(servers.kafka.brokers(), &letter).await {
            Ok(Some(mut copy)) => {
                cut_parts = parts_left_out(&copy);
                copy.headers.retain(|(name, _)| !is_own(name));
                record = Some(KeptRecord { bytes: copy, is_cut: false });
            }
            Ok(None) => notes.push("the dead-letter topic does not hold it any more".to_owned()),
            Err(error) => notes.push(format!("the dead-letter topic was not read: {error}")),
        }
    }
    if record.is_none() && !all {
        let text = "the table does not keep its bytes any more; --all reads the dead-letter topic";
        notes.push(text.to_owned());
    }
    let mut inspection = None;
    if let Some(value) = record.as_ref().and_then(|record| record.bytes.value.as_deref()) {
        let frame = unframe(value).ok().map(|(id, _)| id);
        let registry = servers.registry.registry()?;
        let subject = servers.kafka.topic.subject();
        let (schemas, missing) = known_schemas(&registry, &subject, frame).await;
        notes.extend(missing.map(|why| format!("decoded with the released schemas: {why}")));
        let found = inspect(value, &schemas);
        if letter.code == NIL_CODE
            && let Some(occurred_at_us) = occurred_at_us(&found)
        {
            let server = servers.clickhouse.server()?;
            let clicks = clicks_at(&server, &letter.origin, occurred_at_us).await;
            notes.extend(note_of_clicks(clicks));
        }
        inspection = Some(found);
    }
    Ok(ShownLetter { letter, history, cut_parts, record, inspection, notes })
}

/// When the click occurred, microseconds since 1970, by the first schema that decodes it.
fn occurred_at_us(inspection: &Inspection) -> Option<i64> {
    let whole = inspection.readings.iter().find(|reading| reading.stop.is_none())?;
    let field = whole.fields.iter().find(|field| field.name == "occurred_at")?;
    field.value.as_i64()
}

/// What the table holds of the time of a click without an id: a sender may have sent it again with an id.
fn note_of_clicks(clicks: Result<ClicksAt, ServerError>) -> Option<String> {
    match clicks {
        Ok(ClicksAt { clicks: 0, .. }) => None,
        Ok(ClicksAt { clicks, example_id }) => Some(format!(
            "the table holds {clicks} of the same microsecond, such as event id {example_id}: if that is this \
             click, discard the dead letter; a redrive with a new id counts the click twice"
        )),
        Err(error) => Some(format!("the table of clicks was not read: {error}")),
    }
}

impl ShownLetter {
    fn report(&self, rest_max: usize) -> Option<RecordReport<'_>> {
        self.record.as_ref().map(|record| RecordReport {
            bytes: &record.bytes,
            value_bytes: self.letter.value_bytes,
            is_cut: record.is_cut,
            is_stub: !self.letter.stub.is_empty(),
            inspection: self.inspection.as_ref(),
            rest_max,
        })
    }

    fn lines(&self, rest_max: usize) -> Vec<String> {
        let mut lines = letter_lines(&self.letter, &self.cut_parts);
        lines.extend(history_lines(&self.history));
        lines.extend(self.report(rest_max).iter().flat_map(RecordReport::lines));
        lines.extend(self.notes.iter().map(|note| format!("note: {}", shown(note))));
        let next =
            next_commands(&self.letter, self.inspection.as_ref(), self.history.repair.is_some());
        lines.extend(next.iter().map(|command| format!("next: processors dlq {command}")));
        lines
    }

    fn object(&self, rest_max: usize) -> Value {
        let mut object = ls::object(&self.letter);
        object["cut_parts"] = json!(self.cut_parts);
        object["history"] = history(&self.history);
        object["record"] = json!(self.report(rest_max).map(|report| report.object()));
        object["notes"] = json!(self.notes);
        object
    }
}

/// The dead letter with all its headers, from the dead-letter topic; `None`: the topic does not hold it.
async fn read_copy(
    brokers: Brokers,
    letter: &ListedLetter,
) -> Result<Option<RecordBytes>, ServerError> {
    let (Ok(partition), Ok(offset)) =
        (i32::try_from(letter.letter_partition), i64::try_from(letter.letter_offset))
    else {
        return Ok(None);
    };
    let topic = letter.letter_topic.clone();
    let reading = tokio::task::spawn_blocking(move || {
        OffsetReader::new(&brokers)?.read(&topic, partition, BTreeSet::from([offset]))
    });
    let read = reading.await.map_err(|error| ServerError::fatal("task_panicked", error))??;
    Ok(read.into_values().find_map(|record| match record {
        ReadRecord::Record { bytes, .. } if bytes.is_dead_letter_of(&letter.origin) => Some(bytes),
        ReadRecord::Record { .. } | ReadRecord::Unreadable | ReadRecord::Gone => None,
    }))
}

/// The headers that state what a stub leaves out: lengths, hashes, the number of headers.
fn parts_left_out(copy: &RecordBytes) -> BTreeMap<String, String> {
    let stub = [
        names::STUB_VALUE_BYTES,
        names::STUB_VALUE_SHA256,
        names::STUB_KEY_BYTES,
        names::STUB_KEY_SHA256,
        names::STUB_HEADERS,
        names::STUB_HEADERS_UNREADABLE,
        names::STUB_LAST_OFFSET,
    ];
    let of_stub = copy.headers.iter().filter(|(name, _)| stub.contains(&name.as_str()));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    of_stub
        .map(|(name, value)| (name.clone(), text(value.as_deref().unwrap_or_default())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::dead_letters::inspection::{ReadField, Reading, Stop};

    #[test]
    fn a_click_without_an_id_is_compared_by_its_time_with_the_table() {
        let reading = |stop: Option<Stop>, us: i64| Reading {
            schema: String::new(),
            schema_id: None,
            is_of_frame: false,
            begins: 5,
            fields: vec![ReadField {
                name: "occurred_at".to_owned(),
                value: us.into(),
                text: None,
            }],
            stop,
        };
        let stop = Stop { field: "url".to_owned(), byte: 9, cause: String::new() };
        let readings = vec![reading(Some(stop), 7), reading(None, 8)];
        let found = Inspection { frame_schema_id: None, frame_error: None, readings, rest: 0 };
        assert_eq!(occurred_at_us(&found), Some(8));
        let of = |clicks| Ok(ClicksAt { clicks, example_id: "0192".to_owned() });
        assert_eq!(note_of_clicks(of(0)), None);
        let note = note_of_clicks(of(1)).unwrap();
        assert!(
            note.starts_with("the table holds 1 of the same microsecond, such as event id 0192")
        );
        assert!(
            note_of_clicks(Err(ServerError::retryable("clickhouse_unreachable", "down"))).is_some()
        );
    }

    #[test]
    fn a_stub_states_its_lengths_and_hashes_and_no_header_of_the_record() {
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let copy = RecordBytes {
            headers: vec![
                header("own", "1"),
                header(names::STUB_VALUE_BYTES, "5242880"),
                header(names::STUB_VALUE_SHA256, "ab"),
                header(names::DEAD_LETTER_CODE, "bad_magic"),
                (names::STUB_HEADERS.to_owned(), None),
            ],
            ..RecordBytes::default()
        };
        let parts = parts_left_out(&copy);
        let expected = [
            (names::STUB_VALUE_BYTES, "5242880"),
            (names::STUB_VALUE_SHA256, "ab"),
            (names::STUB_HEADERS, ""),
        ];
        assert_eq!(parts, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    }
}
