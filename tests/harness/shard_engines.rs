//! Several ClickHouse engines as the shards of a cluster, each in its own folder.
//!
//! ```text
//! processors ─┬─▶ front 0 ─┬─▶ engine 0: shard 1
//!             ├─▶ front 1 ─┘
//!             ├─▶ engine 1: shard 2
//!             └─▶ engine 2: shard 3
//! ```
//!
//! The engine here has neither Keeper nor a TCP port: the two replicas of the first shard are two fronts
//! before one engine, which share their rows at once.

use std::fmt::Write as _;
use std::path::Path;

use stack::{Part, SmallDisk, StackError};

use crate::backends::Backends;
use crate::http_client;
use crate::own_stack::OwnStack;
use crate::replica_front::ReplicaFront;
use crate::world::World;

/// The engines, and the fronts before the first one.
#[derive(Debug)]
pub struct ShardEngines {
    engines: Vec<OwnStack>,
    urls: Vec<String>,
    /// The replicas of the first shard.
    pub fronts: [ReplicaFront; 2],
    weights: Vec<u32>,
    user: (String, String),
}

impl ShardEngines {
    /// One engine for each weight, all started at the same time.
    ///
    /// # Panics
    /// When one does not start.
    pub fn up(weights: &[u32]) -> Self {
        Self::of(weights, || Ok(OwnStack::of(&[Part::ClickHouse]))).expect("no disk is mounted")
    }

    /// Like [`ShardEngines::up`], each with its data on a disk of so many bytes.
    ///
    /// # Errors
    /// A small disk cannot be mounted: that needs the right to mount.
    ///
    /// # Panics
    /// When an engine does not start.
    pub fn on_small_disks(weights: &[u32], bytes: u64) -> Result<Self, StackError> {
        let disk = SmallDisk { part: Part::ClickHouse, bytes };
        Self::of(weights, || OwnStack::on_small_disks(&[disk]))
    }

    fn of(
        weights: &[u32],
        start: impl Fn() -> Result<OwnStack, StackError> + Sync,
    ) -> Result<Self, StackError> {
        let engines: Vec<OwnStack> = std::thread::scope(|scope| {
            let starting: Vec<_> = weights.iter().map(|_| scope.spawn(&start)).collect();
            let started = starting.into_iter().map(|own| own.join().expect("an engine starts"));
            started.collect::<Result<_, _>>()
        })?;
        let backends: Vec<_> = engines.iter().map(|engine| Backends::on(engine)).collect();
        let user = backends[0].user.clone();
        let urls: Vec<_> = backends.into_iter().map(|backends| backends.clickhouse).collect();
        let fronts = [(), ()].map(|()| ReplicaFront::start(&urls[0]));
        Ok(Self { engines, urls, fronts, weights: weights.to_vec(), user })
    }

    /// A world whose programs write to the shards, with the broker and the registry of `others`.
    ///
    /// # Panics
    /// When the file of the shards cannot be written.
    pub fn world(&self, others: &Backends, name: &str) -> World {
        let (clickhouse, user) = (self.urls[0].clone(), self.user.clone());
        let mut world = World::on(Backends { clickhouse, user, ..others.clone() }, name);
        let file = world.folder().join("shards.toml");
        self.write(&file);
        world.clickhouse_shards = Some(file);
        world
    }

    /// Writes the file of the shards.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, self.text()).expect("a file can be written");
    }

    /// The content of the file of the shards.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, weight) in self.weights.iter().enumerate() {
            let replicas = match number {
                0 => self.fronts.iter().map(ReplicaFront::url).collect(),
                _ => vec![self.urls[number].clone()],
            };
            write!(text, "[[shard]]\nweight = {weight}\nreplicas = {replicas:?}\n\n").ok();
        }
        text
    }

    /// The number of shards.
    pub fn count(&self) -> usize {
        self.engines.len()
    }

    /// The stack of a shard's engine; shards count from 0.
    pub fn engine(&self, shard: usize) -> &OwnStack {
        &self.engines[shard]
    }

    /// The base URL of a shard's engine, without the fronts of the first shard.
    pub fn url(&self, shard: usize) -> &str {
        &self.urls[shard]
    }

    /// Queries one engine in the database of `world`; returns tab-separated text.
    ///
    /// # Errors
    /// The engine's error, or the client's.
    pub fn ask(&self, world: &World, shard: usize, sql: &str) -> Result<String, String> {
        let headers = [
            ("X-ClickHouse-User", self.user.0.as_str()),
            ("X-ClickHouse-Key", &self.user.1),
            ("X-ClickHouse-Database", &world.database),
        ];
        let answer =
            http_client::request("POST", &format!("{}/", self.urls[shard]), &headers, sql)?;
        if answer.status == 200 { Ok(answer.body.trim_end().to_owned()) } else { Err(answer.body) }
    }

    /// Like [`ShardEngines::ask`], for a query whose result is a number.
    ///
    /// # Panics
    /// When it is not.
    pub fn number(&self, world: &World, shard: usize, sql: &str) -> u64 {
        let text = self.ask(world, shard, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        text.parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
    }

    /// The condition in SQL of a row of a shard whose click another shard owns, by the engine's own hash.
    pub fn is_misplaced(&self, shard: usize) -> String {
        let first: u32 = self.weights[..shard].iter().sum();
        let (end, all) = (first + self.weights[shard], self.weights.iter().sum::<u32>());
        let slot = format!("cityHash64(event_id) % {all}");
        format!("({slot} < {first} OR {slot} >= {end})")
    }

    /// Rows of a shard whose click another shard owns.
    pub fn misplaced(&self, world: &World, shard: usize) -> u64 {
        let is_misplaced = self.is_misplaced(shard);
        let sql = format!("SELECT count() FROM click_versions WHERE {is_misplaced}");
        self.number(world, shard, &sql)
    }

    /// Versions of clicks on each shard.
    pub fn rows(&self, world: &World) -> Vec<u64> {
        let sql = "SELECT count() FROM click_versions";
        (0..self.count()).map(|shard| self.number(world, shard, sql)).collect()
    }

    /// Deletes the newest part of a shard, as a server loses it that is not replicated. Returns the number of its
    /// clicks, and the range of their offsets in each partition, such as `0:10-99`.
    ///
    /// # Panics
    /// When the shard has no part, or does not answer.
    pub fn lose_newest_part(&self, world: &World, shard: usize) -> (u64, Vec<String>) {
        let ask = |sql: &str| {
            self.ask(world, shard, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
        };
        let part =
            ask("SELECT name FROM system.parts WHERE active AND database = currentDatabase() \
             AND table = 'click_versions' ORDER BY max_block_number DESC LIMIT 1");
        let own = format!("FROM click_versions WHERE _part = '{part}'");
        let clicks = self.number(world, shard, &format!("SELECT uniqExact(event_id) {own}"));
        assert!(clicks > 0, "the part {part} of shard {shard} has no click");
        let offsets = ask(&format!(
            "SELECT concat(toString(kafka_partition), ':', toString(min(kafka_offset)), '-', \
             toString(max(kafka_offset))) {own} GROUP BY kafka_partition"
        ));
        ask(&format!("ALTER TABLE click_versions DROP PART '{part}'"));
        (clicks, offsets.lines().map(str::to_owned).collect())
    }
}
