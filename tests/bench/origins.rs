//! Links, referrers and networks of the generated clicks.

use super::profile::Profile;
use super::zipf::Zipf;
use harness::seeded_random::SeededRandom;

/// A link of the service.
#[derive(Debug)]
pub struct Link {
    /// The link's host.
    pub domain: &'static str,
    /// The link's path.
    pub slug: String,
    /// Its id, as the service derives it for a link without one.
    pub id: String,
    /// The number of its edits.
    pub version: i64,
    /// Its target.
    pub target: String,
}

const DOMAINS: [&str; 4] = ["go.example", "l.example", "news.example", "s.example.org"];
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const WORDS: [&str; 24] = [
    "spring", "sale", "guide", "news", "review", "winter", "travel", "recipe", "market", "video",
    "garden", "music", "course", "jobs", "event", "health", "photo", "report", "update", "offer",
    "summer", "story", "forum", "price",
];
const MEDIA: [&str; 5] = ["social", "email", "cpc", "affiliate", "qr"];
const SENDERS: [&str; 8] =
    ["newsletter", "facebook", "instagram", "google", "linkedin", "x", "partner", "poster"];
const REFERRERS: [&str; 16] = [
    "https://www.google.com/",
    "https://l.facebook.com/",
    "https://t.co/",
    "https://www.instagram.com/",
    "https://www.youtube.com/",
    "https://www.linkedin.com/",
    "https://lm.facebook.com/",
    "android-app://com.google.android.gm/",
    "https://www.bing.com/",
    "https://www.reddit.com/",
    "https://duckduckgo.com/",
    "https://l.instagram.com/",
    "https://mail.google.com/",
    "https://www.google.de/",
    "https://www.pinterest.com/",
    "https://news.ycombinator.com/",
];
/// Countries, and the `Accept-Language` of their browsers.
pub const COUNTRIES: [(&str, &str); 12] = [
    ("US", "en-US,en;q=0.9"),
    ("DE", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("GB", "en-GB,en;q=0.9"),
    ("FR", "fr-FR,fr;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("IN", "en-IN,en-GB;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("BR", "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("ES", "es-ES,es;q=0.9"),
    ("NL", "nl-NL,nl;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("IT", "it-IT,it;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("JP", "ja,en-US;q=0.9,en;q=0.8"),
    ("PL", "pl-PL,pl;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("CA", "en-CA,en;q=0.9,fr-CA;q=0.8"),
];

/// `length` letters and digits.
pub fn letters(random: &mut SeededRandom, length: usize) -> String {
    (0..length).map(|_| char::from(random.one(LETTERS))).collect()
}

/// The links of a profile, the most popular first.
pub fn links(profile: &Profile, random: &mut SeededRandom) -> Vec<Link> {
    let count = profile.links;
    let shops = hosts(count / 12, random);
    let shop_ranks = Zipf::new(shops.len());
    let link = |_| {
        let domain = DOMAINS[Zipf::new(DOMAINS.len()).rank(random.bits())];
        let slug = match random.in_1000(250) {
            true => format!("{}-{}", random.one(&WORDS), random.index(profile.slug_numbers)),
            false => letters(random, 7),
        };
        let shop = &shops[shop_ranks.rank(random.bits())];
        let (first, second) = (random.one(&WORDS), random.one(&WORDS));
        let mut target = format!("https://{shop}/{first}/{second}-{}", random.index(100_000));
        if random.in_1000(300) {
            target += &format!("?{}", campaign(random));
        }
        let version = 1 + Zipf::new(5).rank(random.bits()) as i64;
        Link { domain, id: format!("{domain}/{slug}"), slug, version, target }
    };
    (0..count).map(link).collect()
}

/// The referrers of a profile, the most popular first.
pub fn referrers(profile: &Profile, random: &mut SeededRandom) -> Vec<String> {
    let count = profile.referrers;
    let pages = hosts(count / 5, random);
    let page = |rank: usize| match REFERRERS.get(rank) {
        Some(known) => (*known).to_owned(),
        None => {
            let (host, word) = (&pages[random.index(pages.len())], random.one(&WORDS));
            match profile.full_referrers {
                true => format!(
                    "https://{host}/{word}/{}-{}",
                    letters(random, 8),
                    random.index(1_000_000)
                ),
                false if random.in_1000(500) => format!("https://{host}/"),
                false => format!("https://{host}/{word}/{}", random.index(1000)),
            }
        }
    };
    (0..count).map(page).collect()
}

/// Campaign parameters.
pub fn campaign(random: &mut SeededRandom) -> String {
    let (sender, medium, word) = (random.one(&SENDERS), random.one(&MEDIA), random.one(&WORDS));
    format!("utm_source={sender}&utm_medium={medium}&utm_campaign={word}-{}", random.index(20))
}

/// `count` prefixes of IPv4 addresses, the most populous first.
pub fn networks(count: usize, random: &mut SeededRandom) -> Vec<[u8; 2]> {
    let network = |_| {
        let first = 11 + random.index(210);
        let public = if first == 127 { 128 } else { first };
        [public as u8, random.index(256) as u8]
    };
    (0..count).map(network).collect()
}

fn hosts(count: usize, random: &mut SeededRandom) -> Vec<String> {
    let host = |number| {
        let top = random.one(&["com", "de", "org", "co.uk", "fr"]);
        format!("www.{}{}{number}.{top}", random.one(&WORDS), random.one(&WORDS))
    };
    (0..count).map(host).collect()
}
