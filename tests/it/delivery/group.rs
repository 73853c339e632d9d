//! Group membership: with the `consumer` protocol of the broker, and as a static member.

use harness::{Processors, World, metric};

/// The number of partitions of a member.
fn owned(member: &Processors) -> f64 {
    metric(&member.admin, "clicktrail_processors_partitions_assigned").unwrap_or(0.0)
}

/// Waits until two members share all three partitions.
fn shared(one: &mut Processors, other: &Processors) {
    let admin = one.admin.clone();
    let own = || metric(&admin, "clicktrail_processors_partitions_assigned").unwrap_or(0.0);
    one.until("both own partitions", || {
        let (own, others) = (own(), owned(other));
        (own > 0.0 && others > 0.0 && own + others == 3.0).then_some(())
    });
}

#[test]
fn with_the_consumer_protocol_members_join_and_leave_without_loss() {
    let world = World::new("kip848");
    world.setup();
    let set = [("CLICKTRAIL_GROUP_PROTOCOL", "consumer"), ("CLICKTRAIL_BATCH_ROWS", "200")];
    let write = |count| {
        let records = (0..3).flat_map(|partition| world.good(partition, count));
        world.kafka.produce(&world.topic, &records.collect::<Vec<_>>());
    };
    write(1000);
    let mut first = world.processors(&[], &set);
    first.until_caught_up(&world);
    let mut second = world.processors(&[], &set);
    shared(&mut first, &second);
    write(1000);
    second.until_caught_up(&world);
    first.stop().expect_code(0);
    write(500);
    second.until_caught_up(&world);
    assert_eq!(world.clicks(), 7500);
    world.balanced();
    second.stop().expect_code(0);
}

#[test]
fn a_static_member_returns_to_its_partitions_without_a_rebalance() {
    let world = World::new("named");
    world.setup();
    // Longer than a restart on a loaded machine.
    let args = ["--kafka", "session.timeout.ms=30000"];
    let start = |name| world.processors(&args, &[("CLICKTRAIL_GROUP_INSTANCE_ID", name)]);
    let mut first = start("first");
    first.until_caught_up(&world);
    let mut second = start("second");
    shared(&mut first, &second);
    let before = owned(&first);
    first.stop().expect_code(0);
    let mut first = start("first");
    shared(&mut first, &second);
    assert_eq!(owned(&first), before);
    world
        .kafka
        .produce(&world.topic, &[world.good(0, 10), world.good(1, 10), world.good(2, 10)].concat());
    first.until_caught_up(&world);
    world.balanced();
    let log = second.stop().expect_code(0).err;
    assert!(!log.contains("the group revokes partitions"), "{log}");
    first.stop().expect_code(0);
}
