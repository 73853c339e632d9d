//! Browser, system and device from the `User-Agent` header, by the rules of uap-core.

use ua_parser::{Extractor, Regexes, device, os, user_agent};

use crate::enrich::bot::{self, BotClass, Bots};
use crate::enrich::rule_set::Rules;

/// The compiled rules.
pub(super) struct AgentRules(Extractor<'static>);

impl std::fmt::Debug for AgentRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentRules").finish_non_exhaustive()
    }
}

impl AgentRules {
    /// Compiles `regexes.yaml`.
    ///
    /// # Errors
    /// It is no such file, or holds a rule that cannot be compiled, or none.
    pub(super) fn parse(yaml: &[u8]) -> Result<Self, String> {
        let regexes: Regexes<'static> =
            serde_saphyr::from_slice(yaml).map_err(|error| error.to_string())?;
        if regexes.user_agent_parsers.is_empty() {
            return Err("there is no rule for browsers in it".to_owned());
        }
        Extractor::try_from(regexes).map(Self).map_err(|error| error.to_string())
    }
}

/// What sent the request, by its own words. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Such as `Chrome`.
    pub browser: String,
    /// Its version, such as `131.0.0.0`.
    pub browser_version: String,
    /// The first number of it.
    pub browser_major: String,
    /// Such as `Windows`.
    pub os: String,
    /// Its version, such as `10` or `18.1`.
    pub os_version: String,
    /// `desktop`, `mobile`, `tablet`, `tv`, `console`, `wearable`, `bot`, or empty.
    pub device: &'static str,
    /// Such as `Apple`.
    pub device_brand: String,
    /// Such as `iPhone`.
    pub device_model: String,
    /// The kind of machine that it says it is.
    pub bot: BotClass,
    /// The machine's name.
    pub bot_name: String,
}

impl Agent {
    /// Reads a header value of at most the length that the schema allows.
    pub fn of(user_agent: &str, rules: &Rules) -> Self {
        let mut agent = match rules.agents.as_deref() {
            Some(rules) => Self::parsed(user_agent, rules),
            None => Self::default(),
        };
        let spider = agent.device_brand == SPIDER;
        if spider {
            agent.device_brand.clear();
            agent.device_model.clear();
        }
        let bots = Bots {
            crawlers: rules.crawlers.as_deref(),
            spider: spider.then_some(agent.browser.as_str()),
            // Without rules nothing is known of anyone.
            nobody: rules.agents.is_some() && agent.os.is_empty() && agent.device_brand.is_empty(),
        };
        (agent.bot, agent.bot_name) = bots.judge(user_agent);
        agent.device = match agent.bot.is_bot() {
            true => bot::DEVICE,
            false => form(user_agent, &agent),
        };
        agent
    }

    fn parsed(user_agent: &str, rules: &AgentRules) -> Self {
        let (browser, os, device) = rules.0.extract(user_agent);
        let mut agent = Self::default();
        if let Some(user_agent::ValueRef { family, major, minor, patch, patch_minor }) = browser {
            agent.browser = known(&family);
            agent.browser_version = version([major, minor, patch, patch_minor]);
            agent.browser_major = major.unwrap_or_default().to_owned();
        }
        if let Some(os::ValueRef { os, major, minor, patch, patch_minor }) = os {
            agent.os = known(&os);
            let parts = [&major, &minor, &patch, &patch_minor];
            agent.os_version = version(parts.map(|part| part.as_deref()));
        }
        if let Some(device::ValueRef { brand, model, .. }) = device {
            agent.device_brand = known(&brand.unwrap_or_default());
            agent.device_model = match agent.device_brand.as_str() {
                "" => String::new(),
                _ => known(&model.unwrap_or_default()),
            };
        }
        agent
    }
}

/// The brand under which uap-core lists machines.
const SPIDER: &str = "Spider";

/// Words by which the rules say that they know nothing.
fn known(word: &str) -> String {
    let word = word.trim();
    if matches!(word, "Other" | "Generic" | "Generic_Android" | "Generic_Android_Tablet") {
        return String::new();
    }
    word.to_owned()
}

fn version(parts: [Option<&str>; 4]) -> String {
    let known: Vec<&str> =
        parts.into_iter().map_while(|part| part.filter(|part| !part.is_empty())).collect();
    known.join(".")
}

/// Marks of what stands in a living room, whatever its system.
const TV: &[&str] = &[
    "SmartTV",
    "SMART-TV",
    "Smart-TV",
    "SmartHub",
    "HbbTV",
    "NetCast",
    "Web0S",
    "webOS.TV",
    "GoogleTV",
    "Google TV",
    "AppleTV",
    "Apple TV",
    "CrKey",
    "Roku",
    "BRAVIA",
    "AFT",
    "Android TV",
    "TV Safari",
];
const CONSOLE: &[&str] = &["PlayStation", "PLAYSTATION", "Xbox", "XBOX", "Nintendo"];

/// What kind of device a person holds.
fn form(user_agent: &str, agent: &Agent) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| user_agent.contains(word));
    if says(CONSOLE) {
        return "console";
    }
    if says(TV) {
        return "tv";
    }
    match agent.os.as_str() {
        "iOS" if agent.device_model.starts_with("iPad") => "tablet",
        "iOS"
        | "Windows Phone"
        | "Windows Mobile"
        | "BlackBerry OS"
        | "Symbian OS"
        | "Firefox OS"
        | "KaiOS"
        | "Bada"
        | "Nokia Series 40"
        | "Nokia Series 30 Plus"
        | "MeeGo" => "mobile",
        "WatchOS" | "watchOS" => "wearable",
        "ATV OS X" | "tvOS" | "webOS TV" => "tv",
        "Android" | "HarmonyOS" if user_agent.contains("Mobile") => "mobile",
        "Android" | "HarmonyOS" => "tablet",
        "BlackBerry Tablet OS" => "tablet",
        "Windows" | "Mac OS X" | "Mac OS" | "Linux" | "Chrome OS" | "Ubuntu" | "Debian"
        | "Fedora" | "Red Hat" | "SUSE" | "Gentoo" | "Arch Linux" | "CentOS" | "Mageia"
        | "Linux Mint" | "Kubuntu" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris" => "desktop",
        _ if user_agent.contains("Mobile") || user_agent.contains("MIDP") => "mobile",
        _ if agent.device_brand.is_empty() => "",
        _ => "mobile",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::Table;

    /// Enough of uap-core's form to tell a few apart.
    const YAML: &str = r"
user_agent_parsers:
  - regex: '(Googlebot)/(\d+)\.(\d+)'
  - regex: '(Firefox)/(\d+)\.(\d+)'
  - regex: '(Chrome)/(\d+)\.(\d+)\.(\d+)\.(\d+)'
  - regex: '(Version)/(\d+)\.(\d+).*Safari'
    family_replacement: 'Mobile Safari'
os_parsers:
  - regex: '(Windows NT 10)'
    os_replacement: 'Windows'
    os_v1_replacement: '10'
  - regex: 'CPU iPhone OS (\d+)_(\d+)'
    os_replacement: 'iOS'
    os_v1_replacement: '$1'
    os_v2_replacement: '$2'
  - regex: '(Linux|Android)'
device_parsers:
  - regex: 'Googlebot'
    device_replacement: 'Spider'
    brand_replacement: 'Spider'
    model_replacement: 'Desktop'
  - regex: '(iPhone)'
    device_replacement: 'iPhone'
    brand_replacement: 'Apple'
    model_replacement: 'iPhone'
";

    #[test]
    fn common_agents_are_told_apart() {
        let rules = Rules::default().with(Table::UserAgents, YAML.into()).unwrap();
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.6778.85 Safari/537.36",
                ["Chrome", "131.0.6778.85", "131", "Windows", "10", "desktop", "", ""],
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
                ["Mobile Safari", "18.1", "18", "iOS", "18.1", "mobile", "Apple", "iPhone"],
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
                ["Firefox", "132.0", "132", "Linux", "", "desktop", "", ""],
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                ["Googlebot", "2.1", "2", "", "", "bot", "", ""],
            ),
            ("", ["", "", "", "", "", "", "", ""]),
        ];
        for (text, expected) in cases {
            let agent = Agent::of(text, &rules);
            let found = [
                &agent.browser,
                &agent.browser_version,
                &agent.browser_major,
                &agent.os,
                &agent.os_version,
                agent.device,
                &agent.device_brand,
                &agent.device_model,
            ];
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_file_without_rules_or_with_a_bad_one_is_refused() {
        let empty = "user_agent_parsers: []\nos_parsers: []\ndevice_parsers: []\n";
        for yaml in [empty, "", "[]", "user_agent_parsers: 7", &YAML.replace("(Firefox)", "(")] {
            assert!(AgentRules::parse(yaml.as_bytes()).is_err(), "{yaml}");
        }
    }
}
