//! The source of the links of `serve`: a file, or the topic of links.

use std::path::PathBuf;
use std::sync::Arc;

use service::admin_port::Health;
use service::number::gauge;

use crate::config::ServeArgs;
use crate::exit::Failure;
use crate::links::link_file;
use crate::links::link_sync::LinkSync;
use crate::links::link_table::LinkTable;
use crate::metrics::Metrics;
use crate::metrics::labels::ResultLabel;

/// The link table of `serve`, and its source.
#[derive(Debug)]
pub struct LinkSource {
    /// The table that answers visitors.
    pub table: Arc<LinkTable>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The file is read at the start, and again on request.
    File(PathBuf),
    /// The host follows the topic.
    Topic(LinkSync),
}

impl LinkSource {
    /// Reads the file, or, without a file, reads the snapshot and starts to follow the topic. Broker,
    /// registry and PostgreSQL may be down.
    ///
    /// # Errors
    /// A configuration failure.
    pub async fn start(args: &ServeArgs, metrics: &Metrics) -> Result<Self, Failure> {
        let slug_case = args.follow.slugs.slug_case;
        if let Some(file) = &args.links {
            metrics.links.loaded.set(1);
            let table = Arc::new(link_file::read(file, |text, name| {
                LinkTable::parse_with(slug_case, text, name)
            })?);
            return Ok(Self { table, origin: Origin::File(file.clone()) });
        }
        let table = Arc::new(LinkTable::new(slug_case));
        let sync = LinkSync::start(&args.follow, &args.kafka, &table, metrics).await?;
        Ok(Self { table, origin: Origin::Topic(sync) })
    }

    /// Reads the file again; does nothing with the topic. After an error the table has not changed.
    pub async fn reload(&self, metrics: &Metrics) {
        let Origin::File(file) = &self.origin else { return };
        let (file, table) = (file.clone(), Arc::clone(&self.table));
        let reread = move || link_file::read(&file, |text, name| table.reread(text, name));
        let result = match tokio::task::spawn_blocking(reread).await {
            Ok(Ok(())) => {
                let links = self.table.count();
                tracing::info!(links, "the file of links was read again");
                metrics.links_in_memory.set(gauge(links));
                "ok"
            }
            Ok(Err(Failure { cause, .. })) => {
                let cause = format!("{cause:#}");
                tracing::error!(
                    cause,
                    "cannot read the file of links again: the links in memory stay"
                );
                "error"
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the file of links again: the links in memory stay");
                "error"
            }
        };
        metrics.link_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// The health of the links: whether visitors can be answered, and the current problems.
    pub fn health(&self) -> impl Fn() -> Health + Send + Sync + use<> {
        let sync = match &self.origin {
            Origin::File(_) => None,
            Origin::Topic(sync) => Some(sync.health()),
        };
        move || sync.as_ref().map_or(Health::Ready, |health| health.current())
    }

    /// Stops following the topic, and writes the last snapshot.
    ///
    /// # Errors
    /// A thread cannot be awaited.
    pub async fn finish(self) -> Result<(), Failure> {
        match self.origin {
            Origin::File(_) => Ok(()),
            Origin::Topic(sync) => sync.finish().await,
        }
    }
}
