//! Places panels into the grid of 24 columns, from left to right, and numbers them.

use serde_json::{Value, json};

use crate::generate::panel::Panel;

const COLUMNS: u32 = 24;

/// The panels of a dashboard with their places.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    panels: Vec<Value>,
    x: u32,
    y: u32,
    /// Height of the line that is being filled.
    line: u32,
}

impl Grid {
    /// Adds a panel to the right of the last one, or below where it does not fit.
    pub(crate) fn add(&mut self, panel: &Panel) {
        if self.x + panel.width() > COLUMNS {
            self.new_line();
        }
        let id = self.next_id();
        self.panels.push(panel.json(id, self.x, self.y));
        self.x += panel.width();
        self.line = self.line.max(panel.height());
    }

    /// Adds the heading of a section below all panels.
    pub(crate) fn section(&mut self, title: &str) {
        self.new_line();
        let id = self.next_id();
        self.panels.push(json!({
            "id": id,
            "type": "row",
            "title": title,
            "collapsed": false,
            "gridPos": { "x": 0, "y": self.y, "w": COLUMNS, "h": 1 },
            "panels": [],
        }));
        self.y += 1;
    }

    /// The panels and headings.
    pub(crate) fn panels(&self) -> &[Value] {
        &self.panels
    }

    fn new_line(&mut self) {
        self.y += self.line;
        (self.x, self.line) = (0, 0);
    }

    fn next_id(&self) -> usize {
        self.panels.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_fill_lines_without_covering_each_other() {
        let mut grid = Grid::default();
        let panel = |width, height| Panel::new("table", "t", "d", json!({})).size(width, height);
        grid.section("one");
        grid.add(&panel(16, 4));
        grid.add(&panel(8, 6));
        grid.add(&panel(1, 2));
        grid.section("two");
        grid.add(&panel(24, 1));
        let places: Vec<_> = grid
            .panels()
            .iter()
            .map(|panel| {
                let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                (panel["id"].as_u64().unwrap(), at("x"), at("y"))
            })
            .collect();
        assert_eq!(places, [(1, 0, 0), (2, 0, 1), (3, 16, 1), (4, 0, 7), (5, 0, 9), (6, 0, 10)]);
    }
}
