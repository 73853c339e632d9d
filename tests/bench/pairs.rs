//! Pairs of measurements: their order, the ratio within a pair, and its confidence interval.

/// 95 % quantile of Student's t by degrees of freedom, from 1 on.
const T95: [f64; 30] = [
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771,
    1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706,
    1.703, 1.701, 1.699, 1.697,
];

/// The order of the two states of a pair: each pair reverses the order of the last one.
pub fn turns(pair: u64) -> [bool; 2] {
    if pair.is_multiple_of(2) { [false, true] } else { [true, false] }
}

/// The geometric mean of ratios, and the ends of its 90 % interval.
pub fn interval(ratios: &[f64]) -> (f64, f64, f64) {
    let logs: Vec<_> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let freedom = logs.len().saturating_sub(1);
    if freedom == 0 {
        return (mean.exp(), 0.0, f64::INFINITY);
    }
    let squares = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
    let error = (squares / freedom as f64 / count).sqrt();
    let t = T95.get(freedom - 1).copied().unwrap_or(1.697);
    (mean.exp(), (mean - t * error).exp(), (mean + t * error).exp())
}
