//! Heat maps: a row of cells for each numeric field but the first one, whose values are the horizontal axis.

use serde_json::json;

use crate::generate::look::Unit;
use crate::generate::panel::Panel;

/// A heat map. The first column holds the middle of each cell, as Grafana takes numbers; the names of the other columns are
/// its rows.
pub(crate) fn heat_map(title: &str, description: &str) -> Panel {
    let options = json!({
        "calculate": false,
        "cellGap": 1,
        "cellValues": { "unit": Unit::Count.name() },
        "color": {
            "mode": "scheme",
            "scheme": "Blues",
            "fill": "dark-blue",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "reverse": false,
            "min": 0,
        },
        "filterValues": { "le": 1e-9 },
        "legend": { "show": true },
        "rowsFrame": { "layout": "auto" },
        "tooltip": { "mode": "single", "yHistogram": false, "showColorScale": true },
        "yAxis": { "axisPlacement": "left", "reverse": true },
        "exemplars": { "color": "rgba(255,0,255,0.7)" },
    });
    Panel::new("heatmap", title, description, options).unit(Unit::Count).size(12, 8)
}
