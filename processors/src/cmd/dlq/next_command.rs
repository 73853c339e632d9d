//! The commands that an operator may want after `dlq show`. Pure.

use records::dead_letters::inspection::{Inspection, Reading};
use records::dead_letters::shown_text::shown;
use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::dead_letter_queries::ListedLetter;

/// The arguments of `processors dlq`, the most useful command first. A stored repair is sent as it is, so
/// that no other repair applies to it.
pub(super) fn next_commands(
    letter: &ListedLetter,
    inspection: Option<&Inspection>,
    has_repair: bool,
) -> Vec<String> {
    let origin = shown(&letter.origin.to_string());
    match letter.state {
        DeadLetterState::Pending => vec![format!("jobs show {}", shown(&letter.job))],
        DeadLetterState::Discarded => vec![format!("reopen {origin}")],
        DeadLetterState::Resolved => vec![format!("reopen --state resolved {origin}")],
        DeadLetterState::Open | DeadLetterState::FailedAgain | DeadLetterState::Parked => {
            let repairs = match has_repair {
                true => Vec::new(),
                false => repairs(&letter.code, inspection),
            };
            let edit = repairs.iter().any(|repair| repair == KEY_FACTS);
            let edit = edit.then(|| format!("edit {origin}"));
            let redrive = |repair: &String| format!("redrive --dry-run --repair {repair} {origin}");
            let mut commands: Vec<String> =
                edit.into_iter().chain(repairs.iter().map(redrive)).collect();
            if commands.is_empty() {
                commands.push(match !has_repair && inspection.is_some_and(decodes_nowhere) {
                    // A redrive would fail again.
                    true => format!("discard --group {} --reason TEXT", shown(&letter.group_id)),
                    false => format!("redrive --dry-run {origin}"),
                });
            }
            commands
        }
    }
}

/// No schema decodes the value.
fn decodes_nowhere(inspection: &Inspection) -> bool {
    inspection.readings.iter().all(|reading| reading.stop.is_some())
}

const KEY_FACTS: &str = "key_facts";

/// The repairs that may apply.
fn repairs(code: &str, inspection: Option<&Inspection>) -> Vec<String> {
    if ["event_id_nil", "occurred_at_out_of_bounds"].contains(&code) {
        return vec![KEY_FACTS.to_owned()];
    }
    // No repair adds a frame.
    let Some(inspection) = inspection.filter(|found| found.frame_schema_id.is_some()) else {
        return Vec::new();
    };
    let of_frame = inspection.readings.iter().find(|reading| reading.is_of_frame);
    let has_other_fault = of_frame.is_some_and(|reading| reading.stop.is_none());
    if has_other_fault && code != "schema_of_other_subject" {
        return Vec::new();
    }
    let decoding = inspection.readings.iter().filter(|it| !it.is_of_frame && it.stop.is_none());
    let newest = decoding.filter_map(|reading| reading.schema_id).max();
    let schema_id = newest.map(|id| format!("schema_id={id}"));
    let trailing = of_frame.filter(|reading| has_trailing_bytes(reading));
    schema_id.into_iter().chain(trailing.map(|_| "trailing_bytes".to_owned())).collect()
}

/// All fields decode, and bytes follow.
fn has_trailing_bytes(reading: &Reading) -> bool {
    !reading.fields.is_empty() && reading.stop.as_ref().is_some_and(|stop| stop.field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::dead_letters::inspection::{ReadField, Stop};

    fn letter(state: DeadLetterState, code: &str) -> ListedLetter {
        ListedLetter {
            origin: "t:3:41:9".parse().unwrap(),
            redrive: 0,
            redrives: 0,
            state,
            code: code.to_owned(),
            stage: "VALUE_CONVERTER".to_owned(),
            message: String::new(),
            pattern: String::new(),
            group_id: "3fa94c1b".to_owned(),
            schema_id: 4,
            stub: String::new(),
            last_offset: 41,
            letter_topic: "t.dlq".to_owned(),
            letter_partition: 0,
            letter_offset: 9,
            value_bytes: 12,
            first_failed_at_ms: 0,
            last_failed_at_ms: 0,
            job: "J".to_owned(),
        }
    }

    /// A reading that stops at a field; at the empty one, all fields decode.
    fn reading(id: Option<u32>, is_of_frame: bool, stop: Option<&str>) -> Reading {
        let stop =
            stop.map(|field| Stop { field: field.to_owned(), byte: 9, cause: String::new() });
        let field = ReadField { name: "slug".to_owned(), value: "good".into(), text: None };
        let (schema, fields) = ("s".to_owned(), vec![field]);
        Reading { schema, schema_id: id, is_of_frame, begins: 5, fields, stop }
    }

    fn inspection(readings: Vec<Reading>) -> Inspection {
        Inspection { frame_schema_id: Some(4), frame_error: None, readings, rest: 5 }
    }

    #[test]
    fn the_next_command_of_each_state_can_be_run_as_it_is_printed() {
        for (state, expected) in [
            (DeadLetterState::Open, "redrive --dry-run t:3:41:9"),
            (DeadLetterState::FailedAgain, "redrive --dry-run t:3:41:9"),
            (DeadLetterState::Parked, "redrive --dry-run t:3:41:9"),
            (DeadLetterState::Pending, "jobs show J"),
            (DeadLetterState::Discarded, "reopen t:3:41:9"),
            (DeadLetterState::Resolved, "reopen --state resolved t:3:41:9"),
        ] {
            assert_eq!(next_commands(&letter(state, "bad_magic"), None, false), [expected]);
        }
    }

    #[test]
    fn a_repair_that_may_apply_is_named() {
        let commands = |code: &str, readings| {
            let own = letter(DeadLetterState::Open, code);
            next_commands(&own, Some(&inspection(readings)), false)
        };
        let plain = ["redrive --dry-run t:3:41:9"];
        let by_schema = ["redrive --dry-run --repair schema_id=7 t:3:41:9"];
        let others = || [reading(Some(5), false, None), reading(Some(7), false, None)];
        let with_frame = |own: Reading| others().into_iter().chain([own]).collect::<Vec<_>>();
        assert_eq!(
            commands("avro_mismatch", with_frame(reading(Some(4), true, Some("x")))),
            by_schema
        );
        assert_eq!(commands("unknown_schema", Vec::from(others())), by_schema);
        let decodes = || reading(Some(4), true, None);
        assert_eq!(commands("schema_of_other_subject", with_frame(decodes())), by_schema);
        assert_eq!(commands("click_rule", with_frame(decodes())), plain);
        let trailing = || reading(Some(4), true, Some(""));
        let cut = ["redrive --dry-run --repair trailing_bytes t:3:41:9"];
        assert_eq!(commands("trailing_bytes", vec![trailing()]), cut);
        assert_eq!(commands("trailing_bytes", with_frame(trailing())), [by_schema, cut].concat());
        assert_eq!(commands("avro_mismatch", vec![reading(None, false, None)]), plain);
        for code in ["event_id_nil", "occurred_at_out_of_bounds"] {
            let expected = ["edit t:3:41:9", "redrive --dry-run --repair key_facts t:3:41:9"];
            assert_eq!(commands(code, vec![decodes()]), expected);
            let own = letter(DeadLetterState::Open, code);
            assert_eq!(next_commands(&own, None, true), plain);
        }
        let stopped = || vec![reading(Some(5), false, Some("x"))];
        let discard = ["discard --group 3fa94c1b --reason TEXT"];
        assert_eq!(commands("avro_mismatch", stopped()), discard);
        assert_eq!(commands("bad_magic", vec![]), discard);
        let own = letter(DeadLetterState::Open, "avro_mismatch");
        assert_eq!(next_commands(&own, Some(&inspection(stopped())), true), plain);
        let no_frame = Inspection { frame_schema_id: None, ..inspection(Vec::from(others())) };
        let own = letter(DeadLetterState::Open, "bad_magic");
        assert_eq!(next_commands(&own, Some(&no_frame), false), plain);
    }
}
