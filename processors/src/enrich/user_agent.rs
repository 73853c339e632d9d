//! Browser, system and device from the `User-Agent` header.

use std::borrow::Cow;

use woothee::parser::Parser;

/// What sent the request, by its own words. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent<'a> {
    /// Such as `Chrome`.
    pub browser: &'a str,
    /// Its version, as sent.
    pub browser_version: &'a str,
    /// Such as `Windows 10`.
    pub os: &'a str,
    /// Its version, as sent.
    pub os_version: Cow<'a, str>,
    /// `desktop`, `mobile`, `tv_or_console`, `bot`, or empty.
    pub device: &'static str,
}

impl<'a> Agent<'a> {
    /// Reads a header value of at most the length that the schema allows.
    pub fn of(user_agent: &'a str) -> Self {
        let Some(found) = Parser::new().parse(user_agent) else { return Self::default() };
        let device = match found.category {
            "pc" => "desktop",
            "smartphone" | "mobilephone" => "mobile",
            "appliance" => "tv_or_console",
            "crawler" => "bot",
            _ => "",
        };
        let known = |word: &'a str| if word == "UNKNOWN" { "" } else { word };
        let os_version = match &*found.os_version {
            "UNKNOWN" => Cow::Borrowed(""),
            _ => found.os_version,
        };
        Self {
            browser: known(found.name),
            browser_version: known(found.version),
            os: known(found.os),
            os_version,
            device,
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
            assert_eq!((agent.browser, agent.os, agent.device), (browser, os, device), "{text}");
        }
    }
}
