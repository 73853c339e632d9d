//! An access log to import: the public one if it is beside the checkout, else a similar one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::backends::root;

/// The log and its properties, which both logs share.
#[derive(Debug)]
pub struct AccessLog {
    /// Its path.
    pub file: PathBuf,
    /// The number of lines.
    pub lines: u64,
    /// The number of lines that are clicks.
    pub clicks: u64,
    /// The number of the single truncated line.
    pub malformed_line: u64,
    /// A path of many lines, without its slash.
    pub slug: &'static str,
}

/// Ten thousand lines: nineteen are equal to an earlier one, one is truncated.
///
/// # Panics
/// When the generated log cannot be written into `folder`.
pub fn access_log(folder: &Path) -> AccessLog {
    let public = root().join("../shared/data/apache_logs");
    let file = if public.exists() {
        public
    } else {
        let file = folder.join("access.log");
        std::fs::write(&file, generated()).expect("a log can be written");
        file
    };
    AccessLog { file, lines: 10_000, clicks: 9_999, malformed_line: 8_899, slug: "reset.css" }
}

fn generated() -> String {
    let mut text = String::new();
    for line in 1..=10_000_u32 {
        // Lines 101 to 119 repeat lines 1 to 19.
        let n = if (101..120).contains(&line) { line - 100 } else { line };
        let path =
            if n % 20 == 0 { "/reset.css".to_owned() } else { format!("/page/{}?n={n}", n % 97) };
        let (day, hour, minute, second) = (17 + n / 2_700, 10 + n % 3, n / 60 % 60, n % 60);
        let cut = if line == 8_899 { "Mozil\n" } else { "Mozilla/5.0 (X11; Linux x86_64)\"\n" };
        write!(
            text,
            "203.0.113.{} - - [{day}/May/2015:{hour}:{minute:02}:{second:02} +0000] \
             \"GET {path} HTTP/1.1\" 200 2{n:04} \"-\" \"{cut}",
            n % 250,
        )
        .expect("a string takes what is written");
    }
    text
}
