//! Pictures of the dashboards with the data of the demo: `make screenshots`.

use harness::{Screen, root};

use crate::dashboards::demo_run::DemoRun;
use crate::dashboards::viewer::{LAPTOP, PHONE, Viewer};

const WEEK: (&str, &str) = ("from", "now-7d");
/// The dashboards, and the parameters that they need.
const DASHBOARDS: [(&str, &[(&str, &str)]); 5] = [
    ("overview", &[WEEK]),
    ("link", &[WEEK, ("var-link", "spring")]),
    ("bots", &[WEEK]),
    ("pipeline", &[("from", "now-15m")]),
    ("alerts", &[]),
];

#[test]
fn pictures_of_each_dashboard_with_the_data_of_the_demo() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Pictures are for a person who looks at them: `make screenshots` names their folder.
    let Some(folder) = variable("PICTURES") else { return };
    let folder = root().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let logs = tempfile::tempdir().unwrap();
    let running = variable("PREVIEW");
    let demo = running.is_none().then(|| DemoRun::start(logs.path()));
    demo.iter().for_each(|demo| demo.operate(logs.path()));
    let url = running.or_else(|| demo.as_ref().map(|demo| demo.url.clone())).unwrap();
    let mut viewer = Viewer::start(&url);
    for (name, parameters) in DASHBOARDS {
        for (theme, dark) in [("light", false), ("dark", true)] {
            for size in [LAPTOP, PHONE] {
                let screen = Screen { dark, ..size };
                viewer.browser.show_on(screen);
                let uid = format!("clicktrail-{name}");
                viewer.open(&uid, &[parameters, &[("theme", theme)]].concat());
                let file = folder.join(format!("{name}-{theme}-{}.png", size.width));
                std::fs::write(&file, viewer.picture(screen)).unwrap();
                println!("{}", file.display());
            }
        }
        viewer.no_errors(name);
    }
    demo.into_iter().for_each(DemoRun::stop);
}
