//! Which job announced a copy first: of two redrives at once over one dead letter, at most one sends the
//! copy of a number.
//!
//! A job announces a copy by an event `pending`, waits for [`SETTLE`] after the server acknowledged it, and
//! reads the events of the copy. It sends the copy if its own event is the first by the server's clock, and
//! if it was acknowledged within [`SETTLE`] where another job announced the copy, too. A job with a later
//! event then sees the first one, because it reads later than that was acknowledged.

use std::collections::HashMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use serde::Deserialize;

use crate::clickhouse::origin_columns::{KEY, ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

/// Longest time of an announcement that competes, and how long a job waits after its own.
pub const SETTLE: Duration = Duration::from_millis(250);

/// Who announced a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The job whose event is the first.
    pub first_job: String,
    /// How many jobs did.
    pub jobs: u64,
}

impl Announced {
    /// Whether `job` may send the copy. `in_time`: its event was acknowledged within [`SETTLE`].
    pub fn may_send(&self, job: &str, in_time: bool) -> bool {
        self.first_job == job && (in_time || self.jobs == 1)
    }
}

#[derive(Row, Deserialize)]
struct AnnouncedRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    redrive: u32,
    first_job: String,
    jobs: u64,
}

/// Who announced the copies of these origins, by origin and number.
///
/// # Errors
/// The server's refusal.
pub async fn first_announcements(
    server: &Server,
    origins: &[&Origin],
) -> Result<HashMap<(Origin, u32), Announced>, ServerError> {
    let text = format!(
        "SELECT {ORIGIN}, redrive, argMin(job, (at, job)) AS first_job, uniqExact(job) AS jobs \
         FROM dead_letter_events WHERE kind = 'pending' AND {} GROUP BY {KEY}, redrive",
        is_one_of(origins.iter().copied())
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<AnnouncedRow>().await.map_err(server_error)?;
    let entry = |row: AnnouncedRow| {
        let key = origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms);
        ((key, row.redrive), Announced { first_job: row.first_job, jobs: row.jobs })
    };
    Ok(rows.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of two announcements of one copy, in tenths of [`SETTLE`]. `at` is the server's time of
    /// the event, which readers see from `stored` on; each job reads [`SETTLE`] after that.
    #[test]
    fn of_two_announcements_at_any_times_at_most_one_is_sent() {
        const SETTLE: i64 = 10;
        let (mut one, mut none) = (0, 0);
        for (other_at, delay, other_delay) in (-40_i64..=40)
            .flat_map(|at| (0..30).flat_map(move |a| (0..30).map(move |b| (at, a, b))))
        {
            let jobs = [("a", 0, delay), ("b", other_at, other_at + other_delay)];
            let sends = |(own, at, stored): (&str, i64, i64)| {
                let seen = jobs.iter().filter(|(_, _, other)| *other <= stored + SETTLE);
                let mut seen: Vec<_> = seen.map(|(job, at, _)| (*at, *job)).collect();
                seen.sort_unstable();
                let announced =
                    Announced { first_job: seen[0].1.to_owned(), jobs: seen.len() as u64 };
                announced.may_send(own, stored - at <= SETTLE)
            };
            match jobs.into_iter().filter(|job| sends(*job)).count() {
                0 => {
                    none += 1;
                    assert!(
                        delay > SETTLE || other_delay > SETTLE,
                        "{other_at} {delay} {other_delay}"
                    );
                }
                1 => one += 1,
                _ => panic!("both are sent: {other_at} {delay} {other_delay}"),
            }
        }
        assert!(one > 100 && none > 0, "{one} {none}");
    }
}
