//! The schema ids of one subject: the ids of all registries that answer. One of several registries may be
//! behind the others, or unreachable.
#![expect(clippy::disallowed_methods, reason = "measures how long a registry takes")]

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::SchemaId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::ServerError;
use crate::registry::Registry;

/// How long the other registries may take once one has answered.
const LATE_MAX: Duration = Duration::from_secs(1);
/// The pause of a registry that did not answer, as a multiple of the wait for it.
const PAUSE_FACTOR: u32 = 10;

/// The ids of one subject, by the last answer of each registry.
#[derive(Debug)]
pub(crate) struct SubjectIds {
    registry: Registry,
    subject: String,
    replicas: Vec<Replica>,
}

/// The ids of one registry.
#[derive(Debug, Default)]
struct Replica {
    /// By version.
    ids: BTreeMap<u64, SchemaId>,
    /// It did not answer while another one did: until then it is not asked.
    pause_until: Option<Instant>,
}

impl SubjectIds {
    /// The ids of `subject`; sends no request.
    pub(crate) fn new(registry: Registry, subject: String) -> Self {
        let replicas = registry.urls().iter().map(|_| Replica::default()).collect();
        Self { registry, subject, replicas }
    }

    /// The schema of an id of the subject; `None` where no registry has the id, or none its schema.
    ///
    /// # Errors
    /// Retryable: a registry that had the id does not answer. During its pause it is not asked, so that
    /// one registry that hangs does not take the time of the others.
    pub(crate) async fn schema(&self, id: SchemaId) -> Result<Option<String>, ServerError> {
        let (mut failed, now) = (None, Instant::now());
        for (url, replica) in self.registry.urls().iter().zip(&self.replicas) {
            if !replica.ids.values().any(|own| *own == id) {
                continue;
            }
            if replica.pause_until.is_some_and(|until| now < until) {
                let text = format!("a registry that has the schema {id} does not answer");
                failed = Some(ServerError::retryable("registry_unreachable", text));
                continue;
            }
            match self.registry.schema_at(url, id).await {
                Ok(Some(schema)) => return Ok(Some(schema)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Asks all registries at once: two requests each, and one more for each new version. The last ids of
    /// a registry that does not answer now still count.
    ///
    /// # Errors
    /// Retryable: none answers.
    pub(crate) async fn refresh(&mut self) -> Result<(), ServerError> {
        let began = Instant::now();
        let (mut asked, mut open) = (JoinSet::new(), Vec::new());
        for (index, (url, replica)) in self.registry.urls().iter().zip(&self.replicas).enumerate() {
            if replica.pause_until.is_some_and(|until| began < until) {
                continue;
            }
            open.push(index);
            let (registry, url) = (self.registry.clone(), url.clone());
            let (subject, known) = (self.subject.clone(), replica.ids.clone());
            asked.spawn(
                async move { (index, registry.subject_ids_at(&url, &subject, &known).await) },
            );
        }
        let (mut answered_at, mut failed) = (None, None);
        while let Some(joined) = next(&mut asked, answered_at).await {
            let (index, ids) =
                joined.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?;
            match ids {
                Ok(ids) => {
                    self.replicas[index] = Replica { ids, pause_until: None };
                    open.retain(|own| *own != index);
                    answered_at.get_or_insert(Instant::now());
                }
                Err(error) => {
                    self.replicas[index].pause_until = Some(pause_end(began));
                    open.retain(|own| *own != index);
                    failed = Some(error);
                }
            }
        }
        if answered_at.is_some() {
            let late = open.into_iter();
            late.for_each(|index| self.replicas[index].pause_until = Some(pause_end(began)));
            return Ok(());
        }
        self.replicas.iter_mut().for_each(|replica| replica.pause_until = None);
        let none = || ServerError::retryable("registry_unreachable", "no registry was asked");
        Err(failed.unwrap_or_else(none))
    }
}

/// The end of the pause of a registry that was asked at `began` and has not answered until now.
fn pause_end(began: Instant) -> Instant {
    let now = Instant::now();
    now + (now - began) * PAUSE_FACTOR
}

/// The next answer; after the first one, within [`LATE_MAX`].
async fn next<T: 'static>(
    asked: &mut JoinSet<T>,
    answered_at: Option<Instant>,
) -> Option<Result<T, tokio::task::JoinError>> {
    let Some(at) = answered_at else { return asked.join_next().await };
    tokio::time::timeout_at(at + LATE_MAX, asked.join_next()).await.ok().flatten()
}
