//! `processors dlq groups`: dead letters by error code, message pattern and schema id.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::{json_line, json_time, shown, shown_time};
use records::dead_letters::state::DeadLetterState;
use serde_json::{Value, json};

use crate::clickhouse::dead_letter_filter::DeadLetterFilter;
use crate::clickhouse::dead_letter_queries::{self, LetterGroup};
use crate::cmd::dlq::no_match::empty_list;
use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::exit::{DONE, print_line};

/// Arguments of `dlq groups`.
#[derive(Debug, Args)]
pub(super) struct GroupsArgs {
    #[command(flatten)]
    filter: DeadLetterFilter,
    /// Print one JSON object for each group.
    #[arg(long)]
    json: bool,
}

const HEADINGS: [&str; 9] =
    ["GROUP", "COUNT", "STATES", "CODE", "SCHEMA", "FIRST", "LAST", "SAMPLE", "PATTERN"];

pub(super) async fn groups(servers: &Servers, args: GroupsArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    let topic = servers.kafka.topic.as_str();
    let condition = args.filter.sql(topic);
    let groups = dead_letter_queries::groups(&server, &condition).await?;
    if args.json {
        for group in &groups {
            print_line(json_line(&object(group)));
        }
        return Ok(DONE);
    }
    match groups.first() {
        None => print_line(empty_list(&server, &args.filter, topic).await?),
        Some(first) => {
            let rows = groups.iter().map(row).collect();
            Table::new(&HEADINGS).lines(rows).iter().for_each(print_line);
            let id = shown(&first.id);
            print_line(format_args!("next: processors dlq ls --group {id}"));
        }
    }
    Ok(DONE)
}

/// The states that a dead letter of the group has, and how many are in each.
fn states(group: &LetterGroup) -> impl Iterator<Item = (DeadLetterState, u64)> {
    let counts = group.states.iter().copied();
    DeadLetterState::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
}

fn row(group: &LetterGroup) -> Vec<String> {
    let states: Vec<String> =
        states(group).map(|(state, count)| format!("{state} {count}")).collect();
    vec![
        shown(&group.id),
        group.letters.to_string(),
        states.join(", "),
        shown(&group.error_code),
        if group.schema == 0 { "-".to_owned() } else { group.schema.to_string() },
        shown_time(group.first_ms),
        shown_time(group.last_ms),
        shown(&group.sample),
        shown(&group.message_pattern),
    ]
}

fn object(group: &LetterGroup) -> Value {
    let states: serde_json::Map<String, Value> =
        states(group).map(|(state, count)| (state.to_string(), count.into())).collect();
    json!({
        "group": group.id,
        "count": group.letters,
        "states": states,
        "code": group.error_code,
        "schema_id": (group.schema > 0).then_some(group.schema),
        "first_failed_at": json_time(group.first_ms),
        "last_failed_at": json_time(group.last_ms),
        "sample": group.sample,
        "pattern": group.message_pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_shows_its_states_and_hides_no_character() {
        let group = LetterGroup {
            id: "3fa94c1b".to_owned(),
            error_code: "bad_magic".to_owned(),
            message_pattern: "magic \u{1b}[2J #".to_owned(),
            schema: 0,
            letters: 5,
            states: vec![3, 0, 0, 2, 0, 0],
            first_ms: 0,
            last_ms: 1000,
            sample: "t:0:1:2".to_owned(),
        };
        let row = row(&group);
        assert_eq!(row.len(), HEADINGS.len());
        assert_eq!(row[..5], ["3fa94c1b", "5", "open 3, resolved 2", "bad_magic", "-"]);
        assert_eq!(row[8], "magic \\u{1b}[2J #");
        assert_eq!(object(&group)["states"], json!({ "open": 3, "resolved": 2 }));
        assert_eq!(object(&group)["schema_id"], Value::Null);
        let framed = LetterGroup { schema: 7, ..group };
        assert_eq!(object(&framed)["schema_id"], 7);
    }
}
