//! A row of `click_versions`, field by field in the order of its columns.
//!
//! `ingested_at` is not here: the server's clock fills it, for one clock must
//! decide which version of a click is the newest.

use std::net::Ipv6Addr;

use schemas::RawClick;
use serde::Serialize;

use crate::enrich::{ENRICH_VERSION, Enrichment};

/// Where a record stood in the log.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
    /// Trace of the request, where it was sampled; else zeros.
    pub trace_id: [u8; 16],
}

/// One version of one click. Empty text, 0 and `::` are unknown.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ClickRow<'a> {
    pub occurred_at: i64,
    pub event_id: [u8; 16],
    pub origin: &'static str,
    pub source: &'a str,
    pub domain: &'a str,
    pub slug: &'a str,
    pub query: &'a str,
    pub link_id: &'a str,
    pub link_version: u32,
    pub outcome: &'static str,
    pub status: u16,
    pub target_url: &'a str,
    pub method: &'static str,
    pub scheme: &'a str,
    pub http_version: &'a str,
    pub client_ip: Ipv6Addr,
    pub client_ip_policy: &'static str,
    pub visitor_id: u64,
    pub identifiers_stripped: bool,
    pub user_agent: &'a str,
    pub referer: &'a str,
    pub edge_country: &'a str,
    pub latency_us: u32,
    pub browser: &'a str,
    pub browser_version: &'a str,
    pub os: &'a str,
    pub os_version: &'a str,
    pub device: &'a str,
    pub is_bot: bool,
    pub bot_class: &'static str,
    pub referrer_host: &'a str,
    pub target_host: &'a str,
    pub language: &'a str,
    pub utm_source: &'a str,
    pub utm_medium: &'a str,
    pub utm_campaign: &'a str,
    pub utm_term: &'a str,
    pub utm_content: &'a str,
    pub referrer_source: &'a str,
    pub referrer_medium: &'static str,
    pub channel: &'static str,
    pub click_id_param: &'a str,
    pub in_app: &'a str,
    pub trigger: &'static str,
    pub kafka_topic: &'a str,
    pub kafka_partition: u32,
    pub kafka_offset: u64,
    pub logged_at: i64,
    pub trace_id: [u8; 16],
    pub enrich_version: u32,
    pub geo_db_build: &'a str,
    pub ua_rules_version: &'a str,
    pub country: &'a str,
    pub continent: &'a str,
    pub region: &'a str,
    pub city: &'a str,
    pub browser_major: &'a str,
    pub device_brand: &'a str,
    pub device_model: &'a str,
    pub bot_name: &'a str,
    pub bot_rules_version: &'a str,
    pub referrer_rules_version: &'a str,
}

impl<'a> ClickRow<'a> {
    /// Puts facts, rules and place together.
    pub fn new(click: &RawClick<'a>, enriched: &'a Enrichment<'a>, place: Place<'a>) -> Self {
        let (campaign, arrival) = (&enriched.campaign, &enriched.arrival);
        Self {
            occurred_at: click.occurred_at,
            event_id: click.event_id.into_bytes(),
            origin: click.origin.as_str(),
            source: click.source,
            domain: click.domain.unwrap_or_default(),
            slug: click.slug,
            query: click.query.unwrap_or_default(),
            link_id: click.link_id.unwrap_or_default(),
            link_version: click.link_version.and_then(|v| u32::try_from(v).ok()).unwrap_or(0),
            outcome: click.outcome.as_str(),
            status: u16::try_from(click.status).unwrap_or(0),
            target_url: click.target_url.unwrap_or_default(),
            method: click.method.as_str(),
            scheme: click.scheme.unwrap_or_default(),
            http_version: click.http_version.unwrap_or_default(),
            client_ip: address(click.client_ip),
            client_ip_policy: click.client_ip_policy.as_str(),
            visitor_id: click.visitor_id.map_or(0, u64::from_be_bytes),
            identifiers_stripped: click.identifiers_stripped,
            user_agent: click.user_agent.unwrap_or_default(),
            referer: click.referer.unwrap_or_default(),
            edge_country: click.edge_country.unwrap_or_default(),
            latency_us: click.latency_us.and_then(|us| u32::try_from(us).ok()).unwrap_or(0),
            browser: &enriched.agent.browser,
            browser_version: &enriched.agent.browser_version,
            os: &enriched.agent.os,
            os_version: &enriched.agent.os_version,
            device: enriched.agent.device,
            is_bot: enriched.bot.is_bot(),
            bot_class: enriched.bot.as_str(),
            referrer_host: enriched.referrer_host,
            target_host: enriched.target_host,
            language: enriched.language,
            utm_source: campaign.source,
            utm_medium: campaign.medium,
            utm_campaign: campaign.campaign,
            utm_term: campaign.term,
            utm_content: campaign.content,
            referrer_source: arrival.source,
            referrer_medium: arrival.medium.as_str(),
            channel: arrival.channel.as_str(),
            click_id_param: arrival.click_id_param,
            in_app: arrival.in_app,
            trigger: arrival.trigger,
            kafka_topic: place.topic,
            kafka_partition: u32::try_from(place.partition).unwrap_or(u32::MAX),
            kafka_offset: u64::try_from(place.offset).unwrap_or(u64::MAX),
            logged_at: place.logged_at_ms,
            trace_id: place.trace_id,
            enrich_version: ENRICH_VERSION,
            geo_db_build: enriched.versions.geo,
            ua_rules_version: enriched.versions.user_agents,
            country: enriched.country,
            continent: enriched.continent,
            region: &enriched.place.region,
            city: &enriched.place.city,
            browser_major: &enriched.agent.browser_major,
            device_brand: &enriched.agent.device_brand,
            device_model: &enriched.agent.device_model,
            bot_name: &enriched.agent.bot_name,
            bot_rules_version: enriched.versions.crawlers,
            referrer_rules_version: enriched.versions.referrers,
        }
    }
}

/// IPv4 in its mapped form, as the column wants it.
fn address(bytes: Option<&[u8]>) -> Ipv6Addr {
    match bytes {
        Some(&[a, b, c, d]) => std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped(),
        Some(bytes) => <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from),
        None => Ipv6Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_fit_the_column() {
        assert_eq!(address(Some(&[203, 0, 113, 7])).to_string(), "::ffff:203.0.113.7");
        assert_eq!(
            address(Some(&[0x20; 16])).to_string(),
            "2020:2020:2020:2020:2020:2020:2020:2020"
        );
        assert_eq!(address(None), Ipv6Addr::UNSPECIFIED);
    }
}
