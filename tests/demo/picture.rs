//! Charts of the result in the terminal. Countries are from DB-IP, whose licence requires the credit.

use anyhow::Result;

use crate::tables::Tables;

const WIDTH: u64 = 40;

/// Clicks by hour of the day, top links, people and bots, countries and browsers of people.
pub fn draw(tables: &Tables) -> Result<()> {
    bars(
        tables,
        "clicks by hour of the day (UTC)",
        "SELECT concat(leftPad(toString(toHour(occurred_at)), 2, '0'), ':00') AS hour, count() AS n \
         FROM clicks GROUP BY hour ORDER BY hour",
    )?;
    bars(
        tables,
        "top links, people only",
        "SELECT slug, count() AS n FROM clicks WHERE NOT is_bot AND outcome IN ('redirected', 'served') \
         GROUP BY slug ORDER BY n DESC, slug LIMIT 8",
    )?;
    bars(
        tables,
        "people and bots",
        "SELECT if(is_bot, bot_class, 'people') AS who, count() AS n FROM clicks GROUP BY who ORDER BY n DESC",
    )?;
    bars(
        tables,
        "countries, people only (IP Geolocation by DB-IP, https://db-ip.com)",
        "SELECT if(country = '', 'unknown', country) AS place, count() AS n FROM clicks WHERE NOT is_bot \
         GROUP BY place ORDER BY n DESC, place LIMIT 8",
    )?;
    bars(
        tables,
        "browsers, people only",
        "SELECT if(browser = '', 'unknown', concat(browser, ' ', browser_major)) AS name, count() AS n \
         FROM clicks WHERE NOT is_bot GROUP BY name ORDER BY n DESC, name LIMIT 8",
    )
}

fn bars(tables: &Tables, title: &str, sql: &str) -> Result<()> {
    let rows: Vec<(String, u64)> = tables
        .rows(sql)?
        .into_iter()
        .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.parse().ok()?)))
        .collect();
    let most = rows.iter().map(|row| row.1).max().unwrap_or(1).max(1);
    println!("\n  {title}");
    for (name, count) in rows {
        let name: String = name.chars().take(36).collect();
        let bar = "█".repeat(usize::try_from(count * WIDTH / most)?.max(1));
        println!("  {name:36} {count:6} {bar}");
    }
    Ok(())
}
