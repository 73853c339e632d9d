//! A naive way from a record to its row: a generic decoder with a tree of values, and all rules for
//! every click, without caches. Rules and encoder are ours.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use records::encode::columns::{ClickRow, Columns};
use records::encode::encoded_rows::{EncodeBuffers, EncodedRows};
use records::enrich::Enricher;
use records::enrich::rule_set::RuleSet;
use schemas::{NEWEST, RawClick};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;
use uuid::Uuid;

use super::stages::location;

/// Converts all records into insert bodies, in blocks of `block`; returns their bytes.
pub fn take(rules: &Arc<RuleSet>, records: &[Vec<u8>], block: usize) -> Result<usize> {
    let schema = Schema::parse_str(NEWEST)?;
    let reader = GenericDatumReader::builder(&schema).build()?;
    let (mut enricher, mut buffers) = (Enricher::new(Arc::clone(rules)), EncodeBuffers::default());
    let mut sum = 0;
    for part in records.chunks(block) {
        let mut columns = Columns::for_rows(part.len());
        for (offset, value) in (0..).zip(part) {
            let value = reader.read_value(&mut &value[5..])?;
            let click = click(&value)?;
            enricher.clear_caches();
            columns.push(&ClickRow::new(&click, &enricher.enrich(&click), location(offset)));
        }
        sum += EncodedRows::encode(&mut columns, &mut buffers)?.bytes();
    }
    Ok(sum)
}

fn click(value: &Value) -> Result<RawClick<'_>> {
    let Value::Record(fields) = value else { anyhow::bail!("no record") };
    let mut click = RawClick::new(Uuid::nil(), 0, "");
    for (name, value) in fields {
        let value = match value {
            Value::Union(_, value) => &**value,
            value => value,
        };
        match name.as_str() {
            "event_id" => click.event_id = Uuid::from_slice(bytes(value).context("event_id")?)?,
            "occurred_at" => click.occurred_at = long(value).context("occurred_at")?,
            "origin" => click.origin = symbol(value)?,
            "source" => click.source = text(value).unwrap_or_default(),
            "domain" => click.domain = text(value),
            "slug" => click.slug = text(value).unwrap_or_default(),
            "query" => click.query = text(value),
            "link_id" => click.link_id = text(value),
            "link_version" => click.link_version = long(value),
            "outcome" => click.outcome = symbol(value)?,
            "status" => click.status = long(value).unwrap_or_default().try_into()?,
            "target_url" => click.target_url = text(value),
            "method" => click.method = symbol(value)?,
            "scheme" => click.scheme = text(value),
            "http_version" => click.http_version = text(value),
            "client_ip" => click.client_ip = bytes(value),
            "client_ip_policy" => click.client_ip_policy = symbol(value)?,
            "visitor_id" => click.visitor_id = bytes(value).map(TryInto::try_into).transpose()?,
            "identifiers_stripped" => click.identifiers_stripped = *value == Value::Boolean(true),
            "user_agent" => click.user_agent = text(value),
            "referer" => click.referer = text(value),
            "accept_language" => click.accept_language = text(value),
            "purpose" => click.purpose = text(value),
            "sec_fetch_site" => click.sec_fetch_site = text(value),
            "sec_fetch_mode" => click.sec_fetch_mode = text(value),
            "sec_fetch_dest" => click.sec_fetch_dest = text(value),
            "sec_ch_ua" => click.sec_ch_ua = text(value),
            "sec_ch_ua_mobile" => click.sec_ch_ua_mobile = text(value),
            "sec_ch_ua_platform" => click.sec_ch_ua_platform = text(value),
            "x_requested_with" => click.x_requested_with = text(value),
            "dnt" => click.dnt = *value == Value::Boolean(true),
            "gpc" => click.gpc = *value == Value::Boolean(true),
            "edge_country" => click.edge_country = text(value),
            "latency_us" => click.latency_us = long(value).map(TryInto::try_into).transpose()?,
            "agent_kind" => click.agent_kind = symbol(value)?,
            name => anyhow::bail!("{name} is no field of a click"),
        }
    }
    Ok(click)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => Some(bytes),
        _ => None,
    }
}

fn long(value: &Value) -> Option<i64> {
    match value {
        Value::Long(long) | Value::TimestampMicros(long) => Some(*long),
        Value::Int(int) => Some(i64::from(*int)),
        _ => None,
    }
}

fn symbol<'v, T: Deserialize<'v>>(value: &'v Value) -> Result<T> {
    let Value::Enum(_, symbol) = value else { anyhow::bail!("no symbol") };
    let symbol: serde::de::value::StrDeserializer<'v, Error> = symbol.as_str().into_deserializer();
    Ok(T::deserialize(symbol)?)
}

#[cfg(test)]
mod tests {
    use schemas::{Encoder, SchemaId};

    use super::*;
    use crate::clicks::Clicks;

    #[test]
    fn the_naive_decoder_reads_every_field_of_the_newest_schema() {
        let (encoder, schema) = (Encoder::new(SchemaId(1)), Schema::parse_str(NEWEST).unwrap());
        let reader = GenericDatumReader::builder(&schema).build().unwrap();
        let mut clicks = Clicks::new(100);
        for _ in 0..100 {
            let (expected, mut record) = (clicks.next(), Vec::new());
            encoder.encode(&expected, &mut record).unwrap();
            let value = reader.read_value(&mut &record[5..]).unwrap();
            assert_eq!(click(&value).unwrap(), expected);
        }
    }
}
