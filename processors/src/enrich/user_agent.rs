//! Browser, system and device from the `User-Agent` header.

use woothee::parser::Parser;

use super::BotClass;

/// What sent the request, by its own words. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Such as `Chrome`.
    pub browser: String,
    /// Its version, as sent.
    pub browser_version: String,
    /// Such as `Windows 10`.
    pub os: String,
    /// Its version, as sent.
    pub os_version: String,
    /// `desktop`, `mobile`, `tv_or_console`, `bot`, or empty.
    pub device: &'static str,
    /// The kind of machine that it says it is.
    pub bot: BotClass,
}

impl Agent {
    /// Reads a header value of at most the length that the schema allows.
    pub fn of(user_agent: &str) -> Self {
        let mut agent = Self::parsed(user_agent);
        agent.bot = BotClass::declared(user_agent, agent.device);
        agent
    }

    fn parsed(user_agent: &str) -> Self {
        let Some(found) = Parser::new().parse(user_agent) else { return Self::default() };
        let device = match found.category {
            "pc" => "desktop",
            "smartphone" | "mobilephone" => "mobile",
            "appliance" => "tv_or_console",
            "crawler" => "bot",
            _ => "",
        };
        let known = |word: &str| if word == "UNKNOWN" { String::new() } else { word.to_owned() };
        Self {
            browser: known(found.name),
            browser_version: known(found.version),
            os: known(found.os),
            os_version: known(&found.os_version),
            device,
            bot: BotClass::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_agents_are_told_apart() {
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                "Chrome",
                "Windows 10",
                "desktop",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
                "Safari",
                "iPhone",
                "mobile",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
                "Firefox",
                "Linux",
                "desktop",
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Googlebot",
                "",
                "bot",
            ),
            ("", "", "", ""),
            ("no agent that anyone knows", "", "", ""),
        ];
        for (text, browser, os, device) in cases {
            let agent = Agent::of(text);
            let found = (agent.browser.as_str(), agent.os.as_str(), agent.device);
            assert_eq!(found, (browser, os, device), "{text}");
        }
    }
}
