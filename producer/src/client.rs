//! Who the client of a request is, and what a click may record about it.

pub mod day_keys;
pub mod policy;
pub mod privacy;
pub mod proxies;
pub mod rate_limiter;
pub mod stripped_texts;
pub mod visitor_id;
