//! Which job announced a copy first: of two redrives at once over one dead letter, at most one sends the
//! copy of a number.
//!
//! A job announces a copy by an event `pending`, waits for [`SETTLE`] after the server acknowledged it, and
//! reads the events of the copy. It sends the copy if its own event is the first by the server's clock, and
//! if it was acknowledged within [`SETTLE`] where another job announced the copy, too. A job with a later
//! event then sees the first one, because it reads later than that was acknowledged. A job that is resumed
//! does not know how long its announcement took, which then counts as a late one.
//!
//! A job that has recorded that it does not send the dead letter (`skipped`, `parked`) never sends it, and
//! its announcement does not count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use serde::Deserialize;

use crate::clickhouse::origin_columns::{KEY, ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

/// Longest time until the server acknowledges an announcement that counts although another job announced the
/// copy, too; and how long a job waits after its own.
pub const SETTLE: Duration = Duration::from_millis(250);

/// That a job announced a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The job.
    pub job: String,
    /// When, by the server's clock, microseconds since 1970.
    pub at_us: i64,
    /// The job has recorded that it sent the copy.
    pub is_sent: bool,
    /// The job has recorded that it does not send the dead letter.
    pub is_skipped: bool,
}

/// Which jobs announced a copy, one entry for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced(pub Vec<Announcement>);

impl Announced {
    /// Whether `job` may send the copy. `in_time`: its event is known to have been acknowledged within
    /// [`SETTLE`].
    pub fn may_send(&self, job: &str, in_time: bool) -> bool {
        let Some(own) = self.0.iter().find(|announced| announced.job == job) else { return false };
        let is_first = |other: &Announcement| (own.at_us, &own.job) < (other.at_us, &other.job);
        self.0
            .iter()
            .filter(|other| other.job != job && !other.is_skipped)
            .all(|other| in_time && !other.is_sent && is_first(other))
    }
}

/// How many events of each kind a job has of one number of an origin. The number of an event `skipped` is
/// 0 where the job announced no copy before.
#[derive(Row, Deserialize)]
struct AnnouncedRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    redrive: u32,
    job: String,
    at_us: i64,
    pending: u64,
    sent: u64,
    skipped: u64,
}

/// Which jobs announced the copies of these origins, by origin and number.
///
/// # Errors
/// The server's refusal.
pub async fn first_announcements(
    server: &Server,
    origins: &[&Origin],
) -> Result<HashMap<(Origin, u32), Announced>, ServerError> {
    let text = format!(
        "SELECT {ORIGIN}, redrive, job, \
         toUnixTimestamp64Micro(minIf(at, kind = 'pending')) AS at_us, \
         countIf(kind = 'pending') AS pending, countIf(kind = 'sent') AS sent, \
         countIf(kind IN ('skipped', 'parked')) AS skipped FROM dead_letter_events \
         WHERE kind IN ('pending', 'sent', 'skipped', 'parked') AND {} GROUP BY {KEY}, redrive, job",
        is_one_of(origins.iter().copied())
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<AnnouncedRow>().await.map_err(server_error)?;
    Ok(announced(&rows))
}

fn announced(rows: &[AnnouncedRow]) -> HashMap<(Origin, u32), Announced> {
    let of_job = |row: &AnnouncedRow| {
        let AnnouncedRow { topic_name, origin_partition, origin_offset, logged_at_ms, .. } = row;
        let key = origin(topic_name.clone(), *origin_partition, *origin_offset, *logged_at_ms);
        (key, row.job.clone())
    };
    let skipped: HashSet<_> = rows.iter().filter(|row| row.skipped > 0).map(of_job).collect();
    let mut announced: HashMap<_, Announced> = HashMap::new();
    for row in rows.iter().filter(|row| row.pending > 0) {
        let of_job = of_job(row);
        let is_skipped = skipped.contains(&of_job);
        let (origin, job) = of_job;
        let own = Announcement { job, at_us: row.at_us, is_sent: row.sent > 0, is_skipped };
        announced.entry((origin, row.redrive)).or_default().0.push(own);
    }
    announced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(job: &str, at_us: i64) -> Announcement {
        Announcement { job: job.to_owned(), at_us, is_sent: false, is_skipped: false }
    }

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
                let announced =
                    Announced(seen.map(|(job, at, _)| announcement(job, *at)).collect());
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

    /// The first announcement may have been stored after another job read: only a job that knows that its
    /// own was in time may rely on its being the first.
    #[test]
    fn a_resumed_job_sends_only_what_no_other_job_may_have_sent() {
        let own = announcement("a", 1);
        let other = announcement("b", 2);
        let sent = Announcement { is_sent: true, ..other.clone() };
        let skipped = Announcement { is_skipped: true, ..other.clone() };
        for (other, when_in_time, when_resumed) in
            [(other, true, false), (sent, false, false), (skipped, true, true)]
        {
            let announced = Announced(vec![own.clone(), other]);
            assert_eq!(announced.may_send("a", true), when_in_time, "{announced:?}");
            assert_eq!(announced.may_send("a", false), when_resumed, "{announced:?}");
            assert!(!announced.may_send("c", true));
        }
        assert!(Announced(vec![own]).may_send("a", false));
    }

    #[test]
    fn an_announcement_of_a_job_that_skipped_the_dead_letter_does_not_count() {
        let events = |job: &str, redrive, at_us, pending, skipped| AnnouncedRow {
            topic_name: "t".to_owned(),
            origin_partition: 0,
            origin_offset: 7,
            logged_at_ms: 1000,
            redrive,
            job: job.to_owned(),
            at_us,
            pending,
            sent: 0,
            skipped,
        };
        // The brokers refused the copy of one; the other one skipped it without a number.
        for ended in
            [vec![events("a", 1, 5, 1, 1)], vec![events("a", 1, 5, 1, 0), events("a", 0, 0, 0, 1)]]
        {
            let all: Vec<_> = ended.into_iter().chain([events("b", 1, 6, 1, 0)]).collect();
            let found = announced(&all);
            let copy = &found[&("t:0:7:1000".parse().unwrap(), 1)];
            assert_eq!(found.len(), 1);
            assert!(copy.may_send("b", true) && copy.may_send("b", false), "{copy:?}");
        }
    }
}
