//! A click as an Avro datum by the newest schema.
//!
//! Written here and not by a serializer, which looks up each field and word by its name: a redirect
//! writes its click before it answers, and that was a tenth of its time. Pure; readers use a library.

use crate::click::{Contract, RawClick};

/// Appends the datum of a click, without a frame.
///
/// # Errors
/// A click that breaks its [`Contract`]; nothing was appended.
#[expect(clippy::too_many_lines, reason = "a line for each field")]
pub fn write(click: &RawClick<'_>, into: &mut Vec<u8>) -> Result<(), Contract> {
    click.check()?;
    // Every field is named: one that comes new cannot be passed over.
    let RawClick {
        event_id,
        occurred_at,
        origin,
        source,
        domain,
        slug,
        query,
        link_id,
        link_version,
        outcome,
        status,
        target_url,
        method,
        scheme,
        http_version,
        client_ip,
        client_ip_policy,
        visitor_id,
        identifiers_stripped,
        user_agent,
        referer,
        accept_language,
        purpose,
        sec_fetch_site,
        sec_fetch_mode,
        sec_fetch_dest,
        sec_ch_ua,
        sec_ch_ua_mobile,
        sec_ch_ua_platform,
        x_requested_with,
        dnt,
        gpc,
        edge_country,
        latency_us,
    } = *click;
    into.extend_from_slice(event_id.as_bytes());
    long(occurred_at, into);
    long(origin.index(), into);
    bytes(source.as_bytes(), into);
    text(domain, into);
    bytes(slug.as_bytes(), into);
    text(query, into);
    text(link_id, into);
    option(link_version, into, long);
    long(outcome.index(), into);
    long(status.into(), into);
    text(target_url, into);
    long(method.index(), into);
    text(scheme, into);
    text(http_version, into);
    option(client_ip, into, bytes);
    long(client_ip_policy.index(), into);
    option(visitor_id, into, |id, into| into.extend_from_slice(&id));
    into.push(identifiers_stripped.into());
    for header in [
        user_agent,
        referer,
        accept_language,
        purpose,
        sec_fetch_site,
        sec_fetch_mode,
        sec_fetch_dest,
        sec_ch_ua,
        sec_ch_ua_mobile,
        sec_ch_ua_platform,
        x_requested_with,
    ] {
        text(header, into);
    }
    into.extend_from_slice(&[dnt.into(), gpc.into()]);
    text(edge_country, into);
    option(latency_us.map(i64::from), into, long);
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
