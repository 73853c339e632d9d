//! Published examples of clicks, one JSON file each, as a person would write them.
//!
//! They feed the golden tests here and show readers of the topic what to expect.

use std::net::IpAddr;

use serde::Deserialize;
use uuid::Uuid;

use crate::{ClientIpPolicy, Method, Origin, Outcome, RawClick};

/// A click as JSON: the record's fields, with id, address and visitor in text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of RawClick and documented there")]
pub struct Example {
    /// What the example shows.
    pub shows: String,
    pub event_id: Uuid,
    pub occurred_at: i64,
    #[serde(default)]
    pub origin: Origin,
    #[serde(default)]
    pub source: String,
    pub domain: Option<String>,
    pub slug: String,
    pub query: Option<String>,
    pub link_id: Option<String>,
    pub link_version: Option<i64>,
    #[serde(default)]
    pub outcome: Outcome,
    #[serde(default)]
    pub status: i32,
    pub target_url: Option<String>,
    #[serde(default)]
    pub method: Method,
    pub scheme: Option<String>,
    pub http_version: Option<String>,
    pub client_ip: Option<IpAddr>,
    #[serde(default)]
    pub client_ip_policy: ClientIpPolicy,
    pub visitor_id: Option<u64>,
    #[serde(default)]
    pub identifiers_stripped: bool,
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
    pub edge_country: Option<String>,
    pub latency_us: Option<i32>,
}

impl Example {
    /// Address bytes, which [`Example::click`] borrows.
    pub fn client_ip_bytes(&self) -> Option<Vec<u8>> {
        self.client_ip.map(|ip| match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        })
    }

    /// The click that the example describes.
    pub fn click<'a>(&'a self, client_ip: Option<&'a [u8]>) -> RawClick<'a> {
        RawClick {
            event_id: self.event_id,
            occurred_at: self.occurred_at,
            origin: self.origin,
            source: &self.source,
            domain: self.domain.as_deref(),
            slug: &self.slug,
            query: self.query.as_deref(),
            link_id: self.link_id.as_deref(),
            link_version: self.link_version,
            outcome: self.outcome,
            status: self.status,
            target_url: self.target_url.as_deref(),
            method: self.method,
            scheme: self.scheme.as_deref(),
            http_version: self.http_version.as_deref(),
            client_ip,
            client_ip_policy: self.client_ip_policy,
            visitor_id: self.visitor_id.map(u64::to_be_bytes),
            identifiers_stripped: self.identifiers_stripped,
            user_agent: self.user_agent.as_deref(),
            referer: self.referer.as_deref(),
            accept_language: self.accept_language.as_deref(),
            purpose: self.purpose.as_deref(),
            sec_fetch_site: self.sec_fetch_site.as_deref(),
            sec_fetch_mode: self.sec_fetch_mode.as_deref(),
            sec_fetch_dest: self.sec_fetch_dest.as_deref(),
            sec_ch_ua: self.sec_ch_ua.as_deref(),
            sec_ch_ua_mobile: self.sec_ch_ua_mobile.as_deref(),
            sec_ch_ua_platform: self.sec_ch_ua_platform.as_deref(),
            x_requested_with: self.x_requested_with.as_deref(),
            dnt: self.dnt,
            gpc: self.gpc,
            edge_country: self.edge_country.as_deref(),
            latency_us: self.latency_us,
        }
    }
}
