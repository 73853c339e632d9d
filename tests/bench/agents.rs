//! User agents by popularity: a few hundred current browsers, then a long tail of phones, apps and old
//! versions.

use harness::seeded_random::SeededRandom;

/// A user agent and its client hints.
#[derive(Debug)]
pub struct Agent {
    /// `User-Agent`.
    pub text: String,
    /// `Sec-CH-UA`, which browsers based on Chromium send.
    pub brands: Option<String>,
    /// `Sec-CH-UA-Platform`.
    pub platform: Option<&'static str>,
    /// Whether it sends neither languages nor fetch metadata.
    pub machine: bool,
}

const DESKTOPS: [(&str, &str); 3] = [
    ("Windows NT 10.0; Win64; x64", "\"Windows\""),
    ("Macintosh; Intel Mac OS X 10_15_7", "\"macOS\""),
    ("X11; Linux x86_64", "\"Linux\""),
];
const PHONES: [&str; 24] = [
    "SM-S918B",
    "SM-A546B",
    "SM-A155F",
    "SM-G991B",
    "SM-A336B",
    "SM-S911U",
    "SM-A127F",
    "SM-G781B",
    "Pixel 8",
    "Pixel 7a",
    "Pixel 6",
    "2201117TG",
    "23021RAAEG",
    "M2101K6G",
    "22101316G",
    "CPH2387",
    "CPH2591",
    "V2206",
    "RMX3630",
    "moto g54 5G",
    "moto e13",
    "LE2113",
    "VOG-L29",
    "ELS-NX9",
];
const MACHINES: [&str; 14] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "WhatsApp/2.23.20.0",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "Go-http-client/2.0",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "TelegramBot (like TwitterBot)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "okhttp/4.12.0",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
];
/// Ranks between two bots in the order of popularity.
const MACHINE_EVERY: usize = 9;

/// `count` user agents, the most popular first.
pub fn agents(count: usize, random: &mut SeededRandom) -> Vec<Agent> {
    let mut agents = Vec::with_capacity(count);
    let mut machines = MACHINES.iter();
    let mut known = std::collections::HashSet::new();
    while agents.len() < count {
        if agents.len() % MACHINE_EVERY == MACHINE_EVERY - 1
            && let Some(text) = machines.next()
        {
            let text = (*text).to_owned();
            agents.push(Agent { text, brands: None, platform: None, machine: true });
            continue;
        }
        // The lower the rank, the older a version may be.
        let age = 1 + agents.len() / 40;
        let agent = person(random, age);
        if known.insert(agent.text.clone()) {
            agents.push(agent);
        }
    }
    agents
}

fn person(random: &mut SeededRandom, age: usize) -> Agent {
    let chrome = 137 - random.index(age.min(60));
    match random.index(100) {
        0..25 => {
            let (system, platform) = random.one(&DESKTOPS);
            chromium(system, platform, chrome, &format!("Chrome/{chrome}.0.0.0 Safari/537.36"))
        }
        25..31 => {
            let (system, platform) = random.one(&DESKTOPS[..2]);
            let tail = format!("Chrome/{chrome}.0.0.0 Safari/537.36 Edg/{chrome}.0.0.0");
            chromium(system, platform, chrome, &tail)
        }
        31..37 => {
            let (system, _) = random.one(&DESKTOPS);
            let version = 139 - random.index(age.min(60));
            plain(format!(
                "Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
            ))
        }
        37..60 => {
            let (major, minor) = ios(random, age);
            plain(format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor} like Mac OS X) \
                 AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{major}.{minor} Mobile/15E148 \
                 Safari/604.1"
            ))
        }
        60..75 => {
            let tail = format!("Chrome/{chrome}.0.0.0 Mobile Safari/537.36");
            chromium("Linux; Android 10; K", "\"Android\"", chrome, &tail)
        }
        75..87 => {
            let (phone, android) = (random.one(&PHONES), 15 - random.index(age.min(6)));
            let build = 7000 + random.index(8 * age.min(30));
            plain(format!(
                "Mozilla/5.0 (Linux; Android {android}; {phone}; wv) AppleWebKit/537.36 (KHTML, \
                 like Gecko) Version/4.0 Chrome/{chrome}.0.{build}.{} Mobile Safari/537.36",
                random.index(200)
            ))
        }
        _ => {
            let ((major, minor), app) = (ios(random, age), 380 - random.index(age.min(60)));
            plain(format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor} like Mac OS X) \
                 AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22F76 Instagram {app}.0.0.{}.86 \
                 (iPhone{},{}; iOS {major}_{minor}; en_US; en; scale=3.00; 1170x2532)",
                20 + random.index(20),
                12 + random.index(5),
                1 + random.index(5),
            ))
        }
    }
}

fn ios(random: &mut SeededRandom, age: usize) -> (usize, usize) {
    (18 - random.index(age.min(4)), random.index(7))
}

fn chromium(system: &str, platform: &'static str, version: usize, tail: &str) -> Agent {
    let brands = format!(
        "\"Google Chrome\";v=\"{version}\", \"Chromium\";v=\"{version}\", \"Not/A)Brand\";v=\"24\""
    );
    let text = format!("Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) {tail}");
    Agent { text, brands: Some(brands), platform: Some(platform), machine: false }
}

fn plain(text: String) -> Agent {
    Agent { text, brands: None, platform: None, machine: false }
}
