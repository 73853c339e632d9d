//! A column of a table, or a field of another panel: its title, unit, form and links.

use serde_json::{Value, json};

use crate::generate::data_link::DataLink;
use crate::generate::look::{self, Colour, Unit};

/// The settings of one field, by the name that its query gives it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    name: String,
    properties: Vec<Value>,
    links: Vec<DataLink>,
}

impl Column {
    /// A field with a title and a unit. An empty value is a dash: the text of its panel is for a panel without data.
    pub(crate) fn new(name: &str, title: &str, unit: Unit) -> Self {
        let column = Self { name: name.to_owned(), properties: Vec::new(), links: Vec::new() };
        column
            .property("displayName", json!(title))
            .property("unit", json!(unit.name()))
            .property("noValue", json!("–"))
    }

    /// A text.
    pub(crate) fn text(name: &str, title: &str) -> Self {
        Self::new(name, title, Unit::Text)
    }

    /// A number.
    pub(crate) fn count(name: &str, title: &str) -> Self {
        Self::new(name, title, Unit::Count).width(90)
    }

    /// A number with a bar, which is as long as the number is part of the highest one.
    pub(crate) fn bar(name: &str, title: &str) -> Self {
        let gauge = json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" });
        Self::new(name, title, Unit::Count)
            .property("custom.cellOptions", gauge)
            .property("min", json!(0))
            .property("fieldMinMax", json!(true))
            .colour(Colour::People)
            .property("noValue", json!("0"))
    }

    /// The field `share`: the share of all that match the filters.
    pub(crate) fn share() -> Self {
        Self::new("share", "Share", Unit::Share).property("decimals", json!(1)).width(80)
    }

    /// The field `change`: against the range that is compared with; a dash where nothing is compared, `new` where nothing
    /// was before.
    pub(crate) fn change() -> Self {
        let special = |value: &str, text: &str| {
            let result = json!({ "text": text, "color": Colour::Before.name() });
            json!({ "type": "special", "options": { "match": value, "result": result } })
        };
        Self::new("change", "Change", Unit::Share)
            .property("decimals", json!(1))
            .property("mappings", json!([special("null", "–"), special("nan", "new")]))
            .property("custom.cellOptions", json!({ "type": "color-text" }))
            .property("color", json!({ "mode": "thresholds" }))
            .property(
                "thresholds",
                look::thresholds(Colour::Bad, &[(0.0, Colour::Unknown), (0.000_001, Colour::Good)]),
            )
            .width(90)
    }

    /// A column that is not shown, whose values links use.
    pub(crate) fn hidden(name: &str) -> Self {
        // By its name of today, and by the older one.
        let hidden = json!({ "viz": true, "legend": true, "tooltip": true });
        Self::text(name, name)
            .property("custom.hidden", json!(true))
            .property("custom.hideFrom", hidden)
    }

    /// Its width in pixels; without one, the column shares what the others leave.
    #[must_use]
    pub(crate) fn width(self, pixels: u32) -> Self {
        self.property("custom.width", json!(pixels))
    }

    /// One colour for all its values.
    #[must_use]
    pub(crate) fn colour(self, colour: Colour) -> Self {
        self.property("color", look::fixed(colour))
    }

    /// A link of each of its values.
    #[must_use]
    pub(crate) fn link(mut self, link: &DataLink) -> Self {
        self.links.push(link.clone());
        self
    }

    /// Any other setting of the field; the last one of an id holds.
    #[must_use]
    pub(crate) fn property(mut self, id: &str, value: Value) -> Self {
        self.properties.retain(|property| property["id"] != id);
        self.properties.push(json!({ "id": id, "value": value }));
        self
    }

    /// The override of a panel.
    pub(crate) fn json(&self) -> Value {
        let mut properties = self.properties.clone();
        if !self.links.is_empty() {
            let links: Vec<_> = self.links.iter().map(DataLink::json).collect();
            properties.push(json!({ "id": "links", "value": links }));
        }
        json!({ "matcher": { "id": "byName", "options": self.name }, "properties": properties })
    }
}
