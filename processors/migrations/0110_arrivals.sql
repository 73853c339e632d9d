-- Where visitors came from. A row that older rules made is empty here until it is processed again.
ALTER TABLE click_versions
    ADD COLUMN IF NOT EXISTS referrer_source LowCardinality(String) COMMENT 'what people call the place: by the link''s author, else the referrer, a click id, the app' CODEC(ZSTD(1)) AFTER utm_content,
    ADD COLUMN IF NOT EXISTS referrer_medium LowCardinality(String) COMMENT 'search, social, video, email, ai_assistant, messaging, shopping, display, referral, internal, direct' CODEC(ZSTD(1)) AFTER referrer_source,
    ADD COLUMN IF NOT EXISTS channel LowCardinality(String) COMMENT 'how the visitor was won, such as paid_search' CODEC(ZSTD(1)) AFTER referrer_medium,
    ADD COLUMN IF NOT EXISTS click_id_param LowCardinality(String) COMMENT 'name of the click id in the visited address, else in the target' CODEC(ZSTD(1)) AFTER channel,
    ADD COLUMN IF NOT EXISTS in_app LowCardinality(String) COMMENT 'app whose own browser asked' CODEC(ZSTD(1)) AFTER click_id_param,
    ADD COLUMN IF NOT EXISTS trigger LowCardinality(String) COMMENT 'link, qr, page' CODEC(ZSTD(1)) AFTER in_app,
    ADD COLUMN IF NOT EXISTS referrer_rules_version LowCardinality(String) COMMENT 'table of places that made this version' CODEC(ZSTD(1));
CREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions FINAL;
