//! `processors audit --follow`: audits the newest part of the log periodically, and publishes the
//! findings as metrics.
//!
//! It looks up events of the log in the view, not the reverse: only the full audit finds rows that the
//! log does not hold.
#![expect(clippy::disallowed_methods, reason = "the window ends at the current time")]

use broker::{ErrorClass, ServerError, UnreadableBatch};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::registry::Registry as MetricRegistry;
use service::admin_port::{self, Health};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::compared_log::ComparedLog;
use crate::audit::decoded_events::{ClickDecoder, blocking, position, read};
use crate::audit::entry::{AuditEntry, LogPosition};
use crate::audit::follow_args::FollowArgs;
use crate::audit::full_audit::{SortSpace, dead_letters};
use crate::audit::misplaced_clicks::MisplacedClicks;
use crate::audit::pending_work::pending_offsets;
use crate::audit::unreadable_batches::UnreadableBatches;
use crate::audit::verdict::AuditVerdict;
use crate::audit::verdict_writer::{RunTimes, VerdictWriter};
use crate::audit::window::{TimedEntry, WindowReport};
use crate::audit::window_comparison::{WindowRecords, compare};
use crate::clickhouse::audit_queries::{LookedUp, rows_of};
use crate::clickhouse::server_clock::earlier_ms;
use crate::clickhouse::shard_readers::ShardReaders;
use crate::clickhouse::verdict_table::VerdictSubject;
use crate::config::Servers;
use crate::kafka::log_reader::{LogItem, LogReader};
use crate::metrics::audit::AuditMetrics;
use service::lock::lock;
use service::number::gauge;

/// Pause after a run that a server error ended; `--every` if that is shorter.
const RETRY: Duration = Duration::from_secs(5);
/// How far the clock of a processor may be behind the broker's. The processor stamps dead letters.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Audits periodically until a signal; returns the number of complete runs.
///
/// # Errors
/// Only fatal ones.
pub(crate) async fn follow(
    servers: &Servers,
    space: &SortSpace,
    group: &str,
    args: &FollowArgs,
) -> Result<u64, ServerError> {
    let shutdown = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let mut registry = MetricRegistry::default();
    let metrics = AuditMetrics::register(&mut registry);
    let health = Arc::new(Mutex::new(Health::NotReady("no audit run is complete yet".to_owned())));
    let admin = serve_admin(args, registry, &health, shutdown.clone()).await?;
    tracing::info!(topic = %servers.kafka.topic, window = ?args.window, "the continuous audit has started");
    let mut failing = false;
    let (topic, group_id) = (servers.kafka.topic.to_string(), group.to_owned());
    let subject = VerdictSubject { topic, group: group_id, every: args.every };
    let server = servers.clickhouse.server()?;
    let verdicts = VerdictWriter::start(server, subject, metrics.clone());
    let unreadable = Arc::<Mutex<UnreadableBatches>>::default();
    let auditing = Auditing { servers, space, group, args, unreadable };
    loop {
        let started = Instant::now();
        let found = tokio::select! {
            found = audit_once(&auditing, &shutdown) => found,
            () = shutdown.cancelled() => break,
        };
        let (pause, verdict) = match found {
            Ok(None) => break,
            Ok(Some((found, verdict))) => {
                let now = since_1970().as_secs_f64();
                metrics.complete(&found, started.elapsed().as_secs_f64(), now);
                log_result(&found, failing);
                failing = false;
                set(&health, |_| Health::Ready);
                (args.every.saturating_sub(started.elapsed()), verdict)
            }
            Err(error) if error.class == ErrorClass::Fatal => return Err(error),
            Err(error) => {
                metrics.failure(error.code);
                // One line for each outage.
                if !failing {
                    tracing::warn!(code = error.code, %error, "an audit run failed; the audit retries it");
                }
                failing = true;
                set(&health, |before| match before {
                    Health::NotReady(_) => Health::NotReady(error.to_string()),
                    Health::Ready | Health::Degraded(_) => {
                        Health::Degraded(vec![error.to_string()])
                    }
                });
                (args.every.min(RETRY), AuditVerdict::failed(error.code))
            }
        };
        verdicts.offer(verdict, RunTimes { began: started, ended: Instant::now() });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => break,
        }
    }
    shutdown.cancel();
    drop(admin);
    Ok(metrics.runs())
}

fn set(health: &Mutex<Health>, change: impl FnOnce(&Health) -> Health) {
    let mut health = lock(health);
    *health = change(&health);
}

fn log_result(found: &WindowReport, recovered: bool) {
    let WindowReport {
        records,
        within_grace,
        missing,
        dead_lettered,
        duplicates,
        ref misplaced,
        undecodable_without_dead_letter,
        ref pending,
        ..
    } = *found;
    let (misplaced, lagging, in_jobs) = (misplaced.rows(), pending.lagging, pending.jobs());
    if !found.balanced() {
        let (code, examples) = ("out_of_balance", found.examples());
        tracing::warn!(
            code,
            missing,
            dead_lettered,
            duplicates,
            misplaced,
            undecodable_without_dead_letter,
            lagging,
            in_jobs,
            examples,
            "the audit is out of balance"
        );
    } else if recovered {
        tracing::info!(
            records,
            within_grace,
            lagging,
            in_jobs,
            "an audit run succeeded after an outage"
        );
    } else {
        tracing::debug!(records, within_grace, lagging, in_jobs, "the audit is balanced");
    }
}

/// What all runs share.
struct Auditing<'a> {
    servers: &'a Servers,
    space: &'a SortSpace,
    /// The group whose position says what is lagging.
    group: &'a str,
    args: &'a FollowArgs,
    unreadable: Arc<Mutex<UnreadableBatches>>,
}

/// One run: its findings and its verdict; `None` when `stop` was cancelled.
async fn audit_once(
    auditing: &Auditing<'_>,
    stop: &CancellationToken,
) -> Result<Option<(WindowReport, AuditVerdict)>, ServerError> {
    let Auditing { servers, space, group, args, .. } = auditing;
    let server = servers.clickhouse.server()?;
    // Of a time ahead of the log, there would be no record, and nothing would be missing.
    let now_ms = earlier_ms(&server, ms(since_1970())).await?;
    let times = WindowTimes {
        since_ms: now_ms.saturating_sub(ms(args.window)).max(0),
        until_ms: now_ms.saturating_sub(ms(args.grace)).max(0),
    };
    let Some((records, compared)) = read_window(auditing, times, stop).await? else {
        return Ok(None);
    };
    let cluster = servers.clickhouse.cluster()?;
    let readers = ShardReaders::open(&cluster).await?;
    let partitions = compared.firsts().map(|(partition, _)| partition).collect();
    let pending = pending_offsets(servers, cluster.any(), group, partitions).await?;
    let is_behind = pending.is_before(compared.firsts());
    let topic = servers.kafka.topic.as_str();
    let since = times.since_ms.saturating_sub(ms(CLOCK_SKEW));
    let mut misplaced = MisplacedClicks::default();
    let mut found = compare(
        records,
        space,
        pending,
        async |times_us, ids| {
            rows_of(&readers, LookedUp { topic, times_us, ids }, &mut misplaced).await
        },
        async || dead_letters(servers, space, Some(since), stop).await,
    )
    .await?;
    found.misplaced = misplaced;
    let verdict = AuditVerdict::of_window(&found, &compared, is_behind);
    Ok((!stop.is_cancelled()).then_some((found, verdict)))
}

/// Log times of a run: it reads the records since `since_ms`, and compares those up to `until_ms`.
#[derive(Debug, Clone, Copy)]
struct WindowTimes {
    since_ms: i64,
    until_ms: i64,
}

/// Reads the window, and returns which part of the log it is, too; `None` when `stop` was cancelled.
async fn read_window(
    auditing: &Auditing<'_>,
    times: WindowTimes,
    stop: &CancellationToken,
) -> Result<Option<(WindowRecords, ComparedLog)>, ServerError> {
    let Auditing { servers, space, args, unreadable, .. } = auditing;
    let (grace, unreadable) = (args.grace, Arc::clone(unreadable));
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let (registry, subject) = (servers.registry.registry()?, servers.kafka.topic.subject());
    let mut decoder = ClickDecoder::new(registry, subject, Handle::current());
    let (mut events, mut undecodable) = (space.sorter(9), space.sorter(1));
    let (mut found, stop) = (WindowReport::default(), stop.clone());
    blocking(move || {
        let log = LogReader::open_since(&brokers, &topic, times.since_ms)?;
        let firsts = log.bounds().iter().map(|(partition, bounds)| (*partition, bounds.low));
        let mut compared = ComparedLog::new(times.since_ms, times.until_ms, firsts);
        lock(&unreadable).begin_run();
        let complete = read(log, &stop, |item| {
            let record = match item {
                LogItem::Record(record) => record,
                LogItem::Unreadable(UnreadableBatch { partition, first, .. }) => {
                    found.records += 1;
                    let first = LogPosition { partition, offset: first };
                    if !lock(&unreadable).is_due(first, grace, tokio::time::Instant::now()) {
                        found.within_grace += 1;
                        compared.add_new_batch(first);
                        return Ok(());
                    }
                    return undecodable.push(first.to_bytes());
                }
            };
            found.records += 1;
            let position = position(record);
            compared.add(position, record.logged_at_ms());
            if record.logged_at_ms() > times.until_ms {
                found.within_grace += 1;
                return Ok(());
            }
            match decoder.click(record)? {
                Some(click) => {
                    let entry = AuditEntry { id: click.event_id.into_bytes(), position };
                    let occurred_at_us = click.occurred_at;
                    events.push(TimedEntry { occurred_at_us, entry }.to_bytes())
                }
                None => undecodable.push(position.to_bytes()),
            }
        })?;
        if complete {
            lock(&unreadable).end_run();
        }
        let (events, undecodable) = (events.sorted()?, undecodable.sorted()?);
        let records = WindowRecords { found, events, undecodable };
        Ok(complete.then_some((records, compared)))
    })
    .await
}

async fn serve_admin(
    args: &FollowArgs,
    registry: MetricRegistry,
    health: &Arc<Mutex<Health>>,
    shutdown: CancellationToken,
) -> Result<JoinSet<()>, ServerError> {
    let address = args.admin.admin_listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{address}: {error}; choose another address with --admin-listen or \
             CLICKTRAIL_AUDIT_ADMIN_LISTEN"
        );
        ServerError::fatal("admin_listen", text)
    })?;
    let health = Arc::clone(health);
    let probe = move || lock(&health).clone();
    let mut admin = JoinSet::new();
    let (registry, hosts) = (Arc::new(registry), args.admin.hosts.admin_hosts.clone());
    admin.spawn(admin_port::run(listener, registry, probe, hosts, shutdown));
    Ok(admin)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn ms(time: Duration) -> i64 {
    gauge(time.as_millis())
}
