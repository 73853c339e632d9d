//! Result lines: our figure, the baseline, and the CPU time of each process.

use std::fmt::Write as _;

use super::round::Round;

/// One result.
pub fn line(name: &str, ours: f64, baseline: f64) -> String {
    let digits = if ours < 1000.0 { 2 } else { 0 };
    let ratio = ours / baseline;
    format!("bench {name} ours={ours:.digits$} baseline={baseline:.digits$} ratio={ratio:.2}")
}

/// The rates of both, with their CPU microseconds per click.
pub fn rates(name: &str, ours: &[Round], baseline: &[Round]) -> String {
    let mut text = line(name, rate(ours), rate(baseline));
    for (whose, rounds) in [("ours", ours), ("baseline", baseline)] {
        write!(text, " {whose}_cpu_us").ok();
        for (number, (process, _)) in rounds[0].cpu.iter().enumerate() {
            let us = median(rounds.iter().map(|round| round.cpu[number].1));
            write!(text, "{}{process}:{us:.2}", if number == 0 { "=" } else { "," }).ok();
        }
    }
    text
}

/// The faster of two kinds of rounds; the second if the first has none.
pub fn faster<'r>(these: &'r [Round], those: &'r [Round]) -> &'r [Round] {
    let slower = these.is_empty() || !those.is_empty() && rate(these) < rate(those);
    if slower { those } else { these }
}

/// Median of the rounds' rates.
pub fn rate(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.rate))
}

/// The median: the middle value, or the mean of both middle values.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[half - 1] + sorted[half]) / 2.0,
        _ => sorted[half],
    }
}
