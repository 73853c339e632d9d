//! librdkafka properties of the operator, as lists of `key=value`: the reserved names, and the names whose
//! values may be secrets and are never printed.

/// Properties that delivery or processing depends on, or that have a setting of their own. Both services
/// refuse a property that one of them sets itself, so that one list of properties works for both.
pub(crate) const RESERVED: [&str; 22] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "group.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "message.timeout.ms",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "receive.message.max.bytes",
    "statistics.interval.ms",
    "transactional.id",
];

/// Aliases of librdkafka for properties which are set here, each with the name used here.
pub(crate) const ALIASES: [(&str, &str); 8] = [
    ("auto.commit.enable", "enable.auto.commit"),
    ("compression.codec", "compression.type"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
];

/// Parts of names whose values may be secrets.
const SECRET: [&str; 8] =
    ["password", "secret", "key", "username", "jaas", "token", "pem", "oauth"];

/// Whether the operator may not set a property of this name (see [`used_name`]).
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The name under which a property is set here. If a configuration has two names of one property,
/// librdkafka uses the value that it gets last, and the order of a configuration is random.
pub(crate) fn used_name(key: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| *name)
}

/// Whether the value of a property may be a secret.
pub(crate) fn may_be_secret(key: &str) -> bool {
    SECRET.iter().any(|word| key.contains(word))
}

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// Before the first equals sign.
    pub key: String,
    /// All that follows.
    pub value: String,
}

/// Several, as one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<Property>);

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

impl std::str::FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
            }
            // The text may be a secret without its key; the error does not repeat it.
            _ => Err("write a property as key=value".to_owned()),
        }
    }
}

impl std::str::FromStr for Properties {
    type Err = String;

    /// Separated by commas; a comma in a value is written `\,`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, letters.peek()) {
                ('\\', Some(',' | '\\')) => parts
                    .last_mut()
                    .into_iter()
                    .zip(letters.next())
                    .for_each(|(part, guarded)| part.push(guarded)),
                (',', _) => parts.push(String::new()),
                _ => parts.last_mut().into_iter().for_each(|part| part.push(letter)),
            }
        }
        let filled = parts.iter().filter(|part| !part.trim().is_empty());
        filled.map(|part| part.parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_split_at_commas_that_are_not_guarded() {
        let read = |text: &str| {
            text.parse::<Properties>().map(|list| {
                list.0.into_iter().map(|p| format!("{}:{}", p.key, p.value)).collect::<Vec<_>>()
            })
        };
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("a=1, b=x=y,"), Ok(vec!["a:1".to_owned(), "b:x=y".to_owned()]));
        assert_eq!(read(r"a=1\,2\\,b=\d"), Ok(vec![r"a:1,2\".to_owned(), r"b:\d".to_owned()]));
        assert!(!read("a=1,geheim").unwrap_err().contains("geheim"));
        assert!(!format!("{:?}", "a=geheim".parse::<Properties>()).contains("geheim"));
    }
}
