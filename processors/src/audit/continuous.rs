//! `processors audit --follow`: audits the newest stretch of the log again and again, and
//! publishes what it finds.
//!
//! It looks events of the log up in the view, not the other way round: what the
//! view shows beyond the log is for the whole audit to say.
#![expect(clippy::disallowed_methods, reason = "its window ends now")]

use broker::{ErrorClass, ServerError};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use prometheus_client::registry::Registry as MetricRegistry;
use service::admin_port::{self, Health};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::balance::unburied;
use crate::audit::decoded_events::{Schemas, blocking, place, read};
use crate::audit::entry::{Entry, Place};
use crate::audit::external_sort::Sorted;
use crate::audit::full::{Scratch, dead_letters};
use crate::audit::window::{Happened, Window};
use crate::clickhouse::audit_queries::rows_of;
use crate::config::Servers;
use crate::exit::say;
use crate::kafka::log_reader::LogReader;
use crate::metrics::audit::AuditMetrics;
use service::lock::lock;
use service::number::gauge;

/// What `audit --follow` needs to know beyond the audit itself.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// Audit the newest stretch of the log again and again, until SIGTERM or SIGINT.
    #[arg(long, conflicts_with_all = ["json", "wait_seconds"])]
    pub(crate) follow: bool,
    /// How far back --follow looks, by the log's time (90s, 15m, 6h, 1d).
    #[arg(long, env = "CLICKTRAIL_AUDIT_WINDOW", default_value = "15m", value_parser = span)]
    window: Duration,
    /// Time from the start of a run of --follow to the next.
    #[arg(long, env = "CLICKTRAIL_AUDIT_EVERY", default_value = "60s", value_parser = span)]
    every: Duration,
    /// Age from which a record is expected in the table or among the dead letters.
    #[arg(long, env = "CLICKTRAIL_AUDIT_GRACE", default_value = "30s", value_parser = span)]
    grace: Duration,
    /// Where --follow serves `/metrics`, `/livez` and `/readyz`.
    #[arg(long, env = "CLICKTRAIL_AUDIT_ADMIN_LISTEN", default_value = "127.0.0.1:9182")]
    admin_listen: SocketAddr,
}

/// Pause after a run that a server cut short, where `--every` is no shorter.
const RETRY: Duration = Duration::from_secs(5);
/// Events that are looked up at once: as many as ClickHouse's default `max_query_size` takes.
const LOOKUP: usize = 5_000;
/// How far the clock of whoever buries may be behind the log's.
const CLOCKS_APART: Duration = Duration::from_secs(600);

/// A length of time as people write it.
fn span(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(*seconds).filter(|seconds| (1..=366 * 86_400).contains(seconds))
    });
    parsed.map(Duration::from_secs).ok_or_else(|| "write it as 90s, 15m, 6h or 1d".to_owned())
}

pub(crate) async fn follow(
    servers: &Servers,
    scratch: &Scratch,
    args: &FollowArgs,
) -> Result<(), ServerError> {
    let shutdown = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let mut registry = MetricRegistry::default();
    let metrics = AuditMetrics::register(&mut registry);
    let health = Arc::new(Mutex::new(Health::NotReady("no run is complete yet".to_owned())));
    let admin = serve_admin(args.admin_listen, registry, &health, shutdown.clone()).await?;
    tracing::info!(topic = %servers.kafka.topic, window = ?args.window, "following");
    let mut failing = false;
    loop {
        let began = Instant::now();
        let found = tokio::select! {
            found = look(servers, scratch, args, &shutdown) => found,
            () = shutdown.cancelled() => break,
        };
        let pause = match found {
            Ok(None) => break,
            Ok(Some(found)) => {
                let now = since_1970().as_secs_f64();
                metrics.complete(&found, began.elapsed().as_secs_f64(), now);
                tell(&found, failing);
                failing = false;
                set(&health, |_| Health::Ready);
                args.every.saturating_sub(began.elapsed())
            }
            Err(error) if error.class == ErrorClass::Fatal => return Err(error),
            Err(error) => {
                metrics.failure(error.code);
                // One line an outage.
                if !failing {
                    tracing::warn!(code = error.code, %error, "the audit waits, and tries again");
                }
                failing = true;
                set(&health, |before| match before {
                    Health::NotReady(_) => Health::NotReady(error.to_string()),
                    Health::Ready | Health::Degraded(_) => {
                        Health::Degraded(vec![error.to_string()])
                    }
                });
                args.every.min(RETRY)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => break,
        }
    }
    shutdown.cancel();
    drop(admin);
    say(format_args!("audit: runs={}", metrics.runs()));
    Ok(())
}

fn set(health: &Mutex<Health>, change: impl FnOnce(&Health) -> Health) {
    let mut health = lock(health);
    *health = change(&health);
}

fn tell(found: &Window, recovered: bool) {
    let Window { records, young, missing, duplicates, unburied, .. } = *found;
    if !found.balanced() {
        let (code, examples) = ("out_of_balance", found.examples());
        tracing::warn!(code, missing, duplicates, unburied, examples, "the books do not balance");
    } else if recovered {
        tracing::info!(records, young, "the audit goes on");
    } else {
        tracing::debug!(records, young, "balanced");
    }
}

/// One run; `None` when told to stop.
async fn look(
    servers: &Servers,
    scratch: &Scratch,
    args: &FollowArgs,
    stop: &CancellationToken,
) -> Result<Option<Window>, ServerError> {
    let now = since_1970();
    let (since, judged) = (ms(now.saturating_sub(args.window)), ms(now.saturating_sub(args.grace)));
    let Some(stretch) = stretch(servers, scratch, (since, judged), stop).await? else {
        return Ok(None);
    };
    let Stretch { mut found, events, undecodable } = stretch;
    let server = servers.clickhouse.server()?;
    let topic = servers.kafka.topic.as_str();
    let mut all = events.iter().map(|bytes| bytes.map(Happened::from_bytes)).peekable();
    let mut asked: Vec<Happened> = Vec::with_capacity(LOOKUP);
    while let Some(event) = all.next().transpose()? {
        if !asked.last().is_some_and(|last| last.is_again(&event)) {
            asked.push(event);
        }
        // The next one may be this event again.
        if asked.len() == LOOKUP || all.peek().is_none() {
            while all.next_if(|next| next.as_ref().is_ok_and(|n| n.is_again(&event))).is_some() {}
            let ids: Vec<_> = asked.iter().map(|event| event.entry.id).collect();
            let bounds = (asked[0].occurred_at_us, event.occurred_at_us);
            found.judge(&asked, &rows_of(&server, topic, bounds, &ids).await?);
            asked.clear();
        }
    }
    if !undecodable.is_empty() {
        let since = since.saturating_sub(ms(CLOCKS_APART));
        let dead = dead_letters(servers, scratch, Some(since), stop).await?;
        let place = Place::from_bytes;
        let undecodable = undecodable.iter().map(|bytes| bytes.map(place));
        unburied(undecodable, dead.iter().map(|bytes| bytes.map(place)), |place| {
            found.unburied(place);
        })?;
    }
    Ok((!stop.is_cancelled()).then_some(found))
}

/// The newest stretch of the log: what there is to judge.
struct Stretch {
    found: Window,
    events: Sorted<36>,
    undecodable: Sorted<12>,
}

/// Reads what was logged since one time; of that, what was logged up to the other is judged.
async fn stretch(
    servers: &Servers,
    scratch: &Scratch,
    (since_ms, judged_ms): (i64, i64),
    stop: &CancellationToken,
) -> Result<Option<Stretch>, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let mut schemas = Schemas::new(servers.registry.registry()?, Handle::current());
    let (mut events, mut undecodable) = (scratch.sorter(6), scratch.sorter(1));
    let (mut found, stop) = (Window::default(), stop.clone());
    blocking(move || {
        let log = LogReader::open_since(&brokers, &topic, since_ms)?;
        let whole = read(log, &stop, |record| {
            found.records += 1;
            if record.logged_at_ms() > judged_ms {
                found.young += 1;
                return Ok(());
            }
            let place = place(record);
            match schemas.click(record)? {
                Some(click) => {
                    let entry = Entry { id: click.event_id.into_bytes(), place };
                    let occurred_at_us = click.occurred_at;
                    events.push(Happened { occurred_at_us, entry }.to_bytes())
                }
                None => undecodable.push(place.to_bytes()),
            }
        })?;
        let (events, undecodable) = (events.sorted()?, undecodable.sorted()?);
        Ok(whole.then_some(Stretch { found, events, undecodable }))
    })
    .await
}

async fn serve_admin(
    address: SocketAddr,
    registry: MetricRegistry,
    health: &Arc<Mutex<Health>>,
    shutdown: CancellationToken,
) -> Result<JoinSet<()>, ServerError> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{address}: {error}; choose another with --admin-listen or \
             CLICKTRAIL_AUDIT_ADMIN_LISTEN"
        );
        ServerError::fatal("admin_listen", text)
    })?;
    let health = Arc::clone(health);
    let probe = move || lock(&health).clone();
    let mut admin = JoinSet::new();
    admin.spawn(admin_port::run(listener, Arc::new(registry), probe, shutdown));
    Ok(admin)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn ms(time: Duration) -> i64 {
    gauge(time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "15", "s", "-1s", "0s", "1.5h", "9999999999999999999d", "400d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
