//! Jobs of operators: which process has one, and what another one can do to it.

use std::time::Duration;

use harness::{PATIENCE, World};
use processors::clickhouse::server::Server;
use processors::jobs::job::JobState;
use processors::jobs::job_request::JobRequest;
use processors::jobs::running_job::RunningJob;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Resumes a job by many processes at once until one has it.
async fn resumed_at_once(server: &Server, id: &str) -> RunningJob {
    loop {
        let mut claims = JoinSet::new();
        for _ in 0..8 {
            let (server, id) = (server.clone(), id.to_owned());
            claims.spawn(async move { RunningJob::resume(&server, &id).await });
        }
        let mut won = Vec::new();
        for claim in claims.join_all().await {
            match claim {
                Ok(job) => won.push(job),
                Err(error) => assert_eq!(error.code, "job_running", "{error}"),
            }
        }
        assert!(won.len() <= 1, "{won:?}");
        // None, where ClickHouse was slow.
        if let Some(job) = won.pop() {
            return job;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Stores that the process of the job is silent.
pub(super) fn silence(world: &World, id: &str) {
    world.query(&format!(
        "INSERT INTO job_versions SELECT * REPLACE (version + bitShiftLeft(1, 32) AS version, \
         'running' AS state, now64(6) - 20 AS updated_at) FROM jobs WHERE id = '{id}'"
    ));
}

#[test]
fn one_process_has_a_job_and_others_tune_cancel_and_resume_it() {
    let world = World::new("jobs");
    world.setup();
    let (server, runtime) = (world.clickhouse(), Runtime::new().unwrap());
    let resumed = |id: &str| {
        let resumed = async { tokio::time::timeout(PATIENCE, resumed_at_once(&server, id)).await };
        runtime.block_on(resumed).expect("in time")
    };

    let plan = r#"{"rate":5}"#.to_owned();
    let mut job = runtime.block_on(RunningJob::plan(&server, "redrive", plan, "anna")).unwrap();
    let id = job.job().id.clone();
    job.count("selected", 3);
    runtime.block_on(job.running()).unwrap();
    let refused = runtime.block_on(RunningJob::resume(&server, &id)).unwrap_err();
    assert_eq!(refused.code, "job_running", "{refused}");
    let cli = |args: &[&str]| world.dlq(&[&["jobs"], args].concat()).end();
    assert!(cli(&["rate", &id, "7"]).expect_code(0).out.contains("running"));
    assert_eq!(runtime.block_on(job.tick()).unwrap(), JobRequest::Rate(7));
    assert_eq!(runtime.block_on(job.tick()).unwrap(), JobRequest::None, "once");
    runtime.block_on(job.end(JobState::Failed, "a test")).unwrap();

    // Programs before the numbers of requests store none: such a request is for the process of its time.
    let unnumbered = |rate: u32| {
        let columns = "job_requests (id, request, value)";
        world.query(&format!("INSERT INTO {columns} VALUES ('{id}', 'rate', '{rate}')"));
    };
    unnumbered(9);
    let mut job = resumed(&id);
    assert_eq!((job.job().state, job.job().counts["selected"]), (JobState::Planning, 3));
    assert_eq!(job.job().plan, r#"{"rate":5}"#);
    runtime.block_on(job.running()).unwrap();
    assert_eq!(runtime.block_on(job.tick()).unwrap(), JobRequest::None);
    unnumbered(11);
    assert_eq!(runtime.block_on(job.tick()).unwrap(), JobRequest::Rate(11));
    let mut cancel = world.dlq(&["jobs", "cancel", &id]);
    let asked = cancel.until("the job is asked to stop", || {
        runtime
            .block_on(job.tick())
            .map(|asked| (asked != JobRequest::None).then_some(asked))
            .unwrap()
    });
    assert_eq!(asked, JobRequest::Cancel);
    runtime.block_on(job.end(JobState::Cancelled, "")).unwrap();
    let cancelled = cancel.end().expect_code(0);
    assert!(cancelled.out.contains("cancelled"), "{cancelled:?}");

    // A process that disappeared; the one that returns finds that its job was taken.
    let mut job = resumed(&id);
    silence(&world, &id);
    assert!(cli(&["cancel", &id]).expect_code(0).out.contains("cancelled"));
    assert_eq!(runtime.block_on(job.tick()).unwrap_err().code, "job_taken");
    assert_eq!(runtime.block_on(job.running()).unwrap_err().code, "job_taken");

    let shown = cli(&["show", &id, "--json"]).expect_code(0).out;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["state"], &shown["plan"]["rate"]), (&"cancelled".into(), &5.into()));
    let mut job = resumed(&id);
    runtime.block_on(job.end(JobState::Done, "")).unwrap();
    let refused = runtime.block_on(RunningJob::resume(&server, &id)).unwrap_err();
    assert_eq!(refused.code, "job_ended", "{refused}");
    let unknown = cli(&["show", "nothing"]).expect_code(78);
    assert!(unknown.err.contains("job_unknown"), "{unknown:?}");
}
