//! Chance of the pinned generator: the same seed, the same clicks, on every machine.

/// A stream of choices (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("it is below a usize")
    }

    /// True in so many of a thousand.
    pub fn in_1000(&mut self, chances: u64) -> bool {
        self.roll() % 1000 < chances
    }

    /// One of several.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Makes 64 bits of which each depends on all of `bits`.
pub fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Ranks by popularity: the n-th is chosen in proportion to 1/(n+1).
#[derive(Debug)]
pub struct Zipf {
    /// Up to and with each rank, in units of which all ranks make [`u32::MAX`].
    upto: Vec<u32>,
}

impl Zipf {
    /// Of so many ranks.
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
