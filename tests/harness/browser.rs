//! A headless Chromium with one page: opens, waits, evaluates, clicks as a person does, and takes
//! pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::devtools::DevTools;
use crate::wait::PATIENCE;

/// What the page is displayed on.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Pixels of its width.
    pub width: u32,
    /// Pixels of its height.
    pub height: u32,
    /// Whether the viewer prefers dark pages.
    pub dark: bool,
    /// The viewer's time zone.
    pub zone: &'static str,
}

/// A running browser; its drop ends it.
#[derive(Debug)]
pub struct Browser {
    tools: DevTools,
    folder: TempDir,
    errors: Vec<String>,
    /// Requests without a response, by the browser's number of each.
    sent: BTreeMap<String, Exchange>,
    exchanges: Vec<Exchange>,
}

/// A request of the page, and its response.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The address.
    pub url: String,
    /// The body that the page sent; empty without one.
    pub request: String,
    /// The body of the response.
    pub response: String,
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// When Chromium is not installed or does not start.
    pub fn start(screen: Screen) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let tools = DevTools::start(folder.path());
        let (errors, sent, exchanges) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut browser = Self { tools, folder, errors, sent, exchanges };
        let downloads = browser.folder.path().join("downloads");
        let allow = json!({ "behavior": "allow", "downloadPath": downloads });
        browser.tools.must("Browser.setDownloadBehavior", allow);
        browser.show_on(screen);
        browser
    }

    /// Displays the page on another screen.
    pub fn show_on(&mut self, screen: Screen) {
        let Screen { width, height, dark, zone } = screen;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tools.must("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let features = [
            json!({ "name": "prefers-color-scheme", "value": scheme }),
            // Animations would make pictures differ.
            json!({ "name": "prefers-reduced-motion", "value": "reduce" }),
        ];
        self.tools.must("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.tools.must("Emulation.setTimezoneOverride", json!({ "timezoneId": zone }));
    }

    /// Opens a URL and waits until the document and its scripts are loaded.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub fn open(&mut self, url: &str) {
        let opened = self.tools.must("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {}", opened["errorText"]);
        self.until(&format!("{url} is loaded"), "document.readyState === 'complete'");
    }

    /// The value of an expression of JavaScript in the page; of a promise, its result.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, script: &str) -> Value {
        self.try_evaluate(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Evaluates an expression until its value is neither `null`, `false`, 0 nor empty; returns it.
    ///
    /// # Panics
    /// After [`PATIENCE`], with `what` and the errors of the page.
    pub fn until(&mut self, what: &str, script: &str) -> Value {
        // The context of a document that another one replaces has no values.
        let truthy = format!("({script}) || null");
        let began = Instant::now();
        loop {
            match self.try_evaluate(&truthy) {
                Ok(value) if !value.is_null() => return value,
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if began.elapsed() > PATIENCE {
                let errors = self.errors();
                panic!(
                    "not within {PATIENCE:?}: {what}: {script}\nerrors of the page: {errors:#?}"
                );
            }
        }
    }

    fn try_evaluate(&mut self, script: &str) -> Result<Value, String> {
        let parameters =
            json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.tools.send("Runtime.evaluate", parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(thrown(details)),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Clicks the middle of the element that `script` evaluates to, with the mouse.
    ///
    /// # Panics
    /// When there is no such element, or another one covers it.
    pub fn click(&mut self, script: &str) {
        let place = self.evaluate(&format!(
            "(() => {{
                const element = {script};
                if (!element) return 'there is no such element';
                element.scrollIntoView({{ block: 'center', inline: 'center' }});
                const box = [...element.getClientRects()].find((box) => box.width && box.height);
                if (!box) return 'it is not displayed';
                const place = [box.x + box.width / 2, box.y + box.height / 2];
                const top = document.elementFromPoint(...place);
                const within = top && (element.contains(top) || top.contains(element));
                return within ? place : 'covered by ' + (top ? top.outerHTML.slice(0, 200) : 'nothing');
            }})()"
        ));
        assert!(place.is_array(), "no click on {script}: {place}");
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "buttons": buttons, "clickCount": 1,
                "button": if kind == "mouseMoved" { "none" } else { "left" },
            });
            self.tools.must("Input.dispatchMouseEvent", event);
        }
    }

    /// Takes a picture (PNG) of the screen.
    ///
    /// # Panics
    /// When the browser sends no picture.
    pub fn picture(&mut self) -> Vec<u8> {
        let shot = self.tools.must("Page.captureScreenshot", json!({ "format": "png" }));
        BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("a picture")
    }

    /// Takes what went wrong in the page since the last call: errors of the console, exceptions,
    /// requests that failed, dialogs.
    pub fn errors(&mut self) -> Vec<String> {
        self.read_events();
        std::mem::take(&mut self.errors)
    }

    /// Takes the requests of the page that have a complete response since the last call.
    pub fn exchanges(&mut self) -> Vec<Exchange> {
        self.read_events();
        std::mem::take(&mut self.exchanges)
    }

    fn read_events(&mut self) {
        for event in self.tools.events() {
            let (method, parameters) = (&event["method"], &event["params"]);
            self.errors.extend(error(method, parameters));
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let id = text(&parameters["requestId"]);
            match method.as_str() {
                Some("Network.requestWillBeSent") => {
                    let request = &parameters["request"];
                    let (url, request) = (text(&request["url"]), text(&request["postData"]));
                    self.sent.insert(id, Exchange { url, request, response: String::new() });
                }
                Some("Network.loadingFinished") => {
                    let Some(sent) = self.sent.remove(&id) else { continue };
                    let asked = json!({ "requestId": id });
                    // The browser has no body of a page that another one has replaced.
                    let Ok(body) = self.tools.send("Network.getResponseBody", asked) else {
                        continue;
                    };
                    self.exchanges.push(Exchange { response: text(&body["body"]), ..sent });
                }
                _ => {}
            }
        }
    }

    /// The files that the page has given to download, complete ones only.
    pub fn downloads(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.folder.path().join("downloads"));
        let files = folder.into_iter().flatten().flatten().map(|file| file.path());
        files.filter(|file| !is_partial(file)).collect()
    }
}

fn is_partial(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "crdownload")
}

/// The text of an event, if it reports an error.
fn error(method: &Value, event: &Value) -> Option<String> {
    match method.as_str()? {
        "Runtime.consoleAPICalled" if event["type"] == "error" || event["type"] == "assert" => {
            let words = event["args"].as_array()?.iter();
            let word = |word: &Value| match word["value"].as_str() {
                Some(text) => text.to_owned(),
                None => word["description"].as_str().unwrap_or_default().to_owned(),
            };
            Some(format!("console: {}", words.map(word).collect::<Vec<_>>().join(" ")))
        }
        "Runtime.exceptionThrown" => Some(thrown(&event["exceptionDetails"])),
        "Log.entryAdded" if event["entry"]["level"] == "error" => {
            Some(format!("{}: {}", event["entry"]["text"], event["entry"]["url"]))
        }
        "Page.javascriptDialogOpening" => Some(format!("dialog: {}", event["message"])),
        "Inspector.targetCrashed" => Some("the page crashed".to_owned()),
        _ => None,
    }
}

fn thrown(details: &Value) -> String {
    let description = details["exception"]["description"].as_str();
    description.or(details["text"].as_str()).unwrap_or("an exception").to_owned()
}
