//! An import of files, some of them bad, and of a log without the host of its lines.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::World;

/// A line with this client, path and referrer.
fn line(client: &str, path: &str, referer: &str) -> String {
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
    format!(
        "{client} - - [17/May/2015:10:05:03 +0000] \"GET {path} HTTP/1.1\" 200 1 \"{referer}\" \"{agent}\"\n"
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn i5_i7_i16_a_bad_file_stops_no_other_and_own_host_referrers_are_internal() {
    let world = World::new("bad_files");
    world.setup();
    let file = |name: &str, bytes: &[u8]| {
        let path = world.folder().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = [
        line("8.8.8.8:4711", "/a", "https://www.example.org/start"),
        line("8.8.4.4", "/b", "https://shop.example.org/"),
        line("host.example", "/c", "https://elsewhere.example/"),
    ];
    let padded = [gzip(&line("8.8.8.8, 10.0.0.1", "/d", "-")), vec![0; 512]].concat();
    let foreign = [gzip(&line("8.8.8.8", "/e", "-")), b"x".to_vec()].concat();
    let mut command = world.command("producer", &[]);
    command.args(["import", "--format", "combined"]);
    command.args(["--domain", "Example.org:443", "--domain", "shop.example.org"]);
    command.arg(world.folder().join("missing.log")).arg(world.folder());
    command.arg(file("a.zip.gz", &gzip("PK\x03\x04")));
    command.arg(file("padded.gz", &padded)).arg(file("foreign.gz", &foreign));
    command.arg(file("good.log", good.concat().as_bytes()));
    let exit = world.start(command).end().expect_code(78);
    for said in [
        "missing.log: No such file",
        "is a directory",
        "a.zip.gz: the decompressed file: a zip archive",
        "foreign.gz: line 2: bytes that are neither gzip nor zeros follow",
        "4 files could not be read to their end",
    ] {
        assert!(exit.err.contains(said), "{said}: {}", exit.err);
    }
    let summary = exit.summary("import");
    for (name, expected) in [
        ("lines", 5),
        ("clicks", 5),
        ("delivered", 5),
        ("without_client", 1),
        ("without_host", 0),
        ("without_agent", 0),
        ("unread_files", 4),
    ] {
        assert_eq!(summary.get(name), expected, "{name}");
    }
    world.processors(&[], &[]).until_caught_up(&world);
    let rows = world.query("SELECT slug, domain, channel FROM clicks ORDER BY slug");
    let expected = [
        "a\texample.org\tinternal",
        "b\tshop.example.org\tinternal",
        "c\texample.org\treferral",
        "d\texample.org\tdirect",
        "e\texample.org\tdirect",
    ];
    assert_eq!(rows, expected.join("\n"));
}
