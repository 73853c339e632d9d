//! The queries of the dashboards on the view `clicks`, which shows each click once, against the same queries on the
//! plain table; and the time of a whole Overview.

mod made_clicks;
mod paired_times;
mod panel_queries;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ::dashboards::{Dashboard, View};
use anyhow::{Context as _, Result};
use harness::World;

use super::engine::Engine;
use super::ours;
use super::pairs::turns;
use super::plan::{DASHBOARDS, Plan};
use super::report::{line, median};
use super::round::Process;
use made_clicks::{DAYS, MadeClicks};
use paired_times::{Bar, PairedTimes};
use panel_queries::{PanelQuery, VIEWS, queries};

/// Days of the range of a view.
const RANGE_DAYS: u64 = 30;
/// The day of the range that is replayed.
const REPLAYED_DAY: u64 = 17;
/// On merged days.
const MERGED: Bar = Bar { ratio: 1.1, more_ms: 3.0 };
/// With a replayed day that is not merged.
const REPLAYED: Bar = Bar { ratio: 1.5, more_ms: 0.0 };
/// The longest time of a whole Overview, seconds.
const OVERVIEW_MAX: f64 = 2.0;
/// Queries that a browser sends at the same time.
const BROWSER: usize = 4;
/// Loads of the Overview.
const LOADS: u64 = 5;
const ZONE: &str = "Europe/Berlin";
const DAY_SECONDS: u64 = 86_400;

/// Makes the clicks, and measures the whole Overview, then each query on merged days and with a replayed day.
pub fn run(plan: &Plan, world: &World, engine: Process) -> Result<()> {
    ours::setup(world, &world.database);
    let all = Engine::of(&world.backends)?;
    let now = u64::try_from(jiff::Timestamp::now().as_second())?;
    let end = now / DAY_SECONDS;
    let made = MadeClicks {
        engine: &all,
        database: &world.database,
        first_day: end - DAYS,
        a_day: plan.dashboard_clicks / DAYS,
    };
    made.make()?;
    for (view, rows) in VIEWS {
        let select = all.ask(&format!(
            "SELECT as_select FROM system.tables WHERE database = '{}' AND name = '{view}' FORMAT TSVRaw",
            world.database
        ))?;
        let plain = select.strip_suffix(" FINAL").context("the view has FINAL at its end")?;
        all.ask(&format!("CREATE VIEW {}.{rows} AS {plain}", world.database))?;
    }
    plan.report(&format!("{} clicks in {DAYS} days are made and merged", made.a_day * DAYS));
    let reader = Engine::reading(&world.backends, &world.database)?;
    let views = views(plan, &all, &world.database, (end - RANGE_DAYS, end))?;
    load(&reader, engine, &views)?;
    measure(plan, &reader, &views, ("merged", MERGED))?;
    made.replay(end - RANGE_DAYS + REPLAYED_DAY)?;
    plan.report("one day is replayed");
    measure(plan, &reader, &views, ("replayed_day", REPLAYED))
}

/// The queries of each selected dashboard that reads clicks, in a view of whole days. The dashboard of one link shows the most
/// popular one.
fn views(
    plan: &Plan,
    engine: &Engine,
    database: &str,
    (from, to): (u64, u64),
) -> Result<Vec<(&'static str, Vec<PanelQuery>)>> {
    let seconds = |day: u64| i64::try_from(day * DAY_SECONDS);
    let popular = engine.ask(&format!(
        "SELECT slug FROM {database}.click_versions WHERE toDate(occurred_at) = toDate({from}) \
         GROUP BY slug ORDER BY count() DESC LIMIT 1"
    ))?;
    let mut views = Vec::new();
    for (name, text) in ::dashboards::files() {
        if !plan.wants_dashboard(name) {
            continue;
        }
        let dashboard = Dashboard::parse(text).context(name)?;
        let mut view = View::of(&dashboard, seconds(from)?, seconds(to)?, ZONE);
        if name == "link" {
            view = view.with("link", &popular);
        }
        let queries = queries(&dashboard, &view)?;
        if queries.iter().any(|query| query.on_table().is_some()) {
            views.push((name, queries));
        }
    }
    Ok(views)
}

/// Prints the worst query of each dashboard. A query that several panels have is measured once.
fn measure(
    plan: &Plan,
    engine: &Engine,
    views: &[(&str, Vec<PanelQuery>)],
    (state, bar): (&str, Bar),
) -> Result<()> {
    let mut known = BTreeSet::new();
    for (name, queries) in views {
        let mut measured = Vec::new();
        for query in queries.iter().filter(|query| known.insert(query.sql.as_str())) {
            let Some(table) = query.on_table() else { continue };
            let times = times(plan, engine, (&query.sql, &table), bar)?;
            let mark = if times.falls_short(bar) { "  falls short" } else { "" };
            plan.report(&format!(
                "{:7.1} ms, {:7.1} ms on the table, {:.2} of {:2} pairs  {}{mark}",
                times.ours(),
                times.baseline(),
                times.ratio(),
                times.pairs(),
                query.name
            ));
            measured.push((query, times));
        }
        let order = |(_, times): &&(&PanelQuery, PairedTimes)| {
            // A ratio of few milliseconds is none.
            (times.falls_short(bar), times.ratio())
        };
        let worst = measured.iter().max_by(|a, b| {
            let (a, b) = (order(a), order(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let Some((query, worst)) = worst else { continue };
        let short = measured.iter().filter(|(_, times)| times.falls_short(bar)).count();
        let Bar { ratio, more_ms } = bar;
        let name = format!("{DASHBOARDS}_{name}_{state}_ms");
        let mut text = line(&name, worst.ours(), worst.baseline());
        write!(text, " median_of_ratios={:.2} bar={ratio}", worst.ratio()).ok();
        if more_ms > 0.0 {
            write!(text, " or_more_ms={more_ms}").ok();
        }
        println!("{text} worst={:?} queries={} falls_short={short}", query.name, measured.len());
    }
    Ok(())
}

/// Pairs of runs of a query, until they are decided.
fn times(
    plan: &Plan,
    engine: &Engine,
    (ours, table): (&str, &str),
    bar: Bar,
) -> Result<PairedTimes> {
    let mut times = PairedTimes::default();
    let most = usize::try_from(plan.dashboard_rounds)?;
    // The first run of both warms the caches.
    for sql in [table, ours] {
        engine.milliseconds(sql)?;
    }
    for round in 0.. {
        let mut pair = [0.0; 2];
        for is_ours in turns(round) {
            let sql = if is_ours { ours } else { table };
            pair[usize::from(is_ours)] = engine.milliseconds(sql)?;
        }
        let [baseline, own] = pair;
        times.add(baseline, own);
        if times.is_decided(bar, most) {
            break;
        }
    }
    Ok(times)
}

/// Prints the time of all queries of the Overview, on the view and on the table, and the CPU time of the engine: other work on
/// the machine lengthens the first and not the second.
fn load(engine: &Engine, process: Process, views: &[(&str, Vec<PanelQuery>)]) -> Result<()> {
    let Some((name, queries)) = views.iter().find(|(name, _)| *name == "overview") else {
        return Ok(());
    };
    let ours: Vec<_> = queries.iter().map(|query| query.sql.clone()).collect();
    let table = |query: &PanelQuery| query.on_table().unwrap_or_else(|| query.sql.clone());
    let baseline: Vec<_> = queries.iter().map(table).collect();
    let (mut times, mut cpu): ([Vec<f64>; 2], _) = (Default::default(), Vec::new());
    // The first load of both warms the caches.
    for round in 0..=LOADS {
        for is_ours in turns(round) {
            let before = process.cpu_us()?;
            let seconds = at_once(engine, if is_ours { &ours } else { &baseline })?;
            if round > 0 {
                times[usize::from(is_ours)].push(seconds);
                if is_ours {
                    cpu.push((process.cpu_us()? - before) / 1e6);
                }
            }
        }
    }
    let [baseline, ours] = times.map(|times| median(times.into_iter()));
    println!(
        "{} cpu_s={:.2} bar={OVERVIEW_MAX} queries={} falls_short={}",
        line(&format!("{DASHBOARDS}_{name}_{RANGE_DAYS}_days_s"), ours, baseline),
        median(cpu.into_iter()),
        queries.len(),
        ours > OVERVIEW_MAX
    );
    Ok(())
}

/// Seconds until all queries are answered, of which a browser sends some at the same time.
fn at_once(engine: &Engine, queries: &[String]) -> Result<f64> {
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let work = || -> Result<()> {
        while let Some(sql) = queries.get(next.fetch_add(1, Ordering::Relaxed)) {
            engine.milliseconds(sql)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..BROWSER).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|it| it.join().expect("the thread sends queries"))
    })?;
    Ok(began.elapsed().as_secs_f64())
}
