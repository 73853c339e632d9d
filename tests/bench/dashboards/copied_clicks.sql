-- Part of the clicks of a day once more on another day, by other visitors.
INSERT INTO click_versions
SELECT * REPLACE
(
    occurred_at + toIntervalDay({later:UInt32}) AS occurred_at,
    ingested_at + toIntervalDay({later:UInt32}) AS ingested_at,
    logged_at + toIntervalDay({later:UInt32}) AS logged_at,
    toFixedString(concat(
        reverse(reinterpretAsFixedString(
            reinterpretAsUInt64(reverse(substring(event_id, 1, 8))) + bitShiftLeft(toUInt64({later:UInt32}) * 86400000, 16))),
        substring(event_id, 9, 8)), 16) AS event_id,
    if(visitor_id = 0, 0, cityHash64(visitor_id, {later:UInt32})) AS visitor_id,
    kafka_offset + {later:UInt32} * 1000000 AS kafka_offset
)
FROM
(
    SELECT *
    FROM click_versions
    WHERE occurred_at >= toDateTime64({from:UInt32}, 6, 'UTC') AND occurred_at < toDateTime64({to:UInt32}, 6, 'UTC')
)
SETTINGS max_threads = 1, optimize_on_insert = 0
