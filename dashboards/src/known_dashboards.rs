//! The dashboards that a link may lead to: those that are checked, and the committed ones.

use std::cell::OnceCell;

use crate::dashboard::Dashboard;
use crate::files::files;

/// The dashboards that are known.
#[derive(Debug)]
pub(crate) struct KnownDashboards<'a> {
    checked: &'a [Dashboard],
    /// Read once a link leads to none of the others.
    committed: OnceCell<Vec<Dashboard>>,
}

impl<'a> KnownDashboards<'a> {
    /// Those that are checked, before the committed ones.
    pub(crate) fn with(checked: &'a [Dashboard]) -> Self {
        Self { checked, committed: OnceCell::new() }
    }

    /// The dashboard with a `uid`.
    pub(crate) fn find(&self, uid: &str) -> Option<&Dashboard> {
        let has = |dashboard: &&Dashboard| dashboard.uid == uid;
        self.checked.iter().find(has).or_else(|| self.committed().iter().find(has))
    }

    fn committed(&self) -> &[Dashboard] {
        self.committed.get_or_init(|| {
            files().into_iter().filter_map(|(_, text)| Dashboard::parse(text).ok()).collect()
        })
    }
}
