//! Whether a click came from a machine, and from which kind.
pub mod bot_class;
pub mod click_class;
pub mod crawlers;
pub mod keywords;
pub mod user_agent_class;
