//! Three brokers instead of one: delivery survives the loss of one.

use std::time::{Duration, Instant};

use harness::{Backends, Copies, OwnStack, Visitors, World, until};
use stack::Part;

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const EACH: Duration = Duration::from_millis(5);
/// The longest time from a click to its row, also during the loss of one broker.
const STANDSTILL_MAX: Duration = Duration::from_secs(40);
/// The longest redirect, with or without a broker.
const REDIRECT_MAX: Duration = Duration::from_secs(1);
const MEMORY_BYTES_MAX: u64 = 2 << 30;

fn copies(world: &World) -> Vec<Copies> {
    until("some broker knows the topic", || world.kafka.copies(&world.topic).ok())
}

fn until_in_sync(world: &World) -> Duration {
    let began = Instant::now();
    until("all copies are in sync", || {
        copies(world).iter().all(|partition| partition.in_sync.len() == 3).then_some(())
    });
    began.elapsed()
}

/// Resident memory of all brokers.
fn memory(stack: &OwnStack) -> u64 {
    let status = stack.status().unwrap();
    let brokers = status.iter().filter(|status| Part::BROKERS.contains(&status.part));
    let resident = |pid: i32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    brokers.map(|status| resident(status.pid.expect("every broker runs"))).sum()
}

#[test]
fn killing_the_leader_of_three_brokers_loses_nothing_and_stops_delivery_briefly() {
    let stack = OwnStack::with_three_brokers();
    let world = World::on(Backends::on(&stack), "three_brokers");
    world.setup();
    for partition in copies(&world) {
        assert_eq!(partition.all.len(), 3, "{partition:?}");
    }
    until_in_sync(&world);
    let mut server = world.serve(LINKS, &[]);
    let mut processors = world.processors(&[], &[]);
    let (visitors, url) = (Visitors::default(), server.url.clone());
    let (visits, victim) = visitors.during(&url, 2, EACH, || {
        until("clicks are visible", || (world.clicks() > 300).then_some(()));
        let leader = copies(&world)[0].leader;
        let victim = Part::BROKERS[usize::try_from(leader - 1).unwrap()];
        stack.kill(victim).unwrap();
        // The other brokers detect a silent broker after nine seconds, then elect a leader.
        until("another broker is the leader", || {
            let partition = copies(&world).remove(0);
            (partition.leader > 0 && partition.leader != leader).then_some(())
        });
        stack.restart(victim).unwrap();
        println!("{victim} killed; in sync {:?} after its restart", until_in_sync(&world));
        victim
    });
    assert!(stack.status().unwrap().iter().all(|status| status.serves), "{victim} runs again");
    server
        .until("every click is visible", || (world.clicks() == visits.len() as u64).then_some(()));
    processors.until_caught_up(&world);
    let latest =
        "SELECT max(dateDiff('millisecond', occurred_at, ingested_at)) FROM click_versions";
    let latest = Duration::from_millis(world.number(latest));
    let slowest = visits.iter().map(|visit| visit.took).max().unwrap();
    let memory = memory(&stack);
    println!(
        "{} clicks, the latest seen after {latest:?}; slowest redirect {slowest:?}; three brokers \
         in {} MB",
        visits.len(),
        memory / 1_000_000
    );
    assert!(latest < STANDSTILL_MAX, "{latest:?}");
    assert!(slowest < REDIRECT_MAX, "{slowest:?}");
    assert!(memory < MEMORY_BYTES_MAX, "{memory}");
    processors.stop().expect_code(0);
    let summary = server.stop().expect_code(0).summary("serve");
    assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
    world.balanced();
}

#[test]
fn a_stack_of_one_broker_refuses_to_start_three_on_the_same_data() {
    let one = OwnStack::of(&[Part::Kafka]);
    assert!(one.kill(Part::Kafka2).unwrap_err().to_string().contains("--brokers 3"));
    one.pause(Part::Kafka).unwrap();
    let stands = |stack: &OwnStack| {
        let status = stack.status().unwrap();
        status.iter().any(|status| status.part == Part::Kafka && !status.serves)
    };
    assert!(stands(&one));
    one.resume(Part::Kafka).unwrap();
    until("the broker continues", || (!stands(&one)).then_some(()));
    one.down().unwrap();
    let choice = stack::PortChoice {
        auto: true,
        brokers: Some(stack::Brokers::Three),
        ..stack::PortChoice::default()
    };
    let cache = stack::Cache::shared().unwrap();
    let three = stack::Stack::open(one.folder(), cache, choice).unwrap();
    let error = three.up_parts(&[Part::Kafka]).unwrap_err();
    assert!(matches!(error, stack::StackError::BrokersDiffer), "{error}");
    assert!(three.running().is_empty());
}
