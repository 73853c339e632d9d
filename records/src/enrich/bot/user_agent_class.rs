//! The class of a user agent, only by the text of the header.

use crate::enrich::bot::agent_text::{AgentForm, AgentText};
use crate::enrich::bot::bot_class::BotClass;
use crate::enrich::bot::crawlers::Crawlers;
use crate::enrich::bot::{keywords, machine_name, programs};

/// What the rules know about a user agent before its classification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BotSignals<'r> {
    /// The list of named crawlers.
    pub(crate) crawlers: Option<&'r Crawlers>,
    /// Its name, if it is a machine by the rules for user agents.
    pub(crate) spider: Option<&'r str>,
    /// Whether those rules find neither a system nor a device in it.
    pub(crate) is_unidentified: bool,
    /// Whether it is the agent of an app that the table of sources knows.
    pub(crate) is_known_app: bool,
}

impl BotSignals<'_> {
    /// Class and name of a user agent. The first of these decides: a name of the list where a machine
    /// puts it; `compatible; Name`, and what else only machines write; and, if the agent has a contact
    /// address (`+http`), or is neither that of a complete browser nor that of a known app, the rules of
    /// uap-core and the keywords.
    pub(crate) fn classify(self, user_agent: &str) -> (BotClass, String) {
        let user_agent = user_agent.trim();
        if user_agent.is_empty() {
            return (BotClass::None, String::new());
        }
        let agent = AgentText::new(user_agent);
        if programs::is_browsers_own(&agent) {
            return (BotClass::None, String::new());
        }
        let listed = self.crawlers.and_then(|crawlers| crawlers.find(&agent));
        if let Some((class, name)) = listed {
            return (class, name.to_owned());
        }
        if programs::is_office(&agent) {
            return (BotClass::HttpLibrary, "Microsoft Office".to_owned());
        }
        if let Some(name) = agent.compatible_name().or_else(|| agent.name_after_engine()) {
            let class = keywords::class_of_name(&name.to_ascii_lowercase());
            return (class, machine_name::of_part(name));
        }
        let is_person =
            self.is_known_app || programs::is_unusual_browser(&agent) || agent.is_browsers();
        if is_person && !agent.has_contact_address() {
            return (BotClass::None, String::new());
        }
        let declared = if agent.has_contact_address() {
            Some(keywords::class_of_name(agent.small()))
        } else {
            programs::program_class(&agent)
        };
        let is_program = self.is_unidentified
            && programs::is_bare_program(&agent)
            && !machine_name::names_others_only(user_agent);
        let class = declared.or_else(|| is_program.then_some(BotClass::HttpLibrary));
        let spider = self.spider.filter(|_| agent.form() == AgentForm::Program || class.is_some());
        match (spider, class) {
            (Some(name), class) if !name.is_empty() && !machine_name::is_anothers(name) => {
                (class.unwrap_or(BotClass::DeclaredCrawler), name.to_owned())
            }
            (Some(_), class) => {
                (class.unwrap_or(BotClass::DeclaredCrawler), machine_name::of_agent(&agent))
            }
            (None, Some(class)) => (class, machine_name::of_agent(&agent)),
            (None, None) => (BotClass::None, String::new()),
        }
    }
}

#[cfg(test)]
mod tests;
