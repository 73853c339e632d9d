//! Maps of the world with a circle for each country.

use serde_json::json;

use crate::generate::look::{self, Colour, Unit};
use crate::generate::panel::Panel;

/// A map: the field `country` holds codes of ISO 3166-1, and `clicks` the size of each circle. Both layers come with
/// Grafana: the page loads no tiles from elsewhere.
pub(crate) fn country_map(title: &str, description: &str) -> Panel {
    let options = json!({
        "view": { "id": "zero", "lat": 25, "lon": 10, "zoom": 1.4, "allLayers": true },
        "controls": {
            "showZoom": true,
            "mouseWheelZoom": false,
            "showAttribution": false,
            "showScale": false,
            "showMeasure": false,
            "showDebug": false,
        },
        "basemap": {
            "type": "geojson",
            "name": "Countries",
            "config": {
                "src": "public/maps/countries.geojson",
                "rules": [],
                "style": {
                    "color": { "fixed": "rgba(128, 128, 128, 0.35)" },
                    "opacity": 0.35,
                    "lineWidth": 1,
                },
            },
        },
        "layers": [{
            "type": "markers",
            "name": "Clicks",
            "tooltip": true,
            "location": {
                "mode": "lookup",
                "lookup": "country",
                "gazetteer": "public/gazetteer/countries.json",
            },
            "config": {
                "showLegend": false,
                "style": {
                    "size": { "field": "clicks", "min": 4, "max": 24, "fixed": 6 },
                    "color": { "fixed": Colour::People.name() },
                    "opacity": 0.6,
                    "symbol": { "mode": "fixed", "fixed": "img/icons/marker/circle.svg" },
                },
            },
        }],
        "tooltip": { "mode": "details" },
    });
    let panel = Panel::new("geomap", title, description, options).unit(Unit::Text);
    panel.default("color", look::fixed(Colour::People)).size(12, 9)
}
