-- Where an address is, what a user agent is in more detail, which machine it is, and by which rules.
ALTER TABLE click_versions
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) COMMENT 'ISO 3166-1, by the address, else by edge_country' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS continent LowCardinality(String) COMMENT 'of the country: AF, AN, AS, EU, NA, OC, SA' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS region LowCardinality(String) COMMENT 'ISO 3166-2 where the geo data has codes, else its name' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS city LowCardinality(String) COMMENT 'English name' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS browser_major LowCardinality(String) COMMENT 'first number of browser_version' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS device_brand LowCardinality(String) COMMENT 'such as Apple' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS device_model LowCardinality(String) COMMENT 'such as iPhone' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS bot_name LowCardinality(String) COMMENT 'name of the machine, where it has one' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS bot_rules_version LowCardinality(String) COMMENT 'list of crawlers that made this version' CODEC(ZSTD(1));
ALTER TABLE click_versions
    COMMENT COLUMN IF EXISTS device 'desktop, mobile, tablet, tv, console, wearable, bot',
    COMMENT COLUMN IF EXISTS browser_version 'as far as it is known',
    COMMENT COLUMN IF EXISTS os_version 'as far as it is known';
-- A view shows the columns that its table had when it was made.
CREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions FINAL;
