//! From a click to what a dashboard asks for. Pure and total: unknown is a value.
//!
//! One dimension a file. Whatever is decided here may be decided differently
//! tomorrow; a replay then decides anew, and the row says which rules it was.

mod bot;
mod campaign;
mod memo;
mod referrer;
mod user_agent;

use std::borrow::Cow;

pub use bot::BotClass;
pub use campaign::Campaign;
pub use user_agent::Agent;

use self::memo::Memo;
use schemas::RawClick;

/// Raised whenever any rule below decides differently.
pub const ENRICH_VERSION: u32 = 1;

/// Which user agent rules are in use.
pub const UA_RULES_VERSION: &str = "woothee-0.13.0";

/// What the rules say of one click.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrichment<'a> {
    /// Browser, system, device.
    pub agent: &'a Agent,
    /// What kind of machine, if not a person.
    pub bot: BotClass,
    /// Host that the visitor came from; empty when unknown.
    pub referrer_host: &'a str,
    /// Host that the visitor was sent to; empty when none.
    pub target_host: &'a str,
    /// Campaign parameters.
    pub campaign: Cow<'a, Campaign>,
    /// First language asked for, such as `en-gb`; empty when unknown.
    pub language: &'a str,
}

/// Applies all rules, remembering in bounded memory what they made of which text. What comes out
/// depends on the click alone.
#[derive(Debug, Default)]
pub struct Enricher {
    agents: Memo<Agent>,
    referrers: Memo<String>,
    targets: Memo<(String, Campaign)>,
    languages: Memo<String>,
}

impl Enricher {
    /// Applies all rules.
    pub fn enrich(&mut self, click: &RawClick<'_>) -> Enrichment<'_> {
        let text = Option::unwrap_or_default;
        let agent = self.agents.get(text(click.user_agent), Agent::of);
        let (target_host, campaign) = self.targets.get(text(click.target_url), |target| {
            (referrer::host(target), Campaign::of_target(target))
        });
        let visited = Campaign::of_visited(text(click.query), campaign);
        Enrichment {
            bot: BotClass::of(click, agent),
            agent,
            referrer_host: self.referrers.get(text(click.referer), referrer::host),
            target_host,
            campaign: visited.map_or(Cow::Borrowed(campaign), Cow::Owned),
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
