//! The dashboards of this folder, as they are committed.

/// The name of each file, which is also the end of its `uid`, and its text.
#[must_use]
pub fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        ("alerts", include_str!("../alerts.json")),
        ("bots", include_str!("../bots.json")),
        ("link", include_str!("../link.json")),
        ("overview", include_str!("../overview.json")),
        ("pipeline", include_str!("../pipeline.json")),
    ]
}
