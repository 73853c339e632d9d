//! A click as an Avro datum by the newest schema.
//!
//! Written here and not by a serializer, which looks up each field and word by its name: a redirect
//! writes its click before it answers, and that was a tenth of its time. Pure; readers use a library.

use crate::click::{Contract, RawClick};

/// Appends the datum of a click, without a frame.
///
/// # Errors
/// A click that breaks its [`Contract`]; nothing was appended.
pub fn write(click: &RawClick<'_>, into: &mut Vec<u8>) -> Result<(), Contract> {
    click.check()?;
    into.extend_from_slice(click.event_id.as_bytes());
    long(click.occurred_at, into);
    long(click.origin.index(), into);
    bytes(click.source.as_bytes(), into);
    text(click.domain, into);
    bytes(click.slug.as_bytes(), into);
    text(click.query, into);
    text(click.link_id, into);
    option(click.link_version, into, long);
    long(click.outcome.index(), into);
    long(click.status.into(), into);
    text(click.target_url, into);
    long(click.method.index(), into);
    text(click.scheme, into);
    text(click.http_version, into);
    option(click.client_ip, into, bytes);
    long(click.client_ip_policy.index(), into);
    option(click.visitor_id, into, |id, into| into.extend_from_slice(&id));
    into.push(click.identifiers_stripped.into());
    text(click.user_agent, into);
    text(click.referer, into);
    text(click.accept_language, into);
    text(click.purpose, into);
    text(click.sec_fetch_site, into);
    text(click.sec_fetch_mode, into);
    text(click.sec_fetch_dest, into);
    text(click.sec_ch_ua, into);
    text(click.sec_ch_ua_mobile, into);
    text(click.sec_ch_ua_platform, into);
    text(click.x_requested_with, into);
    into.extend_from_slice(&[click.dnt.into(), click.gpc.into()]);
    text(click.edge_country, into);
    option(click.latency_us.map(i64::from), into, long);
    Ok(())
}

/// A union of null and something, in this order.
fn option<T>(value: Option<T>, into: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    long(value.is_some().into(), into);
    if let Some(value) = value {
        write(value, into);
    }
}

fn text(text: Option<&str>, into: &mut Vec<u8>) {
    option(text, into, |text, into| bytes(text.as_bytes(), into));
}

fn bytes(bytes: &[u8], into: &mut Vec<u8>) {
    // No slice is longer than an i64 says.
    long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), into);
    into.extend_from_slice(bytes);
}

/// Zigzag, then seven bits a byte, the lowest first.
fn long(number: i64, into: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return into.push(low);
        }
        into.push(low | 0x80);
    }
}
