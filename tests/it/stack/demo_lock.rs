//! Two demos in one clone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use harness::{Child, program, root};

#[test]
fn a_second_demo_in_a_clone_ends_before_it_touches_the_first_one() {
    let folder = root().join(".stack");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = folder.join("demo.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(lock);
    let mut file = file.unwrap();
    // A demo that runs in this clone holds the lock, too.
    if file.try_lock().is_ok() {
        file.set_len(0).unwrap();
        write!(file, "7").unwrap();
    }
    let logs = tempfile::tempdir().unwrap();
    let exit = Child::start(Command::new(program("demo")), logs.path().join("demo")).end();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.err.contains("another demo runs in this clone (process "), "{exit:?}");
    assert!(exit.out.lines().eq(["books: OUT OF BALANCE (the demo did not finish)"]), "{exit:?}");
}
