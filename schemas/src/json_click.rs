//! A click as a JSON object: the fields of the record, with id, address and time as text.
//!
//! Other redirectors send it to the collector, and the published examples have this form.

use std::fmt;
use std::net::IpAddr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::click::{EventId, RawClick};
use crate::symbols::{Method, Outcome};

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonTime {
    /// Microseconds since 1970, UTC.
    Micros(i64),
    /// RFC 3339.
    Text(String),
}

impl<'de> Deserialize<'de> for JsonTime {
    /// Refuses an object or an array at its first byte; a derived enum would store it first.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonTimeVisitor)
    }
}

struct JsonTimeVisitor;

impl Visitor<'_> for JsonTimeVisitor {
    type Value = JsonTime;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("microseconds since 1970, or a time such as 2026-11-26T12:00:00Z")
    }

    fn visit_i64<E: Error>(self, micros: i64) -> Result<JsonTime, E> {
        Ok(JsonTime::Micros(micros))
    }

    fn visit_u64<E: Error>(self, micros: u64) -> Result<JsonTime, E> {
        let signed = i64::try_from(micros);
        signed
            .map(JsonTime::Micros)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(micros), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<JsonTime, E> {
        Ok(JsonTime::Text(text.to_owned()))
    }
}

/// The value, or for `null` the value of an absent field.
fn null_as_default<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An address; the error of a text with more than an address states the expected form.
fn client_ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let expected = "client_ip to be one address without port, such as 203.0.113.7, or null";
    let address = text.parse().map(Some);
    address.map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

/// Makes the struct, and the click that borrows from it, from one list of the optional texts, whose
/// names are the same in both.
macro_rules! json_click {
    ($($text:ident)*) => {
        /// A click as a JSON object.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "the fields are those of RawClick and documented there")]
        pub struct JsonClick {
            pub event_id: Option<Uuid>,
            pub occurred_at: Option<JsonTime>,
            pub source: Option<String>,
            pub slug: String,
            pub link_version: Option<i64>,
            pub outcome: Option<String>,
            #[serde(default, deserialize_with = "null_as_default")]
            pub status: u16,
            pub method: Option<String>,
            #[serde(default, deserialize_with = "client_ip")]
            pub client_ip: Option<IpAddr>,
            #[serde(default, deserialize_with = "null_as_default")]
            pub dnt: bool,
            #[serde(default, deserialize_with = "null_as_default")]
            pub gpc: bool,
            /// The link opted out of identifying its visitors; a click has no such field.
            #[serde(default, deserialize_with = "null_as_default")]
            pub opt_out: bool,
            pub latency_us: Option<i32>,
            $(pub $text: Option<String>,)*
        }

        impl JsonClick {
            /// The click with this key, without its client; its texts may have any length.
            pub fn click(
                &self,
                event_id: EventId,
                occurred_at: i64,
                outcome: Outcome,
            ) -> RawClick<'_> {
                RawClick {
                    source: self.source.as_deref().unwrap_or_default(),
                    link_version: self.link_version,
                    outcome,
                    status: self.status.into(),
                    method: self.method.as_deref().map(Method::from_name).unwrap_or_default(),
                    dnt: self.dnt,
                    gpc: self.gpc,
                    latency_us: self.latency_us,
                    $($text: self.$text.as_deref(),)*
                    ..RawClick::new(event_id, occurred_at, &self.slug)
                }
            }
        }
    };
}

json_click! {
    domain query link_id target_url scheme http_version user_agent referer accept_language purpose
    sec_fetch_site sec_fetch_mode sec_fetch_dest sec_ch_ua sec_ch_ua_mobile sec_ch_ua_platform
    x_requested_with edge_country
}

/// An outcome that the schema does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outcome {0:?} is not one of the schema's")]
pub struct UnknownOutcome(pub String);

impl JsonClick {
    /// The answer to the visitor: the outcome of the object, or else that of its status.
    ///
    /// # Errors
    /// It names an outcome that the schema does not have.
    pub fn outcome(&self) -> Result<Outcome, UnknownOutcome> {
        match &self.outcome {
            None => Ok(Outcome::from_status(self.status)),
            Some(text) => Outcome::from_symbol(text).ok_or_else(|| UnknownOutcome(text.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_symbols_of_the_schema_or_follow_from_the_status() {
        let outcome = |json: &str| serde_json::from_str::<JsonClick>(json).unwrap().outcome();
        assert_eq!(outcome(r#"{"slug":"a"}"#), Ok(Outcome::Unknown));
        assert_eq!(outcome(r#"{"slug":"a","status":307}"#), Ok(Outcome::Redirected));
        assert_eq!(
            outcome(r#"{"slug":"a","status":307,"outcome":"expired"}"#),
            Ok(Outcome::Expired)
        );
        let unknown = UnknownOutcome("gone".to_owned());
        assert_eq!(outcome(r#"{"slug":"a","outcome":"gone"}"#), Err(unknown));
    }

    #[test]
    fn a_time_is_a_number_or_a_text() {
        let time = |json: &str| {
            let object = format!(r#"{{"slug":"a","occurred_at":{json}}}"#);
            serde_json::from_str::<JsonClick>(&object).unwrap().occurred_at
        };
        assert_eq!(time("5"), Some(JsonTime::Micros(5)));
        assert_eq!(time("-5"), Some(JsonTime::Micros(-5)));
        assert_eq!(time(r#""so\u006fn""#), Some(JsonTime::Text("soon".to_owned())));
        assert_eq!(time("null"), None);
    }

    #[test]
    fn c5_null_is_an_absent_field_for_every_field_but_the_slug() {
        for field in [
            "event_id",
            "occurred_at",
            "source",
            "link_version",
            "outcome",
            "status",
            "method",
            "client_ip",
            "dnt",
            "gpc",
            "opt_out",
            "latency_us",
            "domain",
            "query",
            "link_id",
            "target_url",
            "scheme",
            "http_version",
            "user_agent",
            "referer",
            "accept_language",
            "purpose",
            "sec_fetch_site",
            "sec_fetch_mode",
            "sec_fetch_dest",
            "sec_ch_ua",
            "sec_ch_ua_mobile",
            "sec_ch_ua_platform",
            "x_requested_with",
            "edge_country",
        ] {
            let read = |json: &str| format!("{:?}", serde_json::from_str::<JsonClick>(json));
            let absent = read(r#"{"slug":"a"}"#);
            assert!(absent.starts_with("Ok"), "{absent}");
            assert_eq!(read(&format!(r#"{{"slug":"a","{field}":null}}"#)), absent, "{field}");
        }
        assert!(serde_json::from_str::<JsonClick>(r#"{"slug":null}"#).is_err());
    }

    #[test]
    fn c5_a_client_address_with_anything_besides_is_refused_with_its_reason() {
        for address in ["203.0.113.7:4711", "[2001:db8::1]:80", "1.1.1.1, 2.2.2.2", "", "host"] {
            let json = format!(r#"{{"slug":"a","client_ip":"{address}"}}"#);
            let error = serde_json::from_str::<JsonClick>(&json).unwrap_err().to_string();
            assert!(error.contains(&format!("{address:?}")), "{error}");
            assert!(error.contains("client_ip to be one address without port"), "{error}");
        }
        let escaped = r#"{"slug":"a","client_ip":"203.0.113.7"}"#;
        let address = serde_json::from_str::<JsonClick>(escaped).unwrap().client_ip;
        assert_eq!(address, Some([203, 0, 113, 7].into()));
    }

    #[test]
    fn an_object_with_another_field_or_type_is_refused() {
        for json in [
            "{}",
            "[]",
            "7",
            r#"{"slug":7}"#,
            r#"{"slug":"a","country":"AT"}"#,
            r#"{"slug":"a","visitor_id":null}"#,
            r#"{"slug":"a","client_ip":"203.0.113.256"}"#,
            r#"{"slug":"a","status":-1}"#,
            r#"{"slug":"a","event_id":"x","occurred_at":1}"#,
            r#"{"slug":"a","occurred_at":[[0,0],{"a":0}]}"#,
            r#"{"slug":"a","occurred_at":{"Micros":1}}"#,
            r#"{"slug":"a","occurred_at":1.5}"#,
            r#"{"slug":"a","occurred_at":true}"#,
            r#"{"slug":"a","occurred_at":9223372036854775808}"#,
            r#"{"slug":"a""#,
        ] {
            assert!(serde_json::from_str::<JsonClick>(json).is_err(), "{json}");
        }
    }
}
