//! The relay's linger: how many Produce requests the clicks take, and how late they are.

use std::time::Duration;

use harness::{Server, Visitors, World, metric};

use super::outbox::{LINKS, until_delivered};

/// Time between two visits of one connection.
const EACH: Duration = Duration::from_millis(1);
const WINDOW: Duration = Duration::from_secs(2);
/// librdkafka reports the number of requests every two seconds.
const COUNTED: Duration = Duration::from_millis(2_500);

/// A metric of the relay, as a whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn count(server: &Server, name: &str) -> u64 {
    metric(&server.admin, &format!("clicktrail_producer_{name}")).expect("a metric") as u64
}

/// Produce requests, clicks, and clicks that the broker acknowledged within this many seconds.
fn delivery(server: &Server, seconds: &str) -> [u64; 3] {
    let within = format!("delivery_seconds_bucket{{le=\"{seconds}\"}}");
    ["relay_requests_total", "delivery_seconds_count", &within].map(|name| count(server, name))
}

#[test]
fn clicks_share_produce_requests_and_are_late_by_the_linger_at_most() {
    let world = World::new("linger");
    world.setup();
    let folder = world.folder().join("slow").display().to_string();
    let mut usual = world.serve(LINKS, &[]);
    let slow = [("CLICKTRAIL_RELAY_LINGER_MS", "400"), ("CLICKTRAIL_OUTBOX", folder.as_str())];
    let mut slow = world.serve(LINKS, &slow);
    let pause = || std::thread::sleep(WINDOW);
    let (urls, visitors) = ([usual.url.clone(), slow.url.clone()], Visitors::default());
    let others = Visitors::default();
    let other = || others.during(&urls[1], 2, EACH, pause).0.len();
    let (visits, of_slow) = visitors.during(&urls[0], 2, EACH, other);
    until_delivered(&mut usual);
    until_delivered(&mut slow);
    std::thread::sleep(COUNTED);
    let [requests, clicks, within] = delivery(&usual, "0.25");
    println!("usual: {requests} requests, {clicks} clicks, {within} within 250 ms");
    assert_eq!(clicks, visits.len() as u64);
    assert!(clicks > 500, "{clicks} clicks are too few");
    // 10 a second, and those of the first seconds, in which partitions become known.
    assert!((1..=2 * 40).contains(&requests), "{requests} requests for {clicks} clicks");
    assert!(within * 100 >= clicks * 95, "{within} of {clicks} clicks within 250 ms");
    let [requests, clicks, within] = delivery(&slow, "1.0");
    println!("400 ms: {requests} requests, {clicks} clicks, {within} within a second");
    assert_eq!(clicks, of_slow as u64);
    assert!((1..=2 * 5).contains(&requests), "{requests} requests for {clicks} clicks");
    assert_eq!(within, clicks, "within a second");
    let early = count(&slow, "delivery_seconds_bucket{le=\"0.1\"}");
    assert!(early < clicks / 2, "{early} of {clicks} clicks did not wait for others");
    for server in [&mut usual, &mut slow] {
        let summary = server.stop().expect_code(0).summary("serve");
        assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
    }
}
