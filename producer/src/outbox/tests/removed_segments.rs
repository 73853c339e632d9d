//! Segments that are removed because their clicks are delivered, or dropped for newer ones.

use super::*;
use crate::outbox::delivered_mark::SYNCS;
use crate::outbox::dropped_segments::DroppedSegments;

#[test]
fn what_was_delivered_is_removed_once_the_mark_is_written() {
    for sync in [SyncPolicy::Os, SyncPolicy::Group] {
        let fixture = Fixture::new(sync);
        let outbox = fixture.open();
        offer(&outbox, 0..300);
        outbox.close();
        let segments = segment::list(fixture.folder.path()).unwrap();
        assert!(segments.len() > 3, "{segments:?}");
        *lock(&outbox.mark) = DeliveredMark::unwritable(fixture.folder.path()).unwrap();
        outbox.delivered(250);
        assert_eq!(segment::list(fixture.folder.path()).unwrap(), segments);
        let held = lock(&outbox.shared.disk).segments.clone();
        assert!(held.iter().map(|segment| segment.first).eq(segments.iter().copied()));
        assert_eq!(outbox.waiting(), 50);
        // A process that ends here delivers them again, and counts none as lost.
        let copy = fixture.copy();
        assert_eq!(read(&fixture.open_in(copy.path())), (numbers(0..300), 0));
        *lock(&outbox.mark) = DeliveredMark::open(fixture.folder.path()).unwrap().0;
        outbox.delivered(251);
        let left = segment::list(fixture.folder.path()).unwrap();
        assert!(left[0] > 0 && left[0] <= 251, "{left:?}");
        assert!(left.len() == 1 || left[1] > 251, "{left:?}");
    }
}

#[test]
fn the_mark_is_synced_where_delivery_passes_clicks_that_were_dropped() {
    for (sync, syncs) in [(SyncPolicy::Group, 1), (SyncPolicy::Always, 1), (SyncPolicy::Os, 0)] {
        let mut fixture = Fixture::new(sync);
        fixture.settings.drop_policy = DropPolicy::Oldest;
        let outbox = fixture.open();
        offer(&outbox, 0..300);
        outbox.close();
        let used = outbox.shared.used.load(Ordering::Relaxed);
        writer::make_room(&outbox.shared, BYTES_MIN - used).unwrap();
        let first = lock(&outbox.shared.disk).segments[0].first;
        assert!(first > 0);
        SYNCS.set(0);
        outbox.delivered(first);
        assert_eq!(SYNCS.get(), syncs, "{sync:?}");
    }
}

#[test]
fn a_dropped_file_that_cannot_be_removed_costs_no_other_segment() {
    let mut fixture = Fixture::new(SyncPolicy::Os);
    fixture.settings.drop_policy = DropPolicy::Oldest;
    let outbox = fixture.open();
    offer(&outbox, 0..300);
    outbox.close();
    let segments = segment::list(fixture.folder.path()).unwrap();
    let path = segment::path(fixture.folder.path(), 0);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let bytes = BYTES_MIN - outbox.shared.used.load(Ordering::Relaxed);
    for _ in 0..3 {
        writer::make_room(&outbox.shared, bytes).unwrap();
        assert_eq!(lock(&outbox.shared.disk).segments[0].first, segments[1]);
        assert_eq!(fixture.metrics.undelivered(), segments[1]);
    }
    let used = outbox.shared.used.load(Ordering::Relaxed);
    assert_eq!(fixture.metrics.outbox_bytes.get(), gauge(used));
    assert!(path.is_dir());
}

#[test]
fn a_list_that_cannot_be_written_costs_one_segment_and_frees_its_bytes() {
    let mut fixture = Fixture::new(SyncPolicy::Os);
    fixture.settings.drop_policy = DropPolicy::Oldest;
    let outbox = fixture.open();
    offer(&outbox, 0..300);
    outbox.close();
    let folder = fixture.folder.path();
    let segments = segment::list(folder).unwrap();
    let obstacle = folder.join("dropped.new");
    std::fs::create_dir(&obstacle).unwrap();
    let bytes = BYTES_MIN - outbox.shared.used.load(Ordering::Relaxed);
    for _ in 0..3 {
        writer::make_room(&outbox.shared, bytes).unwrap();
        assert_eq!(segment::list(folder).unwrap(), segments[1..]);
        assert_eq!(fixture.metrics.undelivered(), segments[1]);
        assert_eq!(outbox.shared.used.load(Ordering::Relaxed), bytes_on_disk(folder));
    }
    std::fs::remove_dir(&obstacle).unwrap();
    outbox.shared.write_dropped().unwrap();
    assert_eq!(DroppedSegments::read(folder).unwrap().end(), segments[1]);
}

#[test]
fn two_threads_that_write_the_list_of_dropped_clicks_leave_the_newest() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    let state = &outbox.shared;
    let drop_and_write = || {
        for _ in 0..20 {
            let mut disk = lock(&state.disk);
            let end = disk.dropped.end();
            disk.dropped.add(end + 1..end + 2);
            drop(disk);
            state.write_dropped().unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(drop_and_write);
        scope.spawn(drop_and_write);
    });
    let listed = DroppedSegments::read(fixture.folder.path()).unwrap();
    assert_eq!(listed, lock(&state.disk).dropped);
}
