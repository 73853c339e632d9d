//! The shard of a click is the one that the engine's own hash computes.

use harness::{Backends, request};
use processors::shards::shard_layout::ShardLayout;

const IDS: usize = 100_000;

/// The id that 32 hexadecimal digits stand for.
fn id(digits: &str) -> [u8; 16] {
    u128::from_str_radix(digits, 16).expect("an id has 32 digits").to_be_bytes()
}

#[test]
fn the_owner_of_100_000_ids_is_the_shard_of_the_engines_own_hash() {
    let Backends { clickhouse, user: (name, password), .. } = Backends::find();
    let url = format!("{clickhouse}/");
    let user = [("X-ClickHouse-User", name.as_str()), ("X-ClickHouse-Key", &password)];
    for weights in [vec![1, 2, 3], vec![1, 1], vec![5, 1, 1, 100, 7]] {
        let layout = ShardLayout::new(weights.clone());
        let slots: u32 = weights.iter().sum();
        // Slots in the order of the shards, as a `Distributed` table numbers them.
        let ends = weights.iter().scan(0, |end, weight| {
            *end += weight;
            Some(end.to_string())
        });
        let ends = ends.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT hex(event_id), arrayFirstIndex(end -> cityHash64(event_id) % {slots} < end, [{ends}]) - 1 \
             FROM generateRandom('event_id FixedString(16)', 7) LIMIT {IDS}"
        );
        let answer = request("POST", &url, &user, sql).expect("the engine answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut owned = vec![0_usize; weights.len()];
        for line in answer.body.lines() {
            let (digits, owner) = line.split_once('\t').expect("two columns");
            let owner: usize = owner.parse().expect("an index");
            assert_eq!(layout.owner(&id(digits)), owner, "{digits} by weights {weights:?}");
            owned[owner] += 1;
        }
        assert_eq!(owned.iter().sum::<usize>(), IDS);
        assert!(owned.iter().all(|count| *count > 0), "{weights:?} own {owned:?}");
    }
}
