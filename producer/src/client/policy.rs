//! The client policy: who the client of a request is, what a click may record about it, and how often it
//! may request an unknown slug.
//!
//! It never waits, since it reads keys from memory.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderMap;
use schemas::RawClick;

use crate::click::ClientIp;
use crate::client::day_keys::DayKeys;
use crate::client::privacy::{self, PrivacyPolicies, PrivacyPolicy};
use crate::client::proxies::Proxies;
use crate::client::rate_limiter::RateLimiter;
use crate::client::stripped_texts::StrippedTexts;
use crate::client::visitor_id::{self, Day, VisitorKey};
use crate::metrics::Metrics;
use crate::metrics::labels::PrivacyLabel;

/// The client policy of one operator. By default no proxy is trusted, every field is recorded, and no
/// visitor has an id.
#[derive(Debug, Clone, Default)]
pub struct ClientPolicy {
    /// Which proxies may name the client.
    pub proxies: Proxies,
    /// What clicks may record of visitors.
    pub privacy: PrivacyPolicies,
    /// Keys of visitor ids.
    pub keys: Option<Arc<dyn DayKeys>>,
    /// How often each client prefix may make requests that are not redirected, such as for an unknown slug.
    pub unknown: Option<Arc<RateLimiter>>,
}

impl ClientPolicy {
    /// The client of a request that `peer` sent.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        self.proxies.client(headers, peer)
    }

    /// Whether `peer` is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.proxies.trusted.contain(peer.to_canonical())
    }

    /// Whether a client may now make one more request that is not redirected.
    pub fn admits_unredirected(&self, client: &ClientIp, now: i64) -> bool {
        self.unknown.as_ref().is_none_or(|limiter| limiter.admit(client, now))
    }

    /// Removes the fields of a click that may not be recorded, and adds the visitor's id; false if the
    /// click may not be recorded. Counts clicks that a policy strips or drops.
    #[must_use]
    pub fn apply<'a>(
        &self,
        click: &mut RawClick<'a>,
        client: ClientContext<'a>,
        metrics: &Metrics,
    ) -> bool {
        let key = |day| self.keys.as_ref().and_then(|keys| keys.key(day));
        apply(self.privacy, click, client, key, metrics)
    }
}

/// What the policies need to know of a click besides its fields.
#[derive(Debug, Clone, Copy)]
pub struct ClientContext<'a> {
    /// The client's address, if it is known.
    pub ip: Option<&'a ClientIp>,
    /// Whether the author of the link has opted out.
    pub link_opts_out: bool,
    /// Memory for the shortened texts of a stripped click.
    pub stripped: &'a StrippedTexts,
}

/// As [`ClientPolicy::apply`], with a source of keys that may wait for its store.
#[must_use]
pub fn apply<'a>(
    privacy: PrivacyPolicies,
    click: &mut RawClick<'a>,
    client: ClientContext<'a>,
    key: impl FnOnce(Day) -> Option<VisitorKey>,
    metrics: &Metrics,
) -> bool {
    if let Some((policy, request)) = privacy.decide(click, client.link_opts_out) {
        let label = PrivacyLabel { asked: request.as_str(), done: policy.as_str() };
        metrics.clicks_private.get_or_create(&label).inc();
        privacy::strip(click, client.stripped);
        return policy != PrivacyPolicy::Drop;
    }
    // Without both there is no id, so no key is read.
    let known = client.ip.is_some() && click.user_agent.is_some();
    let key = if known { key(visitor_id::day(click.occurred_at)) } else { None };
    if known && key.is_none() {
        metrics.clicks_without_key.inc();
    }
    click.visitor_id = key.and_then(|key| visitor_id::id(&key, client.ip, click));
    privacy.set_address(click, client.ip);
    true
}

#[cfg(test)]
mod tests {
    use schemas::bounds::DAY_US;
    use uuid::Uuid;

    use super::*;
    use crate::client::privacy::AddressPolicy;

    /// A key on one day only.
    #[derive(Debug)]
    struct OneDay(Day);

    impl DayKeys for OneDay {
        fn key(&self, day: Day) -> Option<VisitorKey> {
            (day == self.0).then(|| [7; 32].into())
        }
    }

    fn client<'a>(
        ip: &'a ClientIp,
        stripped: &'a StrippedTexts,
        link_opts_out: bool,
    ) -> ClientContext<'a> {
        ClientContext { ip: Some(ip), link_opts_out, stripped }
    }

    #[test]
    fn the_visitor_id_needs_a_key_of_the_day_and_no_recorded_address() {
        let ip = ClientIp::new("203.0.113.77".parse().unwrap());
        let mut ids = Vec::new();
        for address in [AddressPolicy::Full, AddressPolicy::Truncated, AddressPolicy::None] {
            let privacy = PrivacyPolicies { address, ..PrivacyPolicies::default() };
            let client_policy = ClientPolicy {
                privacy,
                keys: Some(Arc::new(OneDay(1))),
                ..ClientPolicy::default()
            };
            for (day, expected) in [(0, false), (1, true)] {
                let at = day * DAY_US + 5;
                let (mut click, texts) =
                    (RawClick::new(Uuid::from_u128(7), at, "a"), StrippedTexts::default());
                click.user_agent = Some("M");
                let client = client(&ip, &texts, false);
                assert!(client_policy.apply(&mut click, client, &Metrics::default()));
                assert_eq!(click.visitor_id.is_some(), expected);
                ids.extend(click.visitor_id);
            }
        }
        assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn m15_a_click_of_a_day_without_a_key_has_no_id_and_is_counted() {
        let (metrics, ip) = (Metrics::default(), ClientIp::new("203.0.113.77".parse().unwrap()));
        let policy = ClientPolicy { keys: Some(Arc::new(OneDay(1))), ..ClientPolicy::default() };
        for (day, agent, without) in [(1, Some("M"), 0), (0, None, 0), (0, Some("M"), 1)] {
            let at = day * DAY_US;
            let mut click =
                RawClick { user_agent: agent, ..RawClick::new(Uuid::from_u128(7), at, "a") };
            let texts = StrippedTexts::default();
            assert!(policy.apply(&mut click, client(&ip, &texts, false), &metrics));
            assert_eq!(click.visitor_id.is_some(), day == 1);
            assert_eq!(metrics.clicks_without_key.get(), without);
        }
    }

    #[test]
    fn a_stripped_or_dropped_click_is_counted_by_the_request_for_privacy() {
        let metrics = Metrics::default();
        let ip = ClientIp::new("203.0.113.77".parse().unwrap());
        let privacy = PrivacyPolicies {
            signals: PrivacyPolicy::Drop,
            links: PrivacyPolicy::Strip,
            ..PrivacyPolicies::default()
        };
        let client_policy =
            ClientPolicy { privacy, keys: Some(Arc::new(OneDay(0))), ..ClientPolicy::default() };
        for (gpc, opted_out, recorded, id) in
            [(false, false, true, true), (false, true, true, false), (true, true, false, false)]
        {
            let mut click = RawClick { gpc, ..RawClick::new(Uuid::from_u128(7), 5, "a") };
            click.user_agent = Some("M");
            let texts = StrippedTexts::default();
            let client = client(&ip, &texts, opted_out);
            assert_eq!(client_policy.apply(&mut click, client, &metrics), recorded);
            assert_eq!((click.visitor_id.is_some(), click.client_ip.is_some()), (id, id));
        }
        let count =
            |asked, done| metrics.clicks_private.get_or_create(&PrivacyLabel { asked, done }).get();
        assert_eq!(
            (count("opt_out", "strip"), count("gpc", "drop"), count("gpc", "strip")),
            (1, 1, 0)
        );
    }
}
