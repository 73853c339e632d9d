//! Visitors: requests at a steady rate (an open loop), even if an earlier one has no response yet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use crate::input::Random;
use crate::steps::Stop;

/// The requests that the demo sent.
#[derive(Default)]
pub struct Sent {
    /// Requests whose response was a redirect.
    pub answered: u64,
    /// Requests with another response, or none.
    pub failed: u64,
    /// The cause of the last failure.
    pub cause: String,
}

const PATHS: &[&str] = &["spring", "docs", "jobs", "talk", "old-sale", "no-such-link"];
/// User agent and referrer.
const VISITORS: &[(&str, &str)] = &[
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "https://www.google.com/",
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "https://t.co/x",
    ),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", ""),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ""),
    ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", ""),
    ("curl/8.5.0", ""),
];

/// Sends `rate` requests a second for `time`, or until the user stops.
pub fn run(address: SocketAddr, rate: u32, time: Duration, stop: &Stop) -> Result<Sent> {
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let total = u64::from(rate) * time.as_secs();
    let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(
        "           live redirects {bar:30} {pos}/{len}  {per_sec}  {eta} left",
    )?);
    let mut random = Random(11);
    let mut sent = Sent::default();
    let began = Instant::now();
    for number in 0..total {
        if stop.raised() {
            break;
        }
        let due = Duration::from_secs(number) / rate;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let path = PATHS[random.skewed(PATHS.len())];
        let (agent, referrer) = VISITORS[random.skewed(VISITORS.len())];
        let mut request = client
            .get(format!("http://{address}/{path}"))
            .header("host", "go.example")
            .header("user-agent", agent)
            .header("accept-language", "en-GB,en;q=0.8");
        if !referrer.is_empty() {
            request = request.header("referer", referrer);
        }
        match request.send() {
            Ok(answer) if matches!(answer.status().as_u16(), 302 | 404 | 410) => sent.answered += 1,
            Ok(answer) => {
                sent.failed += 1;
                sent.cause = answer.status().to_string();
            }
            Err(error) => {
                sent.failed += 1;
                sent.cause = error.to_string();
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(sent)
}
