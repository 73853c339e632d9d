//! The pinned generator: one day of clicks of a redirect service, in the order of time with a small jitter.
//! Every run generates the same clicks of a profile.
//!
//! Each visitor has an address, a browser, a language and a country. Most click once or twice a day,
//! some click again at once. Links, browsers, referrers and networks are popular by Zipf's law.

use schemas::{ClientIpPolicy, Method, Origin, Outcome, RawClick};
use uuid::Builder;

use super::agents::{Agent, agents};
use super::origins::{COUNTRIES, Link, campaign, letters, links, networks, referrers};
use super::profile::{NARROW, Profile};
use super::zipf::Zipf;
use harness::seeded_random::{SeededRandom, mix};

const SEED: u64 = 20_250_604;
/// 2025-06-04, microseconds since 1970: one day of UTC, one partition of the table.
const DAY_BEGINS_US: u64 = 1_748_995_200_000_000;
const HOUR_US: u64 = 3_600_000_000;
/// Parts of one unit of the flow, for finer steps.
const UNIT: u64 = 1_000_000;
/// The flow of each hour: lowest at night, highest in the evening.
const FLOW: [u64; 24] =
    [5, 4, 3, 3, 3, 4, 6, 8, 9, 10, 10, 10, 11, 10, 10, 10, 10, 11, 12, 12, 13, 12, 10, 7];
/// The largest delay with which a click reaches the log, in microseconds.
const JITTER_US: u64 = 100_000;
const NETWORKS: usize = 8_000;
/// Clicks per thousand with campaign parameters.
const CAMPAIGNS: usize = 100;
/// Visitors of the day per thousand clicks.
const VISITORS: u64 = 600;
/// Clicks per thousand of a visitor who has just clicked.
const AGAIN: u64 = 150;
/// The number of visitors that count as having just clicked.
const RECENT: usize = 500;
const NODES: [&str; 4] = ["edge-1", "edge-2", "edge-3", "edge-4"];
const PROBES: [&str; 6] =
    ["wp-login.php", ".env", "robots.txt", "favicon.ico", "xmlrpc.php", "admin"];

/// Generates the clicks.
#[derive(Debug)]
pub struct Clicks {
    profile: &'static Profile,
    random: SeededRandom,
    all: u64,
    made: u64,
    links: (Vec<Link>, Zipf),
    agents: (Vec<Agent>, Zipf),
    referrers: (Vec<String>, Zipf),
    networks: (Vec<[u8; 2]>, Zipf),
    countries: Zipf,
    recent: [u64; RECENT],
    /// How many visitors of [`Profile::new_visitors`] have clicked.
    visitors: u64,
    query: String,
    probe: String,
    address: [u8; 4],
}

/// A visitor, whose properties follow from the number alone.
struct Visitor {
    bits: u64,
    network: usize,
}

impl Clicks {
    /// A generator of a day of `all` clicks.
    pub fn new(all: u64) -> Self {
        Self::of(NARROW, all)
    }

    /// The same with the clicks of a profile.
    pub fn of(profile: &'static Profile, all: u64) -> Self {
        let mut random = SeededRandom::new(SEED);
        let Profile { agents: agent_count, referrers: referrer_count, .. } = *profile;
        Self {
            profile,
            all,
            made: 0,
            visitors: 0,
            links: (links(profile, &mut random), Zipf::new(profile.links)),
            agents: (agents(agent_count, &mut random), Zipf::new(agent_count)),
            referrers: (referrers(profile, &mut random), Zipf::new(referrer_count)),
            networks: (networks(NETWORKS, &mut random), Zipf::new(NETWORKS)),
            countries: Zipf::new(COUNTRIES.len()),
            recent: [0; RECENT],
            query: String::new(),
            probe: String::new(),
            address: [0; 4],
            random,
        }
    }

    /// The links, the most popular first.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.0.iter()
    }

    /// The next click.
    pub fn next(&mut self) -> RawClick<'_> {
        let jitter = self.random.bits() % JITTER_US;
        let of_day = (time_of_day(self.made, self.all) + jitter).min(24 * HOUR_US - 1);
        let at_us = DAY_BEGINS_US + of_day;
        self.made += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        random[8..].copy_from_slice(&self.random.bits().to_be_bytes()[..2]);
        let event_id = Builder::from_unix_timestamp_millis(at_us / 1000, &random).into_uuid();
        let occurred_at = i64::try_from(at_us).expect("microseconds");

        let visitor = self.visitor();
        let agent = &self.agents.0[self.agents.1.rank(mix(visitor.bits ^ 1))];
        let person = !agent.machine;
        let [first, second] = self.networks.0[visitor.network];
        self.address = [first, second, visitor.bits as u8, (visitor.bits >> 8) as u8];
        let (country, language) = COUNTRIES[self.countries.rank(mix(visitor.network as u64 ^ 77))];
        let referrer = (person && !self.random.in_1000(400))
            .then(|| self.referrers.0[self.referrers.1.rank(self.random.bits())].as_str());
        self.query.clear();
        match self.random.index(1000) {
            0..CAMPAIGNS => self.query = campaign(&mut self.random),
            // The click id that an ad network adds.
            chance if chance < CAMPAIGNS + self.profile.click_ids => {
                let (least, most) = self.profile.click_id_length;
                let more = if most > least { self.random.index(most - least + 1) } else { 0 };
                self.query = format!("fbclid={}", letters(&mut self.random, least + more));
            }
            _ => {}
        }
        let latency_us = 30 + (1 << self.random.index(9)) + self.random.index(60) as i32;
        let node = self.random.one(&NODES);
        let stray = self.random.in_1000(15);
        if stray {
            self.probe = self.random.one(&PROBES).to_owned();
        }
        let link = &self.links.0[self.links.1.rank(self.random.bits())];
        let http_version = if mix(visitor.bits ^ 2) % 10 < 8 { "HTTP/2.0" } else { "HTTP/1.1" };
        RawClick {
            origin: Origin::Redirect,
            source: node,
            domain: Some(link.domain),
            query: (!self.query.is_empty()).then_some(&*self.query),
            link_id: (!stray).then_some(&*link.id),
            link_version: (!stray).then_some(link.version),
            outcome: if stray { Outcome::NotFound } else { Outcome::Redirected },
            status: if stray { 404 } else { 302 },
            target_url: (!stray).then_some(&*link.target),
            method: if agent.machine && visitor.bits.is_multiple_of(4) {
                Method::Head
            } else {
                Method::Get
            },
            scheme: Some("https"),
            http_version: Some(http_version),
            client_ip: Some(&self.address),
            client_ip_policy: ClientIpPolicy::Full,
            visitor_id: Some(mix(visitor.bits ^ 3).to_be_bytes()),
            user_agent: Some(&agent.text),
            referer: referrer,
            accept_language: person.then_some(language),
            sec_fetch_site: person.then_some(if referrer.is_some() {
                "cross-site"
            } else {
                "none"
            }),
            sec_fetch_mode: person.then_some("navigate"),
            sec_fetch_dest: person.then_some("document"),
            sec_ch_ua: agent.brands.as_deref(),
            sec_ch_ua_mobile: agent
                .platform
                .map(|name| if name == "\"Android\"" { "?1" } else { "?0" }),
            sec_ch_ua_platform: agent.platform,
            gpc: mix(visitor.bits ^ 4) % 100 < 3,
            edge_country: Some(country),
            latency_us: Some(latency_us),
            ..RawClick::new(event_id, occurred_at, if stray { &self.probe } else { &link.slug })
        }
    }

    fn visitor(&mut self) -> Visitor {
        let number = match self.profile.new_visitors {
            Some(new) => self.new_or_known(new),
            None => self.recent_or_any(),
        };
        let bits = mix(number);
        Visitor { bits, network: self.networks.1.rank(mix(bits ^ 5)) }
    }

    fn new_or_known(&mut self, new: u64) -> u64 {
        if self.visitors == 0 || self.random.in_1000(new) {
            self.visitors += 1;
            return self.visitors;
        }
        1 + self.random.bits() % self.visitors
    }

    fn recent_or_any(&mut self) -> u64 {
        let slot = self.random.index(RECENT);
        if !self.random.in_1000(AGAIN) || self.recent[slot] == 0 {
            let visitors = (self.all * VISITORS / 1000).max(1);
            self.recent[slot] = 1 + self.random.bits() % visitors;
        }
        self.recent[slot]
    }
}

/// The time of click `number` of `all`, in microseconds of the day.
fn time_of_day(number: u64, all: u64) -> u64 {
    let flow: u64 = FLOW.iter().sum();
    // The flow up to this click, in millionths of one unit.
    let mut flowed = u64::try_from(u128::from(number) * u128::from(flow * UNIT) / u128::from(all))
        .expect("less than the day's flow");
    for (hour, weight) in (0..).zip(FLOW) {
        if flowed < weight * UNIT {
            return hour * HOUR_US + flowed * (HOUR_US / UNIT) / weight;
        }
        flowed -= weight * UNIT;
    }
    unreachable!("click {number} of {all} is of another day")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use schemas::{Encoder, SchemaId};
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::profile::WIDE;

    #[test]
    fn every_run_on_every_machine_generates_the_same_clicks() {
        let (encoder, mut clicks) = (Encoder::new(SchemaId(1)), Clicks::new(10_000));
        let (mut value, mut digest) = (Vec::new(), Sha256::new());
        for _ in 0..10_000 {
            encoder.encode(&clicks.next(), &mut value).unwrap();
            digest.update(&value);
        }
        assert_eq!(digest.finalize()[..4], [103, 165, 156, 17]);
    }

    #[test]
    fn clicks_of_the_wide_profile_have_new_visitors_and_long_click_ids() {
        const CLICKS: usize = 20_000;
        const SMALL: &Profile =
            &Profile { links: 10_000, agents: 5_000, referrers: 5_000, ..*WIDE };
        let mut clicks = Clicks::of(SMALL, CLICKS as u64);
        let (mut visitors, mut ids, mut short_referrers) = (HashSet::new(), 0, HashSet::new());
        for _ in 0..CLICKS {
            let click = clicks.next();
            visitors.insert(click.visitor_id);
            let id = click.query.and_then(|query| query.strip_prefix("fbclid="));
            ids += usize::from(id.is_some_and(|id| (60..=90).contains(&id.len())));
            let short = click.referer.filter(|referrer| referrer.split('/').count() < 5);
            short_referrers.extend(short.map(str::to_owned));
        }
        let share = |count: usize| count as f64 / CLICKS as f64;
        assert!((0.65..0.69).contains(&share(visitors.len())), "{} visitors", visitors.len());
        assert!((0.14..0.16).contains(&share(ids)), "{ids} click ids");
        // Those of search engines and social networks name no page.
        assert_eq!(short_referrers.len(), 16, "{short_referrers:?}");
    }

    #[test]
    fn one_day_of_clicks_has_enough_different_values() {
        let mut clicks = Clicks::new(50_000);
        let (mut ids, mut visitors, mut agents) = (HashSet::new(), HashSet::new(), HashSet::new());
        let (mut last, mut hours) = (0, HashSet::new());
        for _ in 0..50_000 {
            let click = clicks.next();
            assert!(
                click.occurred_at + 100_000 > last,
                "the click is earlier than the jitter allows"
            );
            last = last.max(click.occurred_at);
            ids.insert(click.event_id);
            visitors.insert(click.visitor_id);
            hours.insert(click.occurred_at / 3_600_000_000);
            agents.insert(click.user_agent.map(str::to_owned));
        }
        assert_eq!((ids.len(), hours.len()), (50_000, 24));
        assert!((20_000..40_000).contains(&visitors.len()), "{} visitors", visitors.len());
        assert!((2_000..=3_000).contains(&agents.len()), "{} user agents", agents.len());
    }
}
