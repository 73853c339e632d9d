//! The click of a JSON object that another redirector sent.
//!
//! Pure. A sender that sets the id of a click also sets its time: both are the key of the click, and must
//! be the same when the sender sends it again.

use std::borrow::Cow;

use jiff::Timestamp;
use schemas::bounds::{DAY_US, check_occurred_at};
use schemas::text_limits::SHORT_BYTES_MAX;
use schemas::{JsonClick, JsonTime, Origin, Outcome, RawClick};

use crate::click::{ClickKey, cut, cut_texts};
use crate::collector::record_fault::RecordFault;
use crate::host_name;

/// The times at which a click that is sent now may have occurred. Each day is a partition of the table,
/// so this bounds how many partitions the requests of an hour write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorWindow {
    /// Microseconds since 1970.
    pub now: i64,
    /// Most days ago.
    pub days: u32,
}

impl CollectorWindow {
    /// Checks the time of a click.
    ///
    /// # Errors
    /// [`RecordFault::OutOfBounds`], [`RecordFault::TooOld`].
    fn check(self, occurred_at: i64) -> Result<(), RecordFault> {
        let Self { now, days } = self;
        check_occurred_at(occurred_at, now).map_err(|_| RecordFault::OutOfBounds(occurred_at))?;
        if occurred_at < now.saturating_sub(i64::from(days) * DAY_US) {
            return Err(RecordFault::TooOld { occurred_at, days });
        }
        Ok(())
    }
}

/// Id and time of a click: those of the sender, or new ones.
///
/// # Errors
/// The fault of the sender's id or time.
pub fn collected_key(
    object: &JsonClick,
    window: CollectorWindow,
    random: &[u8; 16],
) -> Result<ClickKey, RecordFault> {
    let occurred_at = match &object.occurred_at {
        None if object.event_id.is_some() => return Err(RecordFault::TimeMissing),
        None => window.now,
        Some(JsonTime::Micros(micros)) => *micros,
        Some(JsonTime::Text(text)) => match text.parse::<Timestamp>() {
            Ok(time) => time.as_microsecond(),
            Err(_) => return Err(RecordFault::Time(cut(text, SHORT_BYTES_MAX).to_owned())),
        },
    };
    window.check(occurred_at)?;
    match object.event_id {
        None => Ok(ClickKey::mint(occurred_at, random)),
        Some(event_id) if event_id.get_version_num() == 7 => Ok(ClickKey { event_id, occurred_at }),
        Some(event_id) => Err(RecordFault::EventId(event_id)),
    }
}

/// The object, with host and scheme in the same form as in clicks of redirects.
pub fn normalised(object: JsonClick) -> JsonClick {
    let domain = object.domain.and_then(|host| host_name::domain(host.into()));
    let scheme = object.scheme.map(|scheme| scheme.to_ascii_lowercase());
    JsonClick { domain: domain.map(Cow::into_owned), scheme, ..object }
}

/// The click that another redirector sent, without the fields of the client. If the sender names no
/// source, the source is `node`, the host that received it.
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
    use schemas::bounds::OCCURRED_AT_MIN_US;
    use uuid::Uuid;

    use super::*;

    const NOW: i64 = 1_764_000_000_000_000;
    const V7: &str = "019aaa00-0000-7000-8000-000000000001";

    fn key(json: &str) -> Result<(String, i64), &'static str> {
        key_within(36_500, json)
    }

    fn key_within(days: u32, json: &str) -> Result<(String, i64), &'static str> {
        let object: JsonClick = serde_json::from_str(json).map_err(|_| "record_malformed")?;
        let window = CollectorWindow { now: NOW, days };
        let key = collected_key(&object, window, &[0xff; 16]).map_err(|fault| fault.code())?;
        Ok((key.event_id.to_string(), key.occurred_at))
    }

    #[test]
    fn an_id_without_its_time_is_rejected() {
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

    #[test]
    fn m6_a_click_before_the_window_of_days_is_rejected_with_an_alternative() {
        for (days, ago, expected) in [
            (30, 30 * DAY_US, None),
            (30, 30 * DAY_US + 1, Some("occurred_at_too_old")),
            (1, DAY_US, None),
            (1, 2 * DAY_US, Some("occurred_at_too_old")),
            (36_500, NOW - OCCURRED_AT_MIN_US, None),
            (36_500, NOW - OCCURRED_AT_MIN_US + 1, Some("occurred_at_out_of_bounds")),
            (30, NOW, Some("occurred_at_out_of_bounds")),
            (30, -DAY_US, None),
            (30, -DAY_US - 1, Some("occurred_at_out_of_bounds")),
        ] {
            let made = key_within(days, &format!(r#"{{"slug":"a","occurred_at":{}}}"#, NOW - ago));
            assert_eq!(made.err(), expected, "{days} {ago}");
        }
        let why = RecordFault::TooOld { occurred_at: 1, days: 30 }.to_string();
        assert!(why.contains("--collector-days") && why.contains("producer import"), "{why}");
    }

    #[test]
    fn m6_records_are_accepted_on_the_days_of_the_window_only() {
        let mut days = std::collections::BTreeSet::new();
        for ago in 0..9_800 {
            let at = NOW + DAY_US - ago * DAY_US;
            if let Ok((_, at)) = key_within(30, &format!(r#"{{"slug":"a","occurred_at":{at}}}"#)) {
                days.insert(at / DAY_US);
            }
        }
        assert_eq!(days.len(), 32);
    }
}
