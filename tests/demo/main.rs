//! The whole pipeline on real parts: redirects and an imported log become rows, a second import
//! changes no count, and the demo prints the balance.
//!
//! The demo runs the services by their commands, as an operator does, and takes every figure of
//! the balance from another source than the services' own counters.

mod balance;
mod history;
mod input;
mod load;
mod log_size;
mod picture;
mod preview;
mod random;
mod sent_clicks;
mod services;
mod steps;
mod tables;
mod visitors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use stack::{Cache, CloneLock, Part, PortChoice, Preview, Stack};

use balance::Balance;
use sent_clicks::{Run, SentClicks};
use services::Services;
use steps::Steps;
use tables::Tables;

/// Live redirects a second.
const RATE: u32 = 50;
/// For how long the demo sends them.
const LIVE: Duration = Duration::from_secs(20);
/// The longest time between the last click and its row.
const SETTLE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let once = std::env::var_os("DEMO_ONCE").is_some_and(|value| value != "0" && !value.is_empty());
    match demo(once) {
        Ok(balance) => {
            println!("{balance}");
            ExitCode::from(u8::from(!balance.balanced()))
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            println!("books: OUT OF BALANCE (the demo did not finish)");
            ExitCode::FAILURE
        }
    }
}

fn demo(once: bool) -> Result<Balance> {
    let _lock = CloneLock::take(root()?, "demo")?;
    let steps = Steps::start();
    let folder = folder()?;
    let mut sent_clicks = SentClicks::open(&folder)?;
    if sent_clicks.was_interrupted() {
        steps.report(
            "the last run was killed before its counts were final: starting with an empty folder",
        );
        std::fs::remove_dir_all(&folder).context("removing the data of the last demo")?;
        sent_clicks = SentClicks::open(&folder)?;
    }
    // Its panels have metrics where Prometheus is installed.
    let prometheus = stack::has_prometheus();
    let choice = PortChoice { auto: true, prometheus, ..PortChoice::default() };
    let stack = Stack::open(&folder.join("stack"), Cache::shared()?, choice)?;
    let stack = stack.reporting({
        let steps = steps.clone();
        move |line| steps.report(line)
    });
    let stop = steps::on_interrupt({
        let interrupt = stack.interrupt();
        move || interrupt.raise()
    })?;
    let (monitors, parts): (Vec<_>, Vec<_>) = Part::ALL
        .into_iter()
        .partition(|part| matches!(part, Part::Prometheus | Part::Alertmanager));
    stack.up_parts(&parts).context("starting the parts")?;
    if let Err(error) = stack.up_parts(&monitors) {
        steps.report(&format!("no metrics: {}", error.cause()));
    }
    let preview = preview::start(&stack, &steps);
    let demo = Demo { env: stack.env()?, folder, preview, steps, stop, once };
    let outcome = demo.on_stack(&mut sent_clicks);
    drop(demo);
    let down = stack.down();
    let balance = outcome?;
    down.context("stopping the parts")?;
    Ok(balance)
}

/// The state that all steps share.
struct Demo {
    env: Vec<(&'static str, String)>,
    folder: PathBuf,
    preview: Option<Preview>,
    steps: Steps,
    stop: steps::Stop,
    once: bool,
}

impl Demo {
    /// The steps between the start and the stop of the stack.
    fn on_stack(&self, sent_clicks: &mut SentClicks) -> Result<Balance> {
        let Self { env, folder, preview, steps, stop, once } = self;
        let mut services = Services::new(folder, env)?;
        services.setup()?;
        steps.report("topics, schema and tables exist");
        let tables = Tables::new(env)?;
        let began = tables.now()?;
        let mut run = sent_clicks.begin()?;
        services.start()?;
        services.first_redirect()?;
        run.redirects += 1;
        steps.report(&format!("first redirect answered: {}", services.url("/spring")));

        let log = input::log(folder)?;
        run.imported_lines(&log, services.import(&log.path, "combined", "demo")?)?;
        steps.report(&format!("imported {} ({} lines)", log.path.display(), log.lines));
        run.imported_lines(&log, services.import(&log.path, "combined", "demo")?)?;
        steps.report("imported the same log again, which must not change any count");
        let past = history::log(folder)?;
        let imported = services.import(&past.path, "nginx-json", "demo-history")?;
        run.imported_lines(&past, imported)?;
        steps.report(&format!("imported four generated weeks ({} lines)", past.lines));

        let sent = load::run(services.address(), RATE, LIVE, stop)?;
        run.redirects += sent.answered;
        if sent.failed > 0 {
            bail!("{} requests were not redirected: {}", sent.failed, sent.cause);
        }
        steps.report(&format!("served {} live redirects at {RATE} per second", sent.answered));
        sent_clicks.close(run.clone())?;

        let balance = settle(sent_clicks, &tables, env, &began)?;
        if balance.balanced() {
            steps.report("every click has its row");
        } else {
            steps.report("the balance shows a difference (if another program wrote to this log, remove .demo and start again)");
        }
        picture::draw(&tables)?;
        if let (Some(preview), true) = (preview, once) {
            preview::check(preview, &tables, steps)?;
        }
        println!("\n{balance}\n");
        if !once && !stop.raised() {
            services.write_env(folder)?;
            if let Some(preview) = preview {
                preview::print_addresses(preview, &tables)?;
            }
            services.things_to_try();
            stop.wait();
            println!("stopping");
        }
        // The balance of the next run includes later clicks.
        let answered = services.stop()?;
        if answered > run.redirects {
            run.redirects = answered;
            sent_clicks.close(run)?;
        }
        Ok(balance)
    }
}

/// Waits until all rows exist or the time is over; in that case the balance shows the difference.
fn settle(
    sent_clicks: &SentClicks,
    tables: &Tables,
    env: &[(&'static str, String)],
    began: &str,
) -> Result<Balance> {
    let give_up = Instant::now() + SETTLE;
    loop {
        let balance = Balance::take(sent_clicks.total(), tables, env, began)?;
        if balance.balanced() || Instant::now() >= give_up {
            return Ok(balance);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The top folder of the clone that the demo was built from.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("finding the clone's top folder")
}

/// The demo's data.
fn folder() -> Result<PathBuf> {
    let folder = root()?.join(".demo");
    std::fs::create_dir_all(&folder).context("creating .demo")?;
    Ok(folder)
}

impl Run {
    fn imported_lines(&mut self, log: &input::Log, imported: services::Imported) -> Result<()> {
        if imported.lines != log.lines {
            bail!("the import read {} lines of {}", imported.lines, log.lines);
        }
        self.import(&log.id, imported.clicks);
        Ok(())
    }
}
