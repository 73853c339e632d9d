//! The state and the history of one dead letter, as lines and as JSON.

use std::collections::BTreeMap;

use records::dead_letters::shown_text::{json_time, shown, shown_time};
use serde_json::{Value, json};

use crate::clickhouse::dead_letter_queries::ListedLetter;
use crate::clickhouse::letter_history::{LetterEvent, LetterFailure, LetterHistory};

/// Where it is, why it failed, and its state.
pub(super) fn letter_lines(
    letter: &ListedLetter,
    cut_parts: &BTreeMap<String, String>,
) -> Vec<String> {
    let ListedLetter { origin, state, redrives, group_id, code, stage, message, .. } = letter;
    let mut lines = vec![
        format!("origin: {}", shown(&origin.to_string())),
        format!("logged: {}", shown_time(origin.logged_at_ms)),
        format!("state: {state}, {redrives} redrives"),
        format!("group: {}", shown(group_id)),
        format!("code: {}", shown(code)),
        format!("stage: {}", shown(stage)),
        format!("message: {}", shown(message)),
        format!(
            "dead letter: {}:{}:{}",
            shown(&letter.letter_topic),
            letter.letter_partition,
            letter.letter_offset
        ),
    ];
    if !letter.job.is_empty() {
        lines.push(format!("job: {}", shown(&letter.job)));
    }
    match letter.stub.as_str() {
        "" => {}
        "batch" => lines.push(format!(
            "stub: no record of the batch at the offsets {}-{} can be read",
            origin.offset, letter.last_offset
        )),
        kind => {
            let kind = shown(kind);
            lines.push(format!(
                "stub ({kind}): parts of the record were too large for a dead letter; the source topic \
                 has them at the origin until its retention deletes them"
            ));
        }
    }
    lines.extend(
        cut_parts.iter().map(|(name, value)| format!("  {}: {}", shown(name), shown(value))),
    );
    lines
}

/// Failures and events in the order of time.
pub(super) fn history_lines(history: &LetterHistory) -> Vec<String> {
    let failures =
        history.failures.iter().map(|failure| (failure.failed_at_ms, failure_text(failure)));
    let events = history.events.iter().map(|event| (event.at_ms, event_text(event)));
    let mut all: Vec<(i64, String)> = failures.chain(events).collect();
    all.sort_by_key(|(at_ms, _)| *at_ms);
    let mut lines = vec!["history:".to_owned()];
    lines.extend(all.into_iter().map(|(at_ms, text)| format!("  {}  {text}", shown_time(at_ms))));
    if let Some(repair) = &history.repair {
        let bytes = repair.value.len();
        let (change, actor) = (shown(&repair.change), shown(&repair.actor));
        let at = shown_time(repair.at_ms);
        lines.push(format!("repair: {change}, {bytes} bytes, by {actor} at {at}"));
    }
    lines
}

fn failure_text(failure: &LetterFailure) -> String {
    let copy = match failure.redrive {
        0 => String::new(),
        number => format!(
            " (copy {number} at {}:{}:{})",
            shown(&failure.record_topic),
            failure.failed_partition,
            failure.failed_offset
        ),
    };
    format!("failed{copy}: {}: {}", shown(&failure.error_code), shown(&failure.message))
}

fn event_text(event: &LetterEvent) -> String {
    let mut text = shown(&event.event);
    if event.redrive > 0 {
        text.push_str(&format!(" (copy {})", event.redrive));
    }
    for (label, value) in [(" by ", &event.actor), (", job ", &event.job), (": ", &event.reason)] {
        if !value.is_empty() {
            text.push_str(label);
            text.push_str(&shown(value));
        }
    }
    text
}

/// The same as JSON.
pub(super) fn history(history: &LetterHistory) -> Value {
    let failure = |failure: &LetterFailure| {
        json!({
            "at": json_time(failure.failed_at_ms),
            "redrive": failure.redrive,
            "code": failure.error_code,
            "message": failure.message,
            "record": {
                "topic": failure.record_topic,
                "partition": failure.failed_partition,
                "offset": failure.failed_offset,
            },
            "dead_letter": {
                "topic": failure.copy_topic,
                "partition": failure.letter_partition,
                "offset": failure.letter_offset,
            },
        })
    };
    let event = |event: &LetterEvent| {
        json!({
            "at": json_time(event.at_ms),
            "event": event.event,
            "redrive": event.redrive,
            "job": event.job,
            "actor": event.actor,
            "reason": event.reason,
        })
    };
    let repair = history.repair.as_ref().map(|repair| {
        json!({
            "at": json_time(repair.at_ms),
            "repair": repair.change,
            "value_bytes": repair.value.len(),
            "actor": repair.actor,
        })
    });
    json!({
        "failures": history.failures.iter().map(failure).collect::<Vec<_>>(),
        "events": history.events.iter().map(event).collect::<Vec<_>>(),
        "repair": repair,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_events_are_in_the_order_of_time_without_hidden_characters() {
        let failure = |redrive, failed_at_ms| LetterFailure {
            redrive,
            failed_at_ms,
            error_code: "bad_magic".to_owned(),
            message: "a\u{1b}b".to_owned(),
            record_topic: "t".to_owned(),
            failed_partition: 3,
            failed_offset: 50,
            copy_topic: "t.dlq".to_owned(),
            letter_partition: 0,
            letter_offset: 9,
        };
        let event = LetterEvent {
            event: "pending".to_owned(),
            redrive: 1,
            job: "J".to_owned(),
            actor: "anna\u{202e}".to_owned(),
            reason: String::new(),
            at_ms: 2000,
        };
        let history = LetterHistory {
            failures: vec![failure(0, 1000), failure(1, 3000)],
            events: vec![event],
            ..LetterHistory::default()
        };
        assert_eq!(
            history_lines(&history),
            [
                "history:",
                "  1970-01-01 00:00:01Z  failed: bad_magic: a\\u{1b}b",
                "  1970-01-01 00:00:02Z  pending (copy 1) by anna\\u{202e}, job J",
                "  1970-01-01 00:00:03Z  failed (copy 1 at t:3:50): bad_magic: a\\u{1b}b",
            ]
        );
        assert_eq!(super::history(&history)["events"][0]["event"], "pending");
    }
}
