//! The columns of `click_versions` in the making, row by row, and how each of them travels.
//!
//! Words that repeat go as dictionaries, once a block each; the server stores them as such. What a
//! rule makes of one column alone follows it, so that it is looked up once for each of its words;
//! labels are words of the program itself.

use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;

use crate::encode::dictionary_column::Words;
use crate::encode::record_location::ClickRow;

/// Columns in their order, each with how it travels.
macro_rules! columns {
    ($($name:ident $kind:ident $(($leader:ident))?,)*) => {
        /// Names of the columns that are inserted, in the order of the table.
        pub(crate) const COLUMNS: &[&str] = &[$(stringify!($name)),*];

        /// All columns.
        #[derive(Debug, Default)]
        pub struct Columns {
            $($name: columns!(@type $kind),)*
            rows: usize,
        }

        impl Columns {
            /// No rows yet, with memory for as many.
            pub fn for_rows(rows: usize) -> Self {
                Self { $($name: columns!(@for $kind rows),)* rows: 0 }
            }

            /// Appends a row.
            pub fn push(&mut self, row: &ClickRow<'_>) {
                $(columns!(@push $kind self, row, $name $(, $leader)?);)*
                self.rows += 1;
            }

            /// The rows as they were, and none in their place.
            ///
            /// # Errors
            /// More rows than a block may have.
            pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
                self.rows = 0;
                RecordBatch::try_from_iter([
                    $((stringify!($name), columns!(@finish $kind self, $name))),*
                ])
            }
        }
    };
    (@type word) => { Words };
    (@type label) => { Words };
    (@type by) => { Words };
    (@type bytes) => { Vec<u8> };
    (@type address) => { Vec<u8> };
    (@type micros) => { Vec<i64> };
    (@type millis) => { Vec<i64> };
    (@type flag) => { BooleanBuilder };
    (@type u16) => { Vec<u16> };
    (@type u32) => { Vec<u32> };
    (@type u64) => { Vec<u64> };
    (@for word $rows:ident) => { Words::for_rows($rows) };
    (@for label $rows:ident) => { Words::for_rows($rows) };
    (@for by $rows:ident) => { Words::for_rows($rows) };
    (@for bytes $rows:ident) => { Vec::with_capacity(16 * $rows) };
    (@for address $rows:ident) => { Vec::with_capacity(16 * $rows) };
    (@for flag $rows:ident) => { BooleanBuilder::with_capacity($rows) };
    (@for $kind:ident $rows:ident) => { Vec::with_capacity($rows) };
    (@push word $own:ident, $row:ident, $name:ident) => { $own.$name.push(&$row.$name) };
    (@push label $own:ident, $row:ident, $name:ident) => { $own.$name.push_label($row.$name) };
    (@push by $own:ident, $row:ident, $name:ident, $leader:ident) => {
        $own.$name.push_by(&$own.$leader, &$row.$name)
    };
    (@push bytes $own:ident, $row:ident, $name:ident) => { $own.$name.extend($row.$name) };
    (@push address $own:ident, $row:ident, $name:ident) => {
        $own.$name.extend($row.$name.octets())
    };
    (@push flag $own:ident, $row:ident, $name:ident) => { $own.$name.append_value($row.$name) };
    (@push $kind:ident $own:ident, $row:ident, $name:ident) => { $own.$name.push($row.$name) };
    (@finish word $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish label $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish by $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish bytes $own:ident, $name:ident) => { sixteen(std::mem::take(&mut $own.$name))? };
    (@finish address $own:ident, $name:ident) => { sixteen(std::mem::take(&mut $own.$name))? };
    (@finish flag $own:ident, $name:ident) => { Arc::new($own.$name.finish()) as ArrayRef };
    (@finish micros $own:ident, $name:ident) => {
        Arc::new(
            TimestampMicrosecondArray::from(std::mem::take(&mut $own.$name)).with_timezone("UTC"),
        ) as ArrayRef
    };
    (@finish millis $own:ident, $name:ident) => {
        Arc::new(
            TimestampMillisecondArray::from(std::mem::take(&mut $own.$name)).with_timezone("UTC"),
        ) as ArrayRef
    };
    (@finish u16 $own:ident, $name:ident) => {
        Arc::new(UInt16Array::from(std::mem::take(&mut $own.$name))) as ArrayRef
    };
    (@finish u32 $own:ident, $name:ident) => {
        Arc::new(UInt32Array::from(std::mem::take(&mut $own.$name))) as ArrayRef
    };
    (@finish u64 $own:ident, $name:ident) => {
        Arc::new(UInt64Array::from(std::mem::take(&mut $own.$name))) as ArrayRef
    };
}

columns! {
    occurred_at micros,
    event_id bytes,
    origin label,
    source word,
    domain word,
    slug word,
    query word,
    link_id word,
    link_version u32,
    outcome label,
    status u16,
    target_url word,
    method label,
    scheme word,
    http_version word,
    client_ip address,
    client_ip_policy label,
    visitor_id u64,
    identifiers_stripped flag,
    user_agent word,
    referer word,
    edge_country word,
    latency_us u32,
    browser by(user_agent),
    browser_version by(user_agent),
    os by(user_agent),
    os_version by(user_agent),
    device by(user_agent),
    is_bot flag,
    bot_class label,
    referrer_host by(referer),
    target_host by(target_url),
    language word,
    utm_source word,
    utm_medium word,
    utm_campaign word,
    utm_term word,
    utm_content word,
    referrer_source word,
    referrer_medium label,
    channel label,
    click_id_param word,
    in_app word,
    trigger label,
    kafka_topic word,
    kafka_partition u32,
    kafka_offset u64,
    logged_at millis,
    trace_id bytes,
    enrich_version u32,
    geo_db_build word,
    ua_rules_version word,
    country word,
    continent by(country),
    region word,
    city word,
    browser_major by(user_agent),
    device_brand by(user_agent),
    device_model by(user_agent),
    bot_name by(user_agent),
    bot_rules_version word,
    referrer_rules_version word,
}

impl Columns {
    /// Rows that were appended.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

fn sixteen(bytes: Vec<u8>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the table when all migrations were applied.
    fn migrated() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let texts: Vec<_> =
            files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let made = texts[0].lines().filter_map(|line| line.strip_prefix("    "));
        let mut columns: Vec<String> = made
            .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let Some((_, added)) = line.split_once("ADD COLUMN IF NOT EXISTS ") else { continue };
            let after = added.rsplit_once(" AFTER ").map(|(_, it)| it.trim_end_matches([',', ';']));
            let place = columns.iter().position(|column| Some(column.as_str()) == after);
            let place = place.map_or(columns.len(), |place| place + 1);
            columns.insert(place, added.split_whitespace().next().unwrap().to_owned());
        }
        columns
    }

    #[test]
    fn columns_stand_in_the_order_of_the_migrations() {
        let columns = migrated();
        let inserted: Vec<_> = columns.iter().filter(|column| *column != "ingested_at").collect();
        assert_eq!(inserted, COLUMNS);
    }
}
