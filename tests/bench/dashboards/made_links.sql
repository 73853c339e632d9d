-- The links that the made clicks name, each in its newest version.
INSERT INTO link_versions (link_id, version, domain, slug, target_url, status, changed_at)
WITH
    ['go.example','l.example','news.example','s.example.org'] AS domains,
    ['spring','sale','guide','news','review','winter','travel','recipe','market','video','garden','music','course','jobs','event','health','photo','report','update','offer','summer','story','forum','price'] AS words
SELECT
    concat('l', toString(number)),
    1 + link_hash % 3,
    domains[1 + least(3, intDiv(link_hash % 16, 4))],
    if(link_hash % 4 = 0, concat(words[1 + intDiv(link_hash, 7) % 24], '-', toString(number % 3000)), substring(lower(hex(link_hash)), 1, 7)),
    concat('https://www.', words[1 + link_hash % 24], toString(link_hash % 400), '.example/', words[1 + intDiv(link_hash, 11) % 24], '/', toString(link_hash % 100000)),
    302,
    now64(6) - INTERVAL 90 DAY
FROM (SELECT number, cityHash64(number, 3) AS link_hash FROM numbers(5001))
