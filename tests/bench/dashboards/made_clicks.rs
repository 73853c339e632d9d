//! Clicks that the engine makes itself, each day merged into one part; and a replay of one day. A few days are made of
//! numbers, the others are copies of them by other visitors, which takes a third of the time.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::engine::Engine;

/// Days of clicks: the range of a dashboard, and the one before, with which it is compared.
pub const DAYS: u64 = 60;
/// Days that are no copies.
const OWN_DAYS: u64 = 3;
const DAY_SECONDS: u64 = 86_400;
/// Days that are made at the same time.
const THREADS: usize = 2;
/// Inserts of a replay.
const REPLAY_PARTS: u64 = 3;
const CLICKS_SQL: &str = include_str!("made_clicks.sql");
const COPY_SQL: &str = include_str!("copied_clicks.sql");
const LINKS_SQL: &str = include_str!("made_links.sql");

/// Where and how many.
pub struct MadeClicks<'e> {
    /// The server.
    pub engine: &'e Engine,
    /// The database, in which the migrations are applied.
    pub database: &'e str,
    /// The first day, since 1970.
    pub first_day: u64,
    /// Clicks of each day.
    pub a_day: u64,
}

impl MadeClicks<'_> {
    /// Makes the links, and the clicks of all days.
    pub fn make(&self) -> Result<()> {
        self.run(LINKS_SQL, &[])?;
        let copied = self.first_day + OWN_DAYS;
        at_once(self.first_day..copied, |day| self.make_day(day))?;
        at_once(copied..self.first_day + DAYS, |day| self.copy_day(day))?;
        let parts = self.parts()?;
        ensure!(parts == DAYS, "{parts} parts of {DAYS} days: not all of them are merged");
        Ok(())
    }

    /// A day of two parts, so that its merge is one.
    fn make_day(&self, day: u64) -> Result<()> {
        let count = self.a_day / 2;
        for first in [0, count] {
            let rows = self.a_day;
            self.run(
                CLICKS_SQL,
                &[
                    ("param_day", day),
                    ("param_rows", rows),
                    ("param_first", first),
                    ("param_count", count),
                ],
            )?;
        }
        self.merge(day)
    }

    fn copy_day(&self, day: u64) -> Result<()> {
        let later = (day - self.first_day) / OWN_DAYS * OWN_DAYS;
        let begin = (day - later) * DAY_SECONDS;
        let noon = begin + DAY_SECONDS / 2;
        for (from, to) in [(begin, noon), (noon, begin + DAY_SECONDS)] {
            self.run(COPY_SQL, &[("param_later", later), ("param_from", from), ("param_to", to)])?;
        }
        self.merge(day)
    }

    fn merge(&self, day: u64) -> Result<()> {
        self.run(&format!("OPTIMIZE TABLE click_versions PARTITION ID '{}' FINAL", date(day)?), &[])
    }

    /// Inserts the clicks of a day again, as a replay does, and leaves the parts unmerged.
    pub fn replay(&self, day: u64) -> Result<()> {
        self.run("SYSTEM STOP MERGES click_versions", &[])?;
        let before = self.parts()?;
        for part in 0..REPLAY_PARTS {
            self.run(
                &format!(
                    "INSERT INTO click_versions SELECT * REPLACE (now64(6) AS ingested_at) FROM click_versions AS v \
                     WHERE toDate(occurred_at) = toDate({day}) AND v.ingested_at < now64(6) - 3600 \
                     AND cityHash64(event_id) % {REPLAY_PARTS} = {part}"
                ),
                &[],
            )?;
        }
        let parts = self.parts()?;
        ensure!(parts == before + REPLAY_PARTS, "{parts} parts after {before}: some are merged");
        Ok(())
    }

    fn parts(&self) -> Result<u64> {
        let database = self.database;
        self.engine.number(&format!(
            "SELECT count() FROM system.parts \
             WHERE active AND database = '{database}' AND table = 'click_versions'"
        ))
    }

    fn run(&self, sql: &str, parameters: &[(&str, u64)]) -> Result<()> {
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (*name, value.to_string())).collect();
        let parameters = parameters.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<_> = [("database", self.database)].into_iter().chain(parameters).collect();
        self.engine.send(&all, sql.into()).with_context(|| sql.to_owned())?;
        Ok(())
    }
}

/// Does something for each of these days, for two of them at the same time.
fn at_once(days: std::ops::Range<u64>, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicU64::new(days.start);
    let work = || -> Result<()> {
        loop {
            let day = next.fetch_add(1, Ordering::Relaxed);
            if day >= days.end {
                return Ok(());
            }
            work(day)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|it| it.join().expect("the thread does not panic"))
    })
}

/// The partition of a day since 1970.
fn date(day: u64) -> Result<String> {
    let date = jiff::Timestamp::from_second(i64::try_from(day * DAY_SECONDS)?)?;
    Ok(date.strftime("%Y%m%d").to_string())
}
