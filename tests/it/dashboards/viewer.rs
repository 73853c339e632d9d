//! A person with a browser who looks at the preview of the dashboards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Browser, Screen, request, until};
use serde_json::{Value, json};

/// A laptop in Berlin.
pub(crate) const LAPTOP: Screen =
    Screen { width: 1_600, height: 1_000, dark: false, zone: "Europe/Berlin" };
/// A phone.
pub(crate) const PHONE: Screen = Screen { width: 400, height: 800, dark: true, ..LAPTOP };

/// Whether the page has panels, and all of them have their data.
const DRAWN: &str = "(() => {
    const panels = [...document.querySelectorAll('[data-panel]')];
    return document.documentElement.dataset.state === 'done'
        && panels.length > 0 && panels.every((panel) => panel.dataset.state !== 'loading');
})()";
/// The path of the preview's queries.
const QUERY: &str = "/api/query";

/// A viewer and the address of the preview.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) browser: Browser,
    url: String,
    /// What the page has received, the last answer to each question.
    answers: BTreeMap<Question, Answer>,
}

/// A query of a panel: the panel's number and the query's name.
pub(crate) type Question = (u64, String);

/// What the page asked, and what it received.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) request: Value,
    /// The rows, each as JSON, without their order.
    pub(crate) rows: Vec<String>,
}

/// A panel as the page displays it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) text: String,
}

impl Viewer {
    /// Starts the browser of a viewer.
    pub(crate) fn start(url: &str) -> Self {
        let browser = Browser::start(LAPTOP);
        Self { browser, url: url.to_owned(), answers: BTreeMap::new() }
    }

    /// Opens a dashboard with these parameters of its address, and waits until it is drawn.
    pub(crate) fn open(&mut self, uid: &str, parameters: &[(&str, &str)]) {
        self.until_drawn_after(|viewer| {
            viewer.answers.clear();
            let address = viewer.address(uid, parameters);
            viewer.browser.open(&address);
        });
    }

    /// The same by a link in the page, which does not load again.
    pub(crate) fn follow(&mut self, uid: &str, parameters: &[(&str, &str)]) {
        self.until_drawn_after(|viewer| {
            viewer.answers.clear();
            let address = json!(viewer.address(uid, parameters));
            viewer.browser.evaluate(&format!(
                "(() => {{ const link = document.createElement('a'); link.href = {address}; \
                 document.body.append(link); link.click(); link.remove(); }})()"
            ));
        });
    }

    fn address(&self, uid: &str, parameters: &[(&str, &str)]) -> String {
        let base = format!("{}/d/{uid}", self.url);
        reqwest::Url::parse_with_params(&base, parameters).expect("a URL").into()
    }

    /// Clicks an element, and waits until all panels are drawn.
    pub(crate) fn click(&mut self, script: &str) {
        self.until_drawn_after(|viewer| viewer.browser.click(script));
    }

    /// Goes back (-1) or forward (1) in the history.
    pub(crate) fn go(&mut self, steps: i8) {
        self.until_drawn_after(|viewer| {
            let address = viewer.browser.evaluate("location.href");
            viewer.browser.evaluate(&format!("history.go({steps})"));
            let mut moved = || viewer.browser.evaluate("location.href") != address;
            until("another address", || moved().then_some(()));
        });
    }

    fn until_drawn_after(&mut self, act: impl FnOnce(&mut Self)) {
        act(self);
        // The page reacts to a new address in its next frames.
        let frames = "new Promise((done) => requestAnimationFrame(() => \
            requestAnimationFrame(() => setTimeout(() => done(true), 100))))";
        self.browser.until("the next frames", frames);
        self.browser.until("every panel is drawn", DRAWN);
        for exchange in self.browser.exchanges() {
            if !exchange.url.ends_with(QUERY) {
                continue;
            }
            let request: Value = serde_json::from_str(&exchange.request).expect("JSON");
            let Some(panel) = request["panel"].as_u64() else { continue };
            let target = request["target"].as_str().unwrap_or_default().to_owned();
            let rows = rows(&exchange.response);
            self.answers.insert((panel, target), Answer { request, rows });
        }
    }

    /// The last answers that the page has received.
    pub(crate) fn answers(&self) -> BTreeMap<Question, Answer> {
        self.answers.clone()
    }

    /// The number of rows that the page has received for a panel.
    pub(crate) fn rows(&self, panel: &Shown) -> &[String] {
        let mut answers = self.answers.iter();
        let found = answers.find(|((id, _), _)| *id == panel.id);
        found.map_or(&[], |(_, answer)| &answer.rows)
    }

    /// Displays the dashboard on another screen, and waits until it is drawn.
    pub(crate) fn turn_to(&mut self, screen: Screen) {
        self.until_drawn_after(|viewer| viewer.browser.show_on(screen));
        // Tables measure themselves when the page has its new width.
        self.until_drawn_after(|_| {});
    }

    /// A picture (PNG) of the whole dashboard. The screen gets its height, since the page draws what is on it.
    pub(crate) fn picture(&mut self, screen: Screen) -> Vec<u8> {
        let height = self.browser.evaluate("document.documentElement.scrollHeight");
        let height = height.as_u64().and_then(|height| u32::try_from(height).ok());
        let height = height.unwrap_or(screen.height).max(screen.height);
        self.turn_to(Screen { height, ..screen });
        // Canvases are painted in the frames after their data.
        std::thread::sleep(Duration::from_secs(1));
        self.browser.picture()
    }

    /// A parameter of the address; none if it is absent or empty.
    pub(crate) fn parameter(&mut self, name: &str) -> Option<String> {
        let script = format!("new URL(location.href).searchParams.get({})", json!(name));
        let value = self.browser.evaluate(&script);
        value.as_str().filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// All panels.
    pub(crate) fn panels(&mut self) -> Vec<Shown> {
        let panels = self.browser.evaluate(
            "[...document.querySelectorAll('[data-panel]')].map((panel) => ({ ...panel.dataset, \
             title: panel.getAttribute('aria-label'), text: panel.innerText }))",
        );
        let text = |panel: &Value, name: &str| panel[name].as_str().unwrap_or_default().to_owned();
        let shown = |panel: &Value| Shown {
            id: text(panel, "panel").parse().expect("the number of a panel"),
            title: text(panel, "title"),
            kind: text(panel, "type"),
            state: text(panel, "state"),
            text: text(panel, "text"),
        };
        panels.as_array().expect("a list of panels").iter().map(shown).collect()
    }

    /// The panel with a title.
    pub(crate) fn panel(&mut self, title: &str) -> Shown {
        let panels = self.panels();
        let titles: Vec<_> = panels.iter().map(|panel| panel.title.clone()).collect();
        let found = panels.into_iter().find(|panel| panel.title == title);
        found.unwrap_or_else(|| panic!("no panel {title}; there are {titles:?}"))
    }

    /// Waits until the panel with a title displays a text, whatever the spaces; returns the panel.
    pub(crate) fn panel_with(&mut self, title: &str, text: &str) -> Shown {
        let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
        let text = without_spaces(text);
        let mut panel = self.panel(title);
        // A table has no rows while it is out of the window.
        let element = format!("document.querySelector('[data-panel=\"{}\"]')", panel.id);
        self.browser.evaluate(&format!("{element}.scrollIntoView()"));
        let began = Instant::now();
        while !without_spaces(&panel.text).contains(&text) {
            assert!(began.elapsed() < Duration::from_secs(10), "{text} in {panel:?}");
            std::thread::sleep(Duration::from_millis(50));
            panel = self.panel(title);
        }
        panel
    }

    /// Downloads what a panel shows, by its menu; returns the text of the file.
    pub(crate) fn csv(&mut self, panel: &Shown) -> String {
        let before = self.browser.downloads();
        let panel = format!("document.querySelector('[data-panel=\"{}\"]')", panel.id);
        self.browser.click(&format!("{panel}.querySelector('[aria-label^=Menu]')"));
        let item = "[...document.querySelectorAll('[role=menuitem]')]\
            .find((item) => item.innerText.includes('CSV'))";
        self.browser.until("the menu of the panel", &format!("!!({item})"));
        self.browser.click(item);
        let file = until("a downloaded file", || {
            self.browser.downloads().into_iter().find(|file| !before.contains(file))
        });
        std::fs::read_to_string(file).expect("a file of text")
    }

    /// The page has reported no error since the last call.
    pub(crate) fn no_errors(&mut self, what: &str) {
        let errors = self.browser.errors();
        assert!(errors.is_empty(), "{what}: {errors:#?}");
    }
}

/// The rows of an answer, without their order.
fn rows(response: &str) -> Vec<String> {
    let response: Value = serde_json::from_str(response).expect("JSON");
    let rows = response["rows"].as_array();
    let rows = rows.unwrap_or_else(|| panic!("an answer without rows: {response}"));
    let mut rows: Vec<_> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// The rows that another preview answers to the same questions with one other value of a variable.
pub(crate) fn asked_again(
    url: &str,
    answers: &BTreeMap<Question, Answer>,
    (variable, value): (&str, &str),
) -> BTreeMap<Question, Answer> {
    let again = |answer: &Answer| {
        let mut question = answer.request.clone();
        question["values"][variable] = json!([value]);
        let json = [("content-type", "application/json")];
        let answered = request("POST", &format!("{url}{QUERY}"), &json, question.to_string());
        let answered = answered.expect("the preview answers");
        assert_eq!(answered.status, 200, "{question}: {}", answered.body);
        Answer { request: question, rows: rows(&answered.body) }
    };
    answers.iter().map(|(question, answer)| (question.clone(), again(answer))).collect()
}
