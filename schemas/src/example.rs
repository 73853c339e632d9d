//! Published examples of clicks, one JSON file each, in the form that a person writes.
//!
//! They are the input of the golden tests, and documentation for readers of the topic.

use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::click::RawClick;
use crate::json_click::{JsonClick, JsonTime};
use crate::symbols::{AgentKind, ClientIpPolicy, Origin};

/// A click as JSON, with the fields that no sender may set.
#[derive(Debug, Clone, Deserialize)]
pub struct Example {
    /// The purpose of the example.
    pub shows: String,
    #[serde(default)]
    origin: Origin,
    #[serde(default)]
    client_ip_policy: ClientIpPolicy,
    visitor_id: Option<u64>,
    #[serde(default)]
    identifiers_stripped: bool,
    #[serde(default)]
    agent_kind: AgentKind,
    #[serde(flatten, deserialize_with = "json_click")]
    click: JsonClick,
}

/// All other fields: a flattened struct would not refuse those that it does not have.
fn json_click<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JsonClick, D::Error> {
    let fields = serde_json::Map::deserialize(deserializer)?;
    serde_json::from_value(fields.into()).map_err(D::Error::custom)
}

impl Example {
    /// Address bytes, which [`Example::click`] borrows.
    pub fn client_ip_bytes(&self) -> Option<Vec<u8>> {
        self.click.client_ip.map(|ip| match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        })
    }

    /// The click that the example describes.
    ///
    /// # Panics
    /// The example has no id, no time in microseconds, or an unknown outcome.
    #[expect(clippy::expect_used, reason = "examples are part of this crate and held by a test")]
    pub fn click<'a>(&'a self, client_ip: Option<&'a [u8]>) -> RawClick<'a> {
        let event_id = self.click.event_id.expect("an example has an id");
        let Some(JsonTime::Micros(occurred_at)) = self.click.occurred_at else {
            unreachable!("an example has its time in microseconds")
        };
        let outcome = self.click.outcome().expect("an example has an outcome of the schema");
        RawClick {
            origin: self.origin,
            client_ip,
            client_ip_policy: self.client_ip_policy,
            visitor_id: self.visitor_id.map(u64::to_be_bytes),
            identifiers_stripped: self.identifiers_stripped,
            agent_kind: self.agent_kind,
            ..self.click.click(event_id, occurred_at, outcome)
        }
    }
}
