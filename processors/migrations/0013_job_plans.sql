-- The plan of each job, once: a job that runs writes a version every two seconds, and the plan of a replay may have
-- 1,000 ranges. Versions that earlier programs wrote hold the plan themselves.
CREATE TABLE IF NOT EXISTS job_plans
(
    id String COMMENT 'job',
    plan String COMMENT 'what the job does, as JSON'
)
ENGINE = ReplacingMergeTree
ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE job_versions MODIFY COLUMN IF EXISTS plan String DEFAULT '' COMMENT 'empty where job_plans holds the plan';
CREATE OR REPLACE VIEW jobs AS
SELECT
    v.id AS id,
    v.version AS version,
    v.kind AS kind,
    v.state AS state,
    if(v.plan = '', ifNull(p.plan, ''), v.plan) AS plan,
    v.counts AS counts,
    v.actor AS actor,
    v.host AS host,
    v.message AS message,
    v.created_at AS created_at,
    v.updated_at AS updated_at
FROM job_versions AS v FINAL
LEFT ANY JOIN job_plans AS p ON p.id = v.id;
