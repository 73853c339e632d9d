//! What a click may record of its visitor. The operator's policies, the visitor's signals and the
//! link's opt-out decide it.
//!
//! Pure. A stripped click loses the fields that the schema names as identifying, and all others that
//! identify the same visitor, such as parameters of its query and target; the time, the link and the
//! campaign of the link's author stay.

use schemas::{AgentKind, ClientIpPolicy, RawClick};

use crate::click::ClientIp;
use crate::client::stripped_texts::StrippedTexts;

/// How a click is recorded when the visitor or the link requests privacy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PrivacyPolicy {
    /// Record the click like any other, with the privacy signal
    #[default]
    Ignore,
    /// Record the click without the fields that identify its visitor
    Strip,
    /// Record nothing; the click is only counted
    Drop,
}

impl PrivacyPolicy {
    /// Stable name: metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Strip => "strip",
            Self::Drop => "drop",
        }
    }
}

/// How much of the client's address a click records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AddressPolicy {
    /// The full address
    #[default]
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6
    Truncated,
    /// No address
    None,
}

/// Who requests privacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrivacyRequest {
    /// The visitor, by `Sec-GPC: 1`.
    Gpc,
    /// The visitor, by `DNT: 1`.
    Dnt,
    /// The author of the link.
    OptOut,
}

impl PrivacyRequest {
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
pub struct PrivacyPolicies {
    /// When the visitor sends GPC or DNT.
    pub signals: PrivacyPolicy,
    /// When the link opts out.
    pub links: PrivacyPolicy,
    /// For every other click.
    pub address: AddressPolicy,
}

impl PrivacyPolicies {
    /// The strictest policy that applies to a click, and who requests it.
    pub fn decide(
        &self,
        click: &RawClick<'_>,
        opted_out: bool,
    ) -> Option<(PrivacyPolicy, PrivacyRequest)> {
        let requests = [
            (opted_out, self.links, PrivacyRequest::OptOut),
            (click.gpc, self.signals, PrivacyRequest::Gpc),
            (click.dnt, self.signals, PrivacyRequest::Dnt),
        ];
        let effective = requests
            .into_iter()
            .filter(|(is_made, policy, _)| *is_made && *policy != PrivacyPolicy::Ignore);
        // Of equally strict policies the first.
        effective
            .map(|(_, policy, request)| (policy, request))
            .rev()
            .max_by_key(|(policy, _)| *policy)
    }

    /// Sets the part of the client's address that the policy allows a click to record.
    pub fn set_address<'a>(&self, click: &mut RawClick<'a>, client_ip: Option<&'a ClientIp>) {
        (click.client_ip, click.client_ip_policy) = match self.address {
            AddressPolicy::Full => (client_ip.map(ClientIp::as_bytes), ClientIpPolicy::Full),
            AddressPolicy::Truncated => {
                (client_ip.map(ClientIp::network), ClientIpPolicy::Truncated)
            }
            AddressPolicy::None => (None, ClientIpPolicy::None),
        };
    }
}

/// Removes what identifies the visitor of a click. `texts` is the memory for shortened texts.
pub fn strip<'a>(click: &mut RawClick<'a>, texts: &'a StrippedTexts) {
    *click = RawClick {
        query: click.query.and_then(|query| texts.query(query)),
        target_url: click.target_url.map(|target| texts.target_url(target)),
        client_ip: None,
        client_ip_policy: ClientIpPolicy::None,
        visitor_id: None,
        identifiers_stripped: true,
        agent_kind: AgentKind::of(click.user_agent),
        user_agent: None,
        referer: None,
        // These headers identify the agent and its location, too.
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
    fn the_strictest_requested_policy_applies() {
        use PrivacyPolicy::{Drop, Ignore, Strip};
        for (signals, links, (gpc, dnt, opted_out), expected) in [
            (Ignore, Ignore, (true, true, true), None),
            (Strip, Strip, (false, false, false), None),
            (Strip, Ignore, (true, false, true), Some((Strip, PrivacyRequest::Gpc))),
            (Strip, Ignore, (false, true, false), Some((Strip, PrivacyRequest::Dnt))),
            (Strip, Ignore, (false, false, true), None),
            (Ignore, Strip, (true, true, true), Some((Strip, PrivacyRequest::OptOut))),
            (Strip, Strip, (true, true, true), Some((Strip, PrivacyRequest::OptOut))),
            (Drop, Strip, (true, true, true), Some((Drop, PrivacyRequest::Gpc))),
            (Strip, Drop, (true, true, true), Some((Drop, PrivacyRequest::OptOut))),
            (Drop, Strip, (false, false, true), Some((Strip, PrivacyRequest::OptOut))),
        ] {
            let privacy = PrivacyPolicies { signals, links, address: AddressPolicy::Full };
            let decided = privacy.decide(&click(gpc, dnt), opted_out);
            assert_eq!(decided, expected, "{privacy:?} {gpc} {dnt} {opted_out}");
        }
    }

    #[test]
    fn a_click_records_the_part_of_an_address_that_the_policy_allows() {
        let v4 = ClientIp::new("203.0.113.77".parse().unwrap());
        let v6 = ClientIp::new("2001:db8:1:2::3".parse().unwrap());
        for (address, word) in [
            (AddressPolicy::Full, ClientIpPolicy::Full),
            (AddressPolicy::Truncated, ClientIpPolicy::Truncated),
            (AddressPolicy::None, ClientIpPolicy::None),
        ] {
            let privacy = PrivacyPolicies { address, ..PrivacyPolicies::default() };
            for ip in [&v4, &v6] {
                let mut click = click(false, false);
                privacy.set_address(&mut click, Some(ip));
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
    fn a_stripped_click_records_the_link_and_not_the_visitor() {
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
            query: Some("utm_source=mail&gclid=7"),
            target_url: Some("https://x/?fbclid=7&utm_source=mail#a"),
            link_id: text,
            purpose: text,
            ..click(true, false)
        };
        let texts = StrippedTexts::default();
        strip(&mut full, &texts);
        let expected = RawClick {
            client_ip_policy: ClientIpPolicy::None,
            identifiers_stripped: true,
            agent_kind: AgentKind::DeclaredMachine,
            query: Some("utm_source=mail"),
            target_url: Some("https://x/?utm_source=mail"),
            link_id: text,
            purpose: text,
            ..click(true, false)
        };
        assert_eq!(full, expected);
    }
}
