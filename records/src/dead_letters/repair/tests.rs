//! Repairs: what they change, and what they never change.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemas::{NEWEST, RELEASED, RawClick};

use super::*;

const LOGGED_AT_MS: i64 = 1_764_000_000_000;
const OLD: SchemaId = SchemaId(1);
const NEW: SchemaId = SchemaId(2);
const RANDOM: [u8; 16] = [0xab; 16];

struct Subject(BTreeMap<SchemaId, RecordSchema>);

impl Subject {
    fn new() -> Self {
        let of = |text| RecordSchema::new(text).unwrap();
        Self(BTreeMap::from([(OLD, of(RELEASED[0].1)), (NEW, of(NEWEST))]))
    }

    fn repair(&self, kind: Repair, input: &RepairInput<'_>) -> Result<Repaired, RepairError> {
        repair(kind, input, |id| self.0.get(&id))
    }

    fn edited(
        &self,
        json: serde_json::Value,
        input: &RepairInput<'_>,
    ) -> Result<Repaired, RepairError> {
        let serde_json::Value::Object(object) = json else { panic!("not an object") };
        edited(EditableClick::of_json(object)?, input, |id| self.0.get(&id))
    }
}

fn input(value: &[u8]) -> RepairInput<'_> {
    RepairInput { value, logged_at_ms: LOGGED_AT_MS, random: RANDOM, newest: NEW, fixed: None }
}

/// A framed click, which may break the rules.
fn value(id: SchemaId, event_id: Uuid, occurred_at: i64) -> Vec<u8> {
    let placeholder = Uuid::from_u128(u128::MAX);
    let click = RawClick {
        user_agent: Some("curl/8"),
        client_ip: Some(&[127, 0, 0, 1]),
        ..RawClick::new(placeholder, occurred_at, "spring")
    };
    let mut value = Vec::new();
    Encoder::new(id).encode(&click, &mut value).unwrap();
    if id == OLD {
        // The oldest schema has no agent_kind, the last field.
        value.pop();
    }
    value[5..21].copy_from_slice(event_id.as_bytes());
    value
}

const ID: Uuid = Uuid::from_u128(0x0193_5e53_0000_7000_8000_0000_0000_0053);
const TIME: i64 = LOGGED_AT_MS * 1000 - 5;

#[test]
fn trailing_bytes_are_cut_and_nothing_else_changes() {
    let subject = Subject::new();
    for (id, trailing) in [(OLD, 1), (NEW, 9), (NEW, 1 << 17)] {
        let good = value(id, ID, TIME);
        let bad = [good.clone(), vec![7; trailing]].concat();
        let repaired = subject.repair(Repair::TrailingBytes, &input(&bad)).unwrap();
        assert_eq!(repaired.value, good);
        assert_eq!(repaired.key_facts, KeyFacts { event_id: ID, occurred_at_us: TIME });
        let again = subject.repair(Repair::TrailingBytes, &input(&good));
        assert!(matches!(again, Err(RepairError::NotNeeded(_))), "{again:?}");
    }
    let cut = &value(NEW, ID, TIME)[..40];
    let error = subject.repair(Repair::TrailingBytes, &input(cut)).unwrap_err();
    assert!(matches!(&error, RepairError::FailsAgain(why) if why.code() == "avro_mismatch"));
    let nil = [value(NEW, Uuid::nil(), TIME), vec![7]].concat();
    let error = subject.repair(Repair::TrailingBytes, &input(&nil)).unwrap_err();
    assert!(error.to_string().contains("event_id_nil"), "{error}");
}

#[test]
fn another_schema_id_replaces_that_of_the_frame_if_the_record_decodes_by_it() {
    let subject = Subject::new();
    let good = value(NEW, ID, TIME);
    let mut bad = good.clone();
    bad[1..5].copy_from_slice(&77_u32.to_be_bytes());
    let repaired = subject.repair(Repair::SchemaId(NEW), &input(&bad)).unwrap();
    assert_eq!(repaired.value, good);
    for (id, bytes) in [(SchemaId(78), &bad), (OLD, &bad), (NEW, &good)] {
        let refused = subject.repair(Repair::SchemaId(id), &input(bytes));
        assert!(refused.is_err(), "{id}: {refused:?}");
    }
}

#[test]
fn only_the_key_fact_that_is_the_fault_is_set() {
    let subject = Subject::new();
    let log_time = LOGGED_AT_MS * 1000;
    for (event_id, time, keeps_id, keeps_time) in [
        (Uuid::nil(), TIME, false, true),
        (ID, 5, true, false),
        (ID, i64::MAX, true, false),
        (Uuid::nil(), i64::MIN, false, false),
    ] {
        for id in [OLD, NEW] {
            let bad = value(id, event_id, time);
            let repaired = subject.repair(Repair::KeyFacts, &input(&bad)).unwrap();
            let facts = repaired.key_facts;
            assert_eq!(facts.event_id == ID, keeps_id);
            assert_eq!(facts.occurred_at_us, if keeps_time { TIME } else { log_time });
            if !keeps_id {
                assert_eq!(facts.event_id.get_version_num(), 7);
                let (seconds, _) = facts.event_id.get_timestamp().unwrap().to_unix();
                assert_eq!(seconds, u64::try_from(facts.occurred_at_us / 1_000_000).unwrap());
            }
            let (frame, datum) = unframe(&repaired.value).unwrap();
            assert_eq!(frame, NEW, "the newest schema");
            let click = subject.0[&NEW].decoder.decode(datum).unwrap();
            assert_eq!((click.slug, click.user_agent), ("spring", Some("curl/8")));
        }
    }
    let good = value(NEW, ID, TIME);
    let refused = subject.repair(Repair::KeyFacts, &input(&good));
    assert!(matches!(refused, Err(RepairError::NotNeeded(_))), "{refused:?}");
    let cut = &value(NEW, Uuid::nil(), TIME)[..40];
    let refused = subject.repair(Repair::KeyFacts, &input(cut));
    assert!(matches!(refused, Err(RepairError::Unreadable { .. })), "{refused:?}");
}

#[test]
fn a_field_that_no_click_has_or_a_text_that_is_not_utf_8_is_not_lost_unseen() {
    let subject = Subject::new();
    let mut bad = value(NEW, Uuid::nil(), TIME);
    let at = bad.windows(6).position(|six| six == b"spring").unwrap();
    bad[at] = 0xff;
    let refused = subject.repair(Repair::KeyFacts, &input(&bad)).unwrap_err();
    assert!(refused.to_string().contains("cannot hold slug"), "{refused}");
}

#[test]
fn an_edit_keeps_valid_key_facts_and_those_of_an_earlier_repair() {
    let subject = Subject::new();
    let good = value(NEW, ID, TIME);
    let other = Uuid::from_u128(9).to_string();
    let json =
        serde_json::json!({ "slug": "summer", "event_id": ID.to_string(), "occurred_at": TIME });
    assert_eq!(subject.edited(json, &input(&good)).unwrap().key_facts.event_id, ID);
    let json = serde_json::json!({ "slug": "summer" });
    let facts = subject.edited(json, &input(&good)).unwrap().key_facts;
    assert_eq!(facts, KeyFacts { event_id: ID, occurred_at_us: TIME }, "null is filled in");
    for json in [
        serde_json::json!({ "slug": "a", "event_id": other, "occurred_at": TIME }),
        serde_json::json!({ "slug": "a", "event_id": ID.to_string(), "occurred_at": TIME + 1 }),
    ] {
        let refused = subject.edited(json, &input(&good));
        assert!(matches!(refused, Err(RepairError::KeyFact { .. })), "{refused:?}");
    }
    let bad = value(NEW, Uuid::nil(), TIME);
    let fixed = KeyFacts { event_id: ID, occurred_at_us: TIME };
    let later = RepairInput { fixed: Some(fixed), ..input(&bad) };
    let json = serde_json::json!({ "slug": "summer" });
    assert_eq!(subject.edited(json, &later).unwrap().key_facts, fixed);
    assert_eq!(subject.repair(Repair::KeyFacts, &later).unwrap().key_facts, fixed);
    let json = serde_json::json!({ "slug": "a", "event_id": other });
    assert!(subject.edited(json, &later).is_err());
    for json in [
        serde_json::json!({ "slug": "a", "event_id": Uuid::nil().to_string() }),
        serde_json::json!({ "slug": "a", "occurred_at": i64::MAX }),
        serde_json::json!({ "slug": "a".repeat(5000) }),
    ] {
        assert!(subject.edited(json.clone(), &input(b"no frame")).is_err(), "{json}");
    }
}

#[test]
fn a_repair_is_named_on_the_command_line_and_in_the_table() {
    for (text, repair) in [
        ("trailing_bytes", Repair::TrailingBytes),
        ("schema_id=7", Repair::SchemaId(SchemaId(7))),
        ("key_facts", Repair::KeyFacts),
    ] {
        assert_eq!(text.parse(), Ok(repair));
        assert!(text.starts_with(repair.name()));
    }
    for bad in ["", "schema_id", "schema_id=", "schema_id=-1", "key_facts=1", "edit"] {
        assert!(bad.parse::<Repair>().is_err(), "{bad}");
    }
    let migration = include_str!("../../../../processors/migrations/0006_dead_letters.sql");
    assert!(migration.contains(&format!("COMMENT '{EDIT}, schema_id, trailing_bytes, key_facts'")));
}

fn kinds() -> impl Strategy<Value = Repair> {
    prop_oneof![
        Just(Repair::TrailingBytes),
        Just(Repair::KeyFacts),
        prop_oneof![Just(OLD), Just(NEW), any::<u32>().prop_map(SchemaId)]
            .prop_map(Repair::SchemaId),
    ]
}

proptest! {
    /// Any damage, any repair: what is sent decodes, and has the key facts of the record where they are
    /// valid.
    #[test]
    fn no_repair_changes_a_valid_key_fact(
        kind in kinds(),
        is_nil: bool,
        time in prop_oneof![Just(TIME), any::<i64>()],
        is_old: bool,
        frame_id in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
        cut in 0_usize..80,
        tail in proptest::collection::vec(any::<u8>(), 0..20),
        damage in proptest::option::of((0_usize..80, any::<u8>())),
    ) {
        let subject = Subject::new();
        let event_id = if is_nil { Uuid::nil() } else { ID };
        let id = if is_old { OLD } else { NEW };
        let mut bad = value(id, event_id, time);
        if cut % 3 == 0 {
            bad.truncate(bad.len().saturating_sub(cut / 3));
        }
        bad.extend_from_slice(&tail);
        if let Some((at, byte)) = damage && at >= 21 && at < bad.len() {
            bad[at] = byte;
        }
        if let Some(id) = frame_id && bad.len() >= 5 {
            bad[1..5].copy_from_slice(&id.to_be_bytes());
        }
        if let Ok(repaired) = subject.repair(kind, &input(&bad)) {
            let (id, datum) = unframe(&repaired.value).unwrap();
            let click = decode(&subject.0[&id].decoder, datum, LOGGED_AT_MS).unwrap();
            prop_assert_eq!(click.event_id, repaired.key_facts.event_id);
            prop_assert_eq!(click.occurred_at, repaired.key_facts.occurred_at_us);
            // Byte 21 may begin the time, which damage may have changed.
            if !is_nil {
                prop_assert_eq!(click.event_id, ID);
            }
            if is_within_bounds(time, LOGGED_AT_MS) && damage.is_none() {
                prop_assert_eq!(click.occurred_at, time);
            }
        }
    }
}
