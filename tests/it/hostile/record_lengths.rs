//! Batches in which the length of a record is wrong: the client library stops in the middle of them, with or
//! without an error. Brokers do not check the lengths of compressed records.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::raw_produce::{BatchRecord, Codec, RawBatch, RawRecords, WrongLength};
use harness::{World, metric, until};
use schemas::{Encoder, RawClick, headers};
use uuid::Uuid;

/// The longest time until an honest click is visible, whatever batch is before it.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// So many batches are before honest clicks at once.
const PARTITIONS: usize = 11;
/// Records of each batch.
const RECORDS: usize = 4;
/// Honest clicks behind each batch: too many for a storm.
const FOLLOWERS: usize = 8;

/// A click that is not an honest one, with a long header.
fn record(world: &World) -> BatchRecord {
    let mut value = Vec::new();
    let now_us = jiff::Timestamp::now().as_microsecond();
    let click = RawClick::new(Uuid::now_v7(), now_us, "inside");
    Encoder::new(world.schema_id()).encode(&click, &mut value).unwrap();
    let headers = vec![(b"h".to_vec(), Some(vec![b'h'; 300]))];
    BatchRecord { key: Some(b"k".to_vec()), value: Some(value), headers }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Each wrong length in the first, a middle and the last record, in zstd, and one of them in other codecs.
fn batches(world: &World) -> Vec<(String, RawBatch)> {
    let mut batches = Vec::new();
    for wrong in WrongLength::ALL {
        for number in [0, 1, RECORDS - 1] {
            let records: Vec<_> = (0..RECORDS).map(|_| record(world)).collect();
            let raw = RawRecords::with_wrong_length(&records, number, wrong);
            let named = |codec: &str| format!("{wrong:?} in record {number}, {codec}");
            batches.push((named("zstd"), raw.compressed(Codec::Zstd, zstd)));
            if (wrong, number) == (WrongLength::Double, 1) {
                batches.extend([
                    (named("zstd, stored"), raw.stored()),
                    (named("gzip"), raw.compressed(Codec::Gzip, gzip)),
                    (named("not compressed"), raw.plain()),
                ]);
            }
        }
    }
    // The library would take the value for a record among the honest clicks that follow.
    let delta = i64::try_from(RECORDS + FOLLOWERS / 2).unwrap();
    for number in [0, 1] {
        let records: Vec<_> = (0..RECORDS).map(|_| record(world)).collect();
        let raw = RawRecords::with_record_in_value(&records, number, delta);
        let name = format!("a made record in the value of record {number}");
        batches.push((name, raw.compressed(Codec::Zstd, zstd)));
    }
    batches
}

#[test]
fn h3_batches_of_wrong_lengths_are_passed_and_delay_no_click_for_ten_seconds() {
    let world = World::new("lengths");
    world.setup();
    world.kafka.grow(&world.topic, PARTITIONS);
    let mut processors = world.processors(&[], &[]);
    let honest_rows = || world.number("SELECT count() FROM clicks WHERE slug = 'good'");
    let (mut honest, mut accepted, mut refused) = (0, Vec::new(), 0);
    let mut all = batches(&world).into_iter().peekable();
    while all.peek().is_some() {
        let began = Instant::now();
        for partition in 0..i32::try_from(PARTITIONS).unwrap() {
            // The next one that the broker accepts.
            for (name, batch) in all.by_ref() {
                let (code, base) = batch.send(&world.kafka.brokers, &world.topic, partition);
                if code == 0 {
                    accepted.push((partition, base, name));
                    break;
                }
                refused += 1;
            }
            world.kafka.produce(&world.topic, &world.good(partition, FOLLOWERS));
            honest += FOLLOWERS as u64;
        }
        let names = format!("honest clicks behind {accepted:?}");
        processors.until(&names, || (honest_rows() == honest).then_some(()));
        println!("{} accepted, {refused} refused, {:?}", accepted.len(), began.elapsed());
        assert!(began.elapsed() < DELAY_MAX, "{:?}", began.elapsed());
    }
    // Kafka 4.4 refuses a negative length and one beyond the batch, 4.1 does not.
    let within = WrongLength::ALL.len() - 2;
    assert!(accepted.len() > 3 * within, "zstd is accepted: {accepted:?}");
    processors.until_caught_up(&world);
    assert_eq!(honest_rows(), honest);
    // No stub covers a record of another batch.
    let count = i64::try_from(RECORDS).unwrap();
    let mut stubs = 0;
    for letter in world.kafka.read(&world.dead_letters()) {
        let number = |name| letter.header(name).unwrap().parse::<i64>().unwrap();
        let (partition, offset) =
            (number(headers::CONNECT_PARTITION), number(headers::CONNECT_OFFSET));
        let last =
            letter.header(headers::STUB_LAST_OFFSET).map_or(offset, |own| own.parse().unwrap());
        let holds = |(of, base, _): &&(i32, i64, String)| {
            i64::from(*of) == partition && (*base..base + count).contains(&offset)
        };
        let Some((_, base, name)) = accepted.iter().find(holds) else {
            panic!("{partition}:{offset} is of no batch: {letter:?}")
        };
        assert!(last < base + count, "{name}: {letter:?}");
        stubs += usize::from(last > offset);
    }
    println!("{stubs} stubs");
    assert!(stubs > within, "{stubs}");
    world.balanced();
}

#[test]
fn h3_links_and_dead_letters_behind_a_batch_of_wrong_lengths_are_read() {
    let world = World::new("link_lengths");
    world.setup();
    let records: Vec<_> = (0..RECORDS).map(|_| record(&world)).collect();
    let batch = RawRecords::with_wrong_length(&records, 1, WrongLength::Double).stored();
    for (topic, partitions) in [(&world.links_topic, 0..1), (&world.dead_letters(), 0..3)] {
        for partition in partitions {
            assert_eq!(batch.send(&world.kafka.brokers, topic, partition).0, 0, "{topic}");
        }
    }
    let store = world.folder().join("links.db").display().to_string();
    world.links(&store, &["add", "a", "https://example.com/1"]).expect_code(0);
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    let mut processors = world.processors(&[], &[]);
    until("the link is served", || (host.get("/a", &[]).status == 302).then_some(()));
    processors.until_letters_copied(&world);
    processors.until("the link is in ClickHouse", || {
        (world.number("SELECT count() FROM link_versions WHERE slug = 'a'") > 0).then_some(())
    });
    let name = "clicktrail_processors_links_refused_total{code=\"batch_unreadable\"}";
    assert_eq!(metric(&processors.admin, name), Some(1.0));
    host.stop().expect_code(0);
}
