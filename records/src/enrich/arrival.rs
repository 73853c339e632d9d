//! Where a visitor came from, by all fields of a click.
//!
//! The origin is the first of: the link's author (`utm_source`, `source`, `ref`), the referrer, a click
//! id of the visited address, the app whose in-app browser sent the request. A click id in the target's
//! address is as old as the link: it is recorded, and does not decide.

use std::sync::LazyLock;

use schemas::{Outcome, RawClick};

use crate::enrich::address::bare;
use crate::enrich::campaign::Tags;
use crate::enrich::channel::{Channel, DeclaredMedium};
use crate::enrich::medium::{Medium, Origin};
use crate::enrich::referrer::Referrer;
use crate::enrich::referrer_table::ReferrerTable;

/// Where a visitor came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Name of the origin; empty for none.
    pub source: &'a str,
    /// Medium of the origin.
    pub medium: Medium,
    /// Marketing channel.
    pub channel: Channel,
    /// Name of the parameter that a network added to the click; empty for none.
    pub click_id_param: &'a str,
    /// The app whose in-app browser sent the request; empty if none is known.
    pub in_app: &'a str,
    /// What the visitor used: `link`, `qr`, or `page` for a page without a link.
    pub trigger: &'static str,
}

impl<'a> Arrival<'a> {
    /// Decides; `app` is the app that the user agent names.
    pub(super) fn of<'t: 'a>(
        click: &RawClick<'_>,
        ClickTags { visited, target }: ClickTags<'t>,
        referrer: &'t Referrer,
        app: Option<&'t Origin>,
        referrers: &'t ReferrerTable,
    ) -> Self {
        let app = click.x_requested_with.and_then(|app| referrers.of_app(app)).or(app);
        let stripped = click.identifiers_stripped && referrer.origin.medium == Medium::Direct;
        let referred = if stripped {
            &UNNAMED.unknown
        } else if is_same(click.domain, &referrer.host) {
            &UNNAMED.internal
        } else {
            &referrer.origin
        };
        let declared = if visited.declared == DeclaredMedium::None {
            target.declared
        } else {
            visited.declared
        };
        let named = visited.origin.as_ref().or(target.origin.as_ref());
        let is_unreferred = matches!(referred.medium, Medium::Direct | Medium::Unknown);
        let id = visited.click_id.as_ref();
        let origin = named
            .or((!is_unreferred).then_some(referred))
            .or(id.map(|id| &id.origin))
            .or(app)
            .unwrap_or(referred);
        let named = declared.medium().filter(|_| origin.medium == Medium::Referral);
        let medium = named.unwrap_or(origin.medium);
        let paid = id.is_some_and(|id| id.paid);
        let named_id = id.or(target.click_id.as_ref());
        Self {
            source: &origin.source,
            medium,
            channel: Channel::of(declared, paid, medium),
            click_id_param: named_id.map_or("", |id| &*id.param),
            in_app: app.map_or("", |app| &*app.source),
            trigger: trigger(click, visited, declared),
        }
    }
}

/// Parameters of both addresses of a click.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClickTags<'t> {
    pub(super) visited: &'t Tags,
    pub(super) target: &'t Tags,
}

/// Origins without a name.
static UNNAMED: LazyLock<UnnamedOrigins> = LazyLock::new(|| UnnamedOrigins {
    internal: Origin { medium: Medium::Internal, ..Origin::default() },
    unknown: Origin::default(),
});

struct UnnamedOrigins {
    internal: Origin,
    unknown: Origin,
}

fn trigger(click: &RawClick<'_>, visited: &Tags, declared: DeclaredMedium) -> &'static str {
    if visited.qr || declared == DeclaredMedium::Qr {
        "qr"
    } else if matches!(click.outcome, Outcome::Served | Outcome::BaseUrl | Outcome::Reserved) {
        "page"
    } else {
        "link"
    }
}

fn is_same(domain: Option<&str>, host: &str) -> bool {
    let is_host = |domain: &str| bare(without_port(domain)).eq_ignore_ascii_case(host);
    !host.is_empty() && domain.is_some_and(is_host)
}

/// A domain without its port, which older records hold.
fn without_port(domain: &str) -> &str {
    match domain.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => domain,
    }
}

#[cfg(test)]
mod tests;
