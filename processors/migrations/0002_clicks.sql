-- What people and dashboards read: the newest version of each click, once, at every moment.
CREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions FINAL;
