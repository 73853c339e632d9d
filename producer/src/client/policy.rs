//! What the edge knows of clients before anything is recorded: who they are, what may be said of
//! them, and how often they may ask for what is not there.
//!
//! Never waits: keys come from memory.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderMap;
use schemas::RawClick;

use crate::click::ClientIp;
use crate::client::day_keys::DayKeys;
use crate::client::privacy::{self, Policy, Privacy};
use crate::client::proxies::Proxies;
use crate::client::rate_limiter::Limiter;
use crate::client::visitor_id::{self, Day, Keyed};
use crate::metrics::Metrics;
use crate::metrics::labels::PrivacyLabel;

/// The edge's knowledge. By default nobody is trusted, everything is recorded, and no visitor has
/// an id.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Whose word about a client counts.
    pub proxies: Proxies,
    /// What may be said of visitors.
    pub privacy: Privacy,
    /// Keys for their ids.
    pub keys: Option<Arc<dyn DayKeys>>,
    /// How often each may ask for a slug that is unknown.
    pub unknown: Option<Arc<Limiter>>,
}

impl Edge {
    /// The client of a request that `peer` sent.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        self.proxies.client(headers, peer)
    }

    /// Whether a client may be told once more that a slug is unknown.
    pub fn admits_unknown(&self, client: &ClientIp, now: i64) -> bool {
        self.unknown.as_ref().is_none_or(|limiter| limiter.admit(client, now))
    }

    /// Makes of a click what may be recorded of it, its visitor's id among it; false if nothing
    /// may. What is taken away is counted.
    #[must_use]
    pub fn shield<'a>(
        &self,
        click: &mut RawClick<'a>,
        client_ip: Option<&'a ClientIp>,
        opted_out: bool,
        metrics: &Metrics,
    ) -> bool {
        let key = |day| self.keys.as_ref().and_then(|keys| keys.key(day));
        shield(self.privacy, (click, client_ip), opted_out, key, metrics)
    }
}

/// As [`Edge::shield`], with keys that may be waited for.
#[must_use]
pub fn shield<'a>(
    privacy: Privacy,
    (click, client_ip): (&mut RawClick<'a>, Option<&'a ClientIp>),
    opted_out: bool,
    key: impl FnOnce(Day) -> Option<Keyed>,
    metrics: &Metrics,
) -> bool {
    if let Some((policy, asked)) = privacy.decide(click, opted_out) {
        let label = PrivacyLabel { asked: asked.as_str(), done: policy.as_str() };
        metrics.clicks_private.get_or_create(&label).inc();
        privacy::strip(click);
        return policy != Policy::Drop;
    }
    // Nobody is asked for a key that opens nothing.
    let known = client_ip.is_some() && click.user_agent.is_some();
    let key = if known { key(visitor_id::day(click.occurred_at)) } else { None };
    click.visitor_id = key.and_then(|key| visitor_id::id(&key, client_ip, click));
    privacy.address(click, client_ip);
    true
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::client::privacy::AddressPolicy;

    /// A key on one day only.
    #[derive(Debug)]
    struct OneDay(Day);

    impl DayKeys for OneDay {
        fn key(&self, day: Day) -> Option<Keyed> {
            (day == self.0).then(|| [7; 32].into())
        }
    }

    #[test]
    fn a_visitor_has_an_id_on_a_day_with_a_key_however_little_of_the_address_is_recorded() {
        let ip = ClientIp::new("203.0.113.77".parse().unwrap());
        let mut ids = Vec::new();
        for address in [AddressPolicy::Full, AddressPolicy::Truncated, AddressPolicy::None] {
            let privacy = Privacy { address, ..Privacy::default() };
            let edge = Edge { privacy, keys: Some(Arc::new(OneDay(1))), ..Edge::default() };
            for (day, expected) in [(0, false), (1, true)] {
                let at = day * 86_400_000_000 + 5;
                let mut click = RawClick::new(Uuid::from_u128(7), at, "a");
                click.user_agent = Some("M");
                assert!(edge.shield(&mut click, Some(&ip), false, &Metrics::default()));
                assert_eq!(click.visitor_id.is_some(), expected);
                ids.extend(click.visitor_id);
            }
        }
        assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn what_a_policy_takes_away_is_counted_by_who_asked_for_it() {
        let metrics = Metrics::default();
        let ip = ClientIp::new("203.0.113.77".parse().unwrap());
        let privacy = Privacy { signals: Policy::Drop, links: Policy::Strip, ..Privacy::default() };
        let edge = Edge { privacy, keys: Some(Arc::new(OneDay(0))), ..Edge::default() };
        for (gpc, opted_out, recorded, id) in
            [(false, false, true, true), (false, true, true, false), (true, true, false, false)]
        {
            let mut click = RawClick { gpc, ..RawClick::new(Uuid::from_u128(7), 5, "a") };
            click.user_agent = Some("M");
            assert_eq!(edge.shield(&mut click, Some(&ip), opted_out, &metrics), recorded);
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
