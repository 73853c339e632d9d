-- Clicks of one day, made by the engine: popularity of links, user agents, countries and referrers by Zipf's law.
-- Everything of a visitor (country, city, language, user agent) follows from the visitor.
INSERT INTO click_versions
(
    occurred_at, event_id, ingested_at, logged_at, origin, source, kafka_topic, kafka_partition, kafka_offset,
    domain, slug, query, link_id, link_version, outcome, status, target_url, target_host, method, scheme, http_version,
    client_ip, client_ip_policy, visitor_id, user_agent, browser, browser_version, browser_major, os, os_version,
    device, device_brand, is_bot, bot_class, bot_name, language, country, continent, region, city, edge_country,
    referer, referrer_host, referrer_source, referrer_medium, channel,
    utm_source, utm_medium, utm_campaign, click_id_param, trigger, latency_us,
    enrich_version, geo_db_build, ua_rules_version, bot_rules_version, referrer_rules_version
)
WITH
    ['US','DE','GB','FR','IN','BR','ES','NL','IT','JP','PL','CA','AU','SE','CH','AT','MX','TR','BE','NO','DK','FI','PT','IE','CZ','ZA','AR','KR','SG','GR'] AS countries,
    ['NA','EU','EU','EU','AS','SA','EU','EU','EU','AS','EU','NA','OC','EU','EU','EU','NA','AS','EU','EU','EU','EU','EU','EU','EU','AF','SA','AS','AS','EU'] AS continents,
    ['en-us','de-de','en-gb','fr-fr','en-in','pt-br','es-es','nl-nl','it-it','ja','pl-pl','en-ca','en-au','sv-se','de-ch','de-at','es-mx','tr-tr','nl-be','nb-no','da-dk','fi-fi','pt-pt','en-ie','cs-cz','en-za','es-ar','ko-kr','en-sg','el-gr'] AS languages,
    ['go.example','l.example','news.example','s.example.org'] AS domains,
    ['spring','sale','guide','news','review','winter','travel','recipe','market','video','garden','music','course','jobs','event','health','photo','report','update','offer','summer','story','forum','price'] AS words,
    ['www.google.com','l.facebook.com','t.co','www.instagram.com','www.youtube.com','www.linkedin.com','chatgpt.com','mail.google.com','www.bing.com','www.reddit.com','duckduckgo.com','www.pinterest.com'] AS hosts,
    ['Google','Facebook','X','Instagram','YouTube','LinkedIn','ChatGPT','Gmail','Bing','Reddit','DuckDuckGo','Pinterest'] AS sources,
    ['search','social','social','social','video','social','ai_assistant','email','search','social','search','social'] AS mediums,
    ['organic_search','organic_social','organic_social','organic_social','organic_video','organic_social','ai_assistants','email','organic_search','organic_social','organic_search','organic_social'] AS channels,
    ['newsletter','facebook','instagram','google','linkedin','x','partner','poster'] AS senders,
    ['social','email','cpc','affiliate','qr'] AS media,
    ['Chrome','Chrome Mobile','Mobile Safari','Safari','Edge','Firefox','Samsung Internet','Instagram'] AS browsers,
    ['Windows','Android','iOS','Mac OS X','Windows','Linux','Android','iOS'] AS systems,
    ['desktop','mobile','mobile','desktop','desktop','desktop','mobile','mobile'] AS devices,
    ['Googlebot','facebookexternalhit','bingbot','WhatsApp','GPTBot','Slackbot','curl','ChatGPT-User','python-requests','ClaudeBot','AhrefsBot','UptimeRobot'] AS bots,
    ['declared_crawler','link_preview','declared_crawler','link_preview','ai_crawler','link_preview','http_library','ai_agent','http_library','ai_crawler','declared_crawler','monitor'] AS bot_classes,
    -- Each hour of the day as often as the flow is high in it: lowest at night, highest in the evening.
    arrayFlatten(arrayMap((flow, hour) -> arrayWithConstant(flow, hour), [5,4,3,3,3,4,6,8,9,10,10,10,11,10,10,10,10,11,12,12,13,12,10,7], range(24))) AS hours
SELECT
    fromUnixTimestamp64Micro(at_us, 'UTC'),
    toFixedString(concat(
        reverse(reinterpretAsFixedString(bitOr(bitShiftLeft(toUInt64(intDiv(at_us, 1000)), 16), 0x7000 + a % 4096))),
        reverse(reinterpretAsFixedString(bitOr(bitShiftRight(b, 2), 0x8000000000000000)))), 16),
    fromUnixTimestamp64Micro(at_us + 250000 + b % 600000, 'UTC'),
    fromUnixTimestamp64Milli(intDiv(at_us, 1000) + 20 + b % 80, 'UTC'),
    'redirect', concat('edge-', toString(1 + a % 4)), 'clicks.raw.v1', number % 6, {day:UInt64} * {rows:UInt64} + number,
    domains[1 + least(3, intDiv(link_hash % 16, 4))],
    multiIf(
        stray, ['wp-login.php', '.env', 'robots.txt', 'favicon.ico', 'xmlrpc.php', 'admin'][1 + b % 6],
        link_hash % 4 = 0, concat(words[1 + intDiv(link_hash, 7) % 24], '-', toString(link % 3000)),
        substring(lower(hex(link_hash)), 1, 7)),
    multiIf(
        campaign, concat('utm_source=', senders[sender], '&utm_medium=', media[medium], '&utm_campaign=', words[1 + b % 24]),
        b % 1000 < 150, concat('fbclid=', hex(b), hex(a)),
        ''),
    if(stray, '', concat('l', toString(link))),
    if(stray, 0, 1 + link_hash % 3),
    multiIf(stray, 'not_found', b % 400 = 0, 'expired', 'redirected'),
    multiIf(stray, 404, b % 400 = 0, 410, 302),
    if(stray, '', concat('https://www.', words[1 + link_hash % 24], toString(link_hash % 400), '.example/', words[1 + intDiv(link_hash, 11) % 24], '/', toString(link_hash % 100000))),
    if(stray, '', concat('www.', words[1 + link_hash % 24], toString(link_hash % 400), '.example')),
    if(is_machine AND b % 4 = 0, 'HEAD', 'GET'), 'https', if(visitor % 10 < 8, 'HTTP/2.0', 'HTTP/1.1'),
    toIPv6(concat('::ffff:', toString(11 + network % 200), '.', toString(intDiv(network, 256) % 256), '.', toString(visitor % 256), '.', toString(intDiv(visitor, 256) % 256))),
    'full',
    if(visitor % 33 = 0, 0, visitor),
    if(is_machine, concat('Mozilla/5.0 (compatible; ', bots[bot], '/2.', toString(agent_hash % 10), ')'), concat('Mozilla/5.0 (', systems[browser_number], ') ', browsers[browser_number], '/', toString(137 - agent_hash % 30), '.0.', toString(agent))),
    if(is_machine, '', browsers[browser_number]),
    if(is_machine, '', concat(toString(137 - agent_hash % 30), '.0.', toString(agent))),
    if(is_machine, '', toString(137 - agent_hash % 30)),
    if(is_machine, '', systems[browser_number]),
    if(is_machine, '', toString(10 + agent_hash % 8)),
    if(is_machine, 'bot', devices[browser_number]),
    if(is_machine, '', ['', 'Samsung', 'Apple', 'Apple', '', '', 'Samsung', 'Apple'][browser_number]),
    is_machine, if(is_machine, bot_classes[bot], ''), if(is_machine, bots[bot], ''),
    if(is_machine, '', languages[place]), countries[place], continents[place],
    concat(countries[place], '-', toString(network % 16)),
    if(network % 5 = 0, '', concat('City ', toString(place), '.', toString(network % 80))),
    countries[place],
    multiIf(direct, '', referrer <= 12, concat('https://', hosts[referrer], '/'), concat('https://www.', words[1 + referrer % 24], toString(referrer), '.example/', toString(b % 50))),
    multiIf(direct, '', referrer <= 12, hosts[referrer], concat('www.', words[1 + referrer % 24], toString(referrer), '.example')),
    multiIf(campaign, senders[sender], direct, '', referrer <= 12, sources[referrer], concat('www.', words[1 + referrer % 24], toString(referrer), '.example')),
    multiIf(direct, 'direct', referrer <= 12, mediums[referrer], 'referral'),
    multiIf(campaign, ['paid_social', 'email', 'paid_search', 'affiliates', 'referral'][medium], direct, 'direct', referrer <= 12, channels[referrer], 'referral'),
    if(campaign, senders[sender], ''), if(campaign, media[medium], ''),
    if(campaign, concat(words[1 + link_hash % 24], '-', toString(link_hash % 20)), ''),
    if(NOT campaign AND b % 1000 < 150, 'fbclid', ''),
    if(a % 25 = 0, 'qr', 'link'),
    30 + bitShiftLeft(1, a % 9) + b % 60,
    4, 'country ipvAll 2026-06-01', '41733e3f5be2', 'c36c67f2527f', '5eabfb340ad3'
FROM
(
    SELECT
        number, a, b, visitor, network, link,
        cityHash64(link, 3) AS link_hash,
        agent, cityHash64(agent, 4) AS agent_hash,
        agent % 9 = 8 AS is_machine,
        1 + agent_hash % 12 AS bot,
        [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 2, 3][1 + agent_hash % 20] AS browser_number,
        toUInt64(exp((network % 1000003) / 1000003 * log(30))) AS place,
        toUInt64(exp((c % 1000003) / 1000003 * log(2000))) AS referrer,
        c % 10 < 4 OR is_machine AS direct,
        b % 1000 < 15 AS stray,
        a % 10 = 3 AND NOT is_machine AS campaign,
        1 + c % 8 AS sender,
        1 + intDiv(c, 8) % 5 AS medium,
        toInt64(({day:UInt64} * 24 + hours[1 + a % length(hours)]) * 3600000000 + b % 3600000000) AS at_us
    FROM
    (
        SELECT
            number,
            cityHash64(number, {day:UInt64}, 1) AS a,
            cityHash64(number, {day:UInt64}, 2) AS b,
            cityHash64(number, {day:UInt64}, 5) AS c,
            -- 600 visitors a thousand clicks; each is of one day.
            cityHash64(a % intDiv({rows:UInt64} * 3, 5), {day:UInt64}) AS visitor,
            cityHash64(toUInt64(exp((visitor % 1000003) / 1000003 * log(8000)))) AS network,
            toUInt64(exp((intDiv(visitor, 1000003) % 1000003) / 1000003 * log(3000))) AS agent,
            toUInt64(exp((b % 1000003) / 1000003 * log(5000))) AS link
        FROM numbers({first:UInt64}, {count:UInt64})
    )
)
SETTINGS max_partitions_per_insert_block = 2, max_threads = 1, optimize_on_insert = 0
