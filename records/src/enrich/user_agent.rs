//! Browser, system and device from the `User-Agent` header, by the rules of uap-core.

use ua_parser::{device, os, user_agent};

use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::user_agent_class::BotSignals;
use crate::enrich::form_factor::form_factor;
use crate::enrich::medium::Origin;
use crate::enrich::rule_set::RuleSet;
use crate::enrich::user_agent_rules::AgentRules;

/// What sent the request, by its `User-Agent`. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Such as `Chrome`.
    pub browser: String,
    /// Its version, such as `131.0.0.0`.
    pub browser_version: String,
    /// The first number of the version.
    pub browser_major: String,
    /// Such as `Windows`.
    pub os: String,
    /// Its version, such as `10` or `18.1`.
    pub os_version: String,
    /// `desktop`, `mobile`, `tablet`, `tv`, `console`, `wearable`, `headset`, `bot`, or empty.
    pub device: &'static str,
    /// Such as `Apple`.
    pub device_brand: String,
    /// Such as `iPhone`.
    pub device_model: String,
    /// The class of machine that it declares.
    pub bot: BotClass,
    /// The machine's name, which is never that of a system or a device.
    pub bot_name: String,
    /// The app whose in-app browser it is.
    pub(super) app: Option<Origin>,
}

impl Agent {
    /// Reads a header value of at most the length that the schema allows.
    pub fn of(user_agent: &str, rules: &RuleSet) -> Self {
        let mut agent = match rules.agents.as_deref() {
            Some(rules) => Self::parsed(user_agent, rules),
            None => Self::default(),
        };
        agent.app = rules.referrers().of_agent(user_agent).cloned();
        let spider = agent.device_brand == SPIDER;
        if spider {
            agent.device_brand.clear();
            agent.device_model.clear();
        }
        let signals = BotSignals {
            crawlers: rules.crawlers.as_deref(),
            spider: spider.then_some(agent.browser.as_str()),
            // Without rules no agent can be identified, so this has no meaning.
            is_unidentified: rules.agents.is_some()
                && agent.os.is_empty()
                && agent.device_brand.is_empty(),
            is_known_app: agent.app.is_some(),
        };
        (agent.bot, agent.bot_name) = signals.classify(user_agent);
        agent.device = if agent.bot.is_bot() {
            "bot"
        } else {
            form_factor(user_agent, &agent.os, &agent.device_model)
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
        if let Some((_, version)) = user_agent.split_once("OculusBrowser/")
            && agent.browser != OCULUS
            && !user_agent.contains("PicoBrowser/")
        {
            agent.name_oculus(version);
        }
        if let Some(os::ValueRef { os, major, minor, patch, patch_minor }) = os {
            agent.os = known(&os);
            let parts = [&major, &minor, &patch, &patch_minor];
            agent.os_version = version(parts.map(|part| part.as_deref()));
        }
        if let Some(device::ValueRef { brand, model, .. }) = device {
            agent.device_brand = known(&brand.unwrap_or_default());
            if !agent.device_brand.is_empty() {
                agent.device_model = known(&model.unwrap_or_default());
            }
        }
        agent
    }

    fn name_oculus(&mut self, version: &str) {
        let end = version.find(|next: char| next != '.' && !next.is_ascii_digit());
        let version = version[..end.unwrap_or(version.len())].trim_end_matches('.');
        OCULUS.clone_into(&mut self.browser);
        version.clone_into(&mut self.browser_version);
        self.browser_major = version.split('.').next().unwrap_or_default().to_owned();
    }

    /// Whether a brand in `Sec-CH-UA` is more precise than the browser here: other browsers use the name
    /// Chrome, too, and an automated browser keeps its brand under another agent.
    pub(super) fn may_be_another_browser(&self, hint: &str) -> bool {
        (self.browser.starts_with("Chrome") || hint.contains("Headless")) && !self.bot.is_bot()
    }
}

/// The browser of headsets. It also names another browser, which the rules find in its newer versions.
const OCULUS: &str = "Oculus Browser";

/// The brand under which uap-core lists machines.
const SPIDER: &str = "Spider";

/// Drops the values by which the rules mean "unknown".
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::RuleTable;

    /// A few rules in uap-core's format.
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
    fn u18_the_hint_decides_for_chrome_and_for_headless_chrome_under_another_agent() {
        let agent = |browser: &str| Agent { browser: browser.to_owned(), ..Agent::default() };
        let (brave, headless) = (r#""Brave";v="131""#, r#""HeadlessChrome";v="131""#);
        assert!(agent("Chrome Mobile").may_be_another_browser(brave));
        assert!(!agent("Edge").may_be_another_browser(brave));
        assert!(agent("Edge").may_be_another_browser(headless));
        let bot = Agent { bot: BotClass::DeclaredCrawler, ..agent("Chrome") };
        assert!(!bot.may_be_another_browser(headless));
    }

    #[test]
    fn u19_a_quest_uses_oculus_browser_and_a_pico_does_not() {
        let rules = RuleSet::default().with(RuleTable::UserAgents, YAML.into()).unwrap();
        let browser = |own: &str| {
            let text =
                format!("Mozilla/5.0 (X11; Linux x86_64) {own} Chrome/105.0.0.0 OculusBrowser/7.0");
            Agent::of(&text, &rules).browser
        };
        assert_eq!(browser(""), OCULUS);
        assert_eq!(browser("PicoBrowser/3.3.38"), "Chrome");
    }

    #[test]
    fn common_agents_are_recognised() {
        let rules = RuleSet::default().with(RuleTable::UserAgents, YAML.into()).unwrap();
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
}
