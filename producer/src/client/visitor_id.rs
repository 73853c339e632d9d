//! The visitor id of a click: a keyed hash that is the same during one day, and unrelated to other days.
//!
//! Pure. The algorithm never changes: two algorithms would give one visitor two ids on one day.

use hmac::{Hmac, KeyInit as _, Mac as _};
use schemas::RawClick;
use schemas::bounds::DAY_US;
use sha2::Sha256;

use crate::click::ClientIp;

/// The random key of one day.
pub type DayKey = [u8; 32];

/// The HMAC state of a key.
#[derive(Debug, Clone)]
pub struct VisitorKey(Hmac<Sha256>);

impl From<DayKey> for VisitorKey {
    fn from(key: DayKey) -> Self {
        // The standard pads a key that is shorter than a block with zeros.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(&key);
        Self(Hmac::new(&block.into()))
    }
}

/// A UTC day, counted from 1970-01-01.
pub type Day = i64;

/// The day of a click.
pub fn day(occurred_at: i64) -> Day {
    occurred_at.div_euclid(DAY_US)
}

/// The key of a day, derived from a secret. Without the secret it is not distinguishable from a random key.
pub fn derived_key(secret: &DayKey, day: Day) -> DayKey {
    let mut hash = VisitorKey::from(*secret).0;
    hash.update(&day.to_be_bytes());
    hash.finalize().into_bytes().into()
}

/// The visitor id of a click: the first 8 bytes of HMAC-SHA-256 over client prefix, agent and domain, each
/// after its length. Without an address or an agent there is no id.
pub fn id(key: &VisitorKey, client_ip: Option<&ClientIp>, click: &RawClick<'_>) -> Option<[u8; 8]> {
    let client_ip = client_ip?;
    let parts = [
        client_ip.prefix(),
        click.user_agent?.as_bytes(),
        click.domain.unwrap_or_default().as_bytes(),
    ];
    let mut hash = key.0.clone();
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into_bytes().first_chunk::<8>().copied()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn of(key: u8, address: &str, agent: &str, domain: Option<&str>) -> Option<[u8; 8]> {
        let click = RawClick {
            user_agent: (!agent.is_empty()).then_some(agent),
            domain,
            ..RawClick::new(Uuid::from_u128(7), 0, "a")
        };
        id(&VisitorKey::from([key; 32]), Some(&ClientIp::new(address.parse().unwrap())), &click)
    }

    #[test]
    fn an_id_depends_on_day_client_prefix_agent_and_domain_only() {
        let one = of(1, "203.0.113.7", "M", Some("go.example")).unwrap();
        assert_eq!(of(1, "::ffff:203.0.113.7", "M", Some("go.example")), Some(one));
        for (key, address, agent, domain) in [
            (2, "203.0.113.7", "M", Some("go.example")),
            (1, "203.0.113.8", "M", Some("go.example")),
            (1, "203.0.113.7", "Mg", Some("o.example")),
            (1, "203.0.113.7", "N", Some("go.example")),
            (1, "203.0.113.7", "M", Some("go.example2")),
            (1, "203.0.113.7", "M", None),
        ] {
            assert_ne!(of(key, address, agent, domain), Some(one), "{key} {address} {agent}");
        }
        let v6 = of(1, "2001:db8:1:2:3::4", "M", None);
        assert_eq!(of(1, "2001:db8:1:2:5::6", "M", None), v6, "a device changes these bits itself");
        assert_ne!(of(1, "2001:db8:1:3:3::4", "M", None), v6);
        assert_eq!(of(1, "203.0.113.7", "", None), None);
    }

    #[test]
    fn the_algorithm_never_changes() {
        let made = of(9, "203.0.113.7", "Mozilla/5.0", Some("go.example")).unwrap();
        assert_eq!(made, RECIPE);
    }

    #[test]
    fn m15_a_derived_key_is_of_one_secret_and_one_day() {
        let key = derived_key(&[1; 32], 7);
        assert_eq!(derived_key(&[1; 32], 7), key);
        assert_ne!(derived_key(&[1; 32], 8), key);
        assert_ne!(derived_key(&[2; 32], 7), key);
    }

    #[test]
    fn a_day_begins_at_midnight_utc_before_1970_too() {
        for (at, expected) in [(0, 0), (DAY_US - 1, 0), (DAY_US, 1), (-1, -1), (-DAY_US, -1)] {
            assert_eq!(day(at), expected, "{at}");
        }
    }

    /// Computed by another program.
    const RECIPE: [u8; 8] = [0xe0, 0x0b, 0xd4, 0x35, 0x9d, 0xdc, 0xe7, 0xf9];
}
