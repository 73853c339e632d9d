//! The preview of the dashboards over the tables of one test.

use std::net::SocketAddr;

use stack::{Cache, PortChoice, Preview, PreviewServers, Stack};
use tempfile::TempDir;

use crate::world::World;

/// A running preview of a world's database; its drop ends it.
#[derive(Debug)]
pub struct OwnPreview {
    /// Its address, `http://…` without a slash at the end.
    pub url: String,
    _preview: Preview,
    _folder: TempDir,
}

impl OwnPreview {
    /// Builds its page if it is not in the cache, and starts it.
    ///
    /// # Panics
    /// When the page cannot be built, with the cause.
    pub fn start(world: &World, prometheus: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let cache = Cache::shared().expect("there is a folder for downloads");
        let choice = PortChoice { auto: true, ..PortChoice::default() };
        let stack = Stack::open(folder.path(), cache, choice).expect("a stack can be opened");
        let clickhouse = world.backends.clickhouse.trim_start_matches("http://");
        let servers = PreviewServers {
            clickhouse: clickhouse.parse().expect("an address"),
            database: world.database.clone(),
            prometheus,
        };
        let preview = stack.preview_of(servers, Some(0));
        let preview = preview.unwrap_or_else(|error| panic!("the preview does not start: {error}"));
        let url = format!("http://{}", preview.address);
        Self { url, _preview: preview, _folder: folder }
    }
}
