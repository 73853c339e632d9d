//! The outbox on a disk that damages what was written: what is whole is delivered, what is lost is
//! counted, and no damaged file is removed.
#![expect(clippy::disallowed_methods, reason = "a test measures how long it waits")]

mod kept_files;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use crate::outbox::frame::{FRAME_BYTES_MAX, HEAD, Layout};
use crate::outbox::outbox_settings::{BYTES_MIN, DropPolicy, QueueLimits};
use crate::outbox::reader::Found;
use crate::outbox::segment::{CLICKS_MAX, HEADER_BYTES};
use crate::outbox::segment_file::UNREADABLE;
use crate::outbox::*;

const SCHEMA: &str = r#""bytes""#;
/// The click that is offered after each damage.
const NEW: u8 = 200;

type Files = BTreeMap<String, Vec<u8>>;

/// The files of an outbox that was closed with clicks in it.
struct Written {
    files: Files,
    settings: OutboxSettings,
    clicks: u8,
}

/// What an outbox made of damaged files.
#[derive(Debug)]
struct Outcome {
    delivered: Vec<u8>,
    lost: u64,
    /// The content of each damaged file that is kept.
    kept: Vec<Vec<u8>>,
}

fn datum(click: u8) -> Vec<u8> {
    // Some clicks hold zeros, and end with them.
    vec![click; 20 + usize::from(click % 5)].into_iter().chain([0; 3]).collect()
}

fn offer(outbox: &Outbox, clicks: impl Iterator<Item = u8>) {
    for click in clicks {
        assert_eq!(outbox.offer(&datum(click), TraceHeaders::default()), Offered::Queued);
    }
}

fn open(folder: &Path, settings: OutboxSettings) -> Outbox {
    Outbox::open(folder, settings, SCHEMA, &Metrics::default(), Arc::default()).unwrap()
}

fn read(outbox: &Outbox) -> (Vec<u8>, u64) {
    let (mut reader, mut delivered, mut lost) = (outbox.reader(), Vec::new(), 0);
    loop {
        match reader.read().unwrap() {
            Found::Nothing => return (delivered, lost),
            Found::Lost { clicks, .. } => lost += clicks,
            Found::Dropped { .. } => {}
            Found::Click { stored, fingerprint, .. } => {
                assert_eq!(outbox.schema(fingerprint).unwrap(), SCHEMA);
                assert_eq!(stored.datum, datum(stored.datum[0]));
                delivered.push(stored.datum[0]);
            }
        }
    }
}

fn files(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let entries = entries.map(|it| (it.file_name().into_string().unwrap(), it.path()));
    entries.map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

fn name(first: u64) -> String {
    format!("{first:020}.clicks")
}

/// The frames of a segment that is whole.
fn frames(segment: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut rest) = (Vec::new(), &segment[HEADER_BYTES..]);
    while let Some(length) = rest.first_chunk::<4>() {
        let (frame, behind) = rest.split_at(8 + u32::from_le_bytes(*length) as usize);
        frames.push(frame);
        rest = behind;
    }
    frames
}

fn holds(segment: &[u8], frame: &[u8]) -> bool {
    segment.windows(frame.len()).any(|window| window == frame)
}

impl Written {
    /// `clicks` in segments of `segment_bytes` or little more.
    fn new(clicks: u8, segment_bytes: u64) -> Self {
        let settings = OutboxSettings {
            sync: SyncPolicy::Os,
            segment_bytes,
            ..OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 1 << 20, bytes: 64 << 20 })
        };
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), settings);
        offer(&outbox, 0..clicks);
        outbox.close();
        assert_eq!(read(&outbox), ((0..clicks).collect(), 0));
        drop(outbox);
        Self { files: files(folder.path()), settings, clicks }
    }

    fn firsts(&self) -> Vec<u64> {
        let numbers = self.files.keys().filter_map(|name| name.strip_suffix(".clicks"));
        numbers.map(|number| number.parse().unwrap()).collect()
    }

    fn segment(&self, first: u64) -> &[u8] {
        &self.files[&name(first)]
    }

    /// The frame of each click.
    fn frames(&self) -> Vec<&[u8]> {
        self.firsts().into_iter().flat_map(|first| frames(self.segment(first))).collect()
    }

    /// Damages the files, and lets a new process deliver what is left and one click more.
    fn after(&self, damage: impl FnOnce(&mut Files)) -> Outcome {
        let mut damaged = self.files.clone();
        damage(&mut damaged);
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &damaged {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let outbox = open(folder.path(), self.settings);
        let recovered = outbox.recovered().clicks;
        offer(&outbox, std::iter::once(NEW));
        outbox.close();
        let (mut delivered, lost) = read(&outbox);
        assert_eq!(recovered + 1, delivered.len() as u64 + lost);
        assert_eq!(outbox.waiting(), recovered + 1);
        assert_eq!(read(&outbox), (delivered.clone(), lost), "another session");
        outbox.delivered(outbox.reader().number() + recovered + 1);
        drop(outbox);
        let outbox = open(folder.path(), self.settings);
        assert_eq!((outbox.recovered().clicks, read(&outbox)), (0, (vec![], 0)));
        drop(outbox);
        assert_eq!(delivered.pop(), Some(NEW));
        let left = files(folder.path()).into_iter();
        let kept = left.filter(|(name, _)| name.contains(".clicks.damaged"));
        let kept: Vec<_> = kept.map(|(_, content)| content).collect();
        for content in &kept {
            assert!(damaged.values().any(|it| it == content), "a kept file is as it was found");
        }
        Outcome { delivered, lost, kept }
    }

    /// Holds an outcome against a search of every frame in the damaged segment `first`.
    fn check(&self, first: u64, damaged: &[u8], what: &str) -> Outcome {
        let outcome = self.after(|files| drop(files.insert(name(first), damaged.to_vec())));
        let of_segment = first..first + frames(self.segment(first)).len() as u64;
        let whole = |click: &u8| {
            !of_segment.contains(&u64::from(*click))
                || holds(damaged, self.frames()[usize::from(*click)])
        };
        let expected: Vec<_> = (0..self.clicks).filter(whole).collect();
        assert_eq!(outcome.delivered, expected, "{what}");
        let missing = u64::from(self.clicks) - expected.len() as u64;
        let is_last = of_segment.end == u64::from(self.clicks);
        if is_last {
            // Those that are missing before a whole one are known.
            let behind = expected.last().map_or(0, |last| u64::from(*last) + 1);
            let known = behind - expected.len() as u64;
            assert!((known..=missing).contains(&outcome.lost), "{what}: {outcome:?}");
        } else {
            assert_eq!(outcome.lost, missing, "{what}");
        }
        if outcome.lost > 0 {
            assert!(outcome.kept.iter().any(|kept| kept == damaged), "{what}: not kept");
        }
        outcome
    }
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn h12_any_bit_turned_loses_its_click_alone_counted_and_the_file_is_kept() {
    for (clicks, segment_bytes, step) in [(3, 64 << 10, 1), (6, 150, 13)] {
        let written = Written::new(clicks, segment_bytes);
        let first = written.firsts()[0];
        let whole = written.segment(first);
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let outcome = written.check(first, &damaged, &format!("bit {bit}"));
            let lost = u64::from(bit / 8 >= HEADER_BYTES);
            assert_eq!((outcome.lost, outcome.kept.len()), (lost, 1), "bit {bit} of {clicks}");
        }
    }
}

#[test]
fn h12_any_cut_leaves_what_is_before_it_and_counts_what_is_known_to_be_missing() {
    for (clicks, segment_bytes) in [(4, 64 << 10), (6, 150)] {
        let written = Written::new(clicks, segment_bytes);
        let firsts = written.firsts();
        for first in [firsts[0], firsts[firsts.len() - 1]] {
            let whole = written.segment(first);
            for cut in 0..whole.len() {
                let outcome = written.check(first, &whole[..cut], &format!("cut at {cut}"));
                if firsts.len() == 1 {
                    assert_eq!((outcome.lost, outcome.kept.len()), (0, 0), "a partial write");
                }
            }
        }
    }
}

#[test]
fn h12_zeros_to_the_end_are_a_partial_write_and_a_click_begun_before_them_is_lost() {
    let written = Written::new(6, 64 << 10);
    let whole = written.segment(0);
    let mut begins = vec![HEADER_BYTES];
    frames(whole).iter().for_each(|frame| begins.push(begins[begins.len() - 1] + frame.len()));
    for behind in [0, 4_096] {
        for from in (HEADER_BYTES..=whole.len()).step_by(1 + behind / 2_048) {
            let mut damaged = whole[..from].to_vec();
            damaged.resize(whole.len() + behind, 0);
            let outcome = written.check(0, &damaged, &format!("zeros from {from}"));
            let begun = begins.iter().rposition(|begin| *begin <= from).unwrap();
            if from == begins[begun] {
                assert_eq!((outcome.lost, outcome.kept.len()), (0, 0), "zeros from {from}");
            } else if from >= begins[begun] + HEAD {
                // A click that ends with zeros is whole without them.
                let lost = u64::from(!holds(&damaged, frames(whole)[begun]));
                assert_eq!(outcome.lost, lost, "zeros from {from}");
            }
        }
    }
}

#[test]
fn h12_bytes_behind_the_last_click_lose_nothing_and_are_kept() {
    let written = Written::new(3, 64 << 10);
    let mut dice = Dice(1);
    for length in [1, 19, 20, 100, 70_000] {
        let mut damaged = written.segment(0).to_vec();
        damaged.extend((0..length).map(|_| u8::try_from(dice.below(255) + 1).unwrap()));
        let outcome = written.check(0, &damaged, &format!("{length} bytes"));
        assert_eq!((outcome.lost, outcome.kept.len()), (0, usize::from(length >= HEAD)));
    }
}

#[test]
fn h12_blocks_that_are_copied_moved_cut_out_or_overwritten_lose_no_other_click() {
    for (seed, segment_bytes) in [(3, 64 << 10), (4, 500)] {
        let (written, mut dice) = (Written::new(24, segment_bytes), Dice(seed));
        for round in 0..200 {
            let firsts = written.firsts();
            let first = firsts[dice.below(firsts.len())];
            let mut damaged = written.segment(first).to_vec();
            for _ in 0..=dice.below(3) {
                let (length, size) = (damaged.len(), dice.below(200).min(damaged.len() / 2));
                let (from, to) = (dice.below(length - size), dice.below(length - size));
                let block = damaged[from..from + size].to_vec();
                match dice.below(6) {
                    0 => damaged[to..to + size].copy_from_slice(&block),
                    1 => damaged[to..to + size].fill(0),
                    2 => drop(damaged.splice(to..to, block)),
                    3 => drop(damaged.drain(to..to + size)),
                    4 => damaged.extend(block),
                    _ => damaged[to] ^= 0x55,
                }
            }
            written.check(first, &damaged, &format!("seed {seed}, round {round}"));
        }
    }
}

#[test]
fn h12_a_segment_that_is_lost_whole_is_counted_and_a_file_that_is_none_is_not() {
    let written = Written::new(12, 150);
    let firsts = written.firsts();
    assert!(firsts.len() >= 3);
    for (place, first) in firsts.iter().enumerate().take(firsts.len() - 1) {
        let lost = firsts[place + 1] - first;
        for content in [vec![], vec![0; 300], vec![b'x'; 10], vec![b'x'; 3_000]] {
            let outcome = written.after(|files| drop(files.insert(name(*first), content.clone())));
            assert_eq!(outcome.lost, lost, "segment {first}: {} bytes", content.len());
            assert_eq!(outcome.kept, [content]);
        }
    }
    let missing = written.after(|files| drop(files.remove(&name(firsts[1]))));
    assert_eq!(missing.lost, firsts[2] - firsts[1]);
    // Neither hides a click of the segments around it, nor makes numbers jump.
    for number in [1, 13, CLICKS_MAX + 13, u64::MAX] {
        for content in [b"x".repeat(500), written.segment(firsts[1]).to_vec()] {
            let outcome = written.after(|files| drop(files.insert(name(number), content.clone())));
            let all: Vec<_> = (0..12).collect();
            assert_eq!((outcome.delivered, outcome.lost), (all, 0), "{number}");
            assert_eq!(outcome.kept, [content]);
        }
    }
}

#[test]
fn h12_a_click_that_holds_frames_is_delivered_as_one_click_or_not_at_all() {
    let written = Written::new(8, 64 << 10);
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), written.settings);
    // Frames of another segment, of the first layout, and of an earlier click of the same segment.
    offer(&outbox, 0..4);
    until_written(&outbox, 4);
    let own = files(folder.path())[&name(0)].clone();
    let mut first_layout = 31_u32.to_le_bytes().to_vec();
    first_layout.extend([0; 4]);
    first_layout.extend([5; 31]);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&first_layout[..4]);
    sum.update(&first_layout[8..]);
    first_layout[4..8].copy_from_slice(&sum.finalize().to_le_bytes());
    let mut holder: Vec<u8> = written.frames().concat();
    holder.extend(first_layout);
    holder.extend(&own[HEADER_BYTES..]);
    assert_eq!(outbox.offer(&holder, TraceHeaders::default()), Offered::Queued);
    offer(&outbox, 5..8);
    outbox.close();
    drop(outbox);
    let mut content = files(folder.path())[&name(0)].clone();
    let begin = own.len();
    let mut all = files(folder.path());
    for at in (begin..begin + HEAD).chain([begin + 40, begin + holder.len()]) {
        content[at] ^= 4;
        all.insert(name(0), content.clone());
        let damaged = Written { files: all.clone(), settings: written.settings, clicks: 8 };
        let outcome = damaged.after(|_| {});
        assert_eq!((outcome.delivered, outcome.lost), (vec![0, 1, 2, 3, 5, 6, 7], 1), "{at}");
        content[at] ^= 4;
    }
}

#[test]
fn h12_unreadable_blocks_cost_only_their_own_clicks_and_block_no_others() {
    let written = Written::new(190, 64 << 10);
    let whole = written.segment(0);
    for bad in [4_096..4_097_u64, 5_000..8_000, 8_192..20_000] {
        // A block is zeros when a part of it cannot be read.
        let zeros = bad.start / 4_096 * 4_096..bad.end.div_ceil(4_096) * 4_096;
        let (mut begin, mut expected) = (HEADER_BYTES, Vec::new());
        for (frame, click) in frames(whole).iter().zip(0..) {
            let end = begin + frame.len();
            if end as u64 <= zeros.start || begin as u64 >= zeros.end {
                expected.push(click);
            }
            begin = end;
        }
        UNREADABLE.set(bad.clone());
        let outcome = written.after(|_| {});
        UNREADABLE.set(0..0);
        assert_eq!(outcome.delivered, expected, "{bad:?}");
        let known = expected.last().map_or(0, |last| u64::from(*last) + 1) - expected.len() as u64;
        assert!(outcome.lost >= known && !outcome.kept.is_empty(), "{bad:?}: {outcome:?}");
    }
}

fn until_written(outbox: &Outbox, clicks: u64) {
    let began = tokio::time::Instant::now();
    while lock(&outbox.shared.disk).written < clicks {
        assert!(began.elapsed() < Duration::from_secs(5), "{clicks} clicks are not written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn h12_damage_while_the_segment_is_written_and_read_loses_what_is_damaged_only() {
    let written = Written::new(1, 64 << 10);
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), written.settings);
    offer(&outbox, 0..2);
    until_written(&outbox, 2);
    let mut reader = outbox.reader();
    let mut found = || match reader.read().unwrap() {
        Found::Click { stored, .. } => Some((stored.datum[0], 0)),
        Found::Lost { number, clicks } => Some((u8::try_from(number).unwrap(), clicks)),
        Found::Dropped { .. } | Found::Nothing => None,
    };
    assert_eq!([found(), found(), found()], [Some((0, 0)), Some((1, 0)), None]);
    for start in [2_u8, 12, 22] {
        offer(&outbox, start..start + 10);
        until_written(&outbox, u64::from(start) + 10);
        let mut content = files(folder.path())[&name(0)].clone();
        let at =
            HEADER_BYTES + frames(&written.files[&name(0)])[0].len() * usize::from(start + 9) + 10;
        let last = content.len() - 1;
        // One in the middle, or the last one.
        content[if start == 12 { last } else { at }] ^= 1;
        let file = OpenOptions::new().write(true).open(folder.path().join(name(0))).unwrap();
        file.write_all_at(&content, 0).unwrap();
        let all: Vec<_> = std::iter::from_fn(&mut found).collect();
        let lost: u64 = all.iter().map(|(_, lost)| lost).sum();
        assert_eq!((all.len(), lost), (10, 1), "{all:?}");
    }
    assert_eq!(damaged_segment::list(folder.path()).unwrap().len(), 1);
}

#[test]
fn h12_a_segment_of_the_first_layout_is_delivered_and_its_damage_counted() {
    let written = Written::new(10, 64 << 10);
    let fingerprint = schema_file::write(tempfile::tempdir().unwrap().path(), SCHEMA).unwrap();
    let (mut first_layout, mut begins) = (b"CLKTOUT1".to_vec(), Vec::new());
    first_layout.extend(fingerprint);
    first_layout.extend(0_u64.to_le_bytes());
    for frame in written.frames() {
        begins.push(first_layout.len());
        let length = u32::try_from(frame.len() - HEAD).unwrap().to_le_bytes();
        let sum = crc32fast::hash(&[&length[..], &frame[HEAD..]].concat());
        first_layout.extend([&length[..], &sum.to_le_bytes(), &frame[HEAD..]].concat());
    }
    let whole = written.after(|files| drop(files.insert(name(0), first_layout.clone())));
    assert_eq!((whole.delivered.len(), whole.lost, whole.kept.len()), (10, 0, 0));
    for bit in (0..first_layout.len() * 8).step_by(11) {
        let mut damaged = first_layout.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let outcome = written.after(|files| drop(files.insert(name(0), damaged)));
        let lost = usize::from(bit / 8 >= HEADER_BYTES);
        assert_eq!(outcome.delivered.len(), 10 - lost, "bit {bit}");
        // A damaged length of the last one is a partial write, in this layout.
        if bit / 8 < begins[9] {
            assert_eq!(outcome.lost, lost as u64, "bit {bit}");
        }
    }
}

#[test]
fn h12_a_search_ends_in_time_whatever_the_bytes_are() {
    let mut written = Written::new(2, 64 << 10);
    written.settings.bytes = 64 << 20;
    let own = written.segment(0);
    let header = segment::header(own.first_chunk().unwrap(), 0).unwrap();
    let Layout::Keyed(key) = header.layout else { panic!("{header:?}") };
    // The longest frame that a head can name, and nothing of it.
    let mut longest = u32::try_from(FRAME_BYTES_MAX - 8).unwrap().to_le_bytes().to_vec();
    longest.resize(HEAD, 0);
    frame::place(&mut longest, key, 1);
    let mut with_heads = own[..HEADER_BYTES].to_vec();
    with_heads.extend(longest.repeat((4 << 20) / HEAD));
    let mut lengths = b"CLKTOUT1".to_vec();
    lengths.extend(&own[8..24]);
    lengths.extend(0_u64.to_le_bytes());
    lengths.extend(u32::try_from(FRAME_BYTES_MAX - 8).unwrap().to_le_bytes().repeat(1 << 20));
    let no_header = [1, 0, 3, 0].repeat(1 << 20);
    for content in [with_heads, lengths, no_header] {
        let began = tokio::time::Instant::now();
        written.after(|files| drop(files.insert(name(0), content)));
        // Four searches, of less than a second of a core each; this machine may be busy.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn h12_clicks_that_were_dropped_are_not_counted_again_when_mark_or_list_is_damaged() {
    let mut written = Written::new(1, 64 << 10);
    written.settings.drop_policy = DropPolicy::Oldest;
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(folder.path(), written.settings);
    outbox.close();
    drop(outbox);
    let file = |name| folder.path().join(name);
    let mut dropped = dropped_segments::DroppedSegments::default();
    dropped.add(5..20);
    dropped.write(folder.path()).unwrap();
    // Without the mark, numbers are not those of dropped clicks: all new ones are delivered.
    std::fs::remove_file(file("delivered")).unwrap();
    let outbox = open(folder.path(), written.settings);
    offer(&outbox, 0..30);
    outbox.close();
    assert_eq!(read(&outbox), ((0..30).collect(), 0));
    drop(outbox);
    // A list that is damaged removes no segment: neither its range nor another one is believed.
    let list = std::fs::read_to_string(file("dropped")).unwrap();
    for damaged in [list.replace("20", "40"), list.replacen('5', "20", 1)] {
        std::fs::write(file("dropped"), damaged).unwrap();
        let outbox = open(folder.path(), written.settings);
        outbox.close();
        assert_eq!(read(&outbox), ((0..30).collect(), 0));
    }
}
