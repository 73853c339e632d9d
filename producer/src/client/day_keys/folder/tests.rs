//! The folder of keys through days, crashes, other processes and wrong clocks.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn names(folder: &KeyFolder) -> Vec<String> {
    let files = std::fs::read_dir(&folder.0).unwrap();
    let mut names: Vec<_> =
        files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The key of a day that is today.
fn made(folder: &KeyFolder, day: Day) -> DayKey {
    folder.window_keys(KeyWindow::new(day, 400)).unwrap().keys[&day]
}

#[test]
fn a_key_stays_the_same_until_it_is_forgotten_and_is_never_the_same_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
    let key = made(&folder, 20_000);
    assert_eq!(made(&folder, 20_000), key);
    assert_ne!(made(&folder, 20_001), key);
    assert_eq!(folder.days().unwrap(), [20_000, 20_001, 20_002]);
    assert!(folder.forget_day(20_000).unwrap());
    assert!(!folder.forget_day(20_000).unwrap());
    assert_eq!(folder.days().unwrap(), [20_001, 20_002]);
    assert_ne!(made(&folder, 20_000), key);
}

#[test]
fn m15_a_key_is_deleted_after_its_days_and_made_on_no_later_day() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    let first = made(&folder, 100);
    let found = folder.window_keys(KeyWindow::new(101, 2)).unwrap();
    assert_eq!(found.keys.get(&100), Some(&first));
    assert_eq!(folder.forget_before(KeyWindow::new(101, 2)).unwrap(), 0);
    folder.forget_day(101).unwrap();
    let found = folder.window_keys(KeyWindow::new(102, 2)).unwrap();
    assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [102, 103], "101 is not made");
    assert_eq!(folder.days().unwrap(), [100, 102, 103], "a read deletes none");
    assert_eq!(folder.forget_before(KeyWindow::new(102, 2)).unwrap(), 1);
    assert_eq!(folder.days().unwrap(), [102, 103]);
    // Files of others stay.
    for name in ["1970-01-01.txt", "1970-13-01.key", "x.half", "1970-01-01key"] {
        std::fs::write(root.path().join(name), b"x").unwrap();
    }
    folder.window_keys(KeyWindow::new(20_000, 1)).unwrap();
    folder.forget_before(KeyWindow::new(20_000, 1)).unwrap();
    assert_eq!(names(&folder).len(), 6, "{:?}", names(&folder));
}

#[test]
fn m15_no_crash_leaves_bytes_of_a_key_that_forgetting_or_a_start_does_not_delete() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    // A crash between link and unlink, and one before the link, on two days.
    let halves = |day: &str| {
        for number in 0..3 {
            std::fs::write(root.path().join(format!("{day}.{number}.half")), b"k").unwrap();
        }
    };
    made(&folder, 20_783);
    halves("2026-11-26");
    halves("2026-11-27");
    assert_eq!(folder.days().unwrap(), [20_783, 20_784], "a partial file is no key");
    assert!(folder.forget_day(20_783).unwrap());
    assert!(names(&folder).iter().all(|name| !name.starts_with("2026-11-26")));
    assert_eq!(names(&folder).len(), 4);
    KeyFolder::open(root.path()).unwrap();
    assert_eq!(names(&folder), ["2026-11-27.key"]);
    // Also without a key, and by age.
    halves("2026-11-28");
    assert!(folder.forget_day(20_785).unwrap() && !folder.forget_day(20_785).unwrap());
    halves("2026-11-20");
    folder.window_keys(KeyWindow::new(20_784, 2)).unwrap();
    folder.forget_before(KeyWindow::new(20_784, 2)).unwrap();
    assert_eq!(names(&folder), ["2026-11-27.key", "2026-11-28.key"]);
}

#[test]
fn m15_the_start_of_another_process_prevents_no_key() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| {
            let mut deleted = 0;
            while deleted < u64::from(MAKE_TRIES) - 1 {
                deleted += folder.delete(KeyFile::is_partial).unwrap().files;
            }
        });
        let mut today = 0;
        while !starts.is_finished() {
            let found = folder.window_keys(KeyWindow::new(today, 1)).unwrap();
            assert_eq!((found.keys.len(), found.faults.len()), (2, 0), "{found:?}");
            today += 1;
        }
    });
}

#[test]
fn only_the_owner_may_read_a_key_and_nothing_else_is_left() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
    made(&folder, 20_783);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    assert_eq!(names(&folder), ["2026-11-26.key", "2026-11-27.key"]);
    assert_eq!(mode(&folder.path(20_783)), 0o600);
}

#[test]
fn l10_a_link_in_place_of_a_key_is_refused_and_its_target_stays() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&root.path().join("keys")).unwrap();
    let victim = root.path().join("victim");
    for content in [None, Some([7; 32])] {
        content.iter().for_each(|content| std::fs::write(&victim, content).unwrap());
        std::os::unix::fs::symlink(&victim, folder.path(5)).unwrap();
        let error = folder.read_or_make(5).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert_eq!(std::fs::read(&victim).ok(), content.map(Vec::from));
        std::fs::remove_file(folder.path(5)).unwrap();
    }
}

#[test]
fn m11_keys_of_an_earlier_start_become_private() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    folder.read_or_make(5).unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path(5), open).unwrap();
    KeyFolder::open(root.path()).unwrap();
    let mode = std::fs::metadata(folder.path(5)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_first_thread_makes_the_key_for_all() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| made(&folder, 5))).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn m15_a_key_that_cannot_be_deleted_is_a_fault_and_others_are_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    // A folder of that name is no file.
    std::fs::create_dir(folder.path(5)).unwrap();
    std::fs::create_dir(root.path().join("1970-01-06.x.half")).unwrap();
    let reopened = KeyFolder::open(root.path()).unwrap();
    let found = reopened.window_keys(KeyWindow::new(9, 1)).unwrap();
    assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [9, 10]);
    assert!(found.faults.is_empty());
    assert!(reopened.forget_before(KeyWindow::new(9, 1)).is_err());
    assert!(reopened.forget_day(5).is_err(), "it does not report that the key is deleted");
}

#[test]
fn a_file_of_another_length_is_no_key_and_others_are_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    std::fs::write(folder.path(5), b"short").unwrap();
    let found = folder.window_keys(KeyWindow::new(5, 1)).unwrap();
    assert!(found.faults[&5].to_string().contains("1970-01-06.key"));
    assert_eq!(found.keys.keys().copied().collect::<Vec<_>>(), [6]);
}

#[test]
fn days_are_written_as_iso_dates() {
    for (day, text) in [(0, "1970-01-01"), (20_783, "2026-11-26"), (-1, "1969-12-31")] {
        assert_eq!((day_name(day).as_str(), parse_day(text)), (text, Ok(day)));
    }
    for text in ["", "2026-11-31", "26.11.2026", "2026-11-26T01:00", "20261126"] {
        assert!(parse_day(text).is_err(), "{text}");
    }
}

/// Says that the key of a day was made on another day.
fn set_made(folder: &KeyFolder, day: Day, made: Day) {
    let file = File::options().write(true).open(folder.path(day)).unwrap();
    let second = u64::try_from(made * DAY_SECONDS).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
}

#[test]
fn a_clock_a_month_or_years_ahead_deletes_no_key_that_a_host_uses() {
    for ahead in [2, 3, 30, 400, 4_000] {
        let root = tempfile::tempdir().unwrap();
        let folder = KeyFolder::open(root.path()).unwrap();
        for today in [1_000, 1_001] {
            folder.window_keys(KeyWindow::new(today, 2)).unwrap();
        }
        [(1_000, 1_000), (1_001, 1_000), (1_002, 1_001)]
            .into_iter()
            .for_each(|(day, made)| set_made(&folder, day, made));
        // Each refresh of a day with the wrong clock, and a start.
        let wrong = KeyWindow::new(1_001 + ahead, 2);
        for _ in 0..3 {
            folder.window_keys(wrong).unwrap();
            assert_eq!(folder.forget_before(wrong).unwrap(), 0, "{ahead} days ahead");
        }
        let kept = folder.window_keys(KeyWindow::new(1_001, 2)).unwrap();
        assert_eq!(kept.keys.keys().copied().collect::<Vec<_>>(), [1_000, 1_001, 1_002]);
        // A host that was off that long deletes them on its second day.
        wrong.made().into_iter().for_each(|day| set_made(&folder, day, 1_001 + ahead));
        let next = KeyWindow::new(1_002 + ahead, 2);
        folder.window_keys(next).unwrap();
        assert!(folder.forget_before(next).unwrap() >= 2);
        assert!(folder.days().unwrap().into_iter().all(|day| next.contains(day)));
    }
}

#[test]
fn a_host_that_runs_one_day_a_week_deletes_the_keys_of_the_week_before_the_last() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    for week in 0..6 {
        let today = 1_000 + 7 * week;
        let window = KeyWindow::new(today, 2);
        folder.window_keys(window).unwrap();
        folder.forget_before(window).unwrap();
        window.made().into_iter().for_each(|day| set_made(&folder, day, today));
        assert!(folder.days().unwrap().into_iter().all(|day| day >= today - 7));
    }
}

#[test]
fn keys_are_made_where_the_file_system_has_no_hard_links() {
    let root = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(root.path()).unwrap();
    private_file::LINK_ERROR.set(Some(rustix::io::Errno::OPNOTSUPP));
    let key = made(&folder, 20_783);
    assert_eq!((made(&folder, 20_783), folder.make(20_783).is_ok()), (key, true));
    private_file::LINK_ERROR.set(None);
    assert_eq!(names(&folder), ["2026-11-26.key", "2026-11-27.key"]);
    assert_eq!(made(&folder, 20_783), key);
}
