//! Samples of `chaos shards`: what readers see, and whether a committed position is ahead of the rows of all shards.

use std::fmt;
use std::time::Duration;

use harness::{ShardEngines, StopFlag, World};

const EVERY: Duration = Duration::from_millis(700);
/// One sample of this number reads the view of all shards, through one server after the other. Without a TCP port that
/// server gets every row of the others for it.
const VIEW_ONE: usize = 15;

/// The result of all samples.
#[derive(Debug, Default)]
pub struct ShardSamples {
    /// Samples of the shards with an answer of each.
    samples: u64,
    /// Samples of the view of all shards, through any server, with an answer.
    views: u64,
    /// Samples of either kind without an answer: a shard was down.
    unanswered: u64,
    /// Samples that show a click twice, or on another shard than its own.
    twice: u64,
    /// Samples that show fewer clicks than an earlier one.
    fewer: u64,
    /// Checks of the positions with an answer of each shard.
    looks: u64,
    /// Checks in which a position was ahead of the rows.
    ahead: u64,
}

/// What a sample shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    rows: u64,
    clicks: u64,
    misplaced: u64,
}

/// Samples until `stop`. The log has no record twice, so that every offset below a committed position has a row.
pub fn sample(
    engines: &ShardEngines,
    world: &World,
    stop: &StopFlag,
    report_line: &(dyn Fn(&str) + Sync),
) -> ShardSamples {
    let (mut seen, mut before) = (ShardSamples::default(), 0);
    for turn in 0_usize.. {
        if stop.is_set() {
            break;
        }
        let is_view = turn % VIEW_ONE == VIEW_ONE - 1;
        let shown = if is_view {
            shown_by(engines, world, (turn / VIEW_ONE) % engines.count(), "clicks", "0")
        } else {
            of_shards(engines, world)
        };
        match shown {
            Some(shown) => {
                seen.samples += u64::from(!is_view);
                seen.views += u64::from(is_view);
                let is_twice = shown.rows != shown.clicks || shown.misplaced > 0;
                seen.twice += u64::from(is_twice);
                seen.fewer += u64::from(shown.clicks < before);
                if is_twice || shown.clicks < before {
                    report_line(&format!("FOUND: {shown:?} after {before}"));
                }
                before = shown.clicks.max(before);
            }
            None => seen.unanswered += 1,
        }
        if let Some(ahead) = ahead(engines, world) {
            seen.looks += 1;
            seen.ahead += u64::from(!ahead.is_empty());
            ahead.iter().for_each(|text| report_line(&format!("FOUND: {text}")));
        }
        std::thread::sleep(EVERY);
    }
    seen
}

/// The sum of what each shard shows of its own clicks.
fn of_shards(engines: &ShardEngines, world: &World) -> Option<Shown> {
    let mut all = Shown { rows: 0, clicks: 0, misplaced: 0 };
    for shard in 0..engines.count() {
        let own = shown_by(engines, world, shard, "shard_clicks", &engines.is_misplaced(shard))?;
        all.rows += own.rows;
        all.clicks += own.clicks;
        all.misplaced += own.misplaced;
    }
    Some(all)
}

fn shown_by(
    engines: &ShardEngines,
    world: &World,
    server: usize,
    view: &str,
    is_misplaced: &str,
) -> Option<Shown> {
    let sql = format!("SELECT count(), uniqExact(event_id), countIf({is_misplaced}) FROM {view}");
    let text = engines.ask(world, server, &sql).ok()?;
    let numbers: Vec<u64> = text.split('\t').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [rows, clicks, misplaced] = numbers[..] else { return None };
    Some(Shown { rows, clicks, misplaced })
}

/// Positions that are ahead of the rows; none while a shard does not answer. Positions are read before the rows.
fn ahead(engines: &ShardEngines, world: &World) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for (partition, position) in world.kafka.committed(&world.group, &world.topic) {
        let sql = format!(
            "SELECT uniqExact(kafka_offset) FROM click_versions \
             WHERE kafka_partition = {partition} AND kafka_offset < {position}"
        );
        let own = |shard| engines.ask(world, shard, &sql).ok()?.parse::<i64>().ok();
        let rows = (0..engines.count()).map(own).sum::<Option<i64>>()?;
        if rows != position {
            found.push(format!("partition {partition} is committed to {position}, {rows} rows"));
        }
    }
    Some(found)
}

impl ShardSamples {
    /// Whether there were samples, and all were right.
    pub fn good(&self) -> bool {
        let enough = self.samples > 0 && self.views > 0 && self.looks > 0;
        enough && self.twice + self.fewer + self.ahead == 0
    }
}

impl fmt::Display for ShardSamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, views, unanswered, twice, fewer, looks, ahead } = self;
        write!(
            f,
            "samples={samples} views={views} unanswered={unanswered} twice={twice} fewer={fewer} looks={looks} \
             ahead={ahead}"
        )
    }
}
