//! The operator's leaves for bad records, kept beside the tables that they protect.

use broker::ServerError;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::clickhouse::server::{Server, server_error};

/// Leave to dead-letter the bad records of a range of offsets, whatever the breaker says.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct Pass {
    /// Log that holds them.
    pub kafka_topic: String,
    /// Partition.
    pub kafka_partition: u32,
    /// First offset.
    pub first_offset: u64,
    /// Last offset.
    pub last_offset: u64,
    /// Why, in the operator's words.
    pub reason: String,
}

impl Pass {
    /// Whether it holds for a record.
    pub fn covers(&self, partition: i32, offset: i64) -> bool {
        let offset = u64::try_from(offset).ok();
        u32::try_from(partition) == Ok(self.kafka_partition)
            && offset.is_some_and(|at| (self.first_offset..=self.last_offset).contains(&at))
    }
}

/// Every leave for a topic.
///
/// # Errors
/// The server's refusal.
pub async fn passes(server: &Server, topic: &str) -> Result<Vec<Pass>, ServerError> {
    let client = server.client();
    let query = client.query(
        "SELECT kafka_topic, kafka_partition, first_offset, last_offset, reason \
         FROM breaker_overrides FINAL WHERE kafka_topic = ? ORDER BY ALL",
    );
    query.bind(topic).fetch_all().await.map_err(server_error)
}

/// Gives leave.
///
/// # Errors
/// The server's refusal.
pub async fn give(server: &Server, pass: &Pass) -> Result<(), ServerError> {
    let mut insert =
        server.client().insert::<Pass>("breaker_overrides").await.map_err(server_error)?;
    insert.write(pass).await.map_err(server_error)?;
    insert.end().await.map_err(server_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leave_covers_its_offsets_and_no_others() {
        let pass = Pass {
            kafka_topic: "t".to_owned(),
            kafka_partition: 3,
            first_offset: 10,
            last_offset: 20,
            reason: String::new(),
        };
        for (partition, offset, covered) in [
            (3, 10, true),
            (3, 20, true),
            (3, 9, false),
            (3, 21, false),
            (2, 15, false),
            (3, -1, false),
        ] {
            assert_eq!(pass.covers(partition, offset), covered, "{partition}:{offset}");
        }
    }
}
