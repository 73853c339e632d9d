//! One click as another redirector tells it: a JSON object, checked.
//!
//! Pure. Its fields are those of the schema, with id, address and time as text. Whoever brings an id
//! brings its time: both are the click's key, and a re-send must not stamp either anew.

use std::net::IpAddr;

use jiff::Timestamp;
use schemas::{Method, Outcome};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as WordError;
use thiserror::Error;
use uuid::Uuid;

use crate::click::Key;
use crate::import::access_log_line::{self, AHEAD_MAX, OLDEST};

/// A click as it is sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of schemas::RawClick")]
pub struct Record {
    pub event_id: Option<Uuid>,
    pub occurred_at: Option<Time>,
    pub source: Option<String>,
    pub domain: Option<String>,
    pub slug: String,
    pub query: Option<String>,
    pub link_id: Option<String>,
    pub link_version: Option<i64>,
    pub outcome: Option<String>,
    #[serde(default)]
    pub status: u16,
    pub target_url: Option<String>,
    pub method: Option<String>,
    pub scheme: Option<String>,
    pub http_version: Option<String>,
    pub client_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub referer: Option<String>,
    pub accept_language: Option<String>,
    pub purpose: Option<String>,
    pub sec_fetch_site: Option<String>,
    pub sec_fetch_mode: Option<String>,
    pub sec_fetch_dest: Option<String>,
    pub sec_ch_ua: Option<String>,
    pub sec_ch_ua_mobile: Option<String>,
    pub sec_ch_ua_platform: Option<String>,
    pub x_requested_with: Option<String>,
    #[serde(default)]
    pub dnt: bool,
    #[serde(default)]
    pub gpc: bool,
    /// The link opted out; not recorded, but obeyed.
    #[serde(default)]
    pub opt_out: bool,
    pub edge_country: Option<String>,
    pub latency_us: Option<i32>,
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "microseconds since 1970, or a time such as 2026-11-26T12:00:00Z")]
pub enum Time {
    /// Microseconds since 1970, UTC.
    Micros(i64),
    /// RFC 3339.
    Text(String),
}

/// Why a record is no click.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not an object of such fields.
    #[error("{0}")]
    Malformed(String),
    /// An id that nobody could have minted for it.
    #[error("event_id {0} is no UUID v7")]
    EventId(Uuid),
    /// An id without its time.
    #[error("event_id needs its occurred_at: both are the key, and a re-send must bring the same")]
    TimeMissing,
    /// A text that is no time.
    #[error("occurred_at {0:?} is no time such as 2026-11-26T12:00:00Z")]
    Time(String),
    /// Before 2000, or more than a day ahead.
    #[error("occurred_at {0} is before 2000 or more than a day ahead (microseconds since 1970)")]
    OutOfBounds(i64),
    /// A word that the schema does not have.
    #[error("outcome {0:?} is none that the schema has")]
    Outcome(String),
    /// Larger than the outbox takes.
    #[error("larger than the outbox takes")]
    TooLarge,
    /// A bug of ours.
    #[error("cannot be written by the schema: {0}")]
    Encode(String),
}

impl Fault {
    /// Stable name: in the answer, metric label, heading in the RUNBOOK.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "record_malformed",
            Self::EventId(_) => "event_id_version",
            Self::TimeMissing => "occurred_at_missing",
            Self::Time(_) => "occurred_at_malformed",
            Self::OutOfBounds(_) => "occurred_at_out_of_bounds",
            Self::Outcome(_) => "outcome_unknown",
            Self::TooLarge => "too_large",
            Self::Encode(_) => "encode",
        }
    }
}

impl Record {
    /// Id and time, the sender's or ours; `now` is microseconds since 1970.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn key(&self, now: i64, random: &[u8; 16]) -> Result<Key, Fault> {
        let occurred_at = match &self.occurred_at {
            None if self.event_id.is_some() => return Err(Fault::TimeMissing),
            None => now,
            Some(Time::Micros(micros)) => *micros,
            Some(Time::Text(text)) => match text.parse::<Timestamp>() {
                Ok(time) => time.as_microsecond(),
                Err(_) => return Err(Fault::Time(text.clone())),
            },
        };
        if !(OLDEST..=now.saturating_add(AHEAD_MAX)).contains(&occurred_at) {
            return Err(Fault::OutOfBounds(occurred_at));
        }
        match self.event_id {
            None => Ok(Key::mint(occurred_at, random)),
            Some(event_id) if event_id.get_version_num() == 7 => Ok(Key { event_id, occurred_at }),
            Some(event_id) => Err(Fault::EventId(event_id)),
        }
    }

    /// What the visitor got: as the sender says, or else by the status.
    ///
    /// # Errors
    /// The sender uses another word.
    pub fn outcome(&self) -> Result<Outcome, Fault> {
        let Some(text) = &self.outcome else { return Ok(access_log_line::outcome(self.status)) };
        let word: Result<Outcome, WordError> =
            Outcome::deserialize(text.as_str().into_deserializer());
        let word = word.ok().filter(|word| word.as_str() == text);
        word.ok_or_else(|| Fault::Outcome(text.clone()))
    }

    /// The method, as far as the schema tells methods apart.
    pub fn method(&self) -> Method {
        self.method.as_deref().map_or(Method::Other, access_log_line::method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_764_000_000_000_000;
    const DAY: i64 = 86_400_000_000;
    const V7: &str = "019aaa00-0000-7000-8000-000000000001";

    fn key(json: &str) -> Result<(String, i64), &'static str> {
        let record: Record = serde_json::from_str(json).map_err(|_| "record_malformed")?;
        let key = record.key(NOW, &[0xff; 16]).map_err(|fault| fault.code())?;
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
            (OLDEST, true),
            (OLDEST - 1, false),
            (NOW + DAY, true),
            (NOW + DAY + 1, false),
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
    fn outcomes_are_words_of_the_schema_or_follow_from_the_status() {
        let outcome = |json: &str| {
            let record: Record = serde_json::from_str(json).unwrap();
            record.outcome().map_err(|fault| fault.code())
        };
        assert_eq!(outcome(r#"{"slug":"a"}"#), Ok(Outcome::Unknown));
        assert_eq!(outcome(r#"{"slug":"a","status":307}"#), Ok(Outcome::Redirected));
        assert_eq!(
            outcome(r#"{"slug":"a","status":307,"outcome":"expired"}"#),
            Ok(Outcome::Expired)
        );
        assert_eq!(outcome(r#"{"slug":"a","outcome":"gone"}"#), Err("outcome_unknown"));
    }

    #[test]
    fn what_is_no_field_is_no_record() {
        for json in [
            "{}",
            "[]",
            "7",
            r#"{"slug":7}"#,
            r#"{"slug":"a","country":"AT"}"#,
            r#"{"slug":"a","client_ip":"203.0.113.256"}"#,
            r#"{"slug":"a","status":-1}"#,
            r#"{"slug":"a","event_id":"x","occurred_at":1}"#,
            r#"{"slug":"a""#,
        ] {
            assert!(serde_json::from_str::<Record>(json).is_err(), "{json}");
        }
    }
}
