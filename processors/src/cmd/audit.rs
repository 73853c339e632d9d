//! `processors audit`: reads the log to its end and holds the view `clicks` against it.
#![expect(clippy::disallowed_methods, reason = "waits for rows that are on their way")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::Args;
use schemas::headers;

use super::{DIFFERS, DONE, say};
use crate::audit::{Id, LogBooks, Report, TableBooks};
use crate::clickhouse::shown_events;
use crate::config::Servers;
use crate::decode::{decode, framed};
use crate::decoders::Decoders;
use crate::error::ServerError;
use crate::flow::Record;
use crate::kafka::{Brokers, LogReader};

/// What `audit` needs to know.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Seconds to wait for rows that are still on their way.
    #[arg(long, default_value_t = 0)]
    wait_seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn audit(args: AuditArgs) -> Result<u8, ServerError> {
    let give_up = Instant::now() + Duration::from_secs(args.wait_seconds);
    let log = log_books(&args).await?;
    let report = loop {
        let report = compare(&args, &log).await?;
        if !report.may_still_come() || Instant::now() >= give_up {
            break report;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    };
    match args.json {
        true => say(serde_json::to_string_pretty(&report)
            .map_err(|error| ServerError::fatal("task_panicked", error))?),
        false => say(&report),
    }
    Ok(if report.balanced() { DONE } else { DIFFERS })
}

async fn compare(args: &AuditArgs, log: &LogBooks) -> Result<Report, ServerError> {
    let topic = &args.servers.kafka.topic;
    let dead =
        dead_letters(&args.servers.kafka.brokers(), topic.as_str(), &topic.dead_letters()).await?;
    let ids = shown_events(&args.servers.clickhouse.server()?, topic.as_str()).await?;
    Ok(log.balance(&TableBooks { ids }, &dead))
}

/// Decodes every record of the log. Schemas are asked for as they turn up.
async fn log_books(args: &AuditArgs) -> Result<LogBooks, ServerError> {
    let decoders = Decoders::new(args.servers.registry.registry()?);
    let (brokers, topic) = (args.servers.kafka.brokers(), args.servers.kafka.topic.to_string());
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let mut books = LogBooks::default();
        let mut log = LogReader::open(&brokers, &topic)?;
        log.bounds().values().for_each(|bounds| books.partition(bounds.low));
        let mut failed = None;
        while log.next(&mut |record| {
            match runtime.block_on(event(&decoders, record)) {
                Ok(event) => books.record((record.partition(), record.offset()), event),
                Err(error) => failed = Some(error),
            };
        })? {
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(books)
    })
    .await
}

async fn event(decoders: &Decoders, record: Record<'_>) -> Result<Option<Id>, ServerError> {
    let Ok((id, datum)) = framed(record) else { return Ok(None) };
    let known = decoders.get(id).await?;
    let click = known.decoder(id).and_then(|known| decode(known, datum, record.logged_at_ms()));
    Ok(click.ok().map(|click| click.event_id.into_bytes()))
}

/// Where the records stood that the dead-letter topic holds.
async fn dead_letters(
    brokers: &Brokers,
    topic: &str,
    dead_letters: &str,
) -> Result<BTreeSet<(i32, i64)>, ServerError> {
    let (brokers, topic, dead_letters) =
        (brokers.clone(), topic.to_owned(), dead_letters.to_owned());
    blocking(move || {
        let mut places = BTreeSet::new();
        let mut log = LogReader::open(&brokers, &dead_letters)?;
        while log.next(&mut |record| {
            let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
            let number = |name| text(name).and_then(|value| value.parse::<i64>().ok());
            let partition = number(headers::CONNECT_PARTITION).and_then(|p| i32::try_from(p).ok());
            if text(headers::CONNECT_TOPIC) == Some(&topic) {
                places.extend(partition.zip(number(headers::CONNECT_OFFSET)));
            }
        })? {}
        Ok(places)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}
