//! The click of a JSON object that another redirector sent.
//!
//! Pure. A sender that brings an id brings its time: both are the click's key, and a re-send must
//! not stamp either again.

use jiff::Timestamp;
use schemas::bounds::check_occurred_at;
use schemas::text_limits::SHORT_BYTES_MAX;
use schemas::{JsonClick, JsonTime, Origin, Outcome, RawClick};

use crate::click::{ClickKey, cut, cut_texts};
use crate::collector::record_fault::RecordFault;

/// Id and time of a click, the sender's or ours; `now` is microseconds since 1970.
///
/// # Errors
/// What is wrong with them.
pub fn collected_key(
    object: &JsonClick,
    now: i64,
    random: &[u8; 16],
) -> Result<ClickKey, RecordFault> {
    let occurred_at = match &object.occurred_at {
        None if object.event_id.is_some() => return Err(RecordFault::TimeMissing),
        None => now,
        Some(JsonTime::Micros(micros)) => *micros,
        Some(JsonTime::Text(text)) => match text.parse::<Timestamp>() {
            Ok(time) => time.as_microsecond(),
            Err(_) => return Err(RecordFault::Time(text.clone())),
        },
    };
    check_occurred_at(occurred_at, now).map_err(|_| RecordFault::OutOfBounds(occurred_at))?;
    match object.event_id {
        None => Ok(ClickKey::mint(occurred_at, random)),
        Some(event_id) if event_id.get_version_num() == 7 => Ok(ClickKey { event_id, occurred_at }),
        Some(event_id) => Err(RecordFault::EventId(event_id)),
    }
}

/// The click that another redirector sent, without its client. Where the sender names no source it
/// is `node`, which received it.
pub fn collected_click<'a>(
    key: ClickKey,
    node: &'a str,
    object: &'a JsonClick,
    outcome: Outcome,
) -> RawClick<'a> {
    let sent = object.click(key.event_id, key.occurred_at, outcome);
    let mut click = RawClick {
        origin: Origin::Collector,
        source: object.source.as_deref().unwrap_or(node),
        slug: sent.slug.strip_prefix('/').unwrap_or(sent.slug),
        link_id: sent.link_id.map(|id| cut(id, SHORT_BYTES_MAX)),
        ..sent
    };
    cut_texts(&mut click);
    click
}

#[cfg(test)]
mod tests {
    use schemas::bounds::{DAY_US, OCCURRED_AT_MIN_US};
    use uuid::Uuid;

    use super::*;

    const NOW: i64 = 1_764_000_000_000_000;
    const V7: &str = "019aaa00-0000-7000-8000-000000000001";

    fn key(json: &str) -> Result<(String, i64), &'static str> {
        let object: JsonClick = serde_json::from_str(json).map_err(|_| "record_malformed")?;
        let key = collected_key(&object, NOW, &[0xff; 16]).map_err(|fault| fault.code())?;
        Ok((key.event_id.to_string(), key.occurred_at))
    }

    #[test]
    fn an_id_comes_with_its_time_or_not_at_all() {
        let with = |more: &str| key(&format!(r#"{{"slug":"a"{more}}}"#));
        let (minted, at) = with("").unwrap();
        assert!(at == NOW && minted.starts_with("019ab697-e800-7fff-"));
        let of = |time: &str| format!(r#","event_id":"{V7}","occurred_at":{time}"#);
        assert_eq!(with(&of("1700000000000001")), Ok((V7.to_owned(), 1_700_000_000_000_001)));
        assert_eq!(
            with(&of(r#""2023-11-14T22:13:20.000001Z""#)),
            Ok((V7.to_owned(), 1_700_000_000_000_001))
        );
        assert_eq!(with(&format!(r#","event_id":"{V7}""#)), Err("occurred_at_missing"));
        let v4 = of("1700000000000001").replace("-7000-", "-4000-");
        assert_eq!(with(&v4), Err("event_id_version"));
        let nil = of("1700000000000001").replace(V7, &Uuid::nil().to_string());
        assert_eq!(with(&nil), Err("event_id_version"));
        assert_eq!(with(r#","occurred_at":"soon""#), Err("occurred_at_malformed"));
        assert_eq!(with(r#","occurred_at":{}"#), Err("record_malformed"));
    }

    #[test]
    fn a_time_lies_between_2000_and_a_day_ahead() {
        for (time, good) in [
            (OCCURRED_AT_MIN_US, true),
            (OCCURRED_AT_MIN_US - 1, false),
            (NOW + DAY_US, true),
            (NOW + DAY_US + 1, false),
            (1_764_000_000, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            let made = key(&format!(r#"{{"slug":"a","occurred_at":{time}}}"#));
            assert_eq!(made.is_ok(), good, "{time}");
            assert!(good || made == Err("occurred_at_out_of_bounds"), "{made:?}");
        }
    }
}
