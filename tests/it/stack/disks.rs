//! A disk that is full under one part only.

use std::time::Duration;

use harness::{Answer, Kafka, OwnStack, until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use stack::{Part, SmallDisk, StackError, examine};

const TOPIC: &str = "t.disks";
const RECORDS: usize = 200;
const WAIT: Duration = Duration::from_secs(5);

/// A stack of one part on a small disk. `None` where this process may not mount; the error then
/// says so.
fn on_small_disk(part: Part, bytes: u64) -> Option<OwnStack> {
    match OwnStack::on_small_disks(&[SmallDisk { part, bytes }]) {
        Ok(own) => Some(own),
        Err(error) => {
            assert!(!rustix::process::geteuid().is_root() || !may_mount(), "{error}");
            assert!(error.to_string().contains("run this as root"), "{error}");
            println!("not checked here: {error}");
            None
        }
    }
}

/// Whether this process has the capability to mount.
fn may_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    // CAP_SYS_ADMIN is the 21st.
    u64::from_str_radix(rights.trim(), 16).is_ok_and(|rights| rights >> 21 & 1 == 1)
}

fn ask(own: &OwnStack, sql: &str) -> Answer {
    let url = format!("http://{}/", own.ports().unwrap().address(Part::ClickHouse));
    let headers = [("X-ClickHouse-User", "clicktrail"), ("X-ClickHouse-Key", "clicktrail")];
    harness::request("POST", &url, &headers, sql).unwrap()
}

#[test]
fn on_a_full_disk_inserts_are_refused_and_succeed_again_with_free_space() {
    let Some(own) = on_small_disk(Part::ClickHouse, 256 << 20) else { return };
    let made = ask(&own, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n");
    assert_eq!(made.status, 200, "{made:?}");
    // Merges would remove parts and make room.
    assert_eq!(ask(&own, "SYSTEM STOP MERGES t").status, 200);
    let insert = || ask(&own, "INSERT INTO t SELECT number FROM numbers(100000)");
    let count = || ask(&own, "SELECT count() FROM t").body.trim().to_owned();
    assert_eq!(insert().status, 200);
    own.fill_disk(Part::ClickHouse).unwrap();
    let refused = insert();
    assert!(refused.status >= 500 && refused.body.contains("Code: 243"), "{refused:?}");
    assert_eq!(count(), "100000", "reads still work");
    let usage = own.disk_usage(Part::ClickHouse).unwrap();
    assert_eq!(usage.used, usage.limit);
    let fixes = |own: &OwnStack| -> Vec<_> {
        examine(own)
            .into_iter()
            .filter(|finding| finding.subject == "disk")
            .filter_map(|f| f.fix)
            .collect()
    };
    assert_eq!(fixes(&own), ["stack disk clickhouse free"]);
    own.free_disk(Part::ClickHouse).unwrap();
    assert_eq!(insert().status, 200);
    assert_eq!(count(), "200000");
    assert_eq!(own.disk_usage(Part::ClickHouse).unwrap().limit, 256 << 20);
    // Its limit can be raised, and cannot be lower than what is used.
    own.limit_disk(Part::ClickHouse, 300 << 20).unwrap();
    assert_eq!(own.disk_usage(Part::ClickHouse).unwrap().limit, 300 << 20);
    assert!(own.limit_disk(Part::ClickHouse, 8192).is_err());
    // Its data stays when the part stops; `clean` removes it.
    own.restart(Part::ClickHouse).unwrap();
    assert_eq!(count(), "200000");
    assert!(matches!(own.drop_disks(), Err(StackError::InUse(Part::ClickHouse))));
    own.down().unwrap();
    own.clean(false).unwrap();
    assert!(own.disk_usage(Part::ClickHouse).is_none());
    assert!(matches!(own.fill_disk(Part::ClickHouse), Err(StackError::NoSmallDisk(_))));
}

#[test]
fn a_broker_whose_disk_was_full_has_every_record_that_it_acknowledged() {
    let Some(own) = on_small_disk(Part::Kafka, 256 << 20) else { return };
    let brokers = own.ports().unwrap().bootstrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers).set("message.timeout.ms", "3000");
    config.set("acks", "all").set("log_level", "0");
    let producer: FutureProducer = config.create().unwrap();
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(-1));
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    made.unwrap().remove(0).unwrap();
    let send = |number: usize| {
        let payload = format!("{number} {}", "x".repeat(4096));
        let record = FutureRecord::<(), _>::to(TOPIC).payload(&payload);
        runtime.block_on(producer.send(record, WAIT)).is_ok()
    };
    assert!((0..RECORDS).all(send));
    own.fill_disk(Part::Kafka).unwrap();
    // Not every write allocates a page.
    let acknowledged = (RECORDS..2 * RECORDS).take_while(|number| send(*number)).count();
    assert!(acknowledged < RECORDS, "the disk is full and every record is acknowledged");
    own.free_disk(Part::Kafka).unwrap();
    own.restart(Part::Kafka).unwrap();
    let begun = RECORDS + acknowledged;
    until("the broker takes records again", || send(2 * RECORDS).then_some(()));
    let kafka = Kafka { brokers };
    let number = |value: Vec<u8>| -> usize {
        let text = String::from_utf8(value).unwrap();
        text.split_once(' ').unwrap().0.parse().unwrap()
    };
    let log: Vec<_> =
        kafka.read(TOPIC).into_iter().map(|record| number(record.value.unwrap())).collect();
    assert!((0..begun).all(|number| log.contains(&number)), "{begun} were acknowledged");
    println!("{acknowledged} records were acknowledged on the full disk");
}
