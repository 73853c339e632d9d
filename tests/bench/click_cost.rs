//! What a click costs from the request to the merged row, at a steady rate: the CPU time of each part.
//!
//! Our programs and nginx, and with BEFORE those of an earlier commit, take turns. A turn has an empty table;
//! it ends when every click is a row and merges have ended. All load is on one machine: the load generator and
//! the parts that are idle in a turn are measured and left out.

mod side;
mod turn;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stack::Stack;

use super::engine::Engine;
use super::nginx::Nginx;
use super::pairs::interval;
use super::plan::{COST_5K, COST_12K, LOG_BYTES, Plan};
use super::report::{line, median};
use super::round::Process;
use super::visits;
use side::{Course, Load, Side};
use turn::{IDLE_MIN, ON_TIME_MIN, Turn, Window};

/// Visits a second of each line, and the bar of its ratio.
const RATES: [(&str, f64, f64); 2] = [(COST_5K, 5_000.0, 3.5), (COST_12K, 12_000.0, 2.4)];
/// The bar of the bytes a click in the log.
const LOG_BYTES_MAX: f64 = 42.0;
/// Different heads; a turn sends them several times.
const HEADS: usize = 200_000;
/// Longer than nginx holds what it logs.
const NGINX_FLUSH: Duration = Duration::from_millis(1_500);
/// Attempts for each pair that is to count.
const ATTEMPTS: u64 = 2;

/// Who takes turns.
struct Turns<'t> {
    course: Course<'t>,
    nginx: Nginx,
    now: Side,
    before: Option<Side>,
    /// The processes of the stack.
    others: Vec<Process>,
}

/// What a turn measures.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Nginx,
    Now,
    Before,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Now => "this build",
            Self::Before => "the build before",
        }
    }
}

/// The turns that count, by pair.
#[derive(Default)]
struct Counted {
    now: Vec<Turn>,
    before: Vec<Turn>,
    nginx: Vec<Turn>,
}

impl Counted {
    fn add(&mut self, subject: Subject, turn: Turn) {
        match subject {
            Subject::Nginx => &mut self.nginx,
            Subject::Now => &mut self.now,
            Subject::Before => &mut self.before,
        }
        .push(turn);
    }
}

/// Measures the selected lines on the parts of a stack.
pub fn run(plan: &Plan, stack: &Stack, engine: Engine, others: Vec<Process>) -> Result<()> {
    let folder = stack.folder().join("nginx");
    let before = plan.before.clone();
    let turns = Turns {
        course: Course { stack, engine, heads: visits::heads(HEADS), links: visits::links() },
        nginx: Nginx::start(&folder)?,
        now: Side::new(stack, "cost", None)?,
        before: before.map(|folder| Side::new(stack, "before", Some(folder))).transpose()?,
        others,
    };
    for (name, rate, bar) in RATES {
        let logs = name == COST_5K && plan.wants(LOG_BYTES);
        if plan.wants(name) || logs {
            let (counted, pairs) = turns.pairs(plan, name, rate)?;
            if plan.wants(name) {
                lines(name, bar, &counted, pairs).iter().for_each(|line| println!("{line}"));
            }
            if logs {
                println!("{}", log_line(&counted));
            }
        }
    }
    Ok(())
}

impl Turns<'_> {
    /// Pairs of turns until as many count as planned; returns those, and how many were tried.
    fn pairs(&self, plan: &Plan, name: &str, rate: f64) -> Result<(Counted, u64)> {
        let load = Load { rate, window: plan.cost_window };
        let (mut counted, mut tried) = (Counted::default(), 0);
        while (counted.now.len() as u64) < plan.cost_pairs && tried < ATTEMPTS * plan.cost_pairs {
            let mut order = vec![Subject::Nginx, Subject::Now];
            order.extend(self.before.is_some().then_some(Subject::Before));
            let places = order.len();
            order.rotate_left(usize::try_from(tried)? % places);
            let mut pair = Vec::new();
            for subject in order {
                let turn = self.turn(subject, load)?;
                plan.report(&format!("{name}, {}: {turn}", subject.name()));
                pair.push((subject, turn));
            }
            tried += 1;
            if pair.iter().all(|(_, turn)| turn.counts()) {
                pair.into_iter().for_each(|(subject, turn)| counted.add(subject, turn));
            }
        }
        ensure!(
            !counted.now.is_empty(),
            "{name}: none of {tried} pairs counts: in each, fewer than {:.0} % of the visits were sent on time, or \
             less than {:.0} % of the cores was idle; measure on more cores, or without other load",
            100.0 * ON_TIME_MIN,
            100.0 * IDLE_MIN
        );
        Ok((counted, tried))
    }

    fn turn(&self, subject: Subject, load: Load) -> Result<Turn> {
        let side = match subject {
            Subject::Nginx => return self.nginx_turn(load),
            Subject::Now => &self.now,
            Subject::Before => self.before.as_ref().context("no programs of an earlier commit")?,
        };
        side.turn(&self.course, load, &self.others)
    }

    fn nginx_turn(&self, load: Load) -> Result<Turn> {
        self.nginx.empty_log()?;
        let process = Process { name: "nginx", pid: self.nginx.child.id() };
        let working = || Ok(vec![(process.name, process.cpu_us()?)]);
        let settle = || {
            std::thread::sleep(NGINX_FLUSH);
            Ok(())
        };
        let window = Window {
            load: load.on(&self.nginx.host, &self.course.heads),
            working: &working,
            idle: &self.others,
            settle: &settle,
        };
        window.measure(load.warm())
    }
}

/// The lines of a rate: against nginx, and against the programs of an earlier commit.
fn lines(name: &str, bar: f64, counted: &Counted, tried: u64) -> Vec<String> {
    let Counted { now, before, nginx } = counted;
    let mut text = compared(name, now, nginx);
    let falls_short = ratio(now, nginx).1 > bar;
    write!(text, " bar={bar} falls_short={falls_short} pairs={}/{tried}", now.len()).ok();
    write!(text, " ours_cpu_us={}", parts(now)).ok();
    let [ours, theirs] = [now, nginx].map(|turns| middle(turns, |turn| turn.machine));
    write!(text, " machine={ours:.1}/{theirs:.1}={:.2}", ours / theirs).ok();
    let requests = middle(now, |turn| turn.produce_requests);
    write!(text, " produce_requests_a_second={requests:.0}").ok();
    let least = |figure: fn(&Turn) -> f64| now.iter().chain(nginx).map(figure).fold(1.0, f64::min);
    let [on_time, idle] = [least(|turn| turn.on_time), least(|turn| turn.idle)];
    write!(text, " on_time={on_time:.3} idle={idle:.2}").ok();
    let mut lines = vec![text];
    if !before.is_empty() {
        let mut text = compared(&format!("{name}_vs_before"), now, before);
        write!(text, " ours_cpu_us={} baseline_cpu_us={}", parts(now), parts(before)).ok();
        let [ours, theirs] = [now, before].map(|turns| middle(turns, |turn| turn.produce_requests));
        write!(text, " produce_requests_a_second={ours:.0}/{theirs:.0}").ok();
        lines.push(text);
    }
    lines
}

/// The line of the log.
fn log_line(counted: &Counted) -> String {
    let mut text = line(LOG_BYTES, middle(&counted.now, |turn| turn.log_bytes), LOG_BYTES_MAX);
    if !counted.before.is_empty() {
        write!(text, " before={:.2}", middle(&counted.before, |turn| turn.log_bytes)).ok();
    }
    text
}

/// The median of a figure.
fn middle(turns: &[Turn], figure: fn(&Turn) -> f64) -> f64 {
    median(turns.iter().map(figure))
}

/// A line with the ratio within the pairs.
fn compared(name: &str, ours: &[Turn], baseline: &[Turn]) -> String {
    let (paired, low, high) = ratio(ours, baseline);
    let text = line(name, middle(ours, Turn::sum), middle(baseline, Turn::sum));
    format!("{text} paired={paired:.2} interval={low:.2}..{high:.2}")
}

fn ratio(ours: &[Turn], baseline: &[Turn]) -> (f64, f64, f64) {
    let ratios = ours.iter().zip(baseline).map(|(ours, baseline)| ours.sum() / baseline.sum());
    interval(&ratios.collect::<Vec<_>>())
}

/// The median of each part.
fn parts(turns: &[Turn]) -> String {
    let names = turns.iter().take(1).flat_map(|turn| &turn.parts).map(|(name, _)| name);
    let part = |(at, name): (usize, &&str)| {
        format!("{name}:{:.2}", median(turns.iter().map(|turn| turn.parts[at].1)))
    };
    names.enumerate().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(parts: &[(&'static str, f64)]) -> Turn {
        Turn {
            parts: parts.to_vec(),
            machine: 60.0,
            on_time: 0.995,
            idle: 0.2,
            produce_requests: 100.0,
            log_bytes: 63.0,
        }
    }

    #[test]
    fn a_rate_has_a_line_against_nginx_and_one_against_an_earlier_commit() {
        let mut counted = Counted::default();
        for (now, before, nginx) in [(40.0, 80.0, 20.0), (44.0, 88.0, 22.0)] {
            counted.add(Subject::Now, turn(&[("http", now / 2.0), ("broker", now / 2.0)]));
            counted.add(Subject::Before, turn(&[("http", before / 2.0), ("broker", before / 2.0)]));
            counted.add(Subject::Nginx, turn(&[("nginx", nginx)]));
        }
        let expected = [
            "bench click_cost_5k ours=42.00 baseline=21.00 ratio=2.00 paired=2.00 interval=2.00..2.00 \
             bar=1.5 falls_short=true pairs=2/3 ours_cpu_us=http:21.00,broker:21.00 \
             machine=60.0/60.0=1.00 produce_requests_a_second=100 on_time=0.995 idle=0.20",
            "bench click_cost_5k_vs_before ours=42.00 baseline=84.00 ratio=0.50 paired=0.50 \
             interval=0.50..0.50 ours_cpu_us=http:21.00,broker:21.00 \
             baseline_cpu_us=http:42.00,broker:42.00 produce_requests_a_second=100/100",
        ];
        assert_eq!(lines(COST_5K, 1.5, &counted, 3), expected);
        let log = "bench log_bytes_per_click ours=63.00 baseline=42.00 ratio=1.50 before=63.00";
        assert_eq!(log_line(&counted), log);
    }

    #[test]
    fn a_turn_counts_with_visits_on_time_and_idle_cores_only() {
        let good = turn(&[]);
        assert!(good.counts());
        assert!(!Turn { on_time: 0.98, ..good.clone() }.counts());
        assert!(!Turn { idle: 0.09, ..good }.counts());
    }
}
