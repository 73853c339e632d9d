//! The longest texts of a click, in bytes.
//!
//! Writers cut longer texts, readers refuse them, so that the cost of a record is bounded. A whole
//! click has at most 19 KiB of text.

/// Of `slug`.
pub const SLUG_BYTES_MAX: usize = 1024;
/// Of `query`: the limit of common web servers for a whole request line, so that a campaign at the end
/// of a long query is recorded.
pub const QUERY_BYTES_MAX: usize = 8192;
/// Of `target_url`.
pub const TARGET_URL_BYTES_MAX: usize = 2048;
/// Of `user_agent`.
pub const USER_AGENT_BYTES_MAX: usize = 1024;
/// Of `referer`.
pub const REFERER_BYTES_MAX: usize = 2048;
/// Of `accept_language`.
pub const ACCEPT_LANGUAGE_BYTES_MAX: usize = 256;
/// Of `link_id`.
pub const LINK_ID_BYTES_MAX: usize = 512;
/// Of every other text; browsers send far less.
pub const SHORT_BYTES_MAX: usize = 256;

/// A text of a click with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundedText<'a> {
    /// The name of its field.
    pub field: &'static str,
    /// The text, where the click has one.
    pub text: Option<&'a str>,
    /// Its limit.
    pub bytes_max: usize,
}

impl BoundedText<'_> {
    /// Whether it is longer than its limit.
    pub fn is_too_long(&self) -> bool {
        self.text.is_some_and(|text| text.len() > self.bytes_max)
    }
}
