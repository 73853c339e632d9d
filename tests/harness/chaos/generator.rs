//! Writes clicks into the log during the faults: some of them twice, and sometimes a record that cannot
//! become a click. The content depends on the seed alone; the rate depends on the progress of the
//! faults, so that each fault finds work in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use schemas::bounds::DAY_US;
use schemas::{Encoder, Outcome, RawClick};
use uuid::Builder;

use super::expected_clicks::{BAD, ExpectedClicks, What};
use super::progress::Progress;
use crate::seeded_random::SeededRandom;
use crate::world::World;

/// One record of this number is written twice.
const RESEND: u64 = 100;
/// One record of this number is bad: far below the share that opens the storm breaker.
const BAD_ONE: u64 = 400;
/// The days within which the clicks happened.
const DAYS: u64 = 3;
/// The largest distance between a click and its copy, in clicks.
const MEMORY: usize = 1000;
const BEAT: Duration = Duration::from_millis(50);
/// The longest wait for the acknowledgement of the last records.
const FLUSH: Duration = Duration::from_secs(120);
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.9.1",
];

type Producer = ThreadedProducer<Reports>;

/// Writes delivery reports into the list of expected clicks.
struct Reports(Arc<ExpectedClicks>);

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, what: usize) {
        let mut expected_state = self.0.lock();
        match report {
            Ok(record) => {
                let what = What::try_from(what).expect("it was one");
                expected_state.placed(record.partition(), record.offset(), what);
            }
            Err((error, _)) => expected_state.failed = Some(error.to_string()),
        }
    }
}

/// The generator.
pub(super) struct Generator {
    producer: Producer,
    expected_clicks: Arc<ExpectedClicks>,
    encoder: Encoder,
    brokers: String,
    topic: String,
    /// The generation of the topic that it writes to.
    number: usize,
    now_us: u64,
    random: SeededRandom,
    recent: VecDeque<(What, Vec<u8>)>,
}

impl Generator {
    pub(super) fn of(world: &World, seed: u64, expected_clicks: &Arc<ExpectedClicks>) -> Self {
        let now = jiff::Timestamp::now().as_microsecond();
        Self {
            producer: producer(&world.backends.kafka, expected_clicks),
            expected_clicks: Arc::clone(expected_clicks),
            encoder: Encoder::new(world.schema_id()),
            brokers: world.backends.kafka.clone(),
            topic: world.topic.clone(),
            number: 0,
            now_us: u64::try_from(now).expect("it is after 1970"),
            random: SeededRandom::stream(seed, 1),
            recent: VecDeque::new(),
        }
    }

    /// Writes all clicks that `progress` allows, then waits for the last acknowledgement.
    ///
    /// # Errors
    /// A record could not be written: the run is invalid.
    pub(super) fn run(mut self, progress: &Progress) -> Result<(), String> {
        let (began, mut minted) = (Instant::now(), 0);
        let mut beats = 0_u32;
        while let Some(due) = progress.due(minted) {
            {
                let expected_clicks = Arc::clone(&self.expected_clicks);
                let _write_lock = expected_clicks.write_lock();
                self.follow();
                for _ in 0..due {
                    minted += 1;
                    self.click()?;
                }
            }
            beats += 1;
            std::thread::sleep((BEAT * beats).saturating_sub(began.elapsed()).min(BEAT));
        }
        self.producer.flush(FLUSH).map_err(|error| format!("the last records: {error}"))?;
        let expected_state = self.expected_clicks.lock();
        match &expected_state.failed {
            Some(error) => Err(error.clone()),
            None if expected_state.logged != expected_state.sent => Err(format!(
                "{} of {} records acknowledged",
                expected_state.logged, expected_state.sent
            )),
            None => Ok(()),
        }
    }

    /// Creates a new client for a recreated topic, since a client knows a topic by its name only.
    fn follow(&mut self) {
        let number = self.expected_clicks.lock().topic();
        if self.number != number {
            self.producer = producer(&self.brokers, &self.expected_clicks);
            self.number = number;
        }
    }

    fn click(&mut self) -> Result<(), String> {
        let (what, value) = self.minted();
        self.send(what, Some(&value))?;
        self.recent.push_back((what, value));
        if self.recent.len() > MEMORY {
            self.recent.pop_front();
        }
        if self.random.once_in(RESEND) {
            let again = self.random.index(self.recent.len());
            let (what, value) = self.recent[again].clone();
            self.expected_clicks.lock().resends += 1;
            self.send(what, Some(&value))?;
        }
        if self.random.once_in(BAD_ONE) {
            self.bad()?;
        }
        Ok(())
    }

    /// Creates a click and records it in the list before it is sent.
    fn minted(&mut self) -> (What, Vec<u8>) {
        let at_us = self.now_us - self.random.bits() % (DAYS * DAY_US.cast_unsigned());
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        let event_id = Builder::from_unix_timestamp_millis(at_us / 1000, &random).into_uuid();
        let slug = format!("page/{}", self.random.between(1, 500));
        let target = format!("https://example.com/{slug}?utm_source=chaos");
        let ip = self.random.bits().to_be_bytes();
        let click = RawClick {
            source: "chaos",
            domain: Some("go.example.com"),
            outcome: Outcome::Redirected,
            status: 302,
            target_url: Some(&target),
            client_ip: Some(&ip[..4]),
            user_agent: Some(self.random.one(&AGENTS)),
            ..RawClick::new(event_id, i64::try_from(at_us).expect("microseconds"), &slug)
        };
        let mut value = Vec::new();
        self.encoder.encode(&click, &mut value).expect("a good click");
        (self.expected_clicks.lock().mint(event_id.into_bytes()), value)
    }

    /// A record that cannot become a click, of one of several kinds.
    fn bad(&mut self) -> Result<(), String> {
        self.expected_clicks.lock().bad += 1;
        let good = self.recent.back().map(|(_, value)| value.clone()).unwrap_or_default();
        match self.random.between(0, 3) {
            0 => self.send(BAD, None),
            1 => self.send(BAD, Some(b"not framed at all")),
            2 => self.send(BAD, Some(&good[..good.len() - 3])),
            _ => self.send(BAD, Some(&[&good[..], b"?"].concat())),
        }
    }

    fn send(&mut self, what: What, value: Option<&[u8]>) -> Result<(), String> {
        let partition = {
            let mut expected_state = self.expected_clicks.lock();
            expected_state.sent += 1;
            i32::try_from(self.random.index(expected_state.partitions().unsigned_abs() as usize))
        };
        let partition = partition.expect("few partitions");
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, what as usize)
                .partition(partition);
        record.payload = value;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                // The client learns of a new partition with a delay.
                Err((
                    KafkaError::MessageProduction(
                        RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::UnknownPartition,
                    ),
                    again,
                )) => {
                    record = again;
                    std::thread::sleep(BEAT);
                }
                Err((error, _)) => return Err(format!("queueing a record: {error}")),
            }
        }
    }
}

fn producer(brokers: &str, expected_clicks: &Arc<ExpectedClicks>) -> Producer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("topic.metadata.refresh.interval.ms", "1000");
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "5");
    // Without a timeout: an outage of the broker is a fault of the run, and does not end it.
    config.set("message.timeout.ms", "0").set("reconnect.backoff.max.ms", "1000");
    let producer = config.create_with_context(Reports(Arc::clone(expected_clicks)));
    producer.expect("a producer can be made")
}
