-- A trace that starts at its redirect has the event id as its id. The table stores other ids only, which come
-- from the traceparent of a request, and the view fills in the event id. A click without identifiers is in no
-- trace. A later file that creates the view again keeps the expression.
ALTER TABLE click_versions COMMENT COLUMN IF EXISTS trace_id 'trace that the request named; zeros where there is none, or where its id is event_id. The view clicks fills in event_id';
CREATE OR REPLACE VIEW clicks AS SELECT * REPLACE(if(trace_id = toFixedString('', 16) AND NOT identifiers_stripped, event_id, trace_id) AS trace_id) FROM click_versions FINAL;
