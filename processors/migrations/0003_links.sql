-- Every version of every link that was read from the topic of links; the newest one counts. Read
-- the view `links`.
CREATE TABLE IF NOT EXISTS link_versions
(
    link_id String COMMENT 'as in clicks.link_id',
    version UInt64 COMMENT 'grows by one with each change of the link',
    domain LowCardinality(String) COMMENT 'host that it is for; empty: any',
    slug String COMMENT 'path without the leading slash',
    target_url String COMMENT 'destination; empty once deleted',
    status UInt16 COMMENT '302, or 301 where a cache may keep the answer',
    disabled Bool COMMENT 'switched off',
    expires_at Nullable(DateTime64(6, 'UTC')) COMMENT 'from when on it leads nowhere',
    pass_query Bool COMMENT 'the visitor''s query is appended to the target''s',
    opt_out Bool COMMENT 'its clicks hold nothing about their visitors, as far as the policy follows',
    deleted Bool COMMENT 'there is no such link any more',
    changed_at DateTime64(6, 'UTC') COMMENT 'when this version was made'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY link_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
-- Every link once, with the deleted ones, because clicks still name them.
CREATE OR REPLACE VIEW links AS SELECT * FROM link_versions FINAL;
