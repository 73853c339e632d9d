//! The channel of a click, in the terms of marketing.
//!
//! The first rule that holds decides; [`Channel::of`] has them in this order:
//! 1. it was paid for (`utm_medium` has `cp…`, `ppc`, `paid…` or `retargeting`, or a paid click id is
//!    in the visited address): by the source, else `display` for `cpm`, else `paid_other`;
//! 2. the author's `utm_medium` declares a mail, a notification, a printed code, a partner and so on;
//! 3. shopping, social, video, search, in this order: the medium of the origin, which the referrer table
//!    knows, or the author's `utm_medium` says so, as Google Analytics orders them; but `organic` means
//!    search only if the table has no other medium for the origin;
//! 4. the medium of the origin is another one;
//! 5. the visitor came from another page: `internal` of the same host, else `referral`;
//! 6. the click names no origin: `direct`; empty if that is unknown.

use crate::enrich::medium::Medium;

/// The medium that a link's author declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DeclaredMedium {
    /// No known medium.
    #[default]
    None,
    /// Paid.
    Paid,
    /// Paid by view.
    PaidByView,
    /// A display advertisement.
    Display,
    /// A partner who earns a commission on sales.
    Affiliate,
    /// A mail.
    Email,
    /// A text message (SMS).
    Sms,
    /// A notification.
    Push,
    /// Audio, such as a podcast.
    Audio,
    /// A printed code.
    Qr,
    /// A social network.
    Social,
    /// A video.
    Video,
    /// A search engine.
    Search,
    /// A message of a messenger.
    Messaging,
    /// An assistant such as ChatGPT.
    AiAssistant,
    /// A link.
    Referral,
}

impl DeclaredMedium {
    /// What `utm_medium` means.
    pub(super) fn of(utm_medium: &str) -> Self {
        if utm_medium.is_empty() {
            return Self::None;
        }
        let word = utm_medium.trim().to_lowercase().replace(['_', ' '], "-");
        match &*word {
            "cpm" => Self::PaidByView,
            "display" | "banner" | "expandable" | "interstitial" => Self::Display,
            "affiliate" | "affiliates" => Self::Affiliate,
            "email" | "e-mail" | "mail" | "newsletter" => Self::Email,
            "sms" => Self::Sms,
            "audio" | "podcast" => Self::Audio,
            "qr" | "qr-code" | "qrcode" => Self::Qr,
            "social" | "social-network" | "social-media" | "sm" | "organic-social" => Self::Social,
            "organic" | "search" | "organic-search" => Self::Search,
            "messaging" | "messenger" | "chat" | "im" => Self::Messaging,
            "ai" | "ai-assistant" | "chatbot" => Self::AiAssistant,
            "referral" | "app" | "link" => Self::Referral,
            "ppc" | "retargeting" => Self::Paid,
            word if word.contains("cp") || word.starts_with("paid") => Self::Paid,
            word if word.contains("video") => Self::Video,
            word if word.ends_with("push") || word.contains("notification") => Self::Push,
            _ => Self::None,
        }
    }

    /// The medium that a source stands for, because some authors write a medium as the source.
    pub(super) fn of_source(source: &str) -> Self {
        match source {
            "sms" | "SMS" => Self::Sms,
            "qr" | "QR" => Self::Qr,
            "push" => Self::Push,
            "podcast" => Self::Audio,
            _ => Self::None,
        }
    }

    /// The medium of a source that is in no table.
    pub(super) fn medium(self) -> Option<Medium> {
        match self {
            Self::Email => Some(Medium::Email),
            Self::Social => Some(Medium::Social),
            Self::Video => Some(Medium::Video),
            Self::Search => Some(Medium::Search),
            Self::Messaging => Some(Medium::Messaging),
            Self::AiAssistant => Some(Medium::AiAssistant),
            Self::Display | Self::PaidByView => Some(Medium::Display),
            Self::None
            | Self::Paid
            | Self::Affiliate
            | Self::Sms
            | Self::Push
            | Self::Audio
            | Self::Qr
            | Self::Referral => None,
        }
    }
}

/// The channel of a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the terms of marketing")]
pub enum Channel {
    PaidShopping,
    PaidSearch,
    PaidSocial,
    PaidVideo,
    PaidOther,
    Display,
    Affiliate,
    Email,
    Sms,
    Push,
    Audio,
    Qr,
    OrganicSocial,
    OrganicVideo,
    OrganicSearch,
    OrganicShopping,
    Messaging,
    AiAssistant,
    Internal,
    Referral,
    Direct,
    Unknown,
}

impl Channel {
    /// Decides. `paid`: the click has a click id that only paid clicks have.
    pub(super) fn of(declared: DeclaredMedium, paid: bool, medium: Medium) -> Self {
        if paid || matches!(declared, DeclaredMedium::Paid | DeclaredMedium::PaidByView) {
            return Self::paid(declared, medium);
        }
        match declared {
            DeclaredMedium::Display => Self::Display,
            DeclaredMedium::Affiliate => Self::Affiliate,
            DeclaredMedium::Email => Self::Email,
            DeclaredMedium::Sms => Self::Sms,
            DeclaredMedium::Push => Self::Push,
            DeclaredMedium::Audio => Self::Audio,
            DeclaredMedium::Qr => Self::Qr,
            DeclaredMedium::Social | DeclaredMedium::Video | DeclaredMedium::Search => {
                Self::organic(declared, medium)
            }
            DeclaredMedium::Messaging => Self::Messaging,
            DeclaredMedium::AiAssistant => Self::AiAssistant,
            DeclaredMedium::Referral if matches!(medium, Medium::Direct | Medium::Unknown) => {
                Self::Referral
            }
            DeclaredMedium::Referral
            | DeclaredMedium::None
            | DeclaredMedium::Paid
            | DeclaredMedium::PaidByView => Self::by(medium),
        }
    }

    fn paid(declared: DeclaredMedium, medium: Medium) -> Self {
        match medium {
            Medium::Shopping => Self::PaidShopping,
            Medium::Search => Self::PaidSearch,
            Medium::Social | Medium::Messaging => Self::PaidSocial,
            Medium::Video => Self::PaidVideo,
            Medium::Display => Self::Display,
            Medium::Unknown
            | Medium::Direct
            | Medium::Internal
            | Medium::Referral
            | Medium::Email
            | Medium::AiAssistant => {
                if declared == DeclaredMedium::PaidByView {
                    Self::Display
                } else {
                    Self::PaidOther
                }
            }
        }
    }

    /// The channel if the author declares a social network, a video or a search.
    fn organic(declared: DeclaredMedium, medium: Medium) -> Self {
        match (declared, medium) {
            (_, Medium::Shopping) => Self::OrganicShopping,
            (DeclaredMedium::Social, _) | (_, Medium::Social) => Self::OrganicSocial,
            (DeclaredMedium::Video, _) | (_, Medium::Video) => Self::OrganicVideo,
            (_, Medium::Email | Medium::AiAssistant | Medium::Messaging | Medium::Display) => {
                Self::by(medium)
            }
            (
                _,
                Medium::Search
                | Medium::Referral
                | Medium::Internal
                | Medium::Direct
                | Medium::Unknown,
            ) => Self::OrganicSearch,
        }
    }

    fn by(medium: Medium) -> Self {
        match medium {
            Medium::Search => Self::OrganicSearch,
            Medium::Social => Self::OrganicSocial,
            Medium::Video => Self::OrganicVideo,
            Medium::Shopping => Self::OrganicShopping,
            Medium::Email => Self::Email,
            Medium::AiAssistant => Self::AiAssistant,
            Medium::Messaging => Self::Messaging,
            Medium::Display => Self::Display,
            Medium::Internal => Self::Internal,
            Medium::Referral => Self::Referral,
            Medium::Direct => Self::Direct,
            Medium::Unknown => Self::Unknown,
        }
    }

    /// The value in the table; empty is unknown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaidShopping => "paid_shopping",
            Self::PaidSearch => "paid_search",
            Self::PaidSocial => "paid_social",
            Self::PaidVideo => "paid_video",
            Self::PaidOther => "paid_other",
            Self::Display => "display",
            Self::Affiliate => "affiliate",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Push => "push",
            Self::Audio => "audio",
            Self::Qr => "qr",
            Self::OrganicSocial => "organic_social",
            Self::OrganicVideo => "organic_video",
            Self::OrganicSearch => "organic_search",
            Self::OrganicShopping => "organic_shopping",
            Self::Messaging => "messaging",
            Self::AiAssistant => "ai_assistant",
            Self::Internal => "internal",
            Self::Referral => "referral",
            Self::Direct => "direct",
            Self::Unknown => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_apply_in_their_order() {
        for (utm_medium, paid, medium, expected) in [
            ("cpc", false, Medium::Search, "paid_search"),
            ("CPC", false, Medium::Social, "paid_social"),
            ("paid_social", false, Medium::Social, "paid_social"),
            ("paid-video", false, Medium::Video, "paid_video"),
            ("ppc", false, Medium::Referral, "paid_other"),
            ("cpm", false, Medium::Search, "paid_search"),
            ("cpm", false, Medium::Referral, "display"),
            ("banner", false, Medium::Referral, "display"),
            ("", true, Medium::Search, "paid_search"),
            ("email", true, Medium::Search, "paid_search"),
            ("email", false, Medium::Search, "email"),
            ("E mail", false, Medium::Direct, "email"),
            ("affiliates", false, Medium::Referral, "affiliate"),
            ("web push", false, Medium::Direct, "push"),
            ("qr", false, Medium::Direct, "qr"),
            ("social", false, Medium::Referral, "organic_social"),
            ("organic", false, Medium::Social, "organic_social"),
            ("organic", false, Medium::Direct, "organic_search"),
            ("organic", false, Medium::Internal, "organic_search"),
            ("organic", false, Medium::Display, "display"),
            ("video", false, Medium::Shopping, "organic_shopping"),
            ("referral", false, Medium::Search, "organic_search"),
            ("referral", false, Medium::Direct, "referral"),
            ("whatever", false, Medium::Messaging, "messaging"),
            ("", false, Medium::AiAssistant, "ai_assistant"),
            ("", false, Medium::Internal, "internal"),
            ("", false, Medium::Direct, "direct"),
            ("", false, Medium::Unknown, ""),
        ] {
            let channel = Channel::of(DeclaredMedium::of(utm_medium), paid, medium);
            assert_eq!(channel.as_str(), expected, "{utm_medium} {paid} {medium:?}");
        }
    }
}
