//! From what is known of a request to the record of it.
//!
//! Pure: id and time are given. Texts are cut to the lengths that the schema's
//! docs promise, at a character's boundary.

use std::net::IpAddr;

use schemas::{EventId, Origin, Outcome, RawClick};

use crate::collector::collected_click::Record;
use crate::import::access_log_line::{self, Line};
use crate::links::link::Link;
use crate::redirect::request_facts::Facts;

const SLUG: usize = 1024;
const QUERY: usize = 2048;
const TARGET: usize = 2048;
const USER_AGENT: usize = 1024;
const REFERER: usize = 2048;
const ACCEPT_LANGUAGE: usize = 256;
/// Of texts that the schema gives no length; browsers send far less.
const SHORT: usize = 256;

/// Id and time of a click, fixed when it is minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// UUID v7.
    pub event_id: EventId,
    /// Microseconds since 1970, UTC.
    pub occurred_at: i64,
}

impl Key {
    /// The key of a request that came at `occurred_at`; `random` makes its id unique.
    pub fn mint(occurred_at: i64, random: &[u8; 16]) -> Self {
        let millis = u64::try_from(occurred_at.div_euclid(1000)).unwrap_or(0);
        let mut bits = [0; 10];
        bits.copy_from_slice(&random[..10]);
        let event_id = uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid();
        Self { event_id, occurred_at }
    }
}

/// What the visitor got.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// Kind of answer.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    pub status: u16,
    /// The link that the slug named, whatever its state.
    pub link: Option<&'a Link>,
    /// Where the answer leads.
    pub target: Option<&'a str>,
}

/// Octets of an address, as a record carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp {
    octets: [u8; 16],
    network: [u8; 16],
    length: usize,
}

impl ClientIp {
    /// An IPv4 address in IPv6 clothes is IPv4.
    pub fn new(address: IpAddr) -> Self {
        let mut octets = [0; 16];
        let (length, kept) = match address.to_canonical() {
            IpAddr::V4(v4) => {
                octets[..4].copy_from_slice(&v4.octets());
                (4, 3)
            }
            IpAddr::V6(v6) => {
                octets = v6.octets();
                (16, 6)
            }
        };
        let mut network = octets;
        network[kept..].fill(0);
        Self { octets, network, length }
    }

    /// 4 or 16 bytes in network order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// The same of its network (/24, /48).
    pub fn network(&self) -> &[u8] {
        &self.network[..self.length]
    }

    /// What all addresses of one household or device have in common: an IPv4 address itself, the
    /// first 64 bits of an IPv6 address.
    pub fn household(&self) -> &[u8] {
        &self.octets[..self.length.min(8)]
    }
}

/// The record of a request that was answered here, by the node `source`; of its client it says
/// nothing yet.
pub fn answered<'a>(
    key: Key,
    source: &'a str,
    facts: &'a Facts<'_>,
    verdict: Verdict<'a>,
    latency_us: i32,
) -> RawClick<'a> {
    RawClick {
        origin: Origin::Redirect,
        source: cut(source, SHORT),
        domain: short(facts.domain.as_deref()),
        query: facts.query.map(|query| cut(query, QUERY)),
        link_id: verdict.link.map(Link::id),
        link_version: verdict.link.map(Link::version),
        outcome: verdict.outcome,
        status: i32::from(verdict.status),
        target_url: verdict.target.map(|target| cut(target, TARGET)),
        method: facts.method,
        http_version: facts.http_version,
        user_agent: facts.user_agent.as_deref().map(|agent| cut(agent, USER_AGENT)),
        referer: facts.referer.as_deref().map(|referer| cut(referer, REFERER)),
        accept_language: facts.accept_language.as_deref().map(|text| cut(text, ACCEPT_LANGUAGE)),
        purpose: short(facts.purpose.as_deref()),
        sec_fetch_site: short(facts.sec_fetch_site.as_deref()),
        sec_fetch_mode: short(facts.sec_fetch_mode.as_deref()),
        sec_fetch_dest: short(facts.sec_fetch_dest.as_deref()),
        sec_ch_ua: short(facts.sec_ch_ua.as_deref()),
        sec_ch_ua_mobile: short(facts.sec_ch_ua_mobile.as_deref()),
        sec_ch_ua_platform: short(facts.sec_ch_ua_platform.as_deref()),
        x_requested_with: short(facts.x_requested_with.as_deref()),
        dnt: facts.dnt,
        gpc: facts.gpc,
        latency_us: Some(latency_us),
        ..RawClick::new(key.event_id, key.occurred_at, cut(facts.slug, SLUG))
    }
}

/// The record of a line in the log of the server `source`; of its client it says nothing yet.
///
/// `link` is payload only: the same line imported before its link was made has the same key.
pub fn imported<'a>(
    event_id: EventId,
    source: &'a str,
    line: &'a Line<'_>,
    link: Option<&'a Link>,
) -> RawClick<'a> {
    RawClick {
        origin: Origin::Import,
        source: cut(source, SHORT),
        query: line.query.as_deref().map(|query| cut(query, QUERY)),
        link_id: link.map(Link::id),
        link_version: link.map(Link::version),
        outcome: access_log_line::outcome(line.status),
        status: i32::from(line.status),
        method: line.method,
        domain: short(line.domain.as_deref()),
        scheme: short(line.scheme.as_deref()),
        http_version: short(line.http_version.as_deref()),
        accept_language: line.accept_language.as_deref().map(|text| cut(text, ACCEPT_LANGUAGE)),
        dnt: line.dnt,
        gpc: line.gpc,
        user_agent: line.user_agent.as_deref().map(|agent| cut(agent, USER_AGENT)),
        referer: line.referer.as_deref().map(|referer| cut(referer, REFERER)),
        ..RawClick::new(event_id, line.occurred_at, cut(&line.slug, SLUG))
    }
}

/// The record of a click that another redirector sent; of its client it says nothing yet. Where the
/// sender names no source it is `node`, who took it.
pub fn collected<'a>(
    key: Key,
    node: &'a str,
    record: &'a Record,
    outcome: Outcome,
) -> RawClick<'a> {
    let text = |text: &'a Option<String>, bytes_max| text.as_deref().map(|it| cut(it, bytes_max));
    let slug = record.slug.strip_prefix('/').unwrap_or(&record.slug);
    RawClick {
        origin: Origin::Collector,
        source: cut(record.source.as_deref().unwrap_or(node), SHORT),
        domain: text(&record.domain, SHORT),
        query: text(&record.query, QUERY),
        link_id: text(&record.link_id, SHORT),
        link_version: record.link_version,
        outcome,
        status: i32::from(record.status),
        target_url: text(&record.target_url, TARGET),
        method: record.method(),
        scheme: text(&record.scheme, SHORT),
        http_version: text(&record.http_version, SHORT),
        user_agent: text(&record.user_agent, USER_AGENT),
        referer: text(&record.referer, REFERER),
        accept_language: text(&record.accept_language, ACCEPT_LANGUAGE),
        purpose: text(&record.purpose, SHORT),
        sec_fetch_site: text(&record.sec_fetch_site, SHORT),
        sec_fetch_mode: text(&record.sec_fetch_mode, SHORT),
        sec_fetch_dest: text(&record.sec_fetch_dest, SHORT),
        sec_ch_ua: text(&record.sec_ch_ua, SHORT),
        sec_ch_ua_mobile: text(&record.sec_ch_ua_mobile, SHORT),
        sec_ch_ua_platform: text(&record.sec_ch_ua_platform, SHORT),
        x_requested_with: text(&record.x_requested_with, SHORT),
        dnt: record.dnt,
        gpc: record.gpc,
        edge_country: text(&record.edge_country, SHORT),
        latency_us: record.latency_us,
        ..RawClick::new(key.event_id, key.occurred_at, cut(slug, SLUG))
    }
}

fn short(text: Option<&str>) -> Option<&str> {
    text.map(|text| cut(text, SHORT))
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_has_the_bytes_of_its_kind() {
        for (address, bytes) in [
            ("1.2.3.4", &[1, 2, 3, 4][..]),
            ("::ffff:1.2.3.4", &[1, 2, 3, 4]),
            ("::1", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(ClientIp::new(address.parse().unwrap()).as_bytes(), bytes, "{address}");
        }
    }

    #[test]
    fn of_an_address_its_network_and_its_household_can_be_told() {
        for (address, network, household) in [
            ("203.0.113.77", "203.0.113.0", &[203, 0, 113, 77][..]),
            ("::ffff:203.0.113.77", "203.0.113.0", &[203, 0, 113, 77]),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::", &[0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2]),
        ] {
            let [ip, network] = [address, network].map(|it| ClientIp::new(it.parse().unwrap()));
            assert_eq!(
                (ip.network(), ip.household()),
                (network.as_bytes(), household),
                "{address}"
            );
        }
    }

    #[test]
    fn a_minted_id_holds_the_time_of_its_click() {
        let key = Key::mint(1_431_857_103_004_999, &[0xff; 16]);
        assert_eq!(key.event_id.to_string(), "014d6155-809c-7fff-bfff-ffffffffffff");
        assert_eq!(key.occurred_at, 1_431_857_103_004_999);
    }

    proptest! {
        #[test]
        fn a_cut_text_is_the_longest_start_that_fits(text: String, bytes_max in 0usize..64) {
            let start = cut(&text, bytes_max);
            prop_assert!(text.starts_with(start) && start.len() <= bytes_max);
            let next = text[start.len()..].chars().next();
            prop_assert!(next.is_none_or(|next| start.len() + next.len_utf8() > bytes_max));
        }
    }
}
