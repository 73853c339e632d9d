-- An operator can change the limits of a replay. Both columns hold texts, so that only the comments change.
ALTER TABLE job_requests COMMENT COLUMN IF EXISTS request 'cancel, rate, max_lag, max_parts, pause, resume';
ALTER TABLE job_requests COMMENT COLUMN IF EXISTS value 'such as records a second; none: no limit';
