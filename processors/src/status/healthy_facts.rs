//! Facts about a pipeline with which nothing is wrong, for tests.

use crate::status::facts::{
    ClickHouseFacts, DiskState, GroupRates, GroupState, KafkaFacts, PartsState, Readiness,
    RegistryFacts, ReplicaState, ServiceAnswer, ServiceFacts, ServiceKind, StatusFacts, TopicState,
};
use crate::status::known_balance::KnownBalance;
use crate::status::metric_samples::MetricSamples;

/// When the facts were asked for.
pub(super) const NOW_MS: i64 = 1_764_000_000_000;

/// A pipeline with one producer.
pub(super) fn healthy() -> StatusFacts {
    let topic =
        |name: &str| TopicState { name: name.to_owned(), partitions: 6, ..TopicState::default() };
    let group = GroupState {
        name: "g".to_owned(),
        members: Some(2),
        lag_records: 12,
        unknown_partitions: 0,
        oldest_unread_ms: Some(NOW_MS - 1_000),
        rates: Some(GroupRates { appended: 120, committed: 118 }),
    };
    let page = MetricSamples::read(
        "clicktrail_producer_clicks_offered_total 7\nclicktrail_producer_brokers_up 1\n",
    );
    StatusFacts {
        at_ms: NOW_MS,
        brokers: "b:9092".to_owned(),
        kafka: Ok(KafkaFacts {
            brokers: 3,
            topics: ["clicks", "clicks.dlq", "links"].map(topic).to_vec(),
            group: Ok(group),
        }),
        registries: vec![RegistryFacts { url: "http://r".to_owned(), unregistered: Ok(vec![]) }],
        clickhouse_url: "http://c".to_owned(),
        clickhouse: ClickHouseFacts {
            version: Ok("26.7".to_owned()),
            disks: Ok(vec![DiskState { name: "default".to_owned(), free: 5_000, total: 10_000 }]),
            parts: Ok(PartsState {
                all: 40,
                most: 12,
                most_in: "click_versions 20251124".to_owned(),
                limits: (1_000, 3_000),
            }),
            replicas: Ok(ReplicaState::default()),
            newest_click_ms: Ok(Some(NOW_MS - 3_000)),
            dead_letters: Ok(vec![]),
            jobs: Ok(vec![]),
            balance: Ok(Some(KnownBalance {
                state: "balanced".to_owned(),
                newest_state: "balanced".to_owned(),
                age_seconds: 12,
                balanced_until_ms: Some(NOW_MS - 45_000),
                ..KnownBalance::default()
            })),
            newest_link_ms: Ok(Some(NOW_MS - 7_200_000)),
        },
        shard_servers: vec![],
        services: vec![ServiceFacts {
            address: "p:9180".to_owned(),
            answer: Ok(ServiceAnswer {
                kind: ServiceKind::Producer,
                readiness: Readiness::Ready(vec![]),
                first: page.clone(),
                last: page,
            }),
        }],
    }
}
