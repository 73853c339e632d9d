//! From a click to what a dashboard asks for. Pure and total: unknown is a value.
//!
//! One dimension a file. Whatever is decided here may be decided differently
//! tomorrow; a replay then decides anew, and the row says which rules it was.

mod bot;
mod campaign;
mod referrer;
mod user_agent;

pub use bot::BotClass;
pub use campaign::Campaign;
pub use user_agent::Agent;

use schemas::RawClick;

/// Raised whenever any rule below decides differently.
pub const ENRICH_VERSION: u32 = 1;

/// Which user agent rules are in use.
pub const UA_RULES_VERSION: &str = "woothee-0.13.0";

/// What the rules say of one click.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrichment<'a> {
    /// Browser, system, device.
    pub agent: Agent<'a>,
    /// What kind of machine, if not a person.
    pub bot: BotClass,
    /// Host that the visitor came from; empty when unknown.
    pub referrer_host: String,
    /// Host that the visitor was sent to; empty when none.
    pub target_host: String,
    /// Campaign parameters.
    pub campaign: Campaign,
    /// First language asked for, such as `en-gb`; empty when unknown.
    pub language: String,
}

/// Applies all rules.
pub fn enrich<'a>(click: &RawClick<'a>) -> Enrichment<'a> {
    let agent = Agent::of(click.user_agent.unwrap_or_default());
    Enrichment {
        bot: BotClass::of(click, &agent),
        agent,
        referrer_host: referrer::host(click.referer.unwrap_or_default()),
        target_host: referrer::host(click.target_url.unwrap_or_default()),
        campaign: Campaign::of(click.query, click.target_url),
        language: language(click.accept_language.unwrap_or_default()),
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
