//! A producer that stores clicks, stops, and starts with a damaged outbox.

use std::path::Path;
use std::time::{Duration, Instant};

use super::segment_damage::SegmentDamage;
use crate::http_client::metric;
use crate::ports::closed_port;
use crate::seeded_random::SeededRandom;
use crate::world::World;

const LINKS: &str = r#"{"slug":"damaged","url":"https://example.com/"}"#;
/// Clicks that it stores.
const CLICKS: u64 = 200;
const DELIVERY: Duration = Duration::from_secs(40);

/// The counts of all such producers.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct DamagedHosts {
    /// Producers that were started with a damaged outbox.
    pub hosts: u64,
    /// Clicks that they had stored.
    pub stored: u64,
    /// Clicks that they delivered.
    pub delivered: u64,
    /// Clicks that they report as lost.
    pub counted: u64,
    /// Clicks in a truncated end.
    pub cut: u64,
    /// The highest memory of one, KiB.
    pub peak_kib: u64,
}

impl DamagedHosts {
    /// Runs one more producer. Returns a finding if there is one.
    pub(super) fn run(&mut self, world: &World, random: &mut SeededRandom) -> Vec<String> {
        let outbox = world.folder().join(format!("damaged-{}", self.hosts));
        self.hosts += 1;
        let (path, closed) = (outbox.display().to_string(), closed_port().to_string());
        let own = ("CLICKTRAIL_OUTBOX", path.as_str());
        let set = [own, ("KAFKA_BROKERS", &closed), ("CLICKTRAIL_FLUSH_SECONDS", "0")];
        let mut server = world.serve(LINKS, &set);
        for number in 0..CLICKS {
            let path = format!("/damaged?d{}={number}", self.hosts);
            assert_eq!(server.get(&path, &[]).status, 302);
        }
        let exit = server.stop();
        let stored = exit.summary("serve").get("waiting");
        if stored != CLICKS {
            return vec![format!("{stored} of {CLICKS} clicks were stored: {exit:?}")];
        }
        self.stored += stored;
        let damage = damage(&outbox.join("serve"), random);
        let mut server = world.serve(LINKS, &[own]);
        let began = Instant::now();
        while metric(&server.admin, "clicktrail_producer_outbox_clicks") != Some(0.0) {
            if server.ended().is_some() || began.elapsed() > DELIVERY {
                return vec![format!("{damage:?}: the outbox is not delivered\n{}", server.log())];
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.peak_kib = self.peak_kib.max(server.memory_peak_kib().unwrap_or(0));
        let panicked = server.log().contains("panicked");
        let exit = server.stop();
        let summary = exit.summary("serve");
        let (delivered, counted) = (summary.get("delivered"), summary.get("undelivered"));
        self.delivered += delivered;
        self.counted += counted;
        let lost = stored.saturating_sub(delivered);
        if damage.is_cut {
            self.cut += lost.saturating_sub(counted);
        }
        let is_right = delivered <= stored
            && !panicked
            && (damage.is_cut || (lost <= damage.flips && counted == lost));
        if is_right {
            return Vec::new();
        }
        vec![format!("{damage:?}: {stored} stored, {exit:?}")]
    }
}

/// Damages the newest segment of a folder.
fn damage(folder: &Path, random: &mut SeededRandom) -> SegmentDamage {
    let files = std::fs::read_dir(folder).expect("an outbox").flatten().map(|entry| entry.path());
    let segment = files.filter(|path| path.extension().is_some_and(|it| it == "clicks")).max();
    let segment = segment.expect("a segment");
    let mut content = std::fs::read(&segment).expect("a segment");
    let damage = SegmentDamage::inflict(random, &mut content);
    std::fs::write(&segment, content).expect("a segment");
    damage
}
