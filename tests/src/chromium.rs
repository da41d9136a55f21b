//! Chromium without a screen, told what to do over a pipe (Chrome DevTools Protocol): what a page
//! asks for, complains of and looks like.
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::require;

/// Names under which distributions have it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Nothing that is not the page's own: no updates, no first-run page, no services of its maker's.
const OPTIONS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];
const PATIENCE: Duration = Duration::from_secs(60);
/// What a page does after it was loaded, it does at once.
const SETTLED: Duration = Duration::from_millis(300);

pub fn find() -> Option<&'static str> {
    NAMES.into_iter().find(|name| require::find(name).is_some())
}

/// One that has a profile of its own, and ends with it.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    number: u64,
    session: String,
    /// What it told beside answers.
    told: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

impl Browser {
    pub fn start(program: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // It reads from descriptor 3 and writes to 4: those are our pipes.
        let line = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh", program]).args(OPTIONS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let parts = from.split(0).map_while(Result::ok);
            for part in parts {
                let message = serde_json::from_slice(&part).expect("JSON");
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from: told,
            number: 0,
            session: String::new(),
            told: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = target["targetId"].clone();
        let session = self.call(
            "Target.attachToTarget",
            json!({"targetId": id, "flatten": true}),
        );
        session["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut self.session);
        for part in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{part}.enable"), json!({}));
        }
    }

    pub fn call(&mut self, method: &str, with: Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({"id": number, "method": method, "params": with});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("Chromium listens");
        let answer = self.wait(|it| it["id"] == number);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.from.recv_timeout(left).expect("Chromium answers");
            if wanted(&message) {
                return message;
            }
            self.told.push(message);
        }
    }

    /// Loads the file, and returns what it asked for beside itself and what it complained of.
    pub fn open(&mut self, file: &Path, view: View) -> Vec<String> {
        let scheme = if view.dark { "dark" } else { "light" };
        let size = json!({"width": view.width, "height": view.height, "deviceScaleFactor": 1,
                          "mobile": view.width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
        self.told.clear();
        let url = format!("file://{}", file.display());
        self.call("Page.navigate", json!({"url": url}));
        if !self.told.iter().any(is_loaded) {
            self.wait(is_loaded);
        }
        while let Ok(message) = self.from.recv_timeout(SETTLED) {
            self.told.push(message);
        }
        let told = self.told.iter();
        told.filter_map(|it| complaint(it, &url)).collect()
    }

    /// What a line of script comes to on the page.
    pub fn value(&mut self, script: &str) -> Value {
        let with = json!({"expression": script, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", with);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{script}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// The whole page, as PNG.
    pub fn picture(&mut self, to: &Path) {
        let with = json!({"captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", with);
        let bytes = STANDARD.decode(picture["data"].as_str().expect("data"));
        std::fs::write(to, bytes.expect("base64")).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is the program that sh became.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_loaded(message: &Value) -> bool {
    message["method"] == "Page.loadEventFired"
}

fn complaint(message: &Value, own: &str) -> Option<String> {
    let with = &message["params"];
    match message["method"].as_str()? {
        "Runtime.consoleAPICalled" => Some(format!("console: {}", with["args"])),
        "Runtime.exceptionThrown" => Some(format!("exception: {}", with["exceptionDetails"])),
        "Log.entryAdded" => Some(format!("log: {}", with["entry"]["text"])),
        "Network.requestWillBeSent" => {
            let url = with["request"]["url"].as_str().unwrap_or_default();
            (url != own && url != "data:,").then(|| format!("request: {url}"))
        }
        "Page.javascriptDialogOpening" => Some(format!("dialog: {}", with["message"])),
        _ => None,
    }
}
