//! From costs to machines. `docs/scale.md` states the formula in words.

use std::fmt;

use super::costs::Costs;

const DAY_SECONDS: f64 = 86_400.0;

/// The operator's decisions.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The busiest second against the day's mean.
    pub peak: f64,
    /// The planned use of a core; the rest is for queries, rebalances and the processing of a backlog.
    pub share: f64,
    /// Days that the log keeps.
    pub log_days: f64,
    /// Days that the table keeps.
    pub table_days: f64,
    /// Copies of the log.
    pub log_copies: f64,
    /// Copies of the table.
    pub table_copies: f64,
    /// Factor for the disk that merges, indexes and full segments need in addition to the data.
    pub room: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            peak: 3.0,
            share: 0.5,
            log_days: 30.0,
            table_days: 365.0,
            log_copies: 3.0,
            table_copies: 2.0,
            room: 1.3,
        }
    }
}

/// The resources for a number of clicks per day.
#[derive(Debug, Clone, PartialEq)]
pub struct Needs {
    /// The rate of the costs that it was calculated from.
    pub rate: u32,
    /// Clicks per day.
    pub clicks: f64,
    /// Clicks in the busiest second.
    pub peak_a_second: f64,
    /// Cores of producers, broker, processors and ClickHouse.
    pub cores: [f64; 4],
    /// Processes of the processors; the topic needs at least as many partitions.
    pub processors: f64,
    /// GiB of their memory.
    pub processors_gib: f64,
    /// TB of the log and of the table, all copies.
    pub disk_tb: [f64; 2],
    /// Megabits per second into the log at the peak, all copies.
    pub network_mbit: f64,
}

impl Needs {
    /// Calculates the resources.
    pub fn of(clicks: f64, costs: &Costs, plan: &Plan) -> Self {
        let peak_a_second = clicks / DAY_SECONDS * plan.peak;
        let cores = |us: f64| peak_a_second * us / 1e6 / plan.share;
        // A broker writes every copy of a record once.
        let broker_us = costs.broker_in_us * plan.log_copies + costs.broker_out_us;
        let processing = cores(costs.processors_us);
        let processors = processing.ceil().max(1.0);
        let disk =
            |bytes: f64, days: f64, copies: f64| clicks * bytes * days * copies * plan.room / 1e12;
        Self {
            rate: costs.rate,
            clicks,
            peak_a_second,
            // Each server merges its own copy of the table.
            cores: [
                cores(costs.producer_us),
                cores(broker_us),
                processing,
                cores(costs.engine_us) * plan.table_copies,
            ],
            processors,
            processors_gib: processors * costs.processors_mib / 1024.0,
            disk_tb: [
                disk(costs.log_bytes, plan.log_days, plan.log_copies),
                disk(costs.table_bytes, plan.table_days, plan.table_copies),
            ],
            network_mbit: peak_a_second * costs.log_bytes * plan.log_copies * 8.0 / 1e6,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "peak {} x the mean, cores used to {} at the peak; log {} days x {} copies, table {} days x {} copies, disk x {}",
            self.peak,
            self.share,
            self.log_days,
            self.log_copies,
            self.table_days,
            self.table_copies,
            self.room
        )
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [producers, broker, processors, engine] = self.cores;
        let [log, table] = self.disk_tb;
        write!(
            f,
            "scale at={} clicks_a_day={:.0} peak_a_second={:.0} producer_cores={producers:.2} broker_cores={broker:.2} \
             processor_cores={processors:.2} clickhouse_cores={engine:.2} processors={:.0} processors_gib={:.1} \
             log_tb={log:.2} table_tb={table:.2} log_mbit={:.0}",
            self.rate,
            self.clicks,
            self.peak_a_second,
            self.processors,
            self.processors_gib,
            self.network_mbit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_follow_the_formula_that_the_page_gives() {
        let needs = Needs::of(86_400.0 * 1e6, &Costs::default(), &Plan::default());
        assert_eq!(needs.peak_a_second, 3e6);
        // 3 M a second x 7.5 us = 22.5 s of CPU a second, at half a core each.
        assert!((needs.cores[2] - 45.0).abs() < 1e-9);
        assert_eq!(needs.processors, 45.0);
        // 86.4 G x 90.7 B x 30 days x 3 copies x 1.3
        assert!((needs.disk_tb[0] - 916.86816).abs() < 1e-6, "{:?}", needs.disk_tb);
        assert_eq!(Needs::of(1.0, &Costs::default(), &Plan::default()).processors, 1.0);
    }

    #[test]
    fn the_page_shows_what_the_program_prints() {
        let page = std::fs::read_to_string(harness::root().join("docs/scale.md")).unwrap();
        assert!(page.contains(&format!("plan: {}", Plan::default())), "{}", Plan::default());
        for costs in Costs::measured() {
            assert!(page.contains(&format!("costs: {costs}")), "{costs}");
            for clicks in crate::EXAMPLES {
                let line = Needs::of(clicks, &costs, &Plan::default()).to_string();
                assert!(page.contains(&line), "{line}");
            }
        }
    }
}
