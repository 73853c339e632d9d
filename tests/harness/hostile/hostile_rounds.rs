//! The rounds of a run. Each sends some kinds of hostile input and reports one line.

use std::time::{Duration, Instant};

use super::batch_variants;
use super::click_variants::ClickVariants;
use super::damaged_host::DamagedHosts;
use super::honest_clicks::HonestClicks;
use super::hostile_clients::{HostileClients, HostileRequest};
use super::hostile_kind::HostileKind;
use super::hostile_report::{HostileReport, PROCESSORS_KIB_MAX, PRODUCER_KIB_MAX};
use super::link_variants::LinkVariants;
use super::log_account::LogAccount;
use super::request_bytes::RequestBytes;
use super::{HostileBudget, PARTITIONS};
use crate::hostile_records;
use crate::raw_produce::RawRecords;
use crate::seeded_random::SeededRandom;
use crate::world::{Processors, Server, World};

/// The most bad records of a batch, and the honest clicks after each batch: too few bad ones for a
/// storm.
const RECORDS_MAX: u64 = 9;
const FOLLOWERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// The input sent so far.
pub(super) struct HostileRounds<'w> {
    world: &'w World,
    honest: &'w HonestClicks,
    clicks: ClickVariants,
    links: LinkVariants,
    clients: HostileClients,
    click_account: LogAccount,
    link_account: LogAccount,
    damaged: DamagedHosts,
    rounds: u64,
    peaks_kib: (u64, u64),
    findings: Vec<String>,
}

impl<'w> HostileRounds<'w> {
    /// For a world with a running producer; sends nothing yet.
    pub(super) fn new(world: &'w World, host: &Server, honest: &'w HonestClicks) -> Self {
        let registry = &world.backends.registry;
        let foreign = hostile_records::foreign_schemas();
        let ids = hostile_records::register(registry, &world.topic, &foreign);
        let subject = format!("{}-value", world.links_topic);
        let link_id = hostile_records::register_as(registry, &subject, schemas::LINKS_NEWEST);
        Self {
            world,
            honest,
            clicks: ClickVariants::new(world.schema_id(), &foreign, &ids),
            links: LinkVariants::new(link_id),
            clients: HostileClients::new(&host.url),
            click_account: LogAccount::default(),
            link_account: LogAccount::default(),
            damaged: DamagedHosts::default(),
            rounds: 0,
            peaks_kib: (0, 0),
            findings: Vec::new(),
        }
    }

    /// Runs rounds until the time is over or a service has ended.
    pub(super) fn run(
        &mut self,
        budget: HostileBudget,
        (host, processors): (&mut Server, &mut Processors),
        report_line: &(dyn Fn(&str) + Sync),
    ) {
        let began = Instant::now();
        while began.elapsed().as_secs() < budget.seconds {
            self.rounds += 1;
            let mut random = SeededRandom::stream(budget.seed, self.rounds);
            let kinds = HostileKind::of_round(&mut random, budget.with_records);
            for kind in &kinds {
                self.send(*kind, &mut random);
            }
            measure(host, processors, &mut self.peaks_kib);
            self.peaks_kib.0 = self.peaks_kib.0.max(self.damaged.peak_kib);
            report_line(&self.line(budget.seed, &kinds));
            for (name, ended) in
                [("the producer", host.ended()), ("the processors", processors.ended())]
            {
                if let Some(code) = ended {
                    self.findings.push(format!("round {}: {name} ended: {code:?}", self.rounds));
                    return;
                }
            }
            let (producer, own) = self.peaks_kib;
            if producer >= PRODUCER_KIB_MAX || own >= PROCESSORS_KIB_MAX {
                self.findings.push(format!("round {}: a service is out of memory", self.rounds));
                return;
            }
        }
    }

    fn line(&self, seed: u64, kinds: &[HostileKind]) -> String {
        let kinds: Vec<_> = kinds.iter().map(HostileKind::to_string).collect();
        format!(
            "round {}: seed={seed} kinds={} honest={} records={} links={} refused_batches={} \
             requests={} stalled={} damaged={} producer_mib={} processors_mib={}",
            self.rounds,
            kinds.join(","),
            self.honest.sent(),
            self.click_account.taken(),
            self.link_account.taken(),
            self.click_account.refused() + self.link_account.refused(),
            self.clients.requests,
            self.clients.stalled,
            self.damaged.hosts,
            self.peaks_kib.0 >> 10,
            self.peaks_kib.1 >> 10,
        )
    }

    fn send(&mut self, kind: HostileKind, random: &mut SeededRandom) {
        match kind {
            HostileKind::Records => (0..random.between(2, 8)).for_each(|_| self.records(random)),
            HostileKind::Batches => (0..random.between(1, 8)).for_each(|_| self.large(random)),
            HostileKind::Links => (0..random.between(5, 30)).for_each(|_| self.link(random)),
            HostileKind::Requests => {
                let requests = requests(random, 100, |bytes| {
                    if bytes.0.once_in(2) { bytes.head() } else { bytes.bytes() }
                });
                self.clients.exchange(requests);
            }
            HostileKind::Bodies => {
                self.clients.exchange(requests(random, 40, RequestBytes::collected));
            }
            HostileKind::Stalls => {
                if random.once_in(3) {
                    self.clients.release();
                }
                self.clients.stall(requests(random, 300, RequestBytes::stalled));
            }
            HostileKind::Outbox => {
                let wrong = self.damaged.run(self.world, random);
                self.findings.extend(wrong);
            }
        }
    }

    fn records(&mut self, random: &mut SeededRandom) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let count = random.between(1, RECORDS_MAX);
        let mut records: Vec<_> = (0..count).map(|_| self.clicks.record(random, now_us)).collect();
        if random.once_in(4) {
            let inner = batch_variants::batch(random, &records);
            records.push(batch_variants::nested(&inner));
        }
        let batch = batch_variants::batch(random, &records);
        let partition = partition(random);
        let (brokers, topic) = (&self.world.backends.kafka, &self.world.topic);
        self.click_account.send(&batch, brokers, topic, partition);
        self.honest.send(partition, FOLLOWERS * records.len() as u64);
        std::thread::sleep(PAUSE);
    }

    fn large(&mut self, random: &mut SeededRandom) {
        let (batch, partition) = (batch_variants::large(random), partition(random));
        let (brokers, topic) = (&self.world.backends.kafka, &self.world.topic);
        self.click_account.send(&batch, brokers, topic, partition);
        self.honest.send(partition, FOLLOWERS * RECORDS_MAX);
    }

    fn link(&mut self, random: &mut SeededRandom) {
        let batch = if random.once_in(15) {
            batch_variants::large(random)
        } else {
            RawRecords::new(&[self.links.record(random)]).plain()
        };
        let (brokers, topic) = (&self.world.backends.kafka, &self.world.links_topic);
        self.link_account.send(&batch, brokers, topic, partition(random));
    }

    /// Closes all connections of hostile clients.
    pub(super) fn finish(&mut self) {
        self.clients.finish();
    }

    /// Adds the sent input and its fates to the report, after all is processed.
    pub(super) fn report(self, report: &mut HostileReport) {
        report.rounds = self.rounds;
        report.fates = self.click_account.fates(self.world);
        report.taken = (self.click_account.taken(), self.link_account.taken());
        report.refused = self.click_account.refused() + self.link_account.refused();
        report.requests = (self.clients.requests, self.clients.stalled, self.clients.statuses);
        report.damaged = self.damaged;
        report.peaks_kib = self.peaks_kib;
        report.findings.extend(self.findings);
    }
}

/// Updates the peaks with the memory of the services.
pub(super) fn measure(host: &Server, processors: &Processors, peaks_kib: &mut (u64, u64)) {
    peaks_kib.0 = peaks_kib.0.max(host.memory_peak_kib().unwrap_or(0));
    peaks_kib.1 = peaks_kib.1.max(processors.memory_peak_kib().unwrap_or(0));
}

/// Up to `count_max` requests, each from one of few addresses.
fn requests(
    random: &mut SeededRandom,
    count_max: u64,
    make: impl Fn(&mut RequestBytes) -> Vec<u8>,
) -> Vec<HostileRequest> {
    let count = random.between(count_max / 10, count_max);
    let mut bytes = RequestBytes(random.clone());
    let all = (0..count).map(|_| (HostileClients::address(&mut bytes.0), make(&mut bytes)));
    let all = all.collect();
    *random = bytes.0;
    all
}

fn partition(random: &mut SeededRandom) -> i32 {
    random.one(&[0, 1, PARTITIONS - 1])
}
