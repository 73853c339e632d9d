//! Popularity by Zipf's law.

/// Ranks by popularity: the n-th is chosen in proportion to 1/(n+1).
#[derive(Debug)]
pub struct Zipf {
    /// Up to and with each rank, in units of which all ranks make [`u32::MAX`].
    upto: Vec<u32>,
}

impl Zipf {
    /// A choice among `ranks` ranks.
    pub fn new(ranks: usize) -> Self {
        let weights = (1..=ranks).map(|rank| 1.0 / rank as f64);
        let total: f64 = weights.clone().sum();
        let mut sum = 0.0;
        let upto = weights.map(|weight| {
            sum += weight;
            (sum / total * f64::from(u32::MAX)) as u32
        });
        Self { upto: upto.collect() }
    }

    /// The rank that 64 random bits choose.
    pub fn rank(&self, bits: u64) -> usize {
        let point = (bits >> 32) as u32;
        self.upto.partition_point(|upto| *upto < point).min(self.upto.len() - 1)
    }
}
