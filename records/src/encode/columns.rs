//! The columns of `click_versions`: one list gives the name, the kind and the value of each. The row,
//! the builders that collect rows, and the Arrow batch that is inserted are generated from it.
//!
//! A new enrichment column touches at most these files:
//! 1. `enrich/DIMENSION.rs`: finds the value and puts it into its part of the enrichment;
//! 2. `enrich.rs`: raises `ENRICH_VERSION`, and names the dimension if it is a new one;
//! 3. this file: one line in the list, at the column's place in the table;
//! 4. `migrations/NNNN_NAME.sql`: adds the column, and creates the view again.
//!
//! `UPDATE_GOLDEN=1` then writes the golden rows of the tests. `ingested_at` is not in the list: the
//! server's clock fills it, because one clock must decide which version of a click is the newest.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;
use schemas::RawClick;
use serde::Serialize;

use crate::encode::dictionary_column::DictionaryColumn;
use crate::encode::record_location::RecordLocation;
use crate::enrich::{ENRICH_VERSION, Enrichment};

/// Generates everything that depends on the list of columns. The kinds are:
/// - `text` repeats: it is sent as a dictionary, which holds each distinct text of a block once;
/// - `derived(leader)` is a text that the enrichment derives only from the column `leader`, so the
///   dictionary is searched once for each distinct text of `leader`;
/// - `usual(leader)` is a text that is nearly always the same for the same text of `leader`, so the text
///   of the leader's last row is compared first;
/// - `label` is one of the few texts that the program itself defines;
/// - `bytes`, `address`, `micros`, `millis`, `flag` and the integers are sent as plain values.
macro_rules! columns {
    (|$click:ident, $enriched:ident, $record:ident|
     $($name:ident: $kind:ident $(($leader:ident))? = $value:expr,)*) => {
        /// One version of one click, in the order of the columns. Empty text, 0 and `::` are
        /// unknown.
        #[derive(Debug, Serialize)]
        #[expect(missing_docs, reason = "the migration describes the columns")]
        pub struct ClickRow<'a> {
            $(pub $name: columns!(@field 'a $kind),)*
        }

        impl<'a> ClickRow<'a> {
            /// Combines a click, its enrichment and the location of its record.
            pub fn new(
                $click: &RawClick<'a>,
                $enriched: &'a Enrichment<'a>,
                $record: RecordLocation<'a>,
            ) -> Self {
                Self { $($name: $value,)* }
            }
        }

        impl ClickRow<'_> {
            /// Passes the text of each column to `take`, in the order of [`COLUMNS`]: as ClickHouse's
            /// `toString` writes numbers, flags and addresses; bytes are hexadecimal.
            pub fn each_text(&self, take: &mut dyn FnMut(&str)) {
                $(columns!(@show $kind self, $name, take);)*
            }
        }

        /// Names of the columns that are inserted, in the order of the table.
        pub const COLUMNS: &[&str] = &[$(stringify!($name)),*];

        /// A builder for each column.
        #[derive(Debug, Default)]
        pub struct Columns {
            $($name: columns!(@type $kind),)*
            rows: usize,
        }

        impl Columns {
            /// Empty columns with memory for this many rows.
            pub fn for_rows(rows: usize) -> Self {
                Self { $($name: columns!(@for $kind rows),)* rows: 0 }
            }

            /// Appends a row.
            pub fn push(&mut self, row: &ClickRow<'_>) {
                $(columns!(@push $kind self, row, $name $(, $leader)?);)*
                self.rows += 1;
            }

            /// Takes the rows as one batch; leaves the columns empty.
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
    (@field $life:lifetime text) => { &$life str };
    (@field $life:lifetime derived) => { &$life str };
    (@field $life:lifetime usual) => { &$life str };
    (@field $life:lifetime label) => { &'static str };
    (@field $life:lifetime bytes) => { [u8; 16] };
    (@field $life:lifetime address) => { Ipv6Addr };
    (@field $life:lifetime micros) => { i64 };
    (@field $life:lifetime millis) => { i64 };
    (@field $life:lifetime flag) => { bool };
    (@field $life:lifetime $integer:ident) => { $integer };
    (@show text $own:ident, $name:ident, $take:ident) => { $take($own.$name) };
    (@show derived $own:ident, $name:ident, $take:ident) => { $take($own.$name) };
    (@show usual $own:ident, $name:ident, $take:ident) => { $take($own.$name) };
    (@show label $own:ident, $name:ident, $take:ident) => { $take($own.$name) };
    (@show bytes $own:ident, $name:ident, $take:ident) => {
        $take(&format!("{:032x}", u128::from_be_bytes($own.$name)))
    };
    (@show $kind:ident $own:ident, $name:ident, $take:ident) => {
        $take(&$own.$name.to_string())
    };
    (@type text) => { DictionaryColumn };
    (@type label) => { DictionaryColumn };
    (@type derived) => { DictionaryColumn };
    (@type usual) => { DictionaryColumn };
    (@type bytes) => { Vec<u8> };
    (@type address) => { Vec<u8> };
    (@type micros) => { Vec<i64> };
    (@type millis) => { Vec<i64> };
    (@type flag) => { BooleanBuilder };
    (@type $integer:ident) => { Vec<$integer> };
    (@for text $rows:ident) => { DictionaryColumn::for_rows($rows) };
    (@for label $rows:ident) => { DictionaryColumn::for_rows($rows) };
    (@for derived $rows:ident) => { DictionaryColumn::for_rows($rows) };
    (@for usual $rows:ident) => { DictionaryColumn::for_rows($rows) };
    (@for bytes $rows:ident) => { Vec::with_capacity(16 * $rows) };
    (@for address $rows:ident) => { Vec::with_capacity(16 * $rows) };
    (@for flag $rows:ident) => { BooleanBuilder::with_capacity($rows) };
    (@for $kind:ident $rows:ident) => { Vec::with_capacity($rows) };
    (@push text $own:ident, $row:ident, $name:ident) => { $own.$name.push(&$row.$name) };
    (@push label $own:ident, $row:ident, $name:ident) => { $own.$name.push_label($row.$name) };
    (@push derived $own:ident, $row:ident, $name:ident, $leader:ident) => {
        $own.$name.push_derived(&$own.$leader, &$row.$name)
    };
    (@push bytes $own:ident, $row:ident, $name:ident) => { $own.$name.extend($row.$name) };
    (@push address $own:ident, $row:ident, $name:ident) => {
        $own.$name.extend($row.$name.octets())
    };
    (@push usual $own:ident, $row:ident, $name:ident, $leader:ident) => {
        $own.$name.push_usual(&$own.$leader, &$row.$name)
    };
    (@push flag $own:ident, $row:ident, $name:ident) => { $own.$name.append_value($row.$name) };
    (@push $kind:ident $own:ident, $row:ident, $name:ident) => { $own.$name.push($row.$name) };
    (@finish text $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish label $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish derived $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish usual $own:ident, $name:ident) => { $own.$name.finish()? };
    (@finish bytes $own:ident, $name:ident) => { fixed_size_16(std::mem::take(&mut $own.$name))? };
    (@finish address $own:ident, $name:ident) => { fixed_size_16(std::mem::take(&mut $own.$name))? };
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
    |click, enriched, record|
    occurred_at: micros = click.occurred_at,
    event_id: bytes = click.event_id.into_bytes(),
    origin: label = click.origin.as_str(),
    source: text = click.source,
    domain: text = click.domain.unwrap_or_default(),
    slug: text = click.slug,
    query: text = click.query.unwrap_or_default(),
    link_id: text = click.link_id.unwrap_or_default(),
    link_version: u32 = unsigned(click.link_version),
    outcome: label = click.outcome.as_str(),
    status: u16 = unsigned(Some(click.status)),
    target_url: text = click.target_url.unwrap_or_default(),
    method: label = click.method.as_str(),
    scheme: text = click.scheme.unwrap_or_default(),
    http_version: text = click.http_version.unwrap_or_default(),
    client_ip: address = address(click.client_ip),
    client_ip_policy: label = click.client_ip_policy.as_str(),
    visitor_id: u64 = click.visitor_id.map_or(0, u64::from_be_bytes),
    identifiers_stripped: flag = click.identifiers_stripped,
    user_agent: text = click.user_agent.unwrap_or_default(),
    referer: text = click.referer.unwrap_or_default(),
    edge_country: text = click.edge_country.unwrap_or_default(),
    latency_us: u32 = unsigned(click.latency_us),
    browser: usual(user_agent) = enriched.browser(),
    browser_version: usual(user_agent) = enriched.browser_version(),
    os: derived(user_agent) = &enriched.agent.os,
    os_version: derived(user_agent) = &enriched.agent.os_version,
    device: derived(user_agent) = enriched.agent.device,
    is_bot: flag = enriched.bot.is_bot(),
    bot_class: label = enriched.bot.as_str(),
    referrer_host: derived(referer) = enriched.referrer_host,
    target_host: derived(target_url) = enriched.target_host,
    language: text = enriched.language,
    utm_source: text = enriched.campaign.source,
    utm_medium: text = enriched.campaign.medium,
    utm_campaign: text = enriched.campaign.campaign,
    utm_term: text = enriched.campaign.term,
    utm_content: text = enriched.campaign.content,
    referrer_source: text = enriched.arrival.source,
    referrer_medium: label = enriched.arrival.medium.as_str(),
    channel: label = enriched.arrival.channel.as_str(),
    click_id_param: text = enriched.arrival.click_id_param,
    in_app: text = enriched.arrival.in_app,
    trigger: label = enriched.arrival.trigger,
    kafka_topic: text = record.topic,
    kafka_partition: u32 = record.unsigned_partition(),
    kafka_offset: u64 = record.unsigned_offset(),
    logged_at: millis = record.logged_at_ms,
    trace_id: bytes = record.other_trace_id(click.event_id),
    enrich_version: u32 = ENRICH_VERSION,
    geo_db_build: text = enriched.versions.geo,
    ua_rules_version: text = enriched.versions.user_agents,
    country: text = enriched.country,
    continent: derived(country) = enriched.continent,
    region: text = &enriched.location.region,
    city: text = &enriched.location.city,
    browser_major: usual(user_agent) = enriched.browser_major(),
    device_brand: derived(user_agent) = &enriched.agent.device_brand,
    device_model: derived(user_agent) = &enriched.agent.device_model,
    bot_name: usual(user_agent) = enriched.bot_name(),
    bot_rules_version: text = enriched.versions.crawlers,
    referrer_rules_version: text = enriched.versions.referrers,
}

impl Columns {
    /// Rows that were appended.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// A number of a click. A number that is negative or too large for its column becomes 0, which means
/// unknown: the click is valid nevertheless.
fn unsigned<N: Copy, U: TryFrom<N> + Default>(number: Option<N>) -> U {
    number.and_then(|number| U::try_from(number).ok()).unwrap_or_default()
}

/// An address in the form of the column: IPv4 is mapped. An address of any other length is unknown.
fn address(bytes: Option<&[u8]>) -> Ipv6Addr {
    match bytes {
        Some(&[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_ipv6_mapped(),
        Some(bytes) => <[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from),
        None => Ipv6Addr::UNSPECIFIED,
    }
}

fn fixed_size_16(bytes: Vec<u8>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the table after all migrations, in order.
    fn migrated() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../processors/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let texts: Vec<_> =
            files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let created = texts[0].lines().filter_map(|line| line.strip_prefix("    "));
        let mut columns: Vec<String> = created
            .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        let statements = texts.iter().flat_map(|text| text.split(";\n"));
        let own = statements.filter(|text| text.contains("ALTER TABLE click_versions"));
        for line in own.flat_map(str::lines) {
            let Some((_, added)) = line.split_once("ADD COLUMN IF NOT EXISTS ") else { continue };
            let after = added.rsplit_once(" AFTER ").map(|(_, it)| it.trim_end_matches([',', ';']));
            let index = columns.iter().position(|column| Some(column.as_str()) == after);
            let index = index.map_or(columns.len(), |index| index + 1);
            columns.insert(index, added.split_whitespace().next().unwrap().to_owned());
        }
        columns
    }

    #[test]
    fn columns_are_in_the_order_of_the_migrations() {
        let columns = migrated();
        let inserted: Vec<_> = columns.iter().filter(|column| *column != "ingested_at").collect();
        assert_eq!(inserted, COLUMNS);
    }

    #[test]
    fn each_column_has_a_text() {
        let click = RawClick::new(uuid::Uuid::from_u128(0xab), 5, "a");
        let (topic, trace_id) = ("t", [0x0f; 16]);
        let location = RecordLocation { topic, partition: 3, offset: 4, logged_at_ms: 6, trace_id };
        let (mut enricher, mut texts) = (crate::enrich::Enricher::default(), Vec::new());
        let enriched = enricher.enrich(&click);
        let row = ClickRow::new(&click, &enriched, location);
        row.each_text(&mut |text| texts.push(text.to_owned()));
        assert_eq!(texts.len(), COLUMNS.len());
        let text = |name| &texts[COLUMNS.iter().position(|column| *column == name).unwrap()];
        assert_eq!((text("occurred_at").as_str(), text("slug").as_str()), ("5", "a"));
        assert_eq!(text("event_id"), &format!("{:0>32}", "ab"));
        assert_eq!(text("trace_id"), &"0f".repeat(16));
        let flag = text("identifiers_stripped").as_str();
        assert_eq!((flag, text("client_ip").as_str()), ("false", "::"));
    }

    #[test]
    fn a_trace_id_is_stored_unless_it_is_the_event_id() {
        let click = RawClick::new(uuid::Uuid::from_u128(0xab), 5, "a");
        let mut enricher = crate::enrich::Enricher::default();
        let enriched = enricher.enrich(&click);
        for (trace_id, stored) in
            [([0; 16], [0; 16]), (click.event_id.into_bytes(), [0; 16]), ([7; 16], [7; 16])]
        {
            let location =
                RecordLocation { topic: "t", partition: 0, offset: 0, logged_at_ms: 0, trace_id };
            assert_eq!(ClickRow::new(&click, &enriched, location).trace_id, stored);
        }
    }

    #[test]
    fn both_kinds_of_address_fit_the_column() {
        assert_eq!(address(Some(&[203, 0, 113, 7])).to_string(), "::ffff:203.0.113.7");
        assert_eq!(
            address(Some(&[0x20; 16])).to_string(),
            "2020:2020:2020:2020:2020:2020:2020:2020"
        );
        assert_eq!(address(None), Ipv6Addr::UNSPECIFIED);
        assert_eq!(address(Some(&[1, 2, 3])), Ipv6Addr::UNSPECIFIED);
    }

    #[test]
    fn a_number_that_does_not_fit_its_column_is_unknown() {
        assert_eq!(unsigned::<i32, u16>(Some(302)), 302);
        assert_eq!(unsigned::<i32, u16>(Some(-1)), 0);
        assert_eq!(unsigned::<i32, u16>(Some(65_536)), 0);
        assert_eq!(unsigned::<i64, u32>(None), 0);
    }
}
