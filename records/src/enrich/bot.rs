//! Whether a click came from a machine, and from which kind. Every click is kept; the class is only a
//! label.
//!
//! The first of these decides:
//! 1. the user agent (`user_agent_class`): the list of crawlers with a name (`crawlers`), the class that
//!    uap-core gives, then keywords that no browser sends (`keywords`);
//! 2. the rest of the click (`click_class`): a prefetch or preview header, the method HEAD, no user
//!    agent at all.
//!
//! The kinds are those of `bot_class`.

pub mod agent_text;
pub mod bot_class;
pub mod click_class;
pub mod crawlers;
pub mod keywords;
pub mod machine_name;
pub mod programs;
pub mod user_agent_class;
