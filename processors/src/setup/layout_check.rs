//! Judges the layout of the shards that the tables of the servers state. Pure: it judges what `cluster_layout` has read.
//!
//! Versions of a click must be on one shard, because each shard shows the newest of its own versions. With another layout
//! new versions would go to another shard than the old ones.

use broker::ServerError;

use crate::clickhouse::cluster_layout::LayoutRow;
use crate::setup::preflight::Finding;

/// What the tables of one server state, and what the settings make of it.
#[derive(Debug, Clone)]
pub(crate) struct ServerLayout {
    /// The URL, without secrets.
    pub(crate) address: String,
    /// The rows of its table.
    pub(crate) stored: Vec<LayoutRow>,
    /// The row that belongs there; `None` on a single server.
    pub(crate) expected: Option<LayoutRow>,
    /// Whether it holds a click.
    pub(crate) has_clicks: bool,
}

const REBUILD: &str = "restore the earlier CLICKHOUSE_SHARDS; or build tables of the new layout: set CLICKHOUSE_DATABASE \
    and CLICKTRAIL_GROUP to new names, run `processors setup`, and let `processors run` read all of the log into them";

impl ServerLayout {
    /// Whether `setup` has to write the row.
    pub(crate) fn differs(&self) -> bool {
        self.stored.iter().ne(self.expected.iter())
    }

    /// The difference that no program may change while there are clicks: other rows, or clicks of a single server.
    fn conflict(&self) -> Option<String> {
        let is_new = self.stored.is_empty() && !self.has_clicks;
        (self.differs() && !is_new).then(|| {
            let stored: Vec<_> = self.stored.iter().map(LayoutRow::to_string).collect();
            let single = || "the only server".to_owned();
            let is = if stored.is_empty() { single() } else { stored.join(" and ") };
            let should = self.expected.as_ref().map_or_else(single, LayoutRow::to_string);
            format!(
                "{} is {is} by its table cluster_layout, and {should} by the settings: new versions of a click would go \
                 to another shard than its old ones, each shard would show its own newest version, and the click \
                 would count twice",
                self.address
            )
        })
    }

    /// What stops `run`.
    pub(crate) fn finding(&self) -> Option<Finding> {
        if let Some(wrong) = self.conflict() {
            return Some(Finding { wrong, fix: REBUILD.to_owned(), tolerable: false });
        }
        self.differs().then(|| {
            let wrong = format!("{} does not state which shard it holds", self.address);
            Finding { wrong, fix: "processors setup".to_owned(), tolerable: false }
        })
    }
}

/// Decides whether `setup` may write the rows of the settings. Without a click on any server it may write any.
///
/// # Errors
/// A server has another layout, and a server has clicks.
pub(crate) fn allow(servers: &[ServerLayout]) -> Result<(), ServerError> {
    if servers.iter().all(|server| !server.has_clicks) {
        return Ok(());
    }
    servers.iter().find_map(ServerLayout::conflict).map_or(Ok(()), |wrong| {
        Err(ServerError::fatal("cluster_layout", format!("{wrong}; {REBUILD}")))
    })
}

#[cfg(test)]
mod tests {
    use crate::shards::shard_layout::ShardLayout;

    use super::*;

    /// A server of `shard`, of shards with equal weights; none: the only server.
    fn row(shard: u32, shards: usize) -> Option<LayoutRow> {
        LayoutRow::of(&ShardLayout::new(vec![1; shards]), shard)
    }

    fn server(
        stored: Option<LayoutRow>,
        expected: Option<LayoutRow>,
        has_clicks: bool,
    ) -> ServerLayout {
        ServerLayout {
            address: "http://ch".to_owned(),
            stored: stored.into_iter().collect(),
            expected,
            has_clicks,
        }
    }

    #[test]
    fn a_layout_is_stored_on_new_servers_and_replaced_where_no_server_has_clicks() {
        for (stored, expected) in
            [(None, row(1, 2)), (row(1, 2), row(1, 3)), (row(1, 2), None), (row(2, 2), row(1, 2))]
        {
            let own = server(stored, expected.clone(), false);
            assert!(own.differs() && allow(&[own]).is_ok());
            // A replica that is new beside one that has clicks.
            let first = server(expected.clone(), expected.clone(), true);
            assert!(allow(&[first, server(None, expected, false)]).is_ok());
        }
    }

    #[test]
    fn a_changed_layout_is_refused_once_a_server_has_clicks_and_the_way_out_is_named() {
        for (stored, expected) in
            [(row(1, 2), row(1, 3)), (row(2, 2), row(1, 2)), (row(1, 2), None), (None, row(1, 2))]
        {
            let own = server(stored, expected, true);
            let finding = own.finding().unwrap();
            assert!(!finding.tolerable);
            let error = allow(&[own]).unwrap_err();
            assert_eq!((error.code, error.class), ("cluster_layout", broker::ErrorClass::Fatal));
            for expected in
                ["http://ch is ", "count twice", "CLICKHOUSE_DATABASE", "processors run"]
            {
                assert!(error.message.contains(expected), "{error}");
            }
            assert!(error.message.contains(&finding.wrong));
        }
        // Another server has the clicks.
        let empty = server(row(1, 2), row(1, 3), false);
        assert!(allow(&[empty.clone(), server(row(2, 3), row(2, 3), true)]).is_err());
        assert!(allow(&[empty]).is_ok());
        let twice = ServerLayout {
            stored: vec![row(1, 2).unwrap(), row(2, 2).unwrap()],
            ..server(None, row(1, 2), true)
        };
        assert!(
            allow(&[twice])
                .unwrap_err()
                .message
                .contains("shard 1 of 2 with the weights 1,1 and shard 2 of 2")
        );
    }

    #[test]
    fn run_needs_the_row_of_its_settings_and_a_single_server_none() {
        assert_eq!(server(None, None, true).finding(), None);
        assert_eq!(server(row(1, 2), row(1, 2), true).finding(), None);
        let missing = server(None, row(1, 2), false).finding().unwrap();
        assert_eq!((missing.fix.as_str(), missing.tolerable), ("processors setup", false));
    }
}
