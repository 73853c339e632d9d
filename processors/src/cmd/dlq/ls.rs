//! `processors dlq ls`: dead letters, one a line.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::{json_line, json_time, shown, shown_time};
use serde_json::{Value, json};

use crate::clickhouse::dead_letter_filter::DeadLetterFilter;
use crate::clickhouse::dead_letter_queries::{self, ListedLetter, NEWEST_MAX};
use crate::cmd::dlq::no_match::empty_list;
use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::exit::{DONE, print_error, print_line};

/// Arguments of `dlq ls`.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    filter: DeadLetterFilter,
    /// Maximum number of dead letters.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print one JSON object for each dead letter.
    #[arg(long)]
    json: bool,
}

const HEADINGS: [&str; 6] = ["ORIGIN", "STATE", "REDRIVES", "CODE", "LAST FAILURE", "MESSAGE"];
/// Rows that are in memory before they are printed.
const PART_ROWS: usize = 1_000;

pub(super) async fn ls(servers: &Servers, args: LsArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    let topic = servers.kafka.topic.as_str();
    let condition = args.filter.sql(topic);
    let newest = match args.limit {
        ..=NEWEST_MAX => Some(dead_letter_queries::newest(&server, &condition, args.limit).await?),
        _ => None,
    };
    let listed_condition = newest.as_ref().map_or(&condition, |newest| &newest.condition);
    let mut listed = 0;
    let mut first = None;
    let mut table = Table::new(&HEADINGS);
    let mut rows = Vec::new();
    dead_letter_queries::list(&server, listed_condition, args.limit, |letter| {
        listed += 1;
        first.get_or_insert_with(|| letter.origin.to_string());
        if args.json {
            print_line(json_line(&object(&letter)));
            return Ok(());
        }
        rows.push(row(&letter));
        if rows.len() == PART_ROWS {
            table.lines(std::mem::take(&mut rows)).iter().for_each(print_line);
        }
        Ok(())
    })
    .await?;
    if !rows.is_empty() {
        table.lines(rows).iter().for_each(print_line);
    }
    let matching = match newest {
        Some(newest) => newest.matching,
        None if listed == args.limit => dead_letter_queries::count(&server, &condition).await?,
        None => listed,
    };
    let more = more_text(matching, args.limit);
    match (args.json, first) {
        // Each line of stdout is a dead letter.
        (true, _) => more.iter().for_each(print_error),
        (false, None) => print_line(empty_list(&server, &args.filter, topic).await?),
        (false, Some(first)) => {
            more.iter().for_each(print_line);
            print_line(format_args!("next: processors dlq show {}", shown(&first)));
        }
    }
    Ok(DONE)
}

/// How many dead letters match beyond the limit. One whose state changed after they were counted is not
/// listed, and does not count as one more.
fn more_text(matching: u64, limit: u64) -> Option<String> {
    let more = matching.saturating_sub(limit);
    (more > 0).then(|| format!("{more} more match: raise --limit, or add a filter"))
}

fn row(letter: &ListedLetter) -> Vec<String> {
    vec![
        shown(&letter.origin.to_string()),
        letter.state.to_string(),
        letter.redrives.to_string(),
        shown(&letter.code),
        shown_time(letter.last_failed_at_ms),
        shown(&letter.message),
    ]
}

/// A dead letter as JSON.
pub(super) fn object(letter: &ListedLetter) -> Value {
    json!({
        "origin": letter.origin.to_string(),
        "topic": letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "logged_at": json_time(letter.origin.logged_at_ms),
        "state": letter.state.name(),
        "redrives": letter.redrives,
        "job": letter.job,
        "group": letter.group_id,
        "code": letter.code,
        "stage": letter.stage,
        "message": letter.message,
        "pattern": letter.pattern,
        "schema_id": (letter.schema_id > 0).then_some(letter.schema_id),
        "stub": letter.stub,
        "last_offset": letter.last_offset,
        "value_bytes": letter.value_bytes,
        "first_failed_at": json_time(letter.first_failed_at_ms),
        "last_failed_at": json_time(letter.last_failed_at_ms),
        "dead_letter": {
            "topic": letter.letter_topic,
            "partition": letter.letter_partition,
            "offset": letter.letter_offset,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::dead_letters::state::DeadLetterState;

    #[test]
    fn only_dead_letters_beyond_the_limit_are_more() {
        assert_eq!(more_text(3, 100), None);
        assert_eq!(more_text(100, 100), None);
        let text = "1 more match: raise --limit, or add a filter";
        assert_eq!(more_text(101, 100).as_deref(), Some(text));
    }

    #[test]
    fn a_dead_letter_is_a_row_and_an_object_without_hidden_characters() {
        let letter = ListedLetter {
            origin: "clicks.raw.v1:3:41:1764000000000".parse().unwrap(),
            redrive: 1,
            redrives: 2,
            state: DeadLetterState::FailedAgain,
            code: "bad_magic".to_owned(),
            stage: "VALUE_CONVERTER".to_owned(),
            message: "a\u{202e}b".to_owned(),
            pattern: "a\u{202e}b".to_owned(),
            group_id: "3fa94c1b".to_owned(),
            schema_id: 0,
            stub: String::new(),
            last_offset: 41,
            letter_topic: "clicks.raw.v1.dlq".to_owned(),
            letter_partition: 0,
            letter_offset: 9,
            value_bytes: 12,
            first_failed_at_ms: 0,
            last_failed_at_ms: 1000,
            job: String::new(),
        };
        let row = row(&letter);
        assert_eq!(row.len(), HEADINGS.len());
        assert_eq!(
            row[..4],
            ["clicks.raw.v1:3:41:1764000000000", "failed_again", "2", "bad_magic"]
        );
        assert_eq!(row[5], "a\\u{202e}b");
        let object = object(&letter);
        assert_eq!(object["state"], "failed_again");
        assert_eq!(object["schema_id"], Value::Null);
        assert_eq!(object["logged_at"], "2025-11-24T16:00:00.000Z");
        assert_eq!(json_line(&object["message"]), r#""a\u202eb""#);
    }
}
