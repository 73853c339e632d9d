-- Every version of every click that was ever inserted; the newest one counts.
-- Keys hold only facts that were fixed when the event id was minted, so that inserting a click
-- again, at any time, replaces it. Read the view `clicks`, not this table.
--
-- An applied file is never edited: `setup` refuses a file whose checksum has changed
-- (`migration_edited`). Write a change of a table as a new file with the next number, and create
-- the view again there.
CREATE TABLE IF NOT EXISTS click_versions
(
    occurred_at DateTime64(6, 'UTC') COMMENT 'when the request was received' CODEC(Delta, T64, ZSTD(1)),
    event_id FixedString(16) COMMENT 'UUID v7, big-endian' CODEC(ZSTD(3)),
    ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when this server took this version; the newest is read' CODEC(Delta, T64, ZSTD(1)),
    origin LowCardinality(String) COMMENT 'redirect, import, collector' CODEC(ZSTD(1)),
    source LowCardinality(String) COMMENT 'host or log it is from' CODEC(ZSTD(1)),
    domain LowCardinality(String) COMMENT 'host as requested' CODEC(ZSTD(1)),
    slug LowCardinality(String) COMMENT 'path as requested, without the leading slash' CODEC(ZSTD(1)),
    query String COMMENT 'query string as requested' CODEC(ZSTD(1)),
    link_id LowCardinality(String) COMMENT 'the link that the slug named then' CODEC(ZSTD(1)),
    link_version UInt32 COMMENT 'version of that link' CODEC(T64, ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'what the visitor got' CODEC(ZSTD(1)),
    status UInt16 COMMENT 'HTTP status of the answer' CODEC(ZSTD(1)),
    target_url LowCardinality(String) COMMENT 'destination of this very answer' CODEC(ZSTD(1)),
    method LowCardinality(String) COMMENT 'HTTP method' CODEC(ZSTD(1)),
    scheme LowCardinality(String) COMMENT 'http or https' CODEC(ZSTD(1)),
    http_version LowCardinality(String) COMMENT 'such as HTTP/1.1' CODEC(ZSTD(1)),
    client_ip IPv6 COMMENT 'IPv4 in mapped form; :: is unknown' CODEC(ZSTD(1)),
    client_ip_policy LowCardinality(String) COMMENT 'full, truncated, none' CODEC(ZSTD(1)),
    visitor_id UInt64 COMMENT 'keyed hash of the day; 0 is unknown' CODEC(ZSTD(1)),
    identifiers_stripped Bool COMMENT 'a privacy rule removed what identifies the visitor',
    user_agent LowCardinality(String) COMMENT 'User-Agent' CODEC(ZSTD(1)),
    referer LowCardinality(String) COMMENT 'Referer' CODEC(ZSTD(1)),
    edge_country LowCardinality(String) COMMENT 'country header of a CDN in front' CODEC(ZSTD(1)),
    latency_us UInt32 COMMENT 'microseconds from request head to answer' CODEC(T64, ZSTD(1)),
    browser LowCardinality(String) COMMENT 'browser or client' CODEC(ZSTD(1)),
    browser_version LowCardinality(String) COMMENT 'as far as it is known' CODEC(ZSTD(1)),
    os LowCardinality(String) COMMENT 'operating system' CODEC(ZSTD(1)),
    os_version LowCardinality(String) COMMENT 'as far as it is known' CODEC(ZSTD(1)),
    device LowCardinality(String) COMMENT 'desktop, mobile, tablet, tv, console, wearable, bot' CODEC(ZSTD(1)),
    is_bot Bool COMMENT 'a machine, as far as the rules can tell',
    bot_class LowCardinality(String) COMMENT 'kind of machine' CODEC(ZSTD(1)),
    referrer_host LowCardinality(String) COMMENT 'host that the visitor came from' CODEC(ZSTD(1)),
    target_host LowCardinality(String) COMMENT 'host that the visitor was sent to' CODEC(ZSTD(1)),
    language LowCardinality(String) COMMENT 'first of Accept-Language' CODEC(ZSTD(1)),
    utm_source LowCardinality(String) COMMENT 'of the visited address, else of the target' CODEC(ZSTD(1)),
    utm_medium LowCardinality(String) COMMENT 'likewise' CODEC(ZSTD(1)),
    utm_campaign LowCardinality(String) COMMENT 'likewise' CODEC(ZSTD(1)),
    utm_term LowCardinality(String) COMMENT 'likewise' CODEC(ZSTD(1)),
    utm_content LowCardinality(String) COMMENT 'likewise' CODEC(ZSTD(1)),
    referrer_source LowCardinality(String) COMMENT 'name of the origin: by the link''s author, else the referrer, a click id, the app' CODEC(ZSTD(1)),
    referrer_medium LowCardinality(String) COMMENT 'search, social, video, email, ai_assistant, messaging, shopping, display, referral, internal, direct' CODEC(ZSTD(1)),
    channel LowCardinality(String) COMMENT 'how the visitor was won, such as paid_search' CODEC(ZSTD(1)),
    click_id_param LowCardinality(String) COMMENT 'name of the click id in the visited address, else in the target' CODEC(ZSTD(1)),
    in_app LowCardinality(String) COMMENT 'app whose in-app browser sent the request' CODEC(ZSTD(1)),
    trigger LowCardinality(String) COMMENT 'link, qr, page' CODEC(ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'where the record stands in the log' CODEC(ZSTD(1)),
    kafka_partition UInt32 COMMENT 'likewise' CODEC(ZSTD(1)),
    kafka_offset UInt64 COMMENT 'likewise' CODEC(DoubleDelta, ZSTD(1)),
    logged_at DateTime64(3, 'UTC') COMMENT 'when the broker appended it' CODEC(Delta, T64, ZSTD(1)),
    trace_id FixedString(16) COMMENT 'trace of the request, zeros when it was not sampled' CODEC(ZSTD(1)),
    enrich_version UInt32 COMMENT 'rules that made this version' CODEC(ZSTD(1)),
    geo_db_build LowCardinality(String) COMMENT 'geo data that made this version' CODEC(ZSTD(1)),
    ua_rules_version LowCardinality(String) COMMENT 'user agent rules that made this version' CODEC(ZSTD(1)),
    country LowCardinality(String) COMMENT 'ISO 3166-1, by the address, else by edge_country' CODEC(ZSTD(1)),
    continent LowCardinality(String) COMMENT 'of the country: AF, AN, AS, EU, NA, OC, SA' CODEC(ZSTD(1)),
    region LowCardinality(String) COMMENT 'ISO 3166-2 where the geo data has codes, else its name' CODEC(ZSTD(1)),
    city LowCardinality(String) COMMENT 'English name' CODEC(ZSTD(1)),
    browser_major LowCardinality(String) COMMENT 'first number of browser_version' CODEC(ZSTD(1)),
    device_brand LowCardinality(String) COMMENT 'such as Apple' CODEC(ZSTD(1)),
    device_model LowCardinality(String) COMMENT 'such as iPhone' CODEC(ZSTD(1)),
    bot_name LowCardinality(String) COMMENT 'name of the machine, where it has one' CODEC(ZSTD(1)),
    bot_rules_version LowCardinality(String) COMMENT 'list of crawlers that made this version' CODEC(ZSTD(1)),
    referrer_rules_version LowCardinality(String) COMMENT 'referrer table that made this version' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toDate(occurred_at)
ORDER BY (occurred_at, event_id)
SETTINGS fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_age_to_force_merge_seconds = 3600,
         min_age_to_force_merge_on_partition_only = 1;
-- What people and dashboards read: the newest version of each click, once, at every moment. A view
-- shows the columns that its table had when the view was created.
CREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions FINAL;
