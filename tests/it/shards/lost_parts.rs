//! What a server of a shard has lost is found by the audit and filled by a replay.

use harness::{Backends, ShardEngines, World, job_id};

use super::readers;

const WEIGHTS: [u32; 3] = [1, 1, 1];
/// Clicks of each of three partitions.
const EACH: usize = 2_000;
const ALL: u64 = 3 * EACH as u64;
/// Several parts on each shard.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "500");
/// The shard that loses a part.
const LOSER: usize = 1;

#[test]
fn the_audit_names_the_clicks_of_a_lost_part_and_a_replay_and_a_reset_are_exact() {
    let engines = ShardEngines::up(&WEIGHTS);
    let world = engines.world(&Backends::find(), "shard_parts");
    world.setup();
    let records: Vec<_> = (0..3).flat_map(|partition| world.good(partition, EACH)).collect();
    world.kafka.produce(&world.topic, &records);
    let process = || {
        let mut processors = world.processors(&[], &[SMALL]);
        processors.until_caught_up(&world);
        processors.stop().expect_code(0);
    };
    process();
    assert_eq!(world.clicks(), ALL);
    world.balanced();

    let (lost, offsets) = engines.lose_newest_part(&world, LOSER);
    assert_eq!(world.clicks(), ALL - lost);
    let (report, code) = world.audit();
    assert_eq!((code, &report["missing"]), (1, &lost.into()), "{report:#}");
    assert_eq!(report["duplicates"], 0, "{report:#}");

    let window: Vec<_> = offsets.iter().flat_map(|own| ["--offsets", own.as_str()]).collect();
    let exit = world.run_replay(&job_id(&world.plan_replay(&window, &[])), &[]);
    assert_eq!(
        (exit.code, exit.last_object()["balanced"].as_bool()),
        (Some(0), Some(true)),
        "{exit:?}"
    );
    exact(&engines, &world);

    let positions: Vec<_> = (0..3).map(|partition| (partition, 0)).collect();
    world.kafka.commit(&world.group, &world.topic, &positions);
    let moment = world.query("SELECT now64(6)");
    process();
    let again = format!("SELECT count() FROM clicks WHERE ingested_at > '{moment}'");
    assert_eq!(world.number(&again), ALL, "the reset inserts every click again");
    exact(&engines, &world);

    readers::check(&engines, &world, EACH);
}

/// Every click is shown once, and is on its shard.
fn exact(engines: &ShardEngines, world: &World) {
    let shown = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
    assert_eq!(shown, format!("{ALL}\t{ALL}"));
    for shard in 0..engines.count() {
        assert_eq!(engines.misplaced(world, shard), 0, "shard {shard}");
    }
    world.balanced();
}
