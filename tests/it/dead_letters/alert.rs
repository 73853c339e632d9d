//! The alert on open dead letters, end to end: a record that cannot become a row pages, and its redrive ends
//! the alert. The shipped files with every duration divided by 60; the gauge alone keeps its 15 seconds.

use std::time::Instant;

use harness::{DividedAlerts, World};

#[test]
fn a_dead_letter_pages_and_its_redrive_ends_the_alert() {
    let world = World::new("alert");
    world.setup();
    let processors = world.processors(&[], &[]);
    let mut poison = world.good(0, 1);
    poison[0].value.as_mut().unwrap().push(0);
    world.kafka.produce(&world.topic, &poison);
    let began = Instant::now();
    let rules = ["dead_letters.yml".to_owned()];
    let alerts = DividedAlerts::start(&[("processors", &processors.admin)], &rules);

    let page = alerts.call("DeadLettersOpen", "firing");
    let paged = began.elapsed();
    let [alert] = page["alerts"].as_array().unwrap().as_slice() else { panic!("{page:#}") };
    for (name, value) in
        [("alertname", "DeadLettersOpen"), ("code", "trailing_bytes"), ("severity", "page")]
    {
        assert_eq!(alert["labels"][name], value, "{page:#}");
    }
    let summary = &alert["annotations"]["summary"];
    assert_eq!(summary, "Open dead letters with code trailing_bytes: 1");

    world.dlq_output(&["redrive", "--repair", "trailing_bytes", "--wait"]);
    assert_eq!(world.clicks(), 1);
    let end = alerts.call("DeadLettersOpen", "resolved");
    assert_eq!(end["alerts"][0]["labels"]["code"], "trailing_bytes", "{end:#}");
    println!("the page after {paged:?}, its end after {:?}", began.elapsed());
}
