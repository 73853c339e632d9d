//! The measured costs of one click.

use std::fmt;

use anyhow::{Context as _, Result};

/// The costs of one click at a steady rate, and the fixed memory of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// Clicks a second of the measurement: the more, the larger the batches, and the less a click costs.
    pub rate: u32,
    /// CPU microseconds of the producer: request, response and record.
    pub producer_us: f64,
    /// CPU microseconds of the broker to write a record.
    pub broker_in_us: f64,
    /// CPU microseconds of the broker to send it to one group.
    pub broker_out_us: f64,
    /// CPU microseconds of the processors: decode, enrich, encode.
    pub processors_us: f64,
    /// CPU microseconds of ClickHouse: the insert and its merges.
    pub engine_us: f64,
    /// Bytes in the log, compressed, one copy.
    pub log_bytes: f64,
    /// Bytes in the table, merged, one copy.
    pub table_bytes: f64,
    /// MiB of memory of one process of the processors.
    pub processors_mib: f64,
}

impl Default for Costs {
    /// The figures of `docs/scale.md` at the higher rate; a test compares both.
    fn default() -> Self {
        Self {
            rate: 12_000,
            producer_us: 47.6,
            broker_in_us: 3.7,
            broker_out_us: 0.75,
            processors_us: 7.5,
            engine_us: 13.8,
            log_bytes: 90.7,
            table_bytes: 47.2,
            processors_mib: 250.0,
        }
    }
}

impl Costs {
    /// The figures of `docs/scale.md` at each rate that `make bench` measures, the lower one first.
    pub fn measured() -> [Self; 2] {
        let lower = Self {
            rate: 5_000,
            producer_us: 58.7,
            broker_in_us: 8.4,
            processors_us: 10.7,
            engine_us: 25.4,
            ..Self::default()
        };
        [lower, Self::default()]
    }

    /// These costs, with the values of bench lines in place of their own.
    ///
    /// # Errors
    /// The text has no line of a bench, or a line without valid figures.
    pub fn by(mut self, text: &str) -> Result<Self> {
        let mut read = 0;
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("bench ")) {
            let (name, figures) = line.split_once(' ').unwrap_or((line, ""));
            let figure = |name: &str| -> Result<Option<f64>> {
                let mut words = figures.split(' ').filter_map(|word| word.split_once('='));
                let found = words.find(|(own, _)| *own == name).map(|(_, value)| value);
                found
                    .map(|value| value.parse().with_context(|| format!("bench {line}")))
                    .transpose()
            };
            match name {
                "bytes_per_click" => set(&mut self.table_bytes, figure("ours")?),
                "processor_rss_mb" => set(&mut self.processors_mib, figure("ours")?),
                "log_bytes_per_click" => set(&mut self.log_bytes, figure("ours")?),
                "backlog_vs_kafka_engine" => {
                    let parts = parts(figures).with_context(|| format!("bench {line}"))?;
                    let broker = parts.iter().find(|(name, _)| *name == "broker");
                    set(&mut self.broker_out_us, broker.map(|(_, us)| *us));
                }
                "click_cost_5k" | "click_cost_12k" => {
                    let parts = parts(figures).with_context(|| format!("bench {line}"))?;
                    anyhow::ensure!(!parts.is_empty(), "bench {line}: no ours_cpu_us=");
                    if name == format!("click_cost_{}k", self.rate / 1_000) {
                        self.take_parts(&parts);
                    }
                }
                _ => continue,
            }
            read += 1;
        }
        anyhow::ensure!(read > 0, "the text has no cost line of `make bench`");
        Ok(self)
    }

    fn take_parts(&mut self, parts: &[(&str, f64)]) {
        let of = |names: &[&str]| {
            parts.iter().filter(|(name, _)| names.contains(name)).map(|(_, us)| us).sum::<f64>()
        };
        self.producer_us = of(&["http", "outbox", "delivery"]);
        // With what it sends, which is little and counted again.
        self.broker_in_us = of(&["broker"]);
        self.processors_us = of(&["processors"]);
        self.engine_us = of(&["engine"]);
    }
}

/// The CPU time of each part in `ours_cpu_us=`.
fn parts(figures: &str) -> Result<Vec<(&str, f64)>> {
    let list = figures.split(' ').find_map(|word| word.strip_prefix("ours_cpu_us="));
    let parts = list.into_iter().flat_map(|list| list.split(','));
    parts
        .filter_map(|part| part.split_once(':'))
        .map(|(name, us)| Ok((name, us.parse()?)))
        .collect()
}

fn set(cost: &mut f64, figure: Option<f64>) {
    *cost = figure.unwrap_or(*cost);
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPU us a click at {} a second: producer {}, broker in {} out {}, processors {}, ClickHouse {}; bytes a click: log \
             {}, table {}; processors {} MiB",
            self.rate,
            self.producer_us,
            self.broker_in_us,
            self.broker_out_us,
            self.processors_us,
            self.engine_us,
            self.log_bytes,
            self.table_bytes,
            self.processors_mib
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_results_replace_the_costs_that_they_measure() {
        let text = "noise\nbench cpu_us_per_click ours=5.60 baseline=8.00 ratio=0.70\n\
            bench bytes_per_click ours=41.00 baseline=60.00 ratio=0.68\n\
            bench backlog_vs_kafka_engine ours=200000 baseline=90000 ratio=2.2 \
            ours_cpu_us=engine:6.10,broker:0.70,processors:5.60 baseline_cpu_us=engine:12.60,broker:1.00\n";
        let costs = Costs::default().by(text).unwrap();
        let expected = Costs { table_bytes: 41.0, broker_out_us: 0.7, ..Costs::default() };
        assert_eq!(costs, expected);
        let text = "bench log_bytes_per_click ours=40.10 baseline=42.00 ratio=0.95\n\
            bench click_cost_12k ours=90.00 baseline=24.00 ratio=3.75 \
            ours_cpu_us=http:35.00,outbox:2.50,delivery:6.00,engine:9.00,broker:7.25,processors:8.00\n";
        let [lower, higher] = Costs::measured();
        let expected = Costs {
            producer_us: 43.5,
            broker_in_us: 7.25,
            processors_us: 8.0,
            engine_us: 9.0,
            log_bytes: 40.1,
            ..higher.clone()
        };
        assert_eq!(higher.by(text).unwrap(), expected);
        assert_eq!(lower.clone().by(text).unwrap(), Costs { log_bytes: 40.1, ..lower });
        assert!(Costs::default().by("bench click_cost_12k ours_cpu_us=http:x").is_err());
        assert!(Costs::default().by("nothing").is_err());
        assert!(Costs::default().by("bench bytes_per_click ours=x").is_err());
    }
}
