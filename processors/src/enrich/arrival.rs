//! Where a visitor came from, by everything that a click says of it.
//!
//! Who it was counts in this order: the link's author (`utm_source`, `source`, `ref`), the referrer, a
//! click id of the visited address, the app whose own browser asks. A click id in the target's
//! address is as old as the link, so it is named and decides nothing.

use std::sync::LazyLock;

use schemas::{Outcome, RawClick};

use crate::enrich::campaign::Tags;
use crate::enrich::channel::{Channel, Says};
use crate::enrich::medium::{Medium, Origin};
use crate::enrich::referrer::{Referrer, bare};
use crate::enrich::referrer_table::Sources;

/// What the rules say of where a visitor came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// What people call the place; empty for none.
    pub source: &'a str,
    /// How one gets from there to a link.
    pub medium: Medium,
    /// How the visitor was won.
    pub channel: Channel,
    /// Name of the parameter that a network added to the click; empty for none.
    pub click_id_param: &'a str,
    /// The app whose own browser asked; empty for none that we know.
    pub in_app: &'a str,
    /// What the visitor used: `link`, `qr`, or `page` for what is no link.
    pub trigger: &'static str,
}

impl<'a> Arrival<'a> {
    /// Judges; `app` is what the user agent says of an app.
    pub(super) fn of<'t: 'a>(
        click: &RawClick<'_>,
        (visited, target): (&'t Tags, &'t Tags),
        referrer: &'t Referrer,
        app: Option<&'t Origin>,
        sources: &'t Sources,
    ) -> Self {
        let app = click.x_requested_with.and_then(|app| sources.of_app(app)).or(app);
        let stripped = click.identifiers_stripped && referrer.origin.medium == Medium::Direct;
        let referred = if stripped {
            &ELSEWHERE.unknown
        } else if is_same(click.domain, &referrer.host) {
            &ELSEWHERE.internal
        } else {
            &referrer.origin
        };
        let says = if visited.says == Says::Nothing { target.says } else { visited.says };
        let named = visited.origin.as_ref().or(target.origin.as_ref());
        let nowhere = matches!(referred.medium, Medium::Direct | Medium::Unknown);
        let id = visited.click_id.as_ref();
        let origin = named
            .or((!nowhere).then_some(referred))
            .or(id.map(|id| &id.origin))
            .or(app)
            .unwrap_or(referred);
        let named = says.medium().filter(|_| origin.medium == Medium::Referral);
        let medium = named.unwrap_or(origin.medium);
        let paid = id.is_some_and(|id| id.paid);
        let named_id = id.or(target.click_id.as_ref());
        Self {
            source: &origin.source,
            medium,
            channel: Channel::of(says, paid, medium),
            click_id_param: named_id.map_or("", |id| &*id.param),
            in_app: app.map_or("", |app| &*app.source),
            trigger: trigger(click, visited, says),
        }
    }
}

/// Origins without a name.
static ELSEWHERE: LazyLock<Elsewhere> = LazyLock::new(|| Elsewhere {
    internal: Origin { medium: Medium::Internal, ..Origin::default() },
    unknown: Origin::default(),
});

struct Elsewhere {
    internal: Origin,
    unknown: Origin,
}

fn trigger(click: &RawClick<'_>, visited: &Tags, says: Says) -> &'static str {
    if visited.qr || says == Says::Qr {
        "qr"
    } else if matches!(click.outcome, Outcome::Served | Outcome::BaseUrl | Outcome::Reserved) {
        "page"
    } else {
        "link"
    }
}

fn is_same(domain: Option<&str>, host: &str) -> bool {
    !host.is_empty() && domain.is_some_and(|domain| bare(domain).eq_ignore_ascii_case(host))
}
