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

/// Large numbers with their change from the first row to the last. A first row of NaN shows no change, where one row
/// alone would show a change of 0 %. Its colour judges nothing: more bots are not good.
pub(crate) fn compared_stat(title: &str, description: &str) -> Panel {
    let options = json!({
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "value_and_name",
        "wideLayout": false,
        "showPercentChange": true,
        "percentChangeColorMode": "same_as_value",
    });
    let panel = Panel::new("stat", title, description, options).unit(Unit::Short);
    panel.default("color", look::fixed(Colour::People))
}
