//! The measured costs of one click.

use std::fmt;

use anyhow::{Context as _, Result};

/// The costs of one click, and the fixed memory of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// CPU microseconds of the producer: request, response and record.
    pub producer_us: f64,
    /// CPU microseconds of the broker to write a record, at some thousand per second.
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
    /// The figures of `docs/scale.md`; a test compares both.
    fn default() -> Self {
        Self {
            producer_us: 32.0,
            broker_in_us: 10.0,
            broker_out_us: 0.75,
            processors_us: 6.3,
            engine_us: 6.6,
            log_bytes: 74.0,
            table_bytes: 47.2,
            processors_mib: 250.0,
        }
    }
}

impl Costs {
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
                "cpu_us_per_click" => set(&mut self.processors_us, figure("ours")?),
                "bytes_per_click" => set(&mut self.table_bytes, figure("ours")?),
                "processor_rss_mb" => set(&mut self.processors_mib, figure("ours")?),
                "log_bytes_per_click" => set(&mut self.log_bytes, figure("ours")?),
                "backlog_vs_kafka_engine" => {
                    for (process, us) in parts(figures).with_context(|| format!("bench {line}"))? {
                        match process {
                            "engine" => self.engine_us = us,
                            "broker" => self.broker_out_us = us,
                            _ => {}
                        }
                    }
                }
                // At the higher rate: a plan is made for the peak.
                "click_cost_12k" => {
                    let parts = parts(figures).with_context(|| format!("bench {line}"))?;
                    anyhow::ensure!(!parts.is_empty(), "bench {line}: no ours_cpu_us=");
                    let of = |names: &[&str]| {
                        parts
                            .iter()
                            .filter(|(name, _)| names.contains(name))
                            .map(|(_, us)| us)
                            .sum::<f64>()
                    };
                    self.producer_us = of(&["http", "outbox", "delivery"]);
                    // With what it sends, which is little and counted again.
                    self.broker_in_us = of(&["broker"]);
                }
                _ => continue,
            }
            read += 1;
        }
        anyhow::ensure!(read > 0, "the text has no cost line of `make bench`");
        Ok(self)
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
            "CPU us a click: producer {}, broker in {} out {}, processors {}, ClickHouse {}; bytes a click: log \
             {}, table {}; processors {} MiB",
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
        let expected = Costs {
            processors_us: 5.6,
            table_bytes: 41.0,
            engine_us: 6.1,
            broker_out_us: 0.7,
            ..Costs::default()
        };
        assert_eq!(costs, expected);
        let text = "bench log_bytes_per_click ours=40.10 baseline=42.00 ratio=0.95\n\
            bench click_cost_12k ours=90.00 baseline=24.00 ratio=3.75 \
            ours_cpu_us=http:35.00,outbox:2.50,delivery:6.00,engine:9.00,broker:7.25,processors:8.00\n";
        let costs = Costs::default().by(text).unwrap();
        let expected =
            Costs { producer_us: 43.5, broker_in_us: 7.25, log_bytes: 40.1, ..Costs::default() };
        assert_eq!(costs, expected);
        assert!(Costs::default().by("bench click_cost_12k ours_cpu_us=http:x").is_err());
        assert!(Costs::default().by("nothing").is_err());
        assert!(Costs::default().by("bench cpu_us_per_click ours=x").is_err());
    }
}
