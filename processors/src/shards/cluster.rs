//! The ClickHouse servers: the shards with their replicas, and the server that holds the small tables.

use crate::clickhouse::server::Server;
use crate::shards::shard_layout::ShardLayout;

/// A part of the clicks, on one or several replicas that ClickHouse keeps equal.
#[derive(Debug, Clone)]
pub struct Shard {
    /// From 1, in the order of the file, as in `remote_servers` of ClickHouse.
    pub number: u32,
    /// Its share of the clicks, relative to the weights of the others.
    pub weight: u32,
    /// Where its clicks are; at least one.
    pub replicas: Vec<Server>,
}

/// All servers.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Which shard owns a click.
    pub layout: ShardLayout,
    /// In the order of their numbers.
    pub shards: Vec<Shard>,
    /// The name of the cluster in `system.clusters`, if ClickHouse knows it as one.
    pub name: Option<String>,
    any: Server,
}

/// Whether two servers have the same URL.
fn is_same(one: &Server, other: &Server) -> bool {
    one.url.trim_end_matches('/') == other.url.trim_end_matches('/')
}

impl Cluster {
    /// One shard with one replica.
    pub fn single(server: Server) -> Self {
        let shard = Shard { number: 1, weight: 1, replicas: vec![server.clone()] };
        Self { layout: ShardLayout::single(), shards: vec![shard], name: None, any: server }
    }

    /// These shards. The small tables are read and written through `any`, as the user of the replica that has its
    /// URL; `None`: the first replica of the first shard.
    ///
    /// # Panics
    /// Without a shard, or with a shard that has no replica or the weight 0.
    pub fn new(shards: Vec<Shard>, name: Option<String>, any: Option<Server>) -> Self {
        let has_replica = |shard: &Shard| !shard.replicas.is_empty();
        assert!(shards.iter().all(has_replica), "a shard has a replica");
        let layout = ShardLayout::new(shards.iter().map(|shard| shard.weight).collect());
        let mut replicas = shards.iter().flat_map(|shard| &shard.replicas);
        let any = match any {
            None => shards[0].replicas[0].clone(),
            Some(any) => replicas.find(|own| is_same(own, &any)).cloned().unwrap_or(any),
        };
        Self { layout, shards, name, any }
    }

    /// The server through which small tables are read and written, and queries over all clicks are sent.
    pub fn any(&self) -> &Server {
        &self.any
    }

    /// The first replica of a shard, by its index from 0.
    pub fn first(&self, shard: usize) -> &Server {
        &self.shards[shard].replicas[0]
    }

    /// Every server, with its shard.
    pub fn servers(&self) -> impl Iterator<Item = (&Shard, &Server)> {
        let of = |shard| move |server| (shard, server);
        self.shards.iter().flat_map(move |shard| shard.replicas.iter().map(of(shard)))
    }

    /// Whether there is one server alone.
    pub fn is_one_server(&self) -> bool {
        self.servers().nth(1).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, user: &str) -> Server {
        let (password, database) = (String::new(), String::new());
        Server { url: url.to_owned(), user: user.to_owned(), password, database }
    }

    #[test]
    fn the_server_of_the_small_tables_has_the_user_of_its_replica() {
        let replicas = vec![server("http://a", "first"), server("http://b", "second")];
        for (any, user) in
            [(None, "first"), (Some("http://b/"), "second"), (Some("http://c"), "other")]
        {
            let shard = Shard { number: 1, weight: 1, replicas: replicas.clone() };
            let any = any.map(|url| server(url, "other"));
            assert_eq!(Cluster::new(vec![shard], None, any).any().user, user);
        }
    }
}
