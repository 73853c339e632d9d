//! Enrichment against a naive implementation on one core: clicks per second of both, and our stages.

use anyhow::Result;
use harness::rules;

use super::naive;
use super::plan::Plan;
use super::report::{line, median};
use super::stages::{MEASURED, Records, STAGES, Stage, Way, instructions, thread_time};
use super::workload::Workload;

/// Records for the naive implementation, and records of one block.
const NAIVE: usize = 20_000;
const BLOCK: usize = 10_000;

/// Measures both and prints the line of `workload`.
pub fn compare(plan: &Plan, workload: Workload) -> Result<()> {
    let name = workload.line();
    let (records, rules) = (Records::new(workload)?, rules::pinned());
    plan.report(&format!("{:.1} % of the clicks have a new user agent", 100.0 * records.unseen));
    let (mut naive, mut stages) = (Vec::new(), STAGES.map(|_| Vec::new()));
    for _ in 0..plan.rounds {
        for (number, (stage, _)) in STAGES.into_iter().enumerate() {
            let mut way = Way::new(&rules)?;
            way.take(&records.before, Stage::Encode)?;
            let before = thread_time()?;
            std::hint::black_box(way.take(&records.measured, stage)?);
            let took = thread_time()? - before;
            stages[number].push(took.as_secs_f64() / MEASURED as f64);
        }
        let before = thread_time()?;
        std::hint::black_box(naive::take(&rules, &records.measured[..NAIVE], BLOCK)?);
        naive.push((thread_time()? - before).as_secs_f64() / NAIVE as f64);
    }
    let upto = stages.map(|seconds| median(seconds.into_iter()));
    let each = [upto[0], upto[1] - upto[0], upto[2] - upto[1]].map(|seconds| seconds * 1e6);
    println!("      microseconds a click: {}", by_stage(each, 2));
    if plan.profiled {
        match instructions(workload)? {
            Some(each) => println!("      instructions a click: {}", by_stage(each, 0)),
            None => println!("      no instruction counts: valgrind is not installed"),
        }
    }
    println!(
        "{} clicks_a_second_a_core",
        line(name, 1.0 / upto[2], 1.0 / median(naive.into_iter()))
    );
    Ok(())
}

fn by_stage(each: [f64; 3], digits: usize) -> String {
    let stages = STAGES.iter().zip(each);
    stages.map(|((_, name), cost)| format!("{name} {cost:.digits$}")).collect::<Vec<_>>().join(", ")
}
