//! The processors of the run: two places that are always to be filled, and a guest now and then.
//! Who ends by itself is started again, as a supervisor would, and is told in the report.

use std::collections::BTreeMap;

use rustix::process::Signal;
use stack::RegistryProxy;

use super::dice::Dice;
use super::{Say, clock};
use crate::child::Exit;
use crate::clickhouse_proxy::Proxy;
use crate::http_client::metric;
use crate::world::{Processors, World};

/// Places that are to be filled.
const PLACES: usize = 2;
/// What a batch may hold; small, so that there is a middle to do harm in.
const ROWS: [&str; 3] = ["500", "2000", "10000"];
/// A partition that is added, or a topic made anew, is seen within so many milliseconds.
const REFRESH: &str = "topic.metadata.refresh.interval.ms=1000";
/// Exit codes that a fault may cause: drained, out of drain time, a server is away.
const BEARABLE: [i32; 2] = [0, 75];

/// The processors.
pub(super) struct Fleet<'w> {
    world: &'w World,
    url: String,
    registry: String,
    dice: Dice,
    say: Say<'w>,
    places: Vec<Option<Processors>>,
    /// Processes started so far.
    pub started: u32,
    /// Those that ended without being told to, by exit code.
    pub fell: BTreeMap<i32, u32>,
    /// What is wrong about how some of them ended.
    pub findings: Vec<String>,
}

impl<'w> Fleet<'w> {
    pub(super) fn of(
        world: &'w World,
        proxy: &Proxy,
        door: &RegistryProxy,
        seed: u64,
        say: Say<'w>,
    ) -> Self {
        let mut fleet = Self {
            world,
            url: proxy.url.clone(),
            registry: door.url.clone(),
            dice: Dice::new(seed, 2),
            say,
            places: Vec::new(),
            started: 0,
            fell: BTreeMap::new(),
            findings: Vec::new(),
        };
        fleet.places.resize_with(PLACES, || None);
        fleet.fill();
        fleet
    }

    /// One more member; `place` is where it is to stand, if it is no guest.
    pub(super) fn start(&mut self, place: Option<usize>) -> Processors {
        let mut member = self.begin(place);
        member.until_ready();
        member
    }

    /// As [`Fleet::start`], for one that cannot be ready yet.
    pub(super) fn begin(&mut self, place: Option<usize>) -> Processors {
        self.started += 1;
        let set = [
            ("CLICKHOUSE_URL", self.url.as_str()),
            ("SCHEMA_REGISTRY_URL", self.registry.as_str()),
            ("CLICKTRAIL_BATCH_ROWS", self.dice.one(&ROWS)),
        ];
        let fixed = format!("group.instance.id=place-{}", place.unwrap_or(PLACES));
        // A static member is let in again at once, and its place kept while it is away.
        let args = ["--kafka", REFRESH, "--kafka", &fixed];
        let args = if self.dice.once_in(2) { &args[..] } else { &args[..2] };
        self.world.start_processors(&self.world.group, args, &set)
    }

    /// Somebody stands in an empty place.
    pub(super) fn seat(&mut self, place: usize, member: Processors) {
        self.places[place] = Some(member);
    }

    /// Fills the empty places, those of processes that ended by themselves among them.
    pub(super) fn fill(&mut self) {
        for place in 0..PLACES {
            let ended = self.places[place].as_mut().and_then(|member| member.ended());
            if ended.is_some()
                && let Some(mut member) = self.places[place].take()
            {
                let exit = member.end();
                self.fell(&exit);
            }
            if self.places[place].is_none() {
                self.places[place] = Some(self.start(Some(place)));
            }
        }
    }

    fn fell(&mut self, exit: &Exit) {
        let code = exit.code.unwrap_or(-1);
        *self.fell.entry(code).or_default() += 1;
        let last = exit.err.lines().next_back().unwrap_or_default();
        (self.say)(&format!("a processor ended by itself, code {code}: {last}"));
        if !BEARABLE.contains(&code) {
            self.findings.push(format!("{} a processor ended with {code}: {last}", clock()));
        }
    }

    /// A place, chosen by chance.
    pub(super) fn any(&mut self) -> usize {
        self.dice.index(PLACES)
    }

    /// Who stands in a place.
    pub(super) fn member(&mut self, place: usize) -> &mut Processors {
        self.places[place].as_mut().expect("places are filled between faults")
    }

    /// SIGKILL; the place stays empty. True if it was a signal that ended it.
    pub(super) fn crash(&mut self, place: usize) -> bool {
        let Some(mut member) = self.places[place].take() else { return false };
        if member.ended().is_some() {
            let exit = member.end();
            self.fell(&exit);
            return false;
        }
        member.crash();
        member.ended() == Some(None)
    }

    /// SIGTERM; the place stays empty. True if it ended well.
    pub(super) fn stop(&mut self, place: usize) -> bool {
        let Some(mut member) = self.places[place].take() else { return false };
        self.stopped(&mut member)
    }

    /// SIGTERM to somebody. True if it ended well.
    pub(super) fn stopped(&mut self, member: &mut Processors) -> bool {
        let exit = if member.ended().is_some() { member.end() } else { member.stop() };
        if exit.code != Some(0) {
            self.fell(&exit);
        }
        exit.code == Some(0)
    }

    /// Stops all, together.
    pub(super) fn stop_all(&mut self) {
        for member in self.places.iter_mut().flatten() {
            if member.ended().is_none() {
                member.signal(Signal::TERM);
            }
        }
        for place in 0..PLACES {
            self.stop(place);
        }
    }

    /// The sum of a metric over those who stand.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let name = format!("clicktrail_processors_{name}");
        let members = self.places.iter().flatten();
        members.filter_map(|member| metric(&member.admin, &name)).sum()
    }
}
