//! The queries of the dashboards on the view `clicks`, which shows each click once, against the same queries on the
//! plain table; and the time of a whole Overview.

mod made_clicks;
mod panel_queries;

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
use made_clicks::{DAYS, MadeClicks};
use panel_queries::{PanelQuery, VIEWS, distinct, queries};

/// Days of the range of a view.
const RANGE_DAYS: u64 = 30;
/// The day of the range that is replayed.
const REPLAYED_DAY: u64 = 17;
/// The largest ratio on merged days; a query that takes this many milliseconds more is as good.
const MERGED_RATIO_MAX: f64 = 1.1;
const MORE_MS: f64 = 3.0;
/// The largest ratio with a replayed day that is not merged.
const REPLAYED_RATIO_MAX: f64 = 1.5;
/// The longest time of a whole Overview, seconds.
const OVERVIEW_MAX: f64 = 2.0;
/// Queries that a browser sends at the same time.
const BROWSER: usize = 4;
/// Loads of the Overview.
const LOADS: usize = 7;
const ZONE: &str = "Europe/Berlin";
const DAY_SECONDS: u64 = 86_400;

/// Milliseconds of one query, on the view and on the table.
struct Measured<'q> {
    query: &'q PanelQuery,
    ours: f64,
    baseline: f64,
}

impl Measured<'_> {
    fn ratio(&self) -> f64 {
        self.ours / self.baseline
    }

    fn falls_short(&self, bar: f64) -> bool {
        self.ratio() > bar && self.ours - self.baseline > MORE_MS
    }
}

/// Makes the clicks, and measures all queries on merged days, then with a replayed day.
pub fn run(plan: &Plan, world: &World) -> Result<()> {
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
    let views = views(&all, &world.database, (end - RANGE_DAYS, end))?;
    measure(plan, &reader, &views, ("merged", MERGED_RATIO_MAX))?;
    load(&reader, &views)?;
    made.replay(end - RANGE_DAYS + REPLAYED_DAY)?;
    plan.report("one day is replayed");
    measure(plan, &reader, &views, ("replayed_day", REPLAYED_RATIO_MAX))
}

/// The queries of each dashboard that reads clicks, in a view of whole days. The dashboard of one link shows the most
/// popular one.
fn views(
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

/// Prints the worst query of each dashboard.
fn measure(
    plan: &Plan,
    engine: &Engine,
    views: &[(&str, Vec<PanelQuery>)],
    (state, bar): (&str, f64),
) -> Result<()> {
    for (name, queries) in views {
        let queries = distinct(queries.clone());
        let mut measured = Vec::new();
        for query in &queries {
            let Some(table) = query.on_table() else { continue };
            let mut times: [Vec<f64>; 2] = Default::default();
            // The first run of both warms the caches.
            for round in 0..=plan.dashboard_rounds {
                for is_ours in turns(round) {
                    let ms = engine.milliseconds(if is_ours { &query.sql } else { &table })?;
                    if round > 0 {
                        times[usize::from(is_ours)].push(ms);
                    }
                }
            }
            let [baseline, ours] = times.map(|times| median(times.into_iter()));
            let own = Measured { query, ours, baseline };
            let mark = if own.falls_short(bar) { "  falls short" } else { "" };
            let ratio = own.ratio();
            plan.report(&format!(
                "{ours:7.1} ms, {baseline:7.1} ms on the table, {ratio:.2}  {}{mark}",
                query.name
            ));
            measured.push(own);
        }
        // A ratio of few milliseconds is none.
        let excess = |own: &&Measured<'_>| (own.falls_short(bar), own.ratio());
        let order = |a: &&Measured<'_>, b: &&Measured<'_>| {
            let (a, b) = (excess(a), excess(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        let Some(worst) = measured.iter().max_by(order) else { continue };
        let short = measured.iter().filter(|own| own.falls_short(bar)).count();
        let mut text = line(&format!("{DASHBOARDS}_{name}_{state}_ms"), worst.ours, worst.baseline);
        write!(text, " bar={bar} or_more_ms={MORE_MS} worst={:?}", worst.query.name).ok();
        println!("{text} queries={} falls_short={short}", measured.len());
    }
    Ok(())
}

/// Prints the time of all queries of the Overview, on the view and on the table.
fn load(engine: &Engine, views: &[(&str, Vec<PanelQuery>)]) -> Result<()> {
    let Some((name, queries)) = views.iter().find(|(name, _)| *name == "overview") else {
        return Ok(());
    };
    let ours: Vec<_> = queries.iter().map(|query| query.sql.clone()).collect();
    let table = |query: &PanelQuery| query.on_table().unwrap_or_else(|| query.sql.clone());
    let baseline: Vec<_> = queries.iter().map(table).collect();
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..LOADS {
        for is_ours in turns(u64::try_from(round)?) {
            let seconds = at_once(engine, if is_ours { &ours } else { &baseline })?;
            times[usize::from(is_ours)].push(seconds);
        }
    }
    let [baseline, ours] = times.map(|times| median(times.into_iter()));
    println!(
        "{} bar={OVERVIEW_MAX} queries={} falls_short={}",
        line(&format!("{DASHBOARDS}_{name}_{RANGE_DAYS}_days_s"), ours, baseline),
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
