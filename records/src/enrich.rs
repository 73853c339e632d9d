//! Enriches a click with the dimensions that dashboards query. Pure and total: unknown is a value.
//!
//! Each dimension has a file. Rules may change: a replay then enriches again, and a row holds the
//! versions of the rules that made it.

pub mod address;
pub mod arrival;
pub mod bot;
pub mod brands;
pub mod campaign;
pub mod channel;
pub mod continent;
pub mod form_factor;
pub mod geo;
pub mod host_table;
pub mod language;
pub mod medium;
pub mod query_parameters;
pub mod referrer;
pub mod referrer_table;
pub mod rule_set;
pub mod two_generation_cache;
pub mod user_agent;
pub mod user_agent_rules;

use std::sync::Arc;

use crate::enrich::address::host;
use crate::enrich::arrival::{Arrival, ClickTags};
use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::click_class::classify_click;
use crate::enrich::brands::Brand;
use crate::enrich::campaign::Campaign;
use crate::enrich::geo::Location;
use crate::enrich::rule_set::{RuleSet, RuleTable};
use crate::enrich::user_agent::Agent;

use crate::enrich::campaign::{NO_TAGS, Tags};
use crate::enrich::continent::continent;
use crate::enrich::geo::LocationCache;
use crate::enrich::language::best_language;
use crate::enrich::referrer::Referrer;
use crate::enrich::two_generation_cache::TwoGenerationCache;
use schemas::RawClick;

/// Raise it when a rule in this folder decides differently. (Each table of a [`RuleSet`] has a version
/// of its own, made from its bytes.)
pub const ENRICH_VERSION: u32 = 5;

/// The dimensions of one click.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrichment<'a> {
    /// Versions of the tables that decided.
    pub versions: Versions<'a>,
    /// Continent of the country.
    pub continent: &'static str,
    /// By the address, else by the edge's country header.
    pub country: &'a str,
    /// Location of the address.
    pub location: &'a Location,
    /// Browser, system, device.
    pub agent: &'a Agent,
    /// The browser that its own hint names, if that is more precise than the agent.
    pub brand: Option<&'a Brand>,
    /// The class of machine, if any.
    pub bot: BotClass,
    /// Host of the referrer; empty when unknown.
    pub referrer_host: &'a str,
    /// Host of the target; empty when there is none.
    pub target_host: &'a str,
    /// Campaign parameters.
    pub campaign: Campaign<'a>,
    /// Where the visitor came from.
    pub arrival: Arrival<'a>,
    /// Preferred language of `Accept-Language`, such as `en-gb`; empty when unknown.
    pub language: &'a str,
}

impl Enrichment<'_> {
    /// The browser, such as `Chrome`.
    pub fn browser(&self) -> &str {
        self.brand.map_or(&self.agent.browser, |brand| &brand.name)
    }

    /// Its version, as far as known.
    pub fn browser_version(&self) -> &str {
        self.brand.map_or(&self.agent.browser_version, |brand| &brand.version)
    }

    /// The first number of the version.
    pub fn browser_major(&self) -> &str {
        self.brand.map_or(&self.agent.browser_major, |brand| &brand.version)
    }

    /// The machine's name, if it has one.
    pub fn bot_name(&self) -> &str {
        let headless = self.brand.filter(|brand| brand.is_headless());
        headless.map_or(&self.agent.bot_name, |brand| &brand.name)
    }
}

/// Versions of the tables that decided; empty without such a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the version of one table")]
pub struct Versions<'a> {
    pub geo: &'a str,
    pub user_agents: &'a str,
    pub crawlers: &'a str,
    pub referrers: &'a str,
}

/// Applies all rules, with bounded caches of their results by text. The result depends only on the click
/// and the rule set.
#[derive(Debug, Default)]
pub struct Enricher {
    rules: Arc<RuleSet>,
    locations: LocationCache,
    agents: TwoGenerationCache<Agent>,
    brands: TwoGenerationCache<Option<Brand>>,
    referrers: TwoGenerationCache<Referrer>,
    targets: TwoGenerationCache<(String, Tags)>,
    queries: TwoGenerationCache<Tags>,
    /// Of the last query that is not cached.
    uncached_query: Tags,
    languages: TwoGenerationCache<String>,
}

impl Enricher {
    /// An enricher with empty caches.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Applies `rules` from the next click on; clears the caches of another rule set.
    pub fn use_rules(&mut self, rules: &Arc<RuleSet>) {
        if !Arc::ptr_eq(&self.rules, rules) {
            *self = Self::new(Arc::clone(rules));
        }
    }

    /// Clears the caches, for measurements without them.
    pub fn clear_caches(&mut self) {
        self.agents.clear();
        self.brands.clear();
        self.referrers.clear();
        self.targets.clear();
        self.queries.clear();
        self.languages.clear();
    }

    /// Applies all rules.
    pub fn enrich<'a>(&'a mut self, click: &RawClick<'a>) -> Enrichment<'a> {
        let text = Option::unwrap_or_default;
        let rules = &*self.rules;
        let referrers = rules.referrers();
        let agent = self.agents.get(text(click.user_agent), |agent| Agent::of(agent, rules));
        let brand = match click.sec_ch_ua {
            Some(hint) if agent.may_be_another_browser(hint) => {
                self.brands.get(hint, Brand::of).as_ref()
            }
            Some(_) | None => None,
        };
        let location = match &rules.geo {
            Some(geo) => self.locations.of(geo, click.client_ip.unwrap_or_default()),
            None => Location::UNKNOWN,
        };
        let country = match location.country.as_str() {
            "" => text(click.edge_country),
            country => country,
        };
        let continent = continent(country);
        // The values of an edge for an unknown address (`XX`, `T1`) are not countries.
        let country = if continent.is_empty() { "" } else { country };
        let (target_host, target) = self.targets.get(text(click.target_url), |target| {
            (host(target), Tags::of_target(target, referrers))
        });
        let visited = match text(click.query) {
            "" => &NO_TAGS,
            // Campaigns repeat; click ids and searches do not.
            query if query.contains("utm_") => {
                self.queries.get(query, |query| Tags::of_visited(query, referrers))
            }
            query => {
                self.uncached_query = Tags::of_visited(query, referrers);
                &self.uncached_query
            }
        };
        let referrer =
            self.referrers.get(text(click.referer), |address| Referrer::of(address, referrers));
        let tags = ClickTags { visited, target };
        Enrichment {
            versions: Versions {
                geo: rules.version(RuleTable::Geo),
                user_agents: rules.version(RuleTable::UserAgents),
                crawlers: rules.version(RuleTable::Crawlers),
                referrers: rules.version(RuleTable::Referrers),
            },
            continent,
            country,
            location,
            bot: classify_click(click, agent, brand),
            agent,
            brand,
            referrer_host: &referrer.host,
            target_host,
            campaign: Campaign::of(visited, target),
            arrival: Arrival::of(click, tags, referrer, agent.app.as_ref(), referrers),
            language: self.languages.get(text(click.accept_language), best_language),
        }
    }
}
