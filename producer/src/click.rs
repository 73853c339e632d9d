//! What the clicks of redirects, collector and imports have in common: the key, the client's address,
//! and the limits of texts.
//!
//! Pure: the caller passes the time and the random bits.

use std::net::IpAddr;

use schemas::text_limits::{
    ACCEPT_LANGUAGE_BYTES_MAX, LINK_ID_BYTES_MAX, QUERY_BYTES_MAX, REFERER_BYTES_MAX,
    SHORT_BYTES_MAX, SLUG_BYTES_MAX, TARGET_URL_BYTES_MAX, USER_AGENT_BYTES_MAX,
};
use schemas::{EventId, RawClick};
use uuid::Builder;

use crate::host_name::is_host_name;

/// Most bytes of slug, query, user agent and referrer of a click that is no redirect.
const UNREDIRECTED: usize = 256;
/// Most bytes of each other header of a click that is no redirect.
const UNREDIRECTED_HEADER: usize = 64;

/// The id and the time of a click, which never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClickKey {
    /// UUID v7.
    pub event_id: EventId,
    /// Microseconds since 1970, UTC.
    pub occurred_at: i64,
}

impl ClickKey {
    /// The key of a click that occurred at `occurred_at`; `random` makes its id unique.
    ///
    /// # Panics
    /// The time is before 1970. The clock of this service never returns such a time, and times of other
    /// sources are checked.
    #[expect(clippy::expect_used, reason = "an internal invariant: times are checked or our own")]
    pub fn mint(occurred_at: i64, random: &[u8; 16]) -> Self {
        let millis = u64::try_from(occurred_at / 1000).expect("a click happens after 1970");
        let mut bits = [0; 10];
        bits.copy_from_slice(&random[..10]);
        let event_id = Builder::from_unix_timestamp_millis(millis, &bits).into_uuid();
        Self { event_id, occurred_at }
    }
}

/// The octets of an IP address, as a click records them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp {
    octets: [u8; 16],
    network: [u8; 16],
    length: usize,
}

impl ClientIp {
    /// The octets of `address`; an IPv4 address that is mapped to IPv6 counts as IPv4.
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

    /// The octets of its network (/24 of IPv4, /48 of IPv6).
    pub fn network(&self) -> &[u8] {
        &self.network[..self.length]
    }

    /// The client prefix, which all addresses of one device have in common: the IPv4 address, or the
    /// first 64 bits of the IPv6 address.
    pub fn prefix(&self) -> &[u8] {
        &self.octets[..self.length.min(8)]
    }
}

/// Cuts the texts of a click to the lengths that the schema allows, between two characters. Removes a
/// domain that is no host name.
pub fn cut_texts(click: &mut RawClick<'_>) {
    click.domain = click.domain.filter(|domain| is_host_name(domain));
    click.source = cut(click.source, SHORT_BYTES_MAX);
    click.slug = cut(click.slug, SLUG_BYTES_MAX);
    for (text, bytes_max) in [
        (&mut click.query, QUERY_BYTES_MAX),
        (&mut click.target_url, TARGET_URL_BYTES_MAX),
        (&mut click.user_agent, USER_AGENT_BYTES_MAX),
        (&mut click.referer, REFERER_BYTES_MAX),
        (&mut click.accept_language, ACCEPT_LANGUAGE_BYTES_MAX),
        (&mut click.link_id, LINK_ID_BYTES_MAX),
        (&mut click.scheme, SHORT_BYTES_MAX),
        (&mut click.http_version, SHORT_BYTES_MAX),
        (&mut click.purpose, SHORT_BYTES_MAX),
        (&mut click.sec_fetch_site, SHORT_BYTES_MAX),
        (&mut click.sec_fetch_mode, SHORT_BYTES_MAX),
        (&mut click.sec_fetch_dest, SHORT_BYTES_MAX),
        (&mut click.sec_ch_ua, SHORT_BYTES_MAX),
        (&mut click.sec_ch_ua_mobile, SHORT_BYTES_MAX),
        (&mut click.sec_ch_ua_platform, SHORT_BYTES_MAX),
        (&mut click.x_requested_with, SHORT_BYTES_MAX),
        (&mut click.edge_country, SHORT_BYTES_MAX),
    ] {
        *text = text.map(|text| cut(text, bytes_max));
    }
}

/// Cuts the texts of a click that is no redirect further, to 2 KiB without its link's id, so that
/// requests for unknown slugs do not fill the outbox. It keeps 256 bytes of slug, query, user agent and
/// referrer each, 64 bytes of each other header, and no client hints.
pub fn cut_unredirected(click: &mut RawClick<'_>) {
    click.slug = cut(click.slug, UNREDIRECTED);
    for (text, bytes_max) in [
        (&mut click.query, UNREDIRECTED),
        (&mut click.user_agent, UNREDIRECTED),
        (&mut click.referer, UNREDIRECTED),
        (&mut click.accept_language, UNREDIRECTED_HEADER),
        (&mut click.purpose, UNREDIRECTED_HEADER),
        (&mut click.sec_fetch_site, UNREDIRECTED_HEADER),
        (&mut click.sec_fetch_mode, UNREDIRECTED_HEADER),
        (&mut click.sec_fetch_dest, UNREDIRECTED_HEADER),
        (&mut click.sec_ch_ua, 0),
        (&mut click.sec_ch_ua_mobile, 0),
        (&mut click.sec_ch_ua_platform, 0),
        (&mut click.x_requested_with, 0),
    ] {
        *text = text.map(|text| cut(text, bytes_max)).filter(|text| !text.is_empty());
    }
}

/// The longest start of `text` that has at most `bytes_max` bytes.
pub fn cut(text: &str, bytes_max: usize) -> &str {
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
    fn an_address_has_a_network_and_a_client_prefix() {
        for (address, network, prefix) in [
            ("203.0.113.77", "203.0.113.0", &[203, 0, 113, 77][..]),
            ("::ffff:203.0.113.77", "203.0.113.0", &[203, 0, 113, 77]),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::", &[0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2]),
        ] {
            let [ip, network] = [address, network].map(|it| ClientIp::new(it.parse().unwrap()));
            assert_eq!((ip.network(), ip.prefix()), (network.as_bytes(), prefix), "{address}");
        }
    }

    #[test]
    fn l3_every_text_is_cut_to_what_readers_accept() {
        let long = "x".repeat(9000);
        let text = Some(long.as_str());
        let mut click = RawClick {
            source: &long,
            domain: Some("xxx.example"),
            query: text,
            link_id: text,
            target_url: text,
            scheme: text,
            http_version: text,
            user_agent: text,
            referer: text,
            accept_language: text,
            purpose: text,
            sec_fetch_site: text,
            sec_fetch_mode: text,
            sec_fetch_dest: text,
            sec_ch_ua: text,
            sec_ch_ua_mobile: text,
            sec_ch_ua_platform: text,
            x_requested_with: text,
            edge_country: text,
            ..RawClick::new(uuid::Uuid::from_u128(7), 0, &long)
        };
        assert!(click.check_lengths().is_err());
        cut_texts(&mut click);
        assert_eq!(click.check_lengths(), Ok(()));
        for text in click.texts().into_iter().filter(|text| text.field != "domain") {
            let bytes = text.text.map(str::len);
            assert_eq!(bytes, Some(text.bytes_max), "{} loses more than it has to", text.field);
        }
        assert_eq!(LINK_ID_BYTES_MAX, crate::links::link_entry::ID_BYTES_MAX);
        assert_eq!(click.domain, Some("xxx.example"));
        click.domain = text;
        cut_texts(&mut click);
        assert_eq!(click.domain, None);
    }

    #[test]
    fn a_minted_id_holds_the_time_of_its_click() {
        let key = ClickKey::mint(1_431_857_103_004_999, &[0xff; 16]);
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
