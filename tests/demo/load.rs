//! Visitors: requests at a steady rate (an open loop), even if an earlier one has no response yet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;

use crate::random::Random;
use crate::steps::Stop;
use crate::visitors::visit;

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
        let visit = visit(&mut random, true);
        let mut request = client
            .get(format!("http://{address}/{}", visit.target))
            .header("host", "go.example")
            .header("user-agent", visit.agent)
            .header("x-forwarded-for", visit.address);
        for (name, value) in [("referer", visit.referrer), ("accept-language", visit.language)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
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
