//! The redirect: its rate against nginx, its delay while broker or disk fail, its memory.
//!
//! Delays are measured in pairs of windows, with and without the fault, in turn. nginx, which has no
//! fault, is measured in both: its change is that of the machine.
//!
//! In production visitors are on other machines; here the load generator shares the cores with the
//! servers. A server thread that wakes preempts the generator while it sends, ours (two threads) far
//! more often than nginx (one), and then finds one request instead of many. For the rate both servers
//! therefore run under `SCHED_BATCH`, which does not preempt; the bench also prints the ratio with
//! preemption.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Backends, Child, World, loader, metric, root};
use stack::{Part, Stack};

use super::nginx::Nginx;
use super::pairs::{self, turns};
use super::plan::{BROKER_DOWN, MEMORY, Plan, RATE, SLOW_DISK};
use super::producer::Producer;
use super::report::{line, median};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/landing?utm_source=mail"}"#;
/// The largest share of the rate at which delays are measured.
const LOAD: f64 = 0.3;
/// The largest growth of a delay that meets the goal.
const RATIO_MAX: f64 = 1.05;
const SYNC_DELAY_US: &str = "500000";

/// Measures the selected lines on the parts of a stack.
pub fn run(plan: &Plan, stack: &Stack) -> Result<()> {
    if plan.wants(MEMORY) {
        memory(&world(stack, "rss"))?;
    }
    if !(plan.wants(RATE) || plan.wants(BROKER_DOWN) || plan.wants(SLOW_DISK)) {
        return Ok(());
    }
    let world = world(stack, "redirects");
    world.setup();
    let nginx = Nginx::start(&world.folder().join("nginx"))?;
    let rate = rate(plan, &world, &nginx)?;
    if plan.wants(BROKER_DOWN) {
        broker_down(plan, (stack, &world), &nginx, rate * LOAD)?;
    }
    if plan.wants(SLOW_DISK) {
        slow_disk(plan, &world, &nginx, rate * LOAD)?;
    }
    Ok(())
}

fn world(stack: &Stack, name: &str) -> World {
    World::on(Backends::on(stack), name)
}

/// The scheduling policy of a server, as the option of `chrt`.
#[derive(Clone, Copy)]
enum Waking {
    Preempts,
    Waits,
}

impl Waking {
    const ALL: [Self; 2] = [Self::Preempts, Self::Waits];

    fn set(self, server: &Child) -> Result<()> {
        let policy = match self {
            Self::Preempts => "--other",
            Self::Waits => "--batch",
        };
        let mut command = Command::new("chrt");
        command.args(["--all-tasks", policy, "--pid", "0"]).arg(server.id().to_string());
        ensure!(command.status().context("chrt")?.success(), "{command:?} failed");
        Ok(())
    }
}

/// Responses per second, by pair.
#[derive(Default)]
struct Rates {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    drained: Vec<f64>,
}

impl Rates {
    fn ratio(&self) -> (f64, f64, f64) {
        let ratios: Vec<_> =
            self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        pairs::interval(&ratios)
    }

    fn medians(&self) -> [f64; 2] {
        [&self.ours, &self.theirs].map(|it| median(it.iter().copied()))
    }
}

/// Responses per second of our producer and of nginx, in turn; at the end every click must be in the
/// topic. Returns the lowest rate.
fn rate(plan: &Plan, world: &World, nginx: &Nginx) -> Result<f64> {
    let mut producer = Producer::start(world, world.command("producer", &[]), LINKS)?;
    let seconds = plan.window.as_secs_f64();
    loader::closed(&producer.host, plan.window / 4)?;
    loader::closed(&nginx.host, plan.window / 4)?;
    producer.drained()?;
    let before = world.kafka.records(&world.topic);
    let mut rates = Waking::ALL.map(|_| Rates::default());
    let mut answers = 0;
    for pair in 0..plan.pairs {
        for waits in turns(pair) {
            let (waking, rates) = (Waking::ALL[usize::from(waits)], &mut rates[usize::from(waits)]);
            waking.set(&producer.child)?;
            waking.set(&nginx.child)?;
            let count = loader::closed(&producer.host, plan.window)?;
            let waited = producer.drained()?.as_secs_f64();
            rates.ours.push(count as f64 / seconds);
            rates.drained.push(count as f64 / (seconds + waited));
            answers += count;
            rates.theirs.push(loader::closed(&nginx.host, plan.window)? as f64 / seconds);
        }
    }
    Waking::Preempts.set(&nginx.child)?;
    let logged = world.kafka.records(&world.topic) - before;
    let logged = u64::try_from(logged)?;
    ensure!(logged >= answers, "{answers} answers and {logged} clicks in the topic");
    producer.child.stop().expect_code(0);
    let [preempts, waits] = &rates;
    if plan.wants(RATE) {
        let [ours, theirs] = waits.medians();
        let mut text = line(RATE, ours, theirs);
        let (ratio, low, high) = waits.ratio();
        write!(text, " paired={ratio:.2} interval={low:.2}..{high:.2}").ok();
        let [ours, theirs] = preempts.medians();
        let (ratio, low, high) = preempts.ratio();
        write!(text, " preempting={ours:.0}/{theirs:.0}={ratio:.2} ({low:.2}..{high:.2})").ok();
        let drain = median(waits.drained.iter().copied());
        println!("{text} drained_a_second={drain:.0} clicks={answers}");
    }
    Ok(rates.iter().flat_map(Rates::medians).fold(f64::INFINITY, f64::min))
}

/// Delays of one pair.
#[derive(Debug, Default)]
struct Delays {
    ours: [Vec<f64>; 2],
    nginx: [Vec<f64>; 2],
}

impl Delays {
    /// Measures one window with (1) or without (0) the fault.
    fn add(&mut self, faulty: bool, hosts: [&str; 2], rate: f64, window: Duration) -> Result<()> {
        let [ours, nginx] = hosts;
        let at = usize::from(faulty);
        self.ours[at].push(loader::open(ours, rate, window)?.0);
        self.nginx[at].push(loader::open(nginx, rate, window)?.0);
        Ok(())
    }

    fn line(&self, name: &str, rate: f64) -> String {
        let [without, with] = &self.ours;
        let ratios: Vec<_> =
            with.iter().zip(without).map(|(with, without)| with / without).collect();
        let (ratio, low, high) = pairs::interval(&ratios);
        let of = |values: &[f64]| median(values.iter().copied());
        let mut text = line(name, of(with), of(without));
        write!(text, " paired={ratio:.3} interval={low:.3}..{high:.3} bar={RATIO_MAX}").ok();
        write!(text, " nginx={:.2}/{:.2}", of(&self.nginx[1]), of(&self.nginx[0])).ok();
        let falls_short = low > RATIO_MAX;
        write!(text, " pairs={} rate={rate:.0} falls_short={falls_short}", ratios.len()).ok();
        text
    }
}

fn broker_down(
    plan: &Plan,
    (stack, world): (&Stack, &World),
    nginx: &Nginx,
    rate: f64,
) -> Result<()> {
    let mut producer = Producer::start(world, world.command("producer", &[]), LINKS)?;
    let mut delays = Delays::default();
    let mut down = false;
    for pair in 0..plan.pairs {
        for faulty in turns(pair) {
            if faulty && !down {
                stack.kill(Part::Kafka)?;
            }
            if !faulty && down {
                stack.restart(Part::Kafka)?;
                producer.drained()?;
            }
            down = faulty;
            delays.add(faulty, [&producer.host, &nginx.host], rate, plan.window)?;
        }
    }
    if down {
        stack.restart(Part::Kafka)?;
    }
    producer.drained()?;
    producer.child.stop().expect_code(0);
    println!("{}", delays.line(BROKER_DOWN, rate));
    Ok(())
}

/// Two equal producers, one of them with delayed disk syncs.
fn slow_disk(plan: &Plan, world: &World, nginx: &Nginx, rate: f64) -> Result<()> {
    let library = slow_sync(world)?;
    let mut producers = ["0", SYNC_DELAY_US]
        .map(|late| {
            let mut command = world.command("producer", &[("SLOW_SYNC_US", late)]);
            command.env("LD_PRELOAD", &library);
            Producer::start(world, command, LINKS)
        })
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut delays = Delays::default();
    for pair in 0..plan.pairs {
        for faulty in turns(pair) {
            let producer = &producers[usize::from(faulty)];
            delays.add(faulty, [&producer.host, &nginx.host], rate, plan.window)?;
            producer.drained()?;
        }
    }
    let sum = metric(&producers[1].admin, "clicktrail_producer_outbox_sync_seconds_sum");
    let count = metric(&producers[1].admin, "clicktrail_producer_outbox_sync_seconds_count");
    let sync = sum.zip(count).map(|(sum, count)| sum / count).context("no sync was measured")?;
    ensure!(sync > 0.4, "syncs took {sync:.3} s: they were not delayed");
    for producer in &mut producers {
        producer.drained()?;
        producer.child.stop();
    }
    println!("{}", delays.line(SLOW_DISK, rate));
    Ok(())
}

/// Builds the library that delays syncs.
fn slow_sync(world: &World) -> Result<PathBuf> {
    let source = root().join("tests/bench/redirects/slow_sync.c");
    let library = world.folder().join("slow_sync.so");
    let mut command = Command::new("cc");
    let built = command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    ensure!(built.context("cc")?.success(), "slow_sync.c does not compile");
    Ok(library)
}

/// The number of links for the measurement of memory.
const MANY: u64 = 1_000_000;

fn memory(world: &World) -> Result<()> {
    let (mut text, mut bytes) = (String::new(), 0);
    for number in 0..MANY {
        let slug = format!("s{number:x}");
        let target = format!(
            "https://shop.example/articles/{number}?utm_source=newsletter&utm_medium=email"
        );
        bytes += slug.len() + target.len();
        writeln!(text, r#"{{"slug":"{slug}","url":"{target}"}}"#)?;
    }
    let mut producer = Producer::start(world, world.command("producer", &[]), &text)?;
    drop(text);
    let kib = producer.child.memory_kib().context("VmRSS")? as f64;
    let peak = producer.child.memory_peak_kib().context("VmHWM")? as f64;
    producer.child.stop();
    let mb = |kib: f64| kib * 1024.0 / 1e6;
    let bar = 64.0 + 1.5 * bytes as f64 / 1e6;
    println!("{} peak={:.0}", line(MEMORY, mb(kib), bar), mb(peak));
    Ok(())
}
