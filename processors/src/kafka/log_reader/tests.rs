//! Reads ranges of a log of a mock broker.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_partition_is_read_in_its_ranges_only() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("log", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", &servers).create().unwrap();
    for value in ["a", "b", "c", "d", "e", "f", "g"] {
        let record = BaseRecord::<str, str>::to("log").partition(0).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let brokers = Brokers { servers, properties: Vec::new() };
    let range = |first, end| LogRange { first, end };
    let ranges = BTreeMap::from([(0, vec![range(1, 3), range(4, 6)])]);
    let mut log = LogReader::open_within(&brokers, "log", &ranges).unwrap();
    assert_eq!(log.offsets(), 4);
    let mut read = Vec::new();
    let mut take = |item: LogItem<'_>| {
        if let LogItem::Record(record) = item {
            read.push(record.offset());
        }
    };
    while log.next(&mut take).unwrap() {}
    assert_eq!(read, [1, 2, 4, 5]);
    assert!(log.consumer.poll(POLL).is_none(), "the library reads on");
}
