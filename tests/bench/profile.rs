//! How varied the generated clicks are.

/// Numbers of a profile.
#[derive(Debug)]
pub struct Profile {
    /// Ends the names of the lines that measure these clicks.
    pub suffix: &'static str,
    /// Links.
    pub links: usize,
    /// Numbers in the slugs of links that have a word for their slug.
    pub slug_numbers: usize,
    /// User agents.
    pub agents: usize,
    /// Referrers.
    pub referrers: usize,
    /// Whether each of the many referrers is the address of a page.
    pub full_referrers: bool,
    /// Clicks per thousand with the click id of an ad network.
    pub click_ids: usize,
    /// Fewest and most characters of a click id.
    pub click_id_length: (usize, usize),
    /// Clicks per thousand of a visitor who has not clicked before; none: of any of the day's visitors.
    pub new_visitors: Option<u64>,
}

/// A service with some thousand links.
pub const NARROW: &Profile = &Profile {
    suffix: "",
    links: 5_000,
    slug_numbers: 500,
    agents: 3_000,
    referrers: 2_000,
    full_referrers: false,
    click_ids: 20,
    click_id_length: (24, 24),
    new_visitors: None,
};

/// A large service: most values of many columns occur once.
pub const WIDE: &Profile = &Profile {
    suffix: "_wide",
    links: 1_000_000,
    slug_numbers: 1_000_000,
    agents: 200_000,
    referrers: 300_000,
    full_referrers: true,
    click_ids: 150,
    click_id_length: (60, 90),
    new_visitors: Some(667),
};
