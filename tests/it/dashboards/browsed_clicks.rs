//! The clicks that the browser tests look at: two weeks with the end of summer time in Berlin, from several
//! countries, devices and sources, by people and machines, with slugs that try to break out.

use harness::{Raw, World, rules};
use schemas::{Encoder, Method, Outcome, RawClick};
use uuid::Uuid;

/// Midnight of 20 October 2025 in Berlin, in seconds since 1970; the week from here has 169 hours.
pub(crate) const BEGIN: i64 = 1_760_911_200;
/// Midnight a week later, when summer time has ended.
pub(crate) const END: i64 = BEGIN + WEEK + 3_600;
const WEEK: i64 = 7 * 86_400;
/// Seconds between two clicks.
const STEP: i64 = 600;

/// The slug that a filter by click must survive.
pub(crate) const HOSTILE: &str = r#"a'b\c%d"<script>"#;
/// Slugs whose text another language could read as its own.
pub(crate) const SLUGS: [&str; 10] = [
    "\"><img src=x onerror=alert(1)>",
    "100%",
    "%27%20OR%201=1",
    "'); DROP TABLE clicks; --",
    "two\nlines",
    "größe/日本語/🧀",
    "${link} $__all [[link]]",
    "a+b c&d=e#f?g",
    "\\",
    "{{slug}} ${{x}}",
];

/// Addresses of seven countries, and one of none.
const ADDRESSES: [[u8; 4]; 8] = [
    [91, 12, 3, 4],
    [73, 44, 1, 2],
    [81, 140, 1, 2],
    [90, 60, 1, 2],
    [177, 40, 1, 2],
    [126, 80, 1, 2],
    [91, 13, 3, 4],
    [10, 0, 0, 1],
];
const AGENTS: [&str; 9] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/17.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/17.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)",
    "curl/8.5.0",
];
const REFERRERS: [&str; 5] = [
    "https://www.google.com/",
    "https://t.co/x",
    "",
    "https://news.example/",
    "https://chatgpt.com/",
];
const QUERIES: [&str; 4] = [
    "",
    "utm_source=news&utm_medium=email&utm_campaign=spring",
    "qr=1",
    "utm_source=x&utm_medium=cpc",
];

/// Writes the clicks of this week and the one before to the log, and waits until each is a row.
pub(crate) fn load(world: &World) {
    let encoder = Encoder::new(world.schema_id());
    let count = (END - BEGIN + WEEK) / STEP;
    let records: Vec<_> = (0..count).map(|number| record(&encoder, number)).collect();
    world.kafka.produce(&world.topic, &records);
    let folder = rules::folder();
    let set = [("CLICKTRAIL_RULES", folder.to_str().expect("a path of text"))];
    let mut processors = world.processors(&[], &set);
    processors.until_caught_up(world);
    processors.stop().expect_code(0);
    world.query(
        "INSERT INTO link_versions (link_id, version, slug, target_url, status, changed_at) VALUES \
         ('l1', 1, 'spring', 'https://shop.example/old', 302, '2025-10-01 00:00:00'), \
         ('l1', 2, 'spring', 'https://shop.example/sale', 302, '2025-10-22 12:00:00'), \
         ('l2', 1, 'docs', 'https://docs.example/start', 302, '2025-10-01 00:00:00')",
    );
}

fn record(encoder: &Encoder, number: i64) -> Raw {
    let of = |choices: usize, step: i64| {
        usize::try_from(number / step).expect("a small number") % choices
    };
    let (slug, link, target) = match of(20, 1) {
        0..=7 => ("spring", Some("l1"), Some("https://shop.example/sale")),
        8..=12 => ("docs", Some("l2"), Some("https://docs.example/start")),
        13 => ("no-such-link", None, None),
        14 => ("", None, None),
        15 | 16 => (HOSTILE, Some("l3"), Some("https://hostile.example/")),
        _ => (SLUGS[of(SLUGS.len(), 20)], Some("l4"), Some("https://hostile.example/")),
    };
    let address = ADDRESSES[of(ADDRESSES.len(), 3)];
    let visitor = u64::try_from(number % 97 + 1).expect("a small number");
    let text = |text: &'static str| (!text.is_empty()).then_some(text);
    let click = RawClick {
        domain: Some(["go.example", "l.example"][of(2, 5)]),
        query: Some(QUERIES[of(QUERIES.len(), 2)]),
        link_id: link,
        link_version: link.map(|_| 1),
        outcome: if link.is_some() { Outcome::Redirected } else { Outcome::NotFound },
        status: if link.is_some() { 302 } else { 404 },
        target_url: target,
        method: Method::Get,
        client_ip: Some(&address),
        visitor_id: (number % 11 != 0).then(|| visitor.to_be_bytes()),
        user_agent: Some(AGENTS[of(AGENTS.len(), 1)]),
        referer: text(REFERRERS[of(REFERRERS.len(), 7)]),
        accept_language: text(["de-DE,de;q=0.9", "en-GB", "pt-BR", ""][of(4, 3)]),
        latency_us: Some(40 + i32::try_from(number % 100).expect("a small number")),
        ..RawClick::new(Uuid::now_v7(), (BEGIN - WEEK + number * STEP) * 1_000_000, slug)
    };
    let mut value = Vec::new();
    encoder.encode(&click, &mut value).expect("a good click");
    let partition = i32::try_from(number % 3).expect("a small number");
    Raw { partition, value: Some(value), ..Raw::default() }
}
