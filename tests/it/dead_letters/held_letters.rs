//! Dead letters as the view of ClickHouse shows them.

use std::collections::BTreeMap;

use harness::World;

/// The state of each dead letter by its origin.
pub(crate) fn states(world: &World) -> BTreeMap<String, String> {
    let origin = "concat(origin_topic, ':', toString(origin_partition), ':', \
        toString(origin_offset), ':', toString(toUnixTimestamp64Milli(origin_logged_at)))";
    let rows = world.query(&format!("SELECT {origin}, state FROM dead_letters"));
    let mut states = BTreeMap::new();
    for (origin, state) in rows.lines().filter_map(|row| row.split_once('\t')) {
        let earlier = states.insert(origin.to_owned(), state.to_owned());
        assert_eq!(earlier, None, "{origin} has two rows");
    }
    states
}

/// The number of dead letters by state.
pub(crate) fn count(world: &World) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for state in states(world).into_values() {
        *count.entry(state).or_default() += 1;
    }
    count
}
