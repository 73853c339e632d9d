//! From the needs to the servers of a ClickHouse cluster, and the price of all machines.

use std::fmt;

use super::costs::Costs;
use super::needs::{Needs, Plan};

/// Clicks per day from which the servers are calculated; fewer share a host with the other parts.
pub const CLUSTER_MIN: f64 = 1e9;
/// For how many days the table keeps clicks, in the examples.
pub const TABLE_DAYS: [f64; 2] = [30.0, 365.0];
/// Partitions of a topic, at least.
const PARTITIONS_MIN: f64 = 6.0;
const MONTH_DAYS: f64 = 30.0;

/// One ClickHouse server, and the prices of a month.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// Cores of a server.
    pub cores: f64,
    /// TB of its disks.
    pub disk_tb: f64,
    /// Euros for a core with its memory.
    pub core_eur: f64,
    /// Euros for a TB of NVMe.
    pub tb_eur: f64,
}

impl Default for ServerPlan {
    fn default() -> Self {
        Self { cores: 16.0, disk_tb: 30.0, core_eur: 5.0, tb_eur: 15.0 }
    }
}

/// The servers for a number of clicks per day, and the price.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerNeeds {
    clicks: f64,
    table_days: f64,
    /// Shards; each has as many servers as the table has copies.
    shards: f64,
    servers: f64,
    /// Of the topic of clicks: twice the processes, so that more of them can process a backlog.
    partitions: f64,
    /// Of producers, brokers, processors and ClickHouse, with the disks of log and table.
    eur_a_month: f64,
    eur_a_billion: f64,
}

impl ServerNeeds {
    /// Calculates the servers for a table that keeps so many days.
    pub fn of(clicks: f64, table_days: f64, costs: &Costs, server: &ServerPlan) -> Self {
        let plan = Plan { table_days, ..Plan::default() };
        let needs = Needs::of(clicks, costs, &plan);
        let [producers, brokers, processors, engine] = needs.cores;
        let [log_tb, table_tb] = needs.disk_tb;
        let by_cores = engine / plan.table_copies / server.cores;
        let by_disk = table_tb / plan.table_copies / server.disk_tb;
        let shards = by_cores.max(by_disk).ceil().max(1.0);
        let servers = shards * plan.table_copies;
        let cores = producers + brokers + processors + servers * server.cores;
        let disk_tb = log_tb + servers * server.disk_tb;
        let eur_a_month = cores * server.core_eur + disk_tb * server.tb_eur;
        Self {
            clicks,
            table_days,
            shards,
            servers,
            partitions: (needs.processors * 2.0).max(PARTITIONS_MIN),
            eur_a_month,
            eur_a_billion: eur_a_month / (clicks * MONTH_DAYS / 1e9),
        }
    }
}

impl fmt::Display for ServerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, disk_tb, core_eur, tb_eur } = self;
        write!(
            f,
            "a ClickHouse server of {cores} cores and {disk_tb} TB; assumed prices of a month: {core_eur} EUR a core, \
             {tb_eur} EUR a TB"
        )
    }
}

impl fmt::Display for ServerNeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scale_servers clicks_a_day={:.0} table_days={} shards={} clickhouse_servers={} partitions={} \
             eur_a_month={:.0} eur_a_billion_clicks={:.2}",
            self.clicks,
            self.table_days,
            self.shards,
            self.servers,
            self.partitions,
            self.eur_a_month,
            self.eur_a_billion
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_disk_or_the_cores_whichever_needs_more() {
        let costs = Costs::default();
        let server = ServerPlan::default();
        let needs = ServerNeeds::of(1e11, 30.0, &costs, &server);
        // 100 G x 47.2 B x 30 days x 1.3 = 184 TB a copy, on disks of 30 TB.
        assert_eq!((needs.shards, needs.servers, needs.partitions), (7.0, 14.0, 106.0));
        let large = ServerPlan { disk_tb: 1e6, cores: 4.0, ..server };
        // 95.8 cores a copy.
        assert_eq!(ServerNeeds::of(1e11, 30.0, &costs, &large).shards, 24.0);
        let few = ServerNeeds::of(1e7, 30.0, &costs, &ServerPlan::default());
        assert_eq!((few.shards, few.partitions), (1.0, 6.0));
        let month = few.eur_a_month;
        assert!((few.eur_a_billion - month / 0.3).abs() < 1e-9);
    }

    #[test]
    fn the_page_shows_the_servers_that_the_program_prints() {
        let page = std::fs::read_to_string(harness::root().join("docs/scale.md")).unwrap();
        let server = ServerPlan::default();
        assert!(page.contains(&format!("servers: {server}")), "{server}");
        for clicks in crate::EXAMPLES.into_iter().filter(|clicks| *clicks >= CLUSTER_MIN) {
            for days in TABLE_DAYS {
                let line = ServerNeeds::of(clicks, days, &Costs::default(), &server).to_string();
                assert!(page.contains(&line), "{line}");
            }
        }
    }
}
