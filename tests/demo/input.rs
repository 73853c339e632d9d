//! The access log to import: a real one if it is beside the clone, else a generated one.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::random::Random;

/// A log and its identity.
pub struct Log {
    /// Its path.
    pub path: PathBuf,
    /// Hash of its content.
    pub id: String,
    /// Lines in it.
    pub lines: u64,
}

const MADE_UP_LINES: u32 = 5_000;
const PATHS: &[&str] =
    &["spring", "docs", "jobs", "talk", "blog/tags/puppet", "favicon.ico", "gone"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.5.0",
];

/// The log that the demo imports.
pub fn log(folder: &Path) -> Result<Log> {
    let top = folder.parent().context("the clone's top folder")?;
    let real = top.join("../shared/data/apache_logs");
    let path = match real.canonicalize() {
        Ok(path) => path,
        Err(_) => made_up(folder)?,
    };
    Log::read(path)
}

impl Log {
    /// The log in a file.
    pub fn read(path: PathBuf) -> Result<Self> {
        let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let id = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let lines = content.lines().count() as u64;
        Ok(Self { path, id, lines })
    }
}

/// The same text on every run: more requests by day, and some paths more popular than others.
fn made_up(folder: &Path) -> Result<PathBuf> {
    let mut text = String::new();
    let mut random = Random(7);
    for line in 0..MADE_UP_LINES {
        let minute = line * 2880 / MADE_UP_LINES;
        let (day, hour) = (1 + minute / 1440, minute / 60 % 24);
        let path = PATHS[random.skewed(PATHS.len())];
        let status = if path == "gone" { 404 } else { 200 };
        writeln!(
            text,
            "203.0.113.{} - - [{day:02}/Jun/2024:{hour:02}:{:02}:{:02} +0000] \"GET /{path} HTTP/1.1\" \
             {status} {} \"https://news.example/\" \"{}\"",
            random.below(250),
            minute % 60,
            random.below(60),
            random.below(20_000),
            AGENTS[random.skewed(AGENTS.len())],
        )?;
    }
    let path = folder.join("made-up.log");
    std::fs::write(&path, text)?;
    Ok(path)
}
