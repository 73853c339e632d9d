//! Panels with a time axis.

use serde_json::{Value, json};

use crate::generate::look::Unit;
use crate::generate::panel::Panel;

fn options() -> Value {
    json!({
        "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

/// Lines of whole numbers or of shares. Where all are zero, the axis ends at 1, and not at 100.
pub(crate) fn counted_series(title: &str, description: &str) -> Panel {
    time_series(title, description).custom("axisSoftMin", json!(0)).custom("axisSoftMax", json!(1))
}

/// Lines.
pub(crate) fn time_series(title: &str, description: &str) -> Panel {
    Panel::new("timeseries", title, description, options())
        .unit(Unit::Short)
        .default("min", json!(0))
        .custom("drawStyle", json!("line"))
        .custom("lineWidth", json!(1))
        .custom("fillOpacity", json!(8))
        .custom("showPoints", json!("never"))
        .size(12, 8)
}
