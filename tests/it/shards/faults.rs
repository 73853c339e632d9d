//! Processors, engines and replicas of three shards are killed while they work.

use harness::{Backends, ShardEngines, World, until};
use stack::Part;

const WEIGHTS: [u32; 3] = [1, 2, 1];
/// Clicks of a wave in each of three partitions.
const EACH: usize = 1_000;
const WAVE: u64 = 3 * EACH as u64;
/// Several batches in a wave.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "400");

#[test]
fn kills_of_processors_engines_and_replicas_of_shards_lose_and_repeat_no_click() {
    let engines = ShardEngines::up(&WEIGHTS);
    let world = engines.world(&Backends::find(), "shard_faults");
    world.setup();
    let [mut killed, mut kept] = [(), ()].map(|()| world.processors(&[], &[SMALL]));
    let sql = "SELECT uniqExact(event_id) FROM click_versions";
    let rows = |shard| engines.number(&world, shard, sql);
    // An engine that starts again does not answer yet.
    let own = |shard| engines.ask(&world, shard, sql).ok()?.parse::<u64>().ok();
    let all = || (0..engines.count()).map(own).sum::<Option<u64>>();
    let until_rows = |waves: u64| {
        until("every click is a row", || (all() == Some(waves * WAVE)).then_some(()));
        shown(&world, waves * WAVE);
    };
    produce(&world);
    until_rows(1);

    // The first shard loses the replica that it used so far.
    let used = usize::from(engines.fronts[0].received() < engines.fronts[1].received());
    let spare = 1 - used;
    let before = engines.fronts[spare].received();
    engines.fronts[used].kill();
    produce(&world);
    until_rows(2);
    assert!(engines.fronts[spare].received() > before, "no insert went to the other replica");

    // The second shard loses its only server: batches are durable on the others only. Then a process with
    // such batches is killed.
    let before = [0, 2].map(rows);
    engines.engine(1).kill(Part::ClickHouse).expect("an engine can be killed");
    produce(&world);
    until("the other shards have their parts", || {
        (rows(0) > before[0] && rows(2) > before[1]).then_some(())
    });
    killed.crash();
    assert!(kept.ended().is_none(), "a dead shard ends a process: {}", kept.log());
    engines.engine(1).restart(Part::ClickHouse).expect("an engine starts again");
    until_rows(3);

    // The spare replica hangs with a request, the other one is back, and an engine crashes.
    engines.fronts[spare].pause(true);
    let before = engines.fronts[spare].received();
    engines.fronts[used].restart();
    engines.engine(2).crash_engine().expect("an engine can be killed");
    produce(&world);
    until("a request waits at the replica that hangs", || {
        (engines.fronts[spare].received() > before).then_some(())
    });
    engines.fronts[spare].kill();
    until_rows(4);

    kept.until_caught_up(&world);
    for shard in 0..engines.count() {
        assert!(rows(shard) > 0, "shard {shard} has no row");
        assert_eq!(engines.misplaced(&world, shard), 0, "shard {shard}");
    }
    let report = world.balanced();
    assert_eq!(report["clicks"], 4 * WAVE, "{report:#}");
    kept.stop().expect_code(0);
}

fn produce(world: &World) {
    let records: Vec<_> = (0..3).flat_map(|partition| world.good(partition, EACH)).collect();
    world.kafka.produce(&world.topic, &records);
}

/// Checks that readers see so many clicks, each once.
fn shown(world: &World, clicks: u64) {
    let shown = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
    assert_eq!(shown, format!("{clicks}\t{clicks}"));
}
