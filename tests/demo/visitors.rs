//! Generated visitors of the demo: people and machines, their countries, devices and sources, and the
//! links that they follow. The same ones at every run.

use crate::random::Random;

/// One request.
pub struct Visit {
    /// Path and query.
    pub target: String,
    /// Status of the response of a host that has the demo's links.
    pub status: u16,
    /// The client's address.
    pub address: String,
    /// `User-Agent`.
    pub agent: &'static str,
    /// `Referer`; empty without one.
    pub referrer: &'static str,
    /// `Accept-Language`; empty without one.
    pub language: &'static str,
}

/// Choices with their weights.
type Weighted<T> = [(usize, T)];

/// Countries: the first half of the addresses of a network, and the language.
const COUNTRIES: &Weighted<(&str, &str)> = &[
    (300, ("91.12", "de-DE,de;q=0.9,en;q=0.6")),
    (210, ("73.44", "en-US,en;q=0.9")),
    (95, ("81.140", "en-GB,en;q=0.9")),
    (80, ("90.60", "fr-FR,fr;q=0.9,en;q=0.5")),
    (65, ("177.40", "pt-BR,pt;q=0.9")),
    (60, ("117.220", "en-IN,en;q=0.9,hi;q=0.7")),
    (45, ("126.80", "ja,en;q=0.4")),
    (40, ("83.12", "pl-PL,pl;q=0.9")),
    (35, ("84.26", "nl-NL,nl;q=0.9,en;q=0.7")),
    (30, ("81.40", "es-ES,es;q=0.9")),
    (25, ("101.170", "en-AU,en;q=0.9")),
    (15, ("41.146", "en-ZA,en;q=0.9")),
    (10, ("105.118", "en-NG,en;q=0.8")),
    // A private network, of which no country is known.
    (55, ("10.20", "en")),
];

const PEOPLE: &Weighted<&str> = &[
    (
        30,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ),
    (
        26,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    ),
    (
        18,
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    ),
    (
        10,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    ),
    (8, "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"),
    (
        5,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    ),
    (
        3,
        "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    ),
];

const MACHINES: &Weighted<&str> = &[
    (28, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    (12, "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"),
    (8, "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)"),
    (
        14,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    ),
    (
        9,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    ),
    (
        8,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)",
    ),
    (
        4,
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)",
    ),
    (8, "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    (6, "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"),
    (5, "Twitterbot/1.0"),
    (4, "WhatsApp/2.23.20.0"),
    (9, "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)"),
    (5, "curl/8.5.0"),
    (4, "python-requests/2.32.3"),
];

/// Sources of people, as referrer and query; weights of the last week and of the weeks before it.
const SOURCES: [(usize, usize, (&str, &str)); 15] = [
    (22, 22, ("https://www.google.com/", "")),
    (20, 22, ("", "")),
    (15, 5, ("https://www.linkedin.com/", "")),
    (6, 9, ("https://t.co/a1", "")),
    (6, 6, ("https://news.ycombinator.com/", "")),
    (5, 5, ("https://www.reddit.com/", "")),
    (3, 3, ("https://www.facebook.com/", "")),
    (6, 3, ("https://chatgpt.com/", "")),
    (3, 3, ("https://www.bing.com/", "")),
    (2, 2, ("https://duckduckgo.com/", "")),
    (8, 8, ("", "utm_source=newsletter&utm_medium=email&utm_campaign=spring")),
    (
        5,
        5,
        ("https://www.google.com/", "utm_source=google&utm_medium=cpc&utm_campaign=spring&gclid=x"),
    ),
    (3, 3, ("", "utm_source=linkedin&utm_medium=social&utm_campaign=hiring")),
    (9, 7, ("", "qr=1")),
    (3, 3, ("https://blog.example/news", "")),
];

/// Paths of people, and the status of each; weights of the last week and of the weeks before it.
const PATHS: [(usize, usize, (&str, u16)); 11] = [
    (30, 26, ("spring", 302)),
    (22, 22, ("docs", 302)),
    (15, 12, ("pricing", 302)),
    (11, 10, ("jobs", 302)),
    (8, 8, ("talk", 302)),
    (3, 14, ("webinar", 302)),
    (5, 5, ("blog/tags/puppet", 302)),
    (3, 3, ("old-sale", 410)),
    (2, 2, ("sprnig", 404)),
    (1, 1, ("no-such-link", 404)),
    (1, 1, ("docs/v1", 404)),
];

/// Paths that machines try besides.
const PROBES: &Weighted<(&str, u16)> =
    &[(12, ("wp-login.php", 404)), (8, ("xmlrpc.php", 404)), (5, (".env", 404))];

/// The next visit. The links and sources of the last week are not those of the weeks before it.
pub fn visit(random: &mut Random, last_week: bool) -> Visit {
    let machine = random.below(100) < 23;
    let (network, language) = *pick(random, COUNTRIES);
    let address = format!("{network}.{}.{}", random.skewed(3), 1 + random.below(20));
    if machine {
        let (path, status) = match random.below(4) {
            0 => *pick(random, PROBES),
            _ => *of_week(random, &PATHS, last_week),
        };
        let agent = *pick(random, MACHINES);
        return Visit {
            target: path.to_owned(),
            status,
            address,
            agent,
            referrer: "",
            language: "",
        };
    }
    let (path, status) = *of_week(random, &PATHS, last_week);
    let (referrer, query) = *of_week(random, &SOURCES, last_week);
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    Visit { target, status, address, agent: pick::<&str>(random, PEOPLE), referrer, language }
}

fn pick<'a, T>(random: &mut Random, choices: &'a Weighted<T>) -> &'a T {
    let total = choices.iter().map(|(weight, _)| weight).sum();
    let mut left = random.below(total);
    let found = choices.iter().find(|(weight, _)| {
        let found = left < *weight;
        left = left.saturating_sub(*weight);
        found
    });
    &found.unwrap_or(&choices[0]).1
}

fn of_week<'a, T>(random: &mut Random, choices: &'a [(usize, usize, T)], last_week: bool) -> &'a T {
    let weights: Vec<_> = choices
        .iter()
        .map(|(last, before, choice)| (if last_week { *last } else { *before }, choice))
        .collect();
    pick::<&T>(random, &weights)
}
