//! Tables, and the bar lists that are tables with a bar in each row.

use serde_json::json;

use crate::generate::column::Column;
use crate::generate::look::{Colour, Unit};
use crate::generate::panel::Panel;

/// A table. A column without settings of its own shows its texts as they are.
pub(crate) fn table(title: &str, description: &str) -> Panel {
    let options = json!({ "showHeader": true, "cellHeight": "sm", "enablePagination": false });
    Panel::new("table", title, description, options)
        .unit(Unit::Text)
        .custom("align", json!("auto"))
        .custom("minWidth", json!(60))
}

/// A table of the values of one or more dimensions, with clicks as bars, shares and changes.
pub(crate) fn bar_list(title: &str, description: &str, dimensions: &[Column]) -> Panel {
    list(title, description, dimensions, &Column::change())
}

/// The same where more clicks are neither good nor bad.
pub(crate) fn neutral_bar_list(title: &str, description: &str, dimensions: &[Column]) -> Panel {
    list(title, description, dimensions, &Column::change().colour(Colour::Unknown))
}

fn list(title: &str, description: &str, dimensions: &[Column], change: &Column) -> Panel {
    table(title, description)
        .columns(dimensions)
        .column(&Column::bar("clicks", "Clicks"))
        .column(&Column::share())
        .column(change)
}
