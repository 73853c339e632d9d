//! The shards of a cluster as the configuration of a server has them (`remote_servers`), by which it reads other shards.

use broker::ServerError;

use crate::clickhouse::server::{Server, server_error};
use crate::shards::cluster::Cluster;

/// What differs on a server from the file of the shards; `None` also where no table reads other shards by the
/// configuration.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn difference(
    cluster: &Cluster,
    server: &Server,
) -> Result<Option<String>, ServerError> {
    let Some(name) = cluster.name.as_ref().filter(|_| !cluster.layout.is_single()) else {
        return Ok(None);
    };
    let client = server.bare();
    let query = client
        .query(
            "SELECT toUInt32(shard_weight) FROM system.clusters WHERE cluster = ? \
             GROUP BY shard_num, shard_weight ORDER BY shard_num",
        )
        .bind(name);
    let known: Vec<u32> = query.fetch_all().await.map_err(server_error)?;
    Ok(difference_of(name, &known, cluster.layout.weights()))
}

fn difference_of(name: &str, known: &[u32], expected: &[u32]) -> Option<String> {
    let text = |weights: &[u32]| weights.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let expected = (known != expected).then(|| text(expected))?;
    Some(if known.is_empty() {
        format!("its system.clusters has no cluster {name:?}")
    } else {
        let known = text(known);
        format!(
            "cluster {name:?} in its system.clusters has shards of the weights {known}, and the file of CLICKHOUSE_SHARDS {expected}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_with_other_shards_or_none_is_a_difference() {
        assert_eq!(difference_of("c", &[1, 2], &[1, 2]), None);
        let found = |known: &[u32]| difference_of("c", known, &[1, 2]).unwrap();
        assert_eq!(found(&[]), "its system.clusters has no cluster \"c\"");
        for (known, text) in
            [(&[2, 1][..], "weights 2,1,"), (&[1], "weights 1,"), (&[1, 2, 1], "weights 1,2,1,")]
        {
            let found = found(known);
            assert!(found.contains(text) && found.ends_with(" 1,2"), "{found}");
        }
    }
}
