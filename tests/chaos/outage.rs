//! `chaos outage`: load without a broker, then delivery of all clicks.
//!
//! The real producer stores CLICKS (300,000) under the load generator of the bench, in an outbox of
//! 430 bytes per click: the default of 4 GiB has as many for ten million clicks. Then the broker
//! starts again. The run holds if memory stays flat, the outbox stays within its bytes, and each
//! click is in the topic.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Backends, Server, World, get, loader, metric};
use schemas::{Decoder, NEWEST, unframe};
use stack::{Part, Stack};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/landing?utm_source=mail"}"#;
const BYTES_A_CLICK: u64 = 430;
/// Time between two samples, of load or of delivery.
const WINDOW: Duration = Duration::from_secs(2);
/// The memory that a producer may add after it has stored a tenth of the clicks, and the memory that
/// a running relay may add: 20,000 clicks or 16 MiB in flight, and Kafka's client.
const GROWS_KIB: u64 = 16 << 10;
const RELAY_KIB: u64 = 96 << 10;

/// One sample of a producer.
struct Sample {
    clicks: u64,
    memory_kib: u64,
    disk: u64,
}

/// The samples of a run and its counts.
pub struct Outage {
    stored: Vec<Sample>,
    drained: Vec<Sample>,
    bound: u64,
    answered: u64,
    in_topic: u64,
    undelivered: u64,
}

/// Stores `clicks` without a broker, then delivers them; at most `seconds` for each of both.
pub fn run(stack: &Stack, clicks: u64, seconds: u64, report_line: &dyn Fn(&str)) -> Result<Outage> {
    let world = World::on(Backends::on(stack), "outage");
    world.setup();
    let bound = (clicks * BYTES_A_CLICK).max(64 << 20);
    let mut server = world.serve(LINKS, &[("CLICKTRAIL_OUTBOX_BYTES", &bound.to_string())]);
    stack.kill(Part::Kafka)?;
    let (host, began) = (server.url.trim_start_matches("http://").to_owned(), Instant::now());
    let (mut answered, mut stored, mut drained) = (0, Vec::new(), Vec::new());
    while answered < clicks {
        ensure!(
            began.elapsed().as_secs() < seconds,
            "only {answered} clicks were stored in {seconds} s"
        );
        answered += loader::closed(&host, WINDOW)?;
        stored.push(sample(&server, &world.outbox(), answered)?);
        report_line(&format!("stored {}", stored[stored.len() - 1]));
    }
    let health = get(&format!("{}/readyz", server.admin)).map_err(anyhow::Error::msg)?;
    ensure!(health.status == 200 && health.body.contains("degraded"), "{health:?}");
    stack.restart(Part::Kafka)?;
    let began = Instant::now();
    loop {
        let waiting = waiting(&server).context("the producer reports the waiting clicks")?;
        drained.push(sample(&server, &world.outbox(), waiting)?);
        report_line(&format!("waiting {}", drained[drained.len() - 1]));
        if waiting == 0 {
            break;
        }
        ensure!(
            began.elapsed().as_secs() < seconds,
            "{waiting} clicks are still undelivered after {seconds} s"
        );
        std::thread::sleep(WINDOW / 4);
    }
    report_line(&format!("delivered within {:.0} s", began.elapsed().as_secs_f64()));
    let expected_state = server.stop().expect_code(0).summary("serve");
    let undelivered = expected_state.get("undelivered") + expected_state.get("waiting");
    let (decoder, mut ids) = (Decoder::new(NEWEST)?, HashSet::new());
    world.kafka.each(&world.topic, |record| {
        let value = record.value.unwrap_or_default();
        let click = unframe(&value).ok().and_then(|(_, datum)| decoder.decode(datum).ok());
        ids.extend(click.map(|click| click.event_id));
    });
    Ok(Outage { stored, drained, bound, answered, in_topic: ids.len() as u64, undelivered })
}

fn sample(server: &Server, outbox: &Path, clicks: u64) -> Result<Sample> {
    let memory_kib = server.memory_kib().context("the producer is running")?;
    Ok(Sample { clicks, memory_kib, disk: bytes(outbox) })
}

fn waiting(server: &Server) -> Option<u64> {
    let value = |name| metric(&server.admin, &format!("clicktrail_producer_{name}"));
    let all = value("queue_clicks")? + value("outbox_clicks")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Some(all as u64)
}

/// The size of all files below a folder, without those that disappear during the search.
fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clicks, memory_kib, disk } = self;
        write!(f, "clicks={clicks} rss_mib={} outbox_mib={}", memory_kib >> 10, disk >> 20)
    }
}

impl Outage {
    /// The bounds that did not hold.
    fn wrong(&self) -> Vec<String> {
        let most = |samples: &[Sample], of: fn(&Sample) -> u64| samples.iter().map(of).max();
        let warm = self.stored.iter().find(|sample| sample.clicks * 10 >= self.answered);
        let warm = warm.map_or(0, |sample| sample.memory_kib);
        let stored = most(&self.stored, |sample| sample.memory_kib).unwrap_or(0);
        let drained = most(&self.drained, |sample| sample.memory_kib).unwrap_or(0);
        let disk = most(&self.stored, |it| it.disk).max(most(&self.drained, |it| it.disk));
        let rules = [
            (stored <= warm + GROWS_KIB, format!("memory grew from {warm} to {stored} KiB")),
            (drained <= warm + RELAY_KIB, format!("memory grew from {warm} to {drained} KiB")),
            (disk <= Some(self.bound), format!("the outbox used {disk:?} of {} bytes", self.bound)),
            (self.undelivered == 0, format!("{} undelivered", self.undelivered)),
            (
                self.in_topic >= self.answered,
                format!("{} clicks were stored, {} are in the topic", self.answered, self.in_topic),
            ),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong).collect()
    }

    /// Whether all bounds held.
    pub fn good(&self) -> bool {
        self.wrong().is_empty()
    }
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { answered, in_topic, .. } = self;
        write!(f, "outage: clicks={answered} in_topic={in_topic}: ")?;
        match self.wrong() {
            wrong if wrong.is_empty() => f.write_str("held"),
            wrong => write!(f, "BROKEN: {}", wrong.join("; ")),
        }
    }
}
