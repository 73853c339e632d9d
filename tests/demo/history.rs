//! Four weeks of generated clicks before the first run, as the log of another server, so that the
//! dashboards have a past: hours and weekdays, a source that grows, a link that falls.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::input::Log;
use crate::random::Random;
use crate::visitors::visit;

const LINES: usize = 40_000;
const HOURS: usize = 28 * 24;
const WEEK_HOURS: usize = 7 * 24;
/// Visits of each hour of a day (UTC), as a proportion.
const OF_HOUR: [usize; 24] =
    [2, 1, 1, 1, 2, 4, 8, 14, 22, 28, 32, 27, 24, 25, 27, 26, 24, 22, 20, 21, 19, 13, 8, 4];
/// The same of each day of a week from Thursday, the day on which 1970 began.
const OF_DAY: [usize; 7] = [10, 9, 4, 4, 9, 12, 10];

/// The log. Its times end at the begin of the hour of the first run; later runs use the same file.
pub fn log(folder: &Path) -> Result<Log> {
    let path = folder.join("history.jsonl");
    if !path.exists() {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let hour = usize::try_from(now.as_secs() / 3600)?;
        // A run that is killed here leaves no half of a file under the final name.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, lines(hour)?)?;
        std::fs::rename(&partial, &path)?;
    }
    Log::read(path)
}

/// The lines of the hours before the hour `end` (hours since 1970), as nginx writes them.
fn lines(end: usize) -> Result<String> {
    let begin = end - HOURS;
    // The site grows by a half in these weeks.
    let weight =
        |hour: usize| OF_HOUR[hour % 24] * OF_DAY[hour / 24 % 7] * (2 * HOURS + (hour - begin));
    let total: usize = (begin..end).map(weight).sum();
    let (mut random, mut text) = (Random(7), String::new());
    let (mut sum, mut written) = (0, 0);
    for hour in begin..end {
        sum += weight(hour);
        let until = LINES * sum / total;
        let count = until - written;
        for number in 0..count {
            let visit = visit(&mut random, hour + WEEK_HOURS >= end);
            // In order of time, and no two at the same millisecond.
            let millis = hour * 3_600_000 + (number * 1000 + random.below(1000)) * 3600 / count;
            let line = json!({
                "msec": format!("{}.{:03}", millis / 1000, millis % 1000),
                "remote_addr": visit.address,
                "host": "go.example",
                "scheme": "https",
                "request_method": "GET",
                "request_uri": format!("/{}", visit.target),
                "server_protocol": "HTTP/2.0",
                "status": visit.status.to_string(),
                "http_referer": visit.referrer,
                "http_user_agent": visit.agent,
                "http_accept_language": visit.language,
            });
            writeln!(text, "{line}")?;
        }
        written = until;
    }
    Ok(text)
}
