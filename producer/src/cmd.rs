//! One file for each command; each is a shell around the pure modules.

pub mod deliver;
pub mod import;
pub mod links;
pub mod links_api;
pub mod live_links;
pub mod serve;
pub mod visitor_keys;

use std::path::Path;

use anyhow::Context as _;

use crate::exit::Failure;
use crate::links::Links;

/// Reads a file of links.
///
/// # Errors
/// A configuration failure that names the file, and the line where there is one.
pub fn read_links(file: &Path) -> Result<Links, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("links {name}"))
        .map_err(Failure::configuration)?;
    Links::parse(&text, &name).map_err(Failure::configuration)
}
