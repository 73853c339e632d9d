-- Requests to a job are ordered by number: the server's clock may be set back. Those of earlier programs have none
-- and come first, by their times.
ALTER TABLE job_requests ADD COLUMN IF NOT EXISTS number UInt64 DEFAULT 0 COMMENT 'one more than that of the newest request to the job';
