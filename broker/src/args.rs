//! Settings of brokers and registry on the command line, the same for both services.

use clap::Args;

use crate::client::Brokers;
use crate::error::ServerError;
use crate::properties::{Properties, Property};
use crate::registry::Registry;

/// The brokers.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Bootstrap brokers, host:port, comma-separated
    #[arg(long, env = "KAFKA_BROKERS", default_value = "127.0.0.1:9092", value_name = "LIST")]
    pub kafka_brokers: String,
    /// A librdkafka property (TLS, SASL, tuning), repeatable
    #[arg(long = "kafka", value_name = "KEY=VALUE", hide_env_values = true)]
    kafka: Vec<Property>,
    /// librdkafka properties, comma-separated (write `\,` for a comma in a value); --kafka overrides them
    #[arg(
        long = "kafka-properties",
        env = "CLICKTRAIL_KAFKA_PROPERTIES",
        value_name = "LIST",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    kafka_properties: Properties,
}

impl BrokerArgs {
    /// The brokers with their properties; a later property replaces an earlier one.
    pub fn brokers(&self) -> Brokers {
        let all = self.kafka_properties.0.iter().chain(&self.kafka);
        Brokers { servers: self.kafka_brokers.clone(), properties: all.cloned().collect() }
    }
}

/// The schema registry.
#[derive(Args)]
pub struct RegistryArgs {
    /// URL of the schema registry, or several, comma-separated; write user and password before an @
    #[arg(
        long,
        env = "SCHEMA_REGISTRY_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL",
        hide_env_values = true
    )]
    pub schema_registry_url: String,
}

/// The URL may hold a password.
impl std::fmt::Debug for RegistryArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryArgs").finish_non_exhaustive()
    }
}

impl RegistryArgs {
    /// A client of the registry.
    ///
    /// # Errors
    /// The setting is not a URL.
    pub fn registry(&self) -> Result<Registry, ServerError> {
        Registry::new(&self.schema_registry_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        brokers: BrokerArgs,
        #[command(flatten)]
        registry: RegistryArgs,
    }

    #[test]
    fn l14_no_debug_text_of_broker_or_registry_shows_a_secret() {
        let cli = Cli::parse_from([
            "x",
            "--kafka-properties",
            "sasl.password=geheim,ssl.key.pem=geheim,unknown=geheim",
            "--kafka",
            "sasl.jaas.config=x password=geheim",
            "--schema-registry-url",
            "http://user:geheim@h/?token=geheim,http://h2/geheim,http://u:ge@heim@h3",
        ]);
        let (brokers, registry) = (cli.brokers.brokers(), cli.registry.registry().unwrap());
        assert_eq!(brokers.property("unknown"), Some("geheim"));
        let texts = [
            format!("{cli:?} {brokers:?} {registry:?}"),
            format!("{cli:#?} {brokers:#?} {registry:#?}"),
        ];
        for text in texts {
            assert!(!text.contains("heim"), "{text}");
        }
    }

    #[test]
    fn a_property_of_the_command_line_replaces_one_of_the_environment() {
        let cli = Cli::parse_from(["x", "--kafka-properties", "a=1,b=2", "--kafka", "b=geheim"]);
        let brokers = cli.brokers.brokers();
        assert_eq!((brokers.property("a"), brokers.property("b")), (Some("1"), Some("geheim")));
        assert!(!format!("{cli:?} {brokers:?}").contains("geheim"));
    }
}
