//! Panels with large numbers.

use serde_json::json;

use crate::generate::look::{self, Colour, Unit};
use crate::generate::panel::Panel;

/// Large numbers: the last row of each numeric field.
pub(crate) fn stat(title: &str, description: &str) -> Panel {
    let options = json!({
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": true,
        "showPercentChange": false,
        "percentChangeColorMode": "standard",
    });
    let panel = Panel::new("stat", title, description, options).unit(Unit::Short);
    panel.default("color", look::fixed(Colour::People))
}

/// Large numbers with their change from the first row to the last. The colour of a change judges nothing: more bots are
/// not good.
pub(crate) fn compared_stat(title: &str, description: &str) -> Panel {
    stat(title, description)
        .option("justifyMode", json!("center"))
        .option("textMode", json!("value_and_name"))
        .option("wideLayout", json!(false))
        .option("showPercentChange", json!(true))
        .option("percentChangeColorMode", json!("same_as_value"))
}
