//! The meaning of slugs in any spelling, also during changes.

use schemas::RawLink;

use super::*;

fn raw<'a>(id: &'a str, slug: &'a str, target: &'a str) -> RawLink<'a> {
    RawLink {
        id,
        version: 1,
        domain: "",
        slug,
        target,
        status: 302,
        disabled: false,
        expires_at: None,
        pass_query: false,
        opt_out: false,
        deleted: false,
        changed_at: 0,
    }
}

fn link(slug: &str, version: i64, deleted: bool) -> Link {
    let target = format!("https://example.com/{version}");
    Link::new(&RawLink { version, deleted, ..raw(slug, slug, &target) }).unwrap()
}

#[test]
fn an_older_version_never_replaces_a_newer_one_deleted_or_not() {
    let links = LinkTable::default();
    links.set_loaded();
    let version = || links.named(None, "a").map(|link| link.version());
    for (number, deleted, applied, seen, count) in [
        (2, false, Applied::Newer, Some(2), 1),
        (1, false, Applied::Older, Some(2), 1),
        (2, false, Applied::Same, Some(2), 1),
        (2, true, Applied::Differs, Some(2), 1),
        (4, true, Applied::Newer, None, 0),
        (3, false, Applied::Older, None, 0),
        (5, false, Applied::Newer, Some(5), 1),
    ] {
        assert_eq!(links.apply(link("a", number, deleted)), applied, "{number}");
        assert_eq!((version(), links.count()), (seen, count), "{number}");
    }
}

fn on(domain: &str, slug: &str, target: &str) -> Link {
    let id = format!("{domain}/{slug}");
    Link::new(&RawLink { domain, ..raw(&id, slug, target) }).unwrap()
}

fn found(links: &LinkTable, domain: &str, slug: &str) -> Option<String> {
    links.named(Some(domain), slug).map(|link| link.slug().to_owned())
}

#[test]
fn f12_x1_x2_x4_each_equivalent_spelling_of_a_slug_finds_its_link_and_no_other_does() {
    let links = LinkTable::default();
    let slugs = ["spring", "my-link", "a~b", "q.4_x", "dir/page", "A1"];
    for slug in slugs {
        links.apply(link(slug, 1, false));
    }
    links.apply(on("own.example", "spring", "https://example.com/"));
    let mut tried = 0;
    for slug in slugs {
        let escape = |upper: bool, every: usize| -> String {
            let characters = slug.chars().enumerate();
            characters
                .map(|(at, it)| match (it, at % every, upper) {
                    ('/', _, _) => "/".to_owned(),
                    (_, 0, true) => format!("%{:02X}", u32::from(it)),
                    (_, 0, false) => format!("%{:02x}", u32::from(it)),
                    _ => it.to_string(),
                })
                .collect()
        };
        for every in 1..4 {
            for spelled in [escape(true, every), escape(false, every), slug.to_owned()] {
                for spelled in
                    [spelled.clone(), format!("{spelled}/"), format!("/{spelled}"), spelled + "//"]
                {
                    let seen = found(&links, "go.example", &spelled);
                    assert_eq!(seen.as_deref(), Some(slug), "{spelled}");
                    tried += 1;
                }
            }
        }
        for other in ["%20", ".", ")", "%2F", "x", "%"] {
            assert_eq!(found(&links, "go.example", &format!("{slug}{other}")), None);
        }
        let twice = slug.replacen(|_: char| true, "%2561", 1);
        assert_eq!(found(&links, "go.example", &twice), None, "decoded once");
    }
    assert!(tried >= 50);
    let own = links.named(Some("own.example"), "%73pring/").unwrap();
    assert_eq!(own.domain(), "own.example", "a link of the domain is found first");
    assert_eq!(found(&links, "go.example", "dir%2Fpage"), None, "another path");
    assert_eq!(found(&links, "go.example", "SPRING"), None, "X3: another link");
}

#[test]
fn f12_x3_where_case_distinguishes_no_slugs_every_spelling_finds_the_link() {
    let links = LinkTable::new(SlugCase::Insensitive);
    links.set_loaded();
    for slug in ["Spring", "my-Link", "a~B/c"] {
        links.apply(link(slug, 1, false));
        for spelled in [slug.to_owned(), slug.to_uppercase(), slug.to_lowercase() + "/"] {
            assert_eq!(found(&links, "go.example", &spelled).as_deref(), Some(slug));
        }
    }
    assert_eq!(found(&links, "go.example", "%53PRIN%67").as_deref(), Some("Spring"));
    links.apply(on("own.example", "SPRING", "https://example.com/"));
    assert_eq!(found(&links, "own.example", "spring").as_deref(), Some("SPRING"));
    assert_eq!(found(&links, "own.example", "MY-LINK").as_deref(), Some("my-Link"));
    let long = "S".repeat(2_000);
    assert_eq!(found(&links, "go.example", &long), None);
}

#[test]
fn f12_x3_of_links_that_collide_only_the_exact_spellings_are_found() {
    let links = LinkTable::new(SlugCase::Insensitive);
    let (small, large) = (link("spring", 1, false), link("Spring", 7, false));
    assert_eq!(links.apply(small.clone()), Applied::Newer);
    assert!(!links.collides(&small));
    assert_eq!(links.apply(large.clone()), Applied::Newer);
    assert!(links.collides(&small) && links.collides(&large));
    for (spelled, expected) in
        [("spring", Some("spring")), ("Spring", Some("Spring")), ("SPRING", None)]
    {
        assert_eq!(found(&links, "go.example", spelled).as_deref(), expected);
    }
    links.apply(link("Spring", 8, true));
    assert!(!links.collides(&small));
    for spelled in ["SPRING", "Spring"] {
        assert_eq!(found(&links, "go.example", spelled).as_deref(), Some("spring"));
    }
    let exact = LinkTable::default();
    exact.apply(small.clone());
    exact.apply(large);
    assert!(!exact.collides(&small));
}

/// Rings of every length up to the bound, and chains of the same lengths that end.
#[test]
fn f13_x5_a_ring_on_one_host_is_found_and_a_chain_that_leaves_it_is_none() {
    let mut tried = 0;
    for length in 1..=HOPS_MAX {
        for domain in ["", "own.example"] {
            for (scheme, end) in [("https", "/"), ("http", "?a=1"), ("https", "#b")] {
                let (ring, chain) = (LinkTable::default(), LinkTable::default());
                let slug = |number: usize| format!("s{number}");
                for number in 0..length {
                    let to = |next: usize| format!("{scheme}://own.example/s{next}{end}");
                    ring.apply(on(domain, &slug(number), &to((number + 1) % length)));
                    let leaves = number + 1 == length;
                    let next =
                        if leaves { "https://other.example/s0".to_owned() } else { to(number + 1) };
                    chain.apply(on(domain, &slug(number), &next));
                }
                for number in 0..length {
                    let slug = slug(number);
                    let of = |links: &LinkTable| links.named(Some("own.example"), &slug).unwrap();
                    assert!(ring.is_ring(&of(&ring), "own.example", None, 0), "{length} {slug}");
                    assert!(!ring.is_ring(&of(&ring), "other.example", None, 0), "another host");
                    assert!(!chain.is_ring(&of(&chain), "own.example", None, 0), "{length} {slug}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 50, "{tried}");
    let ends = LinkTable::default();
    for (slug, target) in [("gone", "x"), ("base", ""), ("reserved", "admin"), ("other", "a/b")] {
        ends.apply(on("", slug, &format!("https://own.example/{target}")));
        assert!(!ends.is_ring(&ends.named(None, slug).unwrap(), "own.example", None, 0), "{slug}");
    }
}

#[test]
fn a_slug_is_unknown_only_once_all_links_have_been_read() {
    let links = LinkTable::default();
    links.apply(link("a", 1, false));
    assert!(matches!(links.resolve(None, "a", 0), Resolution::Redirect(_)));
    assert_eq!(links.resolve(None, "b", 0), Resolution::NotYet);
    links.set_loaded();
    assert_eq!(links.resolve(None, "b", 0), Resolution::Unknown);
}

#[test]
fn a_change_among_many_links_copies_one_small_bucket_and_readers_see_whole_versions() {
    let links = LinkTable::default();
    for number in 0..50_000 {
        links.apply(link(&format!("s{number}"), 1, false));
    }
    links.set_loaded();
    assert_eq!(links.count(), 50_000);
    let largest = links.buckets.iter().map(|bucket| bucket.load().index.len()).max().unwrap();
    assert!(largest < 50, "{largest} links in one bucket");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            while last < 2_000 {
                let found = links.named(None, "s7").unwrap();
                assert!(found.version() >= last);
                assert!(found.target().ends_with(&format!("/{}", found.version())));
                last = found.version();
            }
        });
        for version in 2..=2_000 {
            links.apply(link("s7", version, false));
        }
        reader.join().unwrap();
    });
}
