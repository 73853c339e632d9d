//! One file for each command; each is a shell around the pure modules.

pub mod deliver;
pub mod import;
pub mod links;
pub mod links_api;
pub mod live_links;
pub mod serve;
pub mod visitor_keys;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;

use crate::exit::Failure;
use crate::links::LinkError;

/// Reads a file of links by `how`.
///
/// # Errors
/// A configuration failure that names the file, and the line where there is one.
pub fn read_links<T>(
    file: &Path,
    how: impl FnOnce(BufReader<File>, &str) -> Result<T, LinkError>,
) -> Result<T, Failure> {
    let name = file.display().to_string();
    let open = File::open(file).with_context(|| format!("links {name}"));
    let reader = open.map(BufReader::new).map_err(Failure::configuration)?;
    how(reader, &name).map_err(Failure::configuration)
}
