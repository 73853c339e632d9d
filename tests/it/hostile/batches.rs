//! Batches and records that our clients do not write: they cost little, stop nothing, and are counted.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::raw_produce::{BatchRecord, Codec, RawBatch, RawRecords};
use harness::{Logged, Raw, World, get, metric, until};
use schemas::headers;
use sha2::{Digest as _, Sha256};

/// Below the limits of compose and units (512 and 640 MiB).
const MEMORY_MAX_KIB: u64 = 400 << 10;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn record(bytes: usize) -> BatchRecord {
    BatchRecord { value: Some(vec![0xff; bytes]), ..BatchRecord::default() }
}

fn header<'l>(letter: &'l Logged, name: &str) -> &'l str {
    letter.header(name).unwrap_or_else(|| panic!("no {name} in {letter:?}"))
}

/// Dead letters as (offset, code).
fn dead_letters(world: &World) -> Vec<(i64, String)> {
    let letters = world.kafka.read(&world.dead_letters());
    let mut letters: Vec<_> = letters
        .iter()
        .map(|letter| {
            let offset = header(letter, headers::CONNECT_OFFSET).parse().unwrap();
            (offset, header(letter, headers::DEAD_LETTER_CODE).to_owned())
        })
        .collect();
    letters.sort();
    letters
}

#[test]
fn h3_unreadable_batches_are_passed_and_each_is_counted_as_a_stub() {
    let world = World::new("unreadable");
    world.setup();
    let send = |batch: &RawBatch| batch.send(&world.kafka.brokers, &world.topic, 0);
    world.kafka.produce(&world.topic, &world.good(0, 2));
    // 200 MiB and 17 MiB, with and without a stated size.
    let sizes = [(200 << 20, false), (200 << 20, true), (17 << 20, true)];
    for (number, (bytes, has_size)) in sizes.into_iter().enumerate() {
        let sent = send(&RawBatch::zstd_bomb(bytes, has_size));
        assert_eq!(sent, (0, 2 + i64::try_from(number).unwrap()));
    }
    world.kafka.produce(&world.topic, &world.good(0, 2));
    // Many records, so that the end of the batch must be searched.
    let many = vec![record(200_000); 100];
    let (code, base) = send(&RawRecords::new(&many).compressed(Codec::Gzip, gzip));
    assert_eq!((code, base), (0, 7));
    world.kafka.produce(&world.topic, &[world.good(0, 2), world.good(1, 5)].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 11);
    let unreadable = |offset| (offset, "batch_unreadable".to_owned());
    assert_eq!(dead_letters(&world), [2, 3, 4, 7].map(unreadable));
    let letters = world.kafka.read(&world.dead_letters());
    let last = letters.iter().map(|letter| header(letter, headers::STUB_LAST_OFFSET));
    let mut last: Vec<i64> = last.map(|text| text.parse().unwrap()).collect();
    last.sort_unstable();
    assert_eq!(last, [2, 3, 4, 106]);
    let peak = processors.memory_peak_kib().unwrap();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    let report = world.balanced();
    assert_eq!(report["undecodable"], 4, "{report:#}");
}

#[test]
fn h1_a_record_that_no_dead_letter_can_hold_becomes_a_stub_and_stops_nothing() {
    let world = World::new("stubs");
    world.setup();
    let send = |records: &[BatchRecord]| {
        let batch = RawRecords::new(records).compressed(Codec::Gzip, gzip);
        batch.send(&world.kafka.brokers, &world.topic, 0)
    };
    // Five MiB, four times; 60,000 headers; a name of a header that is not UTF-8; a key of three MiB; more
    // headers than the library reads.
    for offset in 0..4 {
        assert_eq!(send(&[record(5 << 20)]), (0, offset));
    }
    let headers_many = vec![(b"h".to_vec(), Some(b"v".to_vec())); 60_000];
    assert_eq!(send(&[BatchRecord { headers: headers_many, ..record(10) }]), (0, 4));
    let headers_odd = vec![(vec![0xff, 0xfe, 0], Some(vec![0xff])), (vec![], None)];
    let odd = RawRecords::new(&[BatchRecord { headers: headers_odd, ..record(10) }]).stored();
    assert_eq!(odd.send(&world.kafka.brokers, &world.topic, 0), (0, 5));
    let key = Some(vec![7; 3 << 20]);
    assert_eq!(send(&[BatchRecord { key, ..record(10) }]), (0, 6));
    let headers_unread = vec![(b"h".to_vec(), None); 100_001];
    assert_eq!(send(&[BatchRecord { headers: headers_unread, ..record(10) }]), (0, 7));
    world.kafka.produce(&world.topic, &[world.good(0, 3), world.good(1, 3)].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 6);
    let codes: Vec<_> = dead_letters(&world).into_iter().map(|(_, code)| code).collect();
    let (large, magic) = (["record_too_large"; 4], ["bad_magic"; 4]);
    assert_eq!(codes, [&large[..], &magic[..]].concat());
    let letters = world.kafka.read(&world.dead_letters());
    let of = |offset: &str| {
        let mut all = letters.iter();
        all.find(|letter| header(letter, headers::CONNECT_OFFSET) == offset).unwrap()
    };
    let stub = of("0");
    assert_eq!((&stub.value, header(stub, headers::STUB_VALUE_BYTES)), (&None, "5242880"));
    let sha256: String =
        Sha256::digest(vec![0xff; 5 << 20]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header(stub, headers::STUB_VALUE_SHA256), sha256);
    assert_eq!(header(of("4"), headers::STUB_HEADERS), "60000");
    assert_eq!(of("4").value, Some(vec![0xff; 10]), "the value is kept");
    assert_eq!(of("5").header(headers::DEAD_LETTER_STUB), None);
    assert_eq!(header(of("6"), headers::STUB_KEY_BYTES), "3145728");
    assert_eq!(header(of("7"), headers::STUB_HEADERS_UNREADABLE), "true");
    assert_eq!(of("7").value, Some(vec![0xff; 10]), "the value is kept");
    let stubs = metric(
        &processors.admin,
        "clicktrail_processors_dead_letter_stubs_total{code=\"record_too_large\"}",
    );
    assert_eq!(stubs, Some(4.0));
    let peak = processors.memory_peak_kib().unwrap();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    world.balanced();
}

#[test]
fn h2_m2_many_large_records_in_small_batches_stay_within_the_memory_bound() {
    let world = World::new("flood");
    world.setup();
    let good: Vec<_> = world.good(0, 240).into_iter().map(|raw| raw.value).collect();
    let large = BatchRecord { key: Some(b"k".to_vec()), ..record(900_000) };
    let links = RawRecords::new(std::slice::from_ref(&large)).compressed(Codec::Gzip, gzip);
    for pair in good.chunks(2) {
        // Too few bad records for a storm.
        let good = pair.iter().map(|value| BatchRecord { value: value.clone(), ..record(0) });
        let records: Vec<_> = std::iter::once(large.clone()).chain(good).collect();
        let clicks = RawRecords::new(&records).compressed(Codec::Gzip, gzip);
        assert_eq!(clicks.send(&world.kafka.brokers, &world.topic, 0).0, 0);
        assert_eq!(links.send(&world.kafka.brokers, &world.links_topic, 0).0, 0);
    }
    let mut host = world.host("host", &[]);
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 240);
    processors.until("the flood of links is refused", || {
        let name = "clicktrail_processors_links_refused_total{code=\"link_too_large\"}";
        metric(&admin, name).filter(|refused| *refused == 120.0)
    });
    let refused = "clicktrail_producer_link_records_total{result=\"refused\"}";
    assert_eq!(metric(&host.admin, refused), Some(120.0));
    let peaks = [host.memory_peak_kib().unwrap(), processors.memory_peak_kib().unwrap()];
    println!("peaks {peaks:?} KiB");
    assert!(peaks.into_iter().all(|peak| peak < MEMORY_MAX_KIB), "{peaks:?} KiB");
    host.stop().expect_code(0);
}

#[test]
fn h4_hosts_and_processors_refuse_bad_link_records_and_continue() {
    let world = World::new("bad_links");
    world.setup();
    let value = |value: &[u8]| Raw {
        key: Some(b"k".to_vec()),
        value: Some(value.to_vec()),
        ..Raw::default()
    };
    let unknown = |id: u8| value(&[0, 0, 0xf, 0x42, id, 0x78]);
    let tombstone = Raw { key: Some(b"k".to_vec()), ..Raw::default() };
    let bad = [unknown(1), unknown(2), value(b"garbage"), value(&[0xff; 20_000]), tombstone];
    world.kafka.produce(&world.links_topic, &bad);
    let bomb = BatchRecord { key: Some(b"k".to_vec()), ..record(20 << 20) };
    let bomb = RawRecords::new(&[bomb]).compressed(Codec::Gzip, gzip);
    assert_eq!(bomb.send(&world.kafka.brokers, &world.links_topic, 0).0, 0);
    let store = world.folder().join("links.db").display().to_string();
    world.links(&store, &["add", "a", "https://example.com/1"]).expect_code(0);
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    let processors = world.processors(&[], &[]);
    until("the link is served", || (host.get("/a", &[]).status == 302).then_some(()));
    let refused = "clicktrail_producer_link_records_total{result=\"refused\"}";
    until("each bad link is counted", || (metric(&host.admin, refused) == Some(6.0)).then_some(()));
    until("the link is in ClickHouse", || {
        (world.number("SELECT count() FROM link_versions WHERE slug = 'a'") > 0).then_some(())
    });
    let refused = |code| {
        let name = format!("clicktrail_processors_links_refused_total{{code=\"{code}\"}}");
        metric(&processors.admin, &name)
    };
    let codes = ["link_record", "link_too_large", "batch_unreadable"];
    until("each bad record is counted", || {
        (codes.map(refused) == [Some(4.0), Some(1.0), Some(1.0)]).then_some(())
    });
    let peak = host.memory_peak_kib().max(processors.memory_peak_kib()).unwrap();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    host.stop().expect_code(0);
}

#[test]
fn h3_a_long_retry_is_reported_with_its_record_and_the_processor_stays_ready() {
    let world = World::new("stuck");
    world.setup();
    world.kafka.delete_topic(&world.dead_letters()).unwrap();
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[world.good(0, 5), vec![bad], world.good(0, 5)].concat());
    let mut processors = world.processors(&[], &[("CLICKTRAIL_STUCK_SECONDS", "1")]);
    let ready = format!("{}/readyz", processors.admin);
    let named = format!("dead_letter {} 0:5", world.topic);
    let body = processors.until("the dead letter is reported", || {
        let answer = get(&ready).ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.contains(&named).then_some(answer.body)
    });
    assert!(body.starts_with("ready\ndegraded: "), "{body}");
    let stuck = get(&format!("{}/metrics", processors.admin)).unwrap().body;
    assert!(stuck.contains("clicktrail_processors_stuck_seconds{stage=\"dead_letter\""), "{stuck}");
    world.setup();
    processors.until_caught_up(&world);
    // The copy of the dead-letter topic into the tables recovers by itself, too.
    processors.until("no dead letter is named", || {
        (!get(&ready).ok()?.body.contains("dead_letter")).then_some(())
    });
}
