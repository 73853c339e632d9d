//! The producer keeps clicks on disk through outages, kills and a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{
    Backends, OwnStack, RegistryFault, RegistryProxy, Server, Visit, Visitors, World, closed_port,
    metric, until,
};
use schemas::{Decoder, EventId, NEWEST, unframe};
use stack::Part;

pub(crate) const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const WAITING: &str = "clicktrail_producer_outbox_clicks";
/// A killed producer may lose the clicks of this time before the kill: the pause of a group, its write,
/// and on a busy machine the delay of its thread.
pub(crate) const WINDOW: Duration = Duration::from_millis(250);
pub(crate) const EACH: Duration = Duration::from_millis(1);

/// The ids under which each visit is in the log.
fn logged(world: &World) -> BTreeMap<u64, BTreeSet<EventId>> {
    let decoder = Decoder::new(NEWEST).unwrap();
    let mut visits: BTreeMap<u64, BTreeSet<EventId>> = BTreeMap::new();
    let id = world.schema_id();
    for record in world.kafka.read(&world.topic) {
        let (own, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(own, id, "framed with the registry's id");
        assert_eq!(record.headers, [], "no visit is sampled");
        let click = decoder.decode(datum).unwrap();
        let number = click.query.unwrap().strip_prefix("n=").unwrap().parse().unwrap();
        visits.entry(number).or_default().insert(click.event_id);
    }
    for (number, ids) in &visits {
        assert_eq!(ids.len(), 1, "visit {number} has two events");
    }
    visits
}

fn p99(visits: &[Visit]) -> Duration {
    let mut took: Vec<_> = visits.iter().map(|visit| visit.took).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

pub(crate) fn until_delivered(server: &mut Server) {
    let admin = server.admin.clone();
    let delivered = || metric(&admin, WAITING).filter(|waiting| *waiting == 0.0);
    server.until("all stored clicks are delivered", delivered);
}

#[test]
fn a_producer_killed_under_load_delivers_every_click_that_it_had_written() {
    let world = World::new("killed_producer");
    world.setup();
    let visitors = Visitors::default();
    let (mut promised, mut answered, mut rounds) = (BTreeSet::new(), 0, Vec::new());
    for round in 0..6_u64 {
        let mut server = world.serve(LINKS, &[]);
        let url = server.url.clone();
        // Some kills are during the first sends after a start, some during steady delivery.
        let moment = Duration::from_millis(60 + 173 * round);
        let (visits, killed) = visitors.during(&url, 4, Duration::ZERO, || {
            std::thread::sleep(moment);
            let killed = Instant::now();
            server.crash();
            killed
        });
        answered += visits.len();
        let early = visits.iter().filter(|visit| visit.answered + WINDOW < killed);
        promised.extend(early.map(|visit| visit.number));
        rounds.push((killed, visits));
    }
    let mut server = world.serve(LINKS, &[]);
    until_delivered(&mut server);
    let summary = server.stop().expect_code(0).summary("serve");
    assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
    let log = logged(&world);
    let missing: Vec<_> = promised.iter().filter(|number| !log.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?} were answered long before the kill and are missing");
    assert!(promised.len() > 500, "{} visits are too few", promised.len());
    let lost = rounds.iter().flat_map(|(killed, visits)| {
        let lost = visits.iter().filter(|visit| !log.contains_key(&visit.number));
        lost.map(|visit| killed.saturating_duration_since(visit.answered))
    });
    let lost: Vec<_> = lost.collect();
    println!(
        "{answered} answered in 6 rounds, {} lost with the kills, the earliest {:?} before",
        lost.len(),
        lost.iter().max().copied().unwrap_or_default()
    );
}

#[test]
fn a_broker_outage_under_load_loses_no_click_and_slows_no_redirect() {
    let stack = OwnStack::up();
    let world = World::on(Backends::on(&stack), "killed_broker");
    world.setup();
    let mut server = world.serve(LINKS, &[]);
    let visitors = Visitors::default();
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let pause = || std::thread::sleep(Duration::from_secs(2));
    let (up, ()) = visitors.during(&url, 4, EACH, pause);
    let (mut all, ()) = visitors.during(&url, 4, EACH, || stack.kill(Part::Kafka).unwrap());
    let degraded = server.until("the outage is reported", || {
        let answer = harness::get(&format!("{admin}/readyz")).ok()?;
        answer.body.contains("degraded").then_some(answer)
    });
    assert_eq!(degraded.status, 200, "redirects continue, so the producer stays ready");
    let (down, ()) = visitors.during(&url, 4, EACH, pause);
    assert!(metric(&admin, WAITING).unwrap() >= 500.0, "clicks are on the disk");
    println!("p99 of redirects: {:?} with the broker, {:?} without", p99(&up), p99(&down));
    assert!(p99(&down) < 3 * p99(&up) + Duration::from_millis(20));
    // Killed and restarted during the outage, with its own disk only.
    server.crash();
    let mut server = world.serve(LINKS, &[]);
    let (more, ()) = visitors.during(&server.url.clone(), 4, EACH, pause);
    stack.restart(Part::Kafka).unwrap();
    until_delivered(&mut server);
    let summary = server.stop().expect_code(0).summary("serve");
    assert!(summary.get("recovered") >= 500);
    assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
    all.extend(up.into_iter().chain(down).chain(more));
    let log = logged(&world);
    let missing: Vec<_> = all.iter().filter(|visit| !log.contains_key(&visit.number)).collect();
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), all.len());
}

#[test]
fn started_without_a_registry_the_producer_serves_and_delivers_once_it_returns() {
    let world = World::new("no_registry");
    world.setup();
    let registry = RegistryProxy::start(&world.backends.registry).unwrap();
    registry.set(RegistryFault::Status(503));
    let mut server = world.serve(LINKS, &[("SCHEMA_REGISTRY_URL", &registry.url)]);
    let visitors = Visitors::default();
    let url = server.url.clone();
    let (visits, ()) =
        visitors.during(&url, 2, EACH, || std::thread::sleep(Duration::from_millis(300)));
    let admin = server.admin.clone();
    let health = server.until("the outage is reported", || {
        let answer = harness::get(&format!("{admin}/readyz")).ok()?;
        answer.body.contains("schema registry").then_some(answer)
    });
    assert_eq!(health.status, 200);
    assert_eq!(world.kafka.records(&world.topic), 0);
    registry.set(RegistryFault::None);
    until_delivered(&mut server);
    server.stop().expect_code(0);
    assert_eq!(logged(&world).len(), visits.len());
}

#[test]
fn a_full_outbox_that_drops_the_oldest_delivers_the_newest_and_counts_each_loss() {
    let world = World::new("gives_up");
    world.setup();
    let closed_broker = closed_port().to_string();
    let small = [("CLICKTRAIL_OUTBOX_BYTES", "1048576"), ("CLICKTRAIL_OUTBOX_DROP", "oldest")];
    let mut server = world.serve(LINKS, &[small[0], small[1], ("KAFKA_BROKERS", &closed_broker)]);
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let lost = || {
        metric(&admin, r#"clicktrail_producer_clicks_undelivered_total{code="outbox_full"}"#)
            .unwrap_or(0.0)
    };
    let (mut visits, ()) = Visitors::default().during(&url, 4, Duration::ZERO, || {
        until("clicks are dropped", || (lost() > 3_000.0).then_some(()));
    });
    until("all is written", || {
        (metric(&admin, "clicktrail_producer_queue_clicks")? == 0.0).then_some(())
    });
    let lost = lost();
    server.crash();
    let mut server = world.serve(LINKS, &small);
    until_delivered(&mut server);
    let summary = server.stop().expect_code(0).summary("serve");
    assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 0));
    let log = logged(&world);
    visits.sort_by_key(|visit| visit.answered);
    #[expect(clippy::cast_precision_loss, reason = "a count of a test")]
    let missing = visits.iter().filter(|visit| !log.contains_key(&visit.number)).count() as f64;
    println!("{} visits, {lost} dropped, {missing} missing in the log", visits.len());
    assert!((missing - lost).abs() < 0.5, "{lost} counted as lost, {missing} are missing");
    let newest = &visits[visits.len() - 500..];
    assert!(
        newest.iter().all(|visit| log.contains_key(&visit.number)),
        "the newest clicks are in the log"
    );
}

/// A mounted file system in memory; its drop unmounts it.
struct Mount<'a>(&'a std::path::Path);

impl<'a> Mount<'a> {
    fn at(folder: &'a std::path::Path, size: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        let size = format!("size={size}");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let mounted = mounted.expect("mount is there");
        let words = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "run as a user who may mount: {words}");
        Self(folder)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0).output().ok();
    }
}

#[test]
fn on_a_full_disk_redirects_continue_and_each_lost_click_is_counted() {
    let world = World::new("full_disk");
    world.setup();
    let folder = world.outbox();
    let mount = Mount::at(&folder, "1m");
    let closed_broker = closed_port().to_string();
    let mut server = world.serve(LINKS, &[("KAFKA_BROKERS", &closed_broker)]);
    let visitors = Visitors::default();
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let lost = || {
        metric(&admin, r#"clicktrail_producer_clicks_undelivered_total{code="outbox_disk"}"#)
            .unwrap_or(0.0)
    };
    let (mut visits, ()) = visitors.during(&url, 4, Duration::ZERO, || {
        until("the disk is full", || (lost() > 100.0).then_some(()));
    });
    let health = harness::get(&format!("{admin}/readyz")).unwrap();
    assert!(health.status == 200 && health.body.contains("cannot be written"), "{health:?}");
    // An operator enlarges the disk.
    let options = ["-o", "remount,size=64m"];
    let grown = Command::new("mount").args(options).arg(&folder).status().unwrap();
    assert!(grown.success());
    let written = || {
        until("all is written or counted", || {
            (metric(&admin, "clicktrail_producer_queue_clicks")? == 0.0).then_some(())
        });
    };
    written();
    let lost = lost();
    let each = Duration::from_millis(10);
    let (later, ()) = visitors.during(&url, 4, each, || {
        let ended = || server.log().contains("the outbox writes clicks again").then_some(());
        until("the end of the outage in the log", ended);
    });
    assert!(later.len() > 50);
    let health = harness::get(&format!("{admin}/readyz")).unwrap();
    assert!(!health.body.contains("cannot be written"), "{health:?}");
    let all = visits.len() + later.len();
    written();
    server.crash();
    let mut server = world.serve(LINKS, &[]);
    until_delivered(&mut server);
    server.stop().expect_code(0);
    let log = logged(&world);
    visits.extend(&later);
    #[expect(clippy::cast_precision_loss, reason = "a count of a test")]
    let missing = visits.iter().filter(|visit| !log.contains_key(&visit.number)).count() as f64;
    println!("{all} visits, {lost} counted as lost, {missing} missing in the log");
    // The kill lost nothing: all clicks were written.
    assert!((missing - lost).abs() < 0.5, "{lost} counted as lost, {missing} are missing");
    drop(mount);
}

#[test]
fn h12_m11_flipped_bits_in_the_outbox_lose_the_damaged_clicks_only() {
    let world = World::new("flipped_bits");
    world.setup();
    let closed_broker = closed_port().to_string();
    let mut server = world.serve(LINKS, &[("KAFKA_BROKERS", &closed_broker)]);
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let pause = || std::thread::sleep(Duration::from_millis(300));
    let (visits, ()) = Visitors::default().during(&url, 2, EACH, pause);
    until("all is written", || {
        (metric(&admin, "clicktrail_producer_queue_clicks")? == 0.0).then_some(())
    });
    server.crash();
    let folder = world.outbox().join("serve");
    let modes = || {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let modes = entries.chain([folder.clone()]).map(|path| {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            (mode & 0o077, path)
        });
        modes.filter(|(others, _)| *others != 0).map(|(_, path)| path).collect::<Vec<_>>()
    };
    assert_eq!(modes(), Vec::<std::path::PathBuf>::new(), "other users can read these");
    let segment = folder.join("00000000000000000000.clicks");
    let mut content = std::fs::read(&segment).unwrap();
    let middle = content.len() / 2;
    // Header, first click, a click in the middle.
    for at in [3, 60, middle] {
        content[at] ^= 0x10;
    }
    std::fs::write(&segment, &content).unwrap();
    let mut server = world.serve(LINKS, &[]);
    until_delivered(&mut server);
    let name = "clicktrail_producer_outbox_damaged_segments";
    assert_eq!(metric(&server.admin, name), Some(1.0));
    let summary = server.stop().expect_code(75).summary("serve");
    assert_eq!((summary.get("waiting"), summary.get("undelivered")), (0, 2));
    let log = logged(&world);
    let missing = visits.iter().filter(|visit| !log.contains_key(&visit.number)).count();
    assert!(visits.len() > 50 && missing == 2, "{missing} of {} are missing", visits.len());
    assert_eq!(std::fs::read(segment.with_extension("clicks.damaged")).unwrap(), content);
}
