//! The bar of a replay and of its dry run on a terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over offsets, with this text beside it; `None` without a terminal.
pub(crate) fn replay_bar(offsets: u64, text: &str) -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template(&format!("{{bar:32}} {text}"));
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let target = ProgressDrawTarget::stderr();
        ProgressBar::with_draw_target(Some(offsets), target).with_style(style)
    })
}
