-- `device` names headsets, too, and `language` is the one that the visitor weighs highest. Both hold
-- texts, so that only the comments change.
ALTER TABLE click_versions COMMENT COLUMN IF EXISTS device 'desktop, mobile, tablet, tv, console, wearable, headset, bot';
ALTER TABLE click_versions COMMENT COLUMN IF EXISTS language 'of Accept-Language, the first with the highest weight';
