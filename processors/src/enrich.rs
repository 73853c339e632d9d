//! From a click to what a dashboard asks for. Pure and total: unknown is a value.
//!
//! One dimension a file. Whatever is decided here may be decided differently
//! tomorrow; a replay then decides anew, and the row says which rules it was.

pub mod arrival;
pub mod bot;
pub mod campaign;
pub mod channel;
pub mod continent;
pub mod geo;
pub mod medium;
pub mod referrer;
pub mod referrer_table;
pub mod rule_set;
pub mod two_generation_cache;
pub mod user_agent;

use std::sync::Arc;

use crate::enrich::arrival::Arrival;
use crate::enrich::bot::BotClass;
use crate::enrich::campaign::Campaign;
use crate::enrich::geo::Place;
use crate::enrich::rule_set::{Rules, Table};
use crate::enrich::user_agent::Agent;

use crate::enrich::campaign::{NO_TAGS, Tags};
use crate::enrich::continent::continent;
use crate::enrich::geo::Places;
use crate::enrich::medium::Origin;
use crate::enrich::referrer::Referrer;
use crate::enrich::two_generation_cache::Memo;
use schemas::RawClick;

/// Raised whenever any rule that is written in this folder decides differently. (What stands in
/// the tables of [`Rules`] has versions of its own, which follow from their bytes.)
pub const ENRICH_VERSION: u32 = 2;

/// What the rules say of one click.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrichment<'a> {
    /// Versions of the tables that decided.
    pub versions: Versions<'a>,
    /// Continent of the country.
    pub continent: &'static str,
    /// By the address, else by the edge's own word.
    pub country: &'a str,
    /// Where the address is.
    pub place: &'a Place,
    /// Browser, system, device.
    pub agent: &'a Agent,
    /// What kind of machine, if not a person.
    pub bot: BotClass,
    /// Host that the visitor came from; empty when unknown.
    pub referrer_host: &'a str,
    /// Host that the visitor was sent to; empty when none.
    pub target_host: &'a str,
    /// Campaign parameters.
    pub campaign: Campaign<'a>,
    /// Where the visitor came from.
    pub arrival: Arrival<'a>,
    /// First language asked for, such as `en-gb`; empty when unknown.
    pub language: &'a str,
}

/// Versions of the tables that decided; empty: there was no such table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the version of one table")]
pub struct Versions<'a> {
    pub geo: &'a str,
    pub user_agents: &'a str,
    pub crawlers: &'a str,
    pub referrers: &'a str,
}

/// Applies all rules, remembering in bounded memory what they made of which text. What comes out
/// depends on the click and on the snapshot of the rules alone.
#[derive(Debug, Default)]
pub struct Enricher {
    rules: Arc<Rules>,
    places: Places,
    /// With the app whose own browser it is.
    agents: Memo<(Agent, Option<Origin>)>,
    referrers: Memo<Referrer>,
    targets: Memo<(String, Tags)>,
    visited: Memo<Tags>,
    /// Of the last visited address that is not worth remembering.
    passing: Tags,
    languages: Memo<String>,
}

impl Enricher {
    /// One that remembers nothing yet.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Goes by `rules` from now on; what others made is forgotten.
    pub fn follow(&mut self, rules: &Arc<Rules>) {
        if !Arc::ptr_eq(&self.rules, rules) {
            *self = Self::new(Arc::clone(rules));
        }
    }

    /// Forgets what was made of all texts so far, as whoever remembers nothing would.
    pub fn forget(&mut self) {
        self.agents.clear();
        self.referrers.clear();
        self.targets.clear();
        self.visited.clear();
        self.languages.clear();
    }

    /// Applies all rules.
    pub fn enrich<'a>(&'a mut self, click: &RawClick<'a>) -> Enrichment<'a> {
        let text = Option::unwrap_or_default;
        let rules = &*self.rules;
        let sources = rules.sources();
        let (agent, app) = self.agents.get(text(click.user_agent), |agent| {
            (Agent::of(agent, rules), sources.of_agent(agent).cloned())
        });
        let place = match &rules.geo {
            Some(geo) => self.places.of(geo, click.client_ip.unwrap_or_default()),
            None => Place::UNKNOWN,
        };
        let country = match place.country.as_str() {
            "" => text(click.edge_country),
            country => country,
        };
        let continent = continent(country);
        // What an edge says of an address that it does not know (`XX`, `T1`) is no country.
        let country = if continent.is_empty() { "" } else { country };
        let (target_host, target) = self.targets.get(text(click.target_url), |target| {
            (referrer::host(target), Tags::of_target(target, sources))
        });
        let visited = match text(click.query) {
            "" => &NO_TAGS,
            // Campaigns come again, click ids and searches do not.
            query if query.contains("utm_") => {
                self.visited.get(query, |query| Tags::of_visited(query, sources))
            }
            query => {
                self.passing = Tags::of_visited(query, sources);
                &self.passing
            }
        };
        let referrer =
            self.referrers.get(text(click.referer), |address| Referrer::of(address, sources));
        Enrichment {
            versions: Versions {
                geo: rules.version(Table::Geo),
                user_agents: rules.version(Table::UserAgents),
                crawlers: rules.version(Table::Crawlers),
                referrers: rules.version(Table::Referrers),
            },
            continent,
            country,
            place,
            bot: BotClass::of(click, agent),
            agent,
            referrer_host: &referrer.host,
            target_host,
            campaign: Campaign::of(visited, target),
            arrival: Arrival::of(click, (visited, target), referrer, app.as_ref(), sources),
            language: self.languages.get(text(click.accept_language), language),
        }
    }
}

fn language(accept: &str) -> String {
    let first = accept.split([',', ';']).next().unwrap_or_default().trim();
    let plain = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && first.len() <= 16 { first.to_ascii_lowercase() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_is_taken_and_nonsense_is_unknown() {
        for (accept, expected) in [
            ("en-GB,en;q=0.8", "en-gb"),
            ("de", "de"),
            ("*", ""),
            ("", ""),
            ("x; drop table", "x"),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", ""),
        ] {
            assert_eq!(language(accept), expected, "{accept}");
        }
    }
}
