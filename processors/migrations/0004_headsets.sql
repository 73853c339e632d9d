-- The column `device` names headsets, too; its values are texts, so that only the comment changes.
ALTER TABLE click_versions COMMENT COLUMN device 'desktop, mobile, tablet, tv, console, wearable, headset, bot';
