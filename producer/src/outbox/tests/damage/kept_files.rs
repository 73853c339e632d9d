//! Files of damaged segments: they are kept on any file system, and count for the outbox's bytes.
//! Segments that are missing are counted.

use rustix::io::Errno;

use super::*;
use crate::outbox::dropped_segments::DroppedSegments;
use crate::outbox::outbox_state::Segment;
use crate::outbox::schema_file::LISTINGS;
use crate::private_file::LINK_ERROR;

/// The lengths of the files under second names.
fn kept(folder: &Path) -> Vec<u64> {
    damaged_segment::list(folder).unwrap().iter().map(|file| file.bytes).collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let is_done = (0..12_000).any(|_| {
        let is_done = done();
        if !is_done {
            std::thread::sleep(Duration::from_millis(5));
        }
        is_done
    });
    assert!(is_done, "not within the time: {what}");
}

fn used(outbox: &Outbox) -> u64 {
    outbox.shared.used.load(Ordering::Relaxed)
}

#[test]
fn h12_without_hard_links_or_room_a_damaged_segment_blocks_nothing_and_is_kept() {
    let written = Written::new(12, 150);
    let firsts = written.firsts();
    for cause in [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSPC, Errno::IO] {
        LINK_ERROR.set(Some(cause));
        // The first segment, one in the middle, the last one, and a file that is no segment.
        for first in [firsts[0], firsts[1], firsts[firsts.len() - 1]] {
            for at in [3, HEADER_BYTES + 30] {
                let mut damaged = written.segment(first).to_vec();
                damaged[at] ^= 1;
                let outcome = written.check(first, &damaged, &format!("{cause} {first} {at}"));
                assert_eq!(outcome.kept, [damaged], "{cause} {first} {at}");
            }
        }
        let foreign = b"x".repeat(500);
        let outcome = written.after(|files| drop(files.insert(name(999), foreign.clone())));
        assert_eq!((outcome.lost, outcome.kept), (0, vec![foreign]));
    }
    LINK_ERROR.set(None);
}

#[test]
fn a_damaged_segment_that_a_crash_left_behind_the_mark_is_not_removed() {
    let written = Written::new(12, 150);
    let firsts = written.firsts();
    for cause in [None, Some(Errno::PERM)] {
        for damage in [vec![], vec![HEADER_BYTES + 30]] {
            let folder = tempfile::tempdir().unwrap();
            for (name, content) in &written.files {
                std::fs::write(folder.path().join(name), content).unwrap();
            }
            let path = folder.path().join(name(0));
            let mut content = written.segment(0).to_vec();
            damage.iter().for_each(|at| content[*at] ^= 1);
            std::fs::write(&path, content).unwrap();
            DeliveredMark::open(folder.path()).unwrap().0.set(firsts[1] + 1).unwrap();
            LINK_ERROR.set(cause);
            let outbox = open(folder.path(), written.settings);
            LINK_ERROR.set(None);
            assert_eq!(outbox.recovered().clicks, 12 - firsts[1] - 1);
            assert_eq!((path.exists(), kept(folder.path()).len()), (false, damage.len()));
        }
    }
}

#[test]
fn damaged_files_count_for_the_bytes_of_the_outbox_up_to_half_of_them() {
    let written = Written::new(24, 150);
    let firsts = written.firsts();
    for cause in [None, Some(Errno::NOSPC)] {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &written.files {
            let mut content = content.clone();
            if *name == self::name(0) {
                content[HEADER_BYTES + 30] ^= 1;
            }
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        LINK_ERROR.set(cause);
        let outbox = open(folder.path(), written.settings);
        let all = used(&outbox);
        assert_eq!(read(&outbox).1, 1);
        assert_eq!(used(&outbox), all, "a second name takes no bytes");
        outbox.delivered(firsts[2]);
        let second = written.segment(firsts[1]).len() as u64;
        assert_eq!(
            used(&outbox),
            all - second,
            "the damaged one still counts, the other one does not"
        );
        assert_eq!(outbox.shared.metrics.outbox_damaged_segments.get(), 1);
        drop(outbox);
        LINK_ERROR.set(None);
        // A segment with a second name from an earlier process counts once.
        let path = folder.path().join(name(firsts[2]));
        std::fs::hard_link(&path, folder.path().join(name(firsts[2]) + ".damaged")).unwrap();
        let outbox = open(folder.path(), written.settings);
        assert_eq!(used(&outbox), all - second);
        outbox.delivered(firsts[3]);
        assert_eq!((used(&outbox), kept(folder.path()).len()), (all - second, 2));
        drop(outbox);
        // However many there are, half is for clicks.
        let large = folder.path().join(name(999) + ".damaged-7");
        std::fs::write(&large, vec![1; 1 << 20]).unwrap();
        let outbox = open(folder.path(), written.settings);
        let half = written.settings.bytes / 2;
        assert!((half..half + all).contains(&used(&outbox)), "{} of {half}", used(&outbox));
        let before = used(&outbox);
        let Segment { first, bytes } = lock(&outbox.shared.disk).segments[0];
        outbox.shared.keep_damaged(first);
        outbox.delivered(firsts[4]);
        assert_eq!(used(&outbox), before - bytes);
    }
}

#[test]
fn h12_segments_that_are_missing_before_the_first_one_are_counted_by_the_mark() {
    let mut written = Written::new(12, 150);
    let firsts = written.firsts();
    // The mark is not synced: after a power loss they may have been delivered.
    let outcome = written.after(|files| drop(files.remove(&name(0))));
    assert_eq!(outcome.lost, 0);
    written.settings.sync = SyncPolicy::Group;
    for missing in 1..firsts.len() {
        let outcome = written.after(|files| {
            firsts[..missing].iter().for_each(|first| drop(files.remove(&name(*first))));
        });
        assert_eq!((outcome.lost, outcome.kept.len()), (firsts[missing], 0));
        assert_eq!(
            outcome.delivered,
            (u8::try_from(firsts[missing]).unwrap()..12).collect::<Vec<_>>()
        );
    }
    // Not where the mark is lost: they may have been delivered.
    let outcome = written.after(|files| {
        files.insert("delivered".to_owned(), vec![0; 1024]);
        files.remove(&name(0));
    });
    assert_eq!(outcome.lost, 0);
}

#[test]
fn a_start_lists_the_schemas_once_however_many_segments_there_are() {
    let written = Written::new(60, 100);
    assert!(written.firsts().len() >= 20);
    LISTINGS.set(0);
    let outcome = written.after(|_| {});
    assert_eq!((outcome.delivered.len(), outcome.lost), (60, 0));
    assert_eq!(LISTINGS.get(), 2, "two starts");
}

#[test]
fn m9_a_stop_ends_on_a_hanging_disk_and_counts_the_clicks_in_memory() {
    let written = Written::new(1, 64 << 10);
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), written.settings);
    // The writer waits for the state of the disk after it has taken the first click.
    let held = lock(&outbox.shared.disk);
    offer(&outbox, 0..1);
    until("the writer has taken it", || lock(&outbox.shared.queue).lengths.is_empty());
    offer(&outbox, 1..4);
    let metrics = outbox.shared.metrics.clone();
    outbox.close_within(Duration::from_millis(20));
    let in_memory = (metrics.queue_clicks.get(), metrics.queue_bytes.get());
    assert_eq!((metrics.undelivered(), in_memory), (4, (0, 0)));
    assert_eq!(lock(&outbox.shared.queue).clicks, 0, "none is reported as one that stays");
    drop(held);
    // The process has not ended, so the click is still written.
    until("the writer has ended", || lock(&outbox.shared.disk).closed);
    let in_memory = (metrics.queue_clicks.get(), metrics.queue_bytes.get());
    assert_eq!(in_memory, (0, 0));
    assert_eq!((read(&outbox), outbox.waiting()), ((vec![0], 0), 1));
    drop(outbox);
    assert_eq!(read(&open(folder.path(), written.settings)), (vec![0], 0));
}

#[test]
fn after_a_crash_a_dropped_segment_is_kept_if_damaged_and_removed_otherwise() {
    let written = Written::new(12, 150);
    let firsts = written.firsts();
    for cause in [None, Some(Errno::PERM), Some(Errno::NOSPC)] {
        for damage in [vec![], vec![HEADER_BYTES + 30], vec![3]] {
            let folder = tempfile::tempdir().unwrap();
            for (name, content) in &written.files {
                std::fs::write(folder.path().join(name), content).unwrap();
            }
            let path = folder.path().join(name(firsts[1]));
            let mut content = written.segment(firsts[1]).to_vec();
            damage.iter().for_each(|at| content[*at] ^= 1);
            std::fs::write(&path, content).unwrap();
            let mut dropped = DroppedSegments::default();
            dropped.add(firsts[1]..firsts[2]);
            dropped.write(folder.path()).unwrap();
            LINK_ERROR.set(cause);
            let outbox = open(folder.path(), written.settings);
            LINK_ERROR.set(None);
            assert_eq!((path.exists(), kept(folder.path()).len()), (false, damage.len()));
            assert_eq!(read(&outbox).1, 0, "it was counted when it was dropped");
        }
    }
}
