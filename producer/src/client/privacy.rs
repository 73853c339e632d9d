//! What a click may say of its visitor: by the operator's policies, the visitor's signals and the
//! link's opt-out.
//!
//! Pure. A stripped click loses what the schema names, and what tells the same in other words; that
//! somebody clicked, when, on what, and what the author of the link says of a campaign stays.

use schemas::{ClientIpPolicy, RawClick};

use crate::click::ClientIp;

/// What is done when somebody asked for privacy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Policy {
    /// The click is recorded as any other; that they asked is recorded, too.
    #[default]
    Ignore,
    /// The click is recorded without what identifies its visitor.
    Strip,
    /// Nothing is recorded; the click is counted.
    Drop,
}

impl Policy {
    /// Stable name: metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Strip => "strip",
            Self::Drop => "drop",
        }
    }
}

/// How much of an address a record carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AddressPolicy {
    /// All of it.
    #[default]
    Full,
    /// Its network: /24, or /48 of IPv6.
    Truncated,
    /// Nothing.
    None,
}

/// Who asked for privacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// The visitor, by `Sec-GPC: 1`.
    Gpc,
    /// The visitor, by `DNT: 1`.
    Dnt,
    /// The author of the link.
    OptOut,
}

impl Asked {
    /// Stable name: metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gpc => "gpc",
            Self::Dnt => "dnt",
            Self::OptOut => "opt_out",
        }
    }
}

/// The policies of one operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// When the visitor sends GPC or DNT.
    pub signals: Policy,
    /// When the link opts out.
    pub links: Policy,
    /// Of every other click.
    pub address: AddressPolicy,
}

impl Privacy {
    /// What is done with a click, the strictest of what was asked for, and who asked for it.
    pub fn decide(&self, click: &RawClick<'_>, opted_out: bool) -> Option<(Policy, Asked)> {
        let asked = [
            (opted_out, self.links, Asked::OptOut),
            (click.gpc, self.signals, Asked::Gpc),
            (click.dnt, self.signals, Asked::Dnt),
        ];
        let acts =
            asked.into_iter().filter(|(asked, policy, _)| *asked && *policy != Policy::Ignore);
        // The first of the strictest.
        acts.map(|(_, policy, who)| (policy, who)).rev().max_by_key(|(policy, _)| *policy)
    }

    /// Gives a click as much of its address as the policy lets in.
    pub fn address<'a>(&self, click: &mut RawClick<'a>, client_ip: Option<&'a ClientIp>) {
        (click.client_ip, click.client_ip_policy) = match self.address {
            AddressPolicy::Full => (client_ip.map(ClientIp::as_bytes), ClientIpPolicy::Full),
            AddressPolicy::Truncated => {
                (client_ip.map(ClientIp::network), ClientIpPolicy::Truncated)
            }
            AddressPolicy::None => (None, ClientIpPolicy::None),
        };
    }
}

/// Takes away what identifies the visitor of a click.
pub fn strip(click: &mut RawClick<'_>) {
    *click = RawClick {
        client_ip: None,
        client_ip_policy: ClientIpPolicy::None,
        visitor_id: None,
        identifiers_stripped: true,
        user_agent: None,
        referer: None,
        // They tell the agent and where it is in other words.
        accept_language: None,
        sec_ch_ua: None,
        sec_ch_ua_mobile: None,
        sec_ch_ua_platform: None,
        x_requested_with: None,
        edge_country: None,
        ..*click
    };
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn click(gpc: bool, dnt: bool) -> RawClick<'static> {
        RawClick { gpc, dnt, ..RawClick::new(Uuid::from_u128(7), 0, "a") }
    }

    #[test]
    fn the_strictest_of_what_was_asked_for_is_done() {
        use Policy::{Drop, Ignore, Strip};
        for (signals, links, (gpc, dnt, opted_out), expected) in [
            (Ignore, Ignore, (true, true, true), None),
            (Strip, Strip, (false, false, false), None),
            (Strip, Ignore, (true, false, true), Some((Strip, Asked::Gpc))),
            (Strip, Ignore, (false, true, false), Some((Strip, Asked::Dnt))),
            (Strip, Ignore, (false, false, true), None),
            (Ignore, Strip, (true, true, true), Some((Strip, Asked::OptOut))),
            (Strip, Strip, (true, true, true), Some((Strip, Asked::OptOut))),
            (Drop, Strip, (true, true, true), Some((Drop, Asked::Gpc))),
            (Strip, Drop, (true, true, true), Some((Drop, Asked::OptOut))),
            (Drop, Strip, (false, false, true), Some((Strip, Asked::OptOut))),
        ] {
            let privacy = Privacy { signals, links, address: AddressPolicy::Full };
            let decided = privacy.decide(&click(gpc, dnt), opted_out);
            assert_eq!(decided, expected, "{privacy:?} {gpc} {dnt} {opted_out}");
        }
    }

    #[test]
    fn a_record_carries_as_much_of_an_address_as_the_policy_says() {
        let v4 = ClientIp::new("203.0.113.77".parse().unwrap());
        let v6 = ClientIp::new("2001:db8:1:2::3".parse().unwrap());
        for (address, word) in [
            (AddressPolicy::Full, ClientIpPolicy::Full),
            (AddressPolicy::Truncated, ClientIpPolicy::Truncated),
            (AddressPolicy::None, ClientIpPolicy::None),
        ] {
            let privacy = Privacy { address, ..Privacy::default() };
            for ip in [&v4, &v6] {
                let mut click = click(false, false);
                privacy.address(&mut click, Some(ip));
                let expected = match address {
                    AddressPolicy::Full => Some(ip.as_bytes()),
                    AddressPolicy::Truncated => Some(ip.network()),
                    AddressPolicy::None => None,
                };
                assert_eq!((click.client_ip, click.client_ip_policy), (expected, word));
                assert_eq!(click.check(), Ok(()));
            }
        }
    }

    #[test]
    fn a_stripped_click_says_what_was_clicked_and_nothing_of_who() {
        let text = Some("x");
        let mut full = RawClick {
            client_ip: Some(&[1, 2, 3, 4]),
            visitor_id: Some([1; 8]),
            user_agent: text,
            referer: text,
            accept_language: text,
            sec_ch_ua: text,
            sec_ch_ua_mobile: text,
            sec_ch_ua_platform: text,
            x_requested_with: text,
            edge_country: text,
            query: Some("utm_source=mail"),
            link_id: text,
            purpose: text,
            ..click(true, false)
        };
        strip(&mut full);
        let expected = RawClick {
            client_ip_policy: ClientIpPolicy::None,
            identifiers_stripped: true,
            query: Some("utm_source=mail"),
            link_id: text,
            purpose: text,
            ..click(true, false)
        };
        assert_eq!(full, expected);
    }
}
