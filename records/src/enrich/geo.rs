//! Locations of addresses, from a MaxMind DB file: flat records or nested ones, countries or cities.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};
use serde::de::IgnoredAny;

use crate::enrich::continent::continent;

/// Maximum of locations in memory; beyond it, all are dropped and read again.
const LOCATIONS_MAX: usize = 1 << 16;
/// Addresses whose location is cached, a power of two.
const RECENT: usize = 1 << 12;
/// Characters of a name that are kept.
const NAME_MAX: usize = 64;

/// The file in memory, so that a truncation of the file on disk has no effect.
pub(super) struct Geo {
    reader: Reader<Vec<u8>>,
    build: String,
}

impl std::fmt::Debug for Geo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Geo").field("build", &self.build).finish_non_exhaustive()
    }
}

/// The location of an address. Empty text is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// ISO 3166-1, such as `DE`.
    pub country: String,
    /// ISO 3166-2, such as `DE-BE`, where the file has codes; else its name.
    pub region: String,
    /// Its English name.
    pub city: String,
}

impl Location {
    /// The location of an unknown address.
    pub(super) const UNKNOWN: &'static Self =
        &Self { country: String::new(), region: String::new(), city: String::new() };
}

type Path = &'static [PathElement<'static>];
const COUNTRY: [Path; 3] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];
const REGION_CODE: Path =
    &[PathElement::Key("subdivisions"), PathElement::Index(0), PathElement::Key("iso_code")];
const REGION: [Path; 3] = [
    &[
        PathElement::Key("subdivisions"),
        PathElement::Index(0),
        PathElement::Key("names"),
        PathElement::Key("en"),
    ],
    &[PathElement::Key("state1")],
    &[PathElement::Key("region")],
];
const CITY: [Path; 2] = [
    &[PathElement::Key("city"), PathElement::Key("names"), PathElement::Key("en")],
    &[PathElement::Key("city")],
];

impl Geo {
    /// Reads a whole file: each of its networks, and each record once. (The library's own check also
    /// requires a description, which real files do not have.)
    ///
    /// # Errors
    /// It is not such a file, or is damaged.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
        let data = reader.metadata();
        let build = format!("{} {}", data.database_type, date(data.build_epoch));
        let geo = Self { reader, build };
        geo.read_through().map_err(|error| error.to_string())?;
        Ok(geo)
    }

    fn read_through(&self) -> Result<(), MaxMindDbError> {
        let mut records: HashSet<usize, RandomState> = HashSet::default();
        for network in self.reader.networks(WithinOptions::default())? {
            let network = network?;
            if let Some(record) = network.offset()
                && records.insert(record)
            {
                network.decode::<IgnoredAny>()?;
            }
        }
        if records.is_empty() {
            return Err(MaxMindDbError::invalid_database("the file has no network"));
        }
        Ok(())
    }

    /// Its type, and the day (UTC) on which it was built.
    pub(super) fn build(&self) -> &str {
        &self.build
    }

    /// When it was built, seconds since 1970; `None` if the file states no such time.
    pub(super) fn built_at(&self) -> Option<i64> {
        i64::try_from(self.reader.metadata().build_epoch).ok().filter(|seconds| *seconds > 0)
    }

    /// The file's record of an address: the same number for every address of it.
    fn record(&self, address: IpAddr) -> Option<usize> {
        self.reader.lookup(address).ok()?.offset()
    }

    fn location(&self, address: IpAddr) -> Location {
        let Ok(found) = self.reader.lookup(address) else { return Location::default() };
        let text = |path: Path| {
            let text = found.decode_path::<&str>(path).ok().flatten()?;
            let kept = text.chars().take(NAME_MAX).collect::<String>();
            (!kept.is_empty()).then_some(kept)
        };
        let first = |paths: &[Path]| paths.iter().find_map(|path| text(path)).unwrap_or_default();
        let country = first(&COUNTRY);
        // A code is two letters, and has a continent.
        let country = if continent(&country).is_empty() { String::new() } else { country };
        let region = match text(REGION_CODE) {
            Some(code) if !country.is_empty() => format!("{country}-{code}"),
            Some(_) | None => first(&REGION),
        };
        Location { country, region, city: first(&CITY) }
    }
}

/// The locations of one file that were looked up.
pub(super) struct LocationCache {
    by_record: HashMap<usize, u32, RandomState>,
    /// The first is that of an unknown address.
    locations: Vec<Location>,
    recent: Box<[(u128, u32)]>,
}

impl std::fmt::Debug for LocationCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocationCache")
            .field("locations", &self.locations.len())
            .finish_non_exhaustive()
    }
}

impl Default for LocationCache {
    fn default() -> Self {
        Self {
            by_record: HashMap::default(),
            locations: vec![Location::default()],
            recent: vec![(0, 0); RECENT].into(),
        }
    }
}

impl LocationCache {
    /// The location of `address`, which has the form of the click: bytes.
    pub(super) fn of(&mut self, geo: &Geo, address: &[u8]) -> &Location {
        let Some(address) = public(address) else { return &self.locations[0] };
        let key = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let slot = slot(key);
        let (known, number) = self.recent[slot];
        if known == key {
            return &self.locations[number as usize];
        }
        let number = self.number(geo, address);
        self.recent[slot] = (key, number);
        &self.locations[number as usize]
    }

    fn number(&mut self, geo: &Geo, address: IpAddr) -> u32 {
        let Some(record) = geo.record(address) else { return 0 };
        if let Some(&number) = self.by_record.get(&record) {
            return number;
        }
        if self.locations.len() >= LOCATIONS_MAX {
            *self = Self::default();
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most LOCATIONS_MAX, which is 2^16")]
        let number = self.locations.len() as u32;
        self.locations.push(geo.location(address));
        self.by_record.insert(record, number);
        number
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the hash mixes the low bits")]
fn slot(key: u128) -> usize {
    let mixed = (key as u64 ^ (key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize & (RECENT - 1)
}

/// A public address; IPv4 also in its mapped form. Private and reserved addresses have no location,
/// whatever the file holds.
fn public(bytes: &[u8]) -> Option<IpAddr> {
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    let is_reserved = match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || (a == 100 && b & 0xc0 == 64)
                || a == 0
                || a >= 224
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.segments()[..2] == [0x2001, 0x0db8]
        }
    };
    (!is_reserved).then_some(address)
}

/// The day of a time in seconds since 1970, as `2026-06-01`.
fn date(seconds: u64) -> String {
    // A file may hold any number; one that is not a time becomes 1970.
    let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%F").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_time_becomes_its_day() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_780_344_000, "2026-06-01"),
            (1_780_358_399, "2026-06-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn private_and_reserved_addresses_have_no_location() {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        for bytes in [
            vec![10, 0, 0, 1],
            vec![192, 168, 1, 1],
            vec![100, 64, 0, 1],
            vec![127, 0, 0, 1],
            vec![203, 0, 113, 7],
            vec![0, 0, 0, 0],
            vec![255, 255, 255, 255],
            v6("::"),
            v6("::1"),
            v6("fd00::1"),
            v6("fe80::1"),
            v6("2001:db8::1"),
            v6("::ffff:10.0.0.1"),
            vec![],
            vec![1, 2, 3],
        ] {
            assert_eq!(public(&bytes), None, "{bytes:?}");
        }
        assert_eq!(public(&v6("::ffff:8.8.8.8")), public(&[8, 8, 8, 8]));
        assert!(public(&v6("2001:4860:4860::8888")).is_some());
    }
}
