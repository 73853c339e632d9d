-- A replay is a job, too, and a job may be planned long before it runs. Both columns hold texts, so that only
-- the comments change.
ALTER TABLE job_versions COMMENT COLUMN IF EXISTS kind 'redrive, replay';
ALTER TABLE job_versions COMMENT COLUMN IF EXISTS state 'planned, planning, running, done, cancelled, failed';
