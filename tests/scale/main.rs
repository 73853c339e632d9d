//! `scale`: the resources for a number of clicks per day, by measured costs. Reads lines of
//! `make bench` from its files; other costs are those of `docs/scale.md`.

mod costs;
mod needs;
mod server_plan;

use anyhow::{Context as _, Result};
use costs::Costs;
use needs::{Needs, Plan};
use server_plan::{CLUSTER_MIN, ServerNeeds, ServerPlan, TABLE_DAYS};

/// Clicks per day to calculate without CLICKS.
const EXAMPLES: [f64; 3] = [1e7, 1e9, 1e11];

fn main() -> Result<()> {
    let mut measured = Costs::measured();
    for file in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        for costs in &mut measured {
            *costs = costs.clone().by(&text).with_context(|| file.clone())?;
        }
    }
    // A plan for the servers of a cluster is made for the peak.
    let [_, peak_costs] = &measured;
    let clicks = match std::env::var("CLICKS").unwrap_or_default() {
        text if text.is_empty() => EXAMPLES.to_vec(),
        text => vec![text.parse().with_context(|| format!("CLICKS={text}"))?],
    };
    println!("plan: {}", Plan::default());
    for costs in &measured {
        println!("costs: {costs}");
        for clicks in &clicks {
            println!("{}", Needs::of(*clicks, costs, &Plan::default()));
        }
    }
    let server = ServerPlan::default();
    println!("servers: {server}");
    for clicks in clicks.into_iter().filter(|clicks| *clicks >= CLUSTER_MIN) {
        for days in TABLE_DAYS {
            println!("{}", ServerNeeds::of(clicks, days, peak_costs, &server));
        }
    }
    Ok(())
}
