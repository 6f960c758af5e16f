//! The few commands of the W3C standard `WebDriver` that the tests of pages need. Each panics if
//! the browser refuses it.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

/// How long a page may take until it shows what is waited for, on a machine that is busy with other
/// tests.
const PATIENCE: Duration = Duration::from_mins(1);
/// The name of the member that refers to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The Control key, which is held down until `RELEASE`.
pub const CONTROL: char = '\u{e009}';
/// Releases all keys that are held down.
pub const RELEASE: char = '\u{e000}';

/// A browser that is driven over HTTP.
pub struct Browser {
    client: Client,
    session: String,
}

impl Browser {
    /// Starts a browser that waits for the elements it is asked for.
    pub async fn start(driver: &str, capabilities: &Value) -> Self {
        // Fails where another test of this process was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut browser = Self {
            client: Client::builder().no_proxy().build().unwrap(),
            session: format!("{driver}/session"),
        };
        let wanted = json!({"capabilities": {"alwaysMatch": capabilities}});
        let started = browser.post("", &wanted).await;
        let id = started["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        let milliseconds = u64::try_from(PATIENCE.as_millis()).unwrap();
        let timeouts = json!({"implicit": milliseconds});
        browser.post("/timeouts", &timeouts).await;
        browser
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        answer["value"].take()
    }

    async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn close(&self) {
        self.send(Method::DELETE, "", None).await;
    }

    pub async fn goto(&self, page: &str) {
        self.post("/url", &json!({"url": page})).await;
    }

    pub async fn address(&self) -> String {
        text_of(self.get("/url").await)
    }

    pub async fn title(&self) -> String {
        text_of(self.get("/title").await)
    }

    /// Runs a script in the page and returns its value.
    pub async fn execute(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        self.post("/execute/sync", &script).await
    }

    /// Returns the window that commands go to.
    pub async fn window(&self) -> String {
        text_of(self.get("/window").await)
    }

    pub async fn new_tab(&self) -> String {
        let mut tab = self.post("/window/new", &json!({"type": "tab"})).await;
        text_of(tab["handle"].take())
    }

    pub async fn switch_to_window(&self, window: &str) {
        self.post("/window", &json!({"handle": window})).await;
    }

    /// Waits until there is such an element.
    pub async fn find(&self, css: &str) -> Element<'_> {
        let mut found = self.post("/element", &selector(css)).await;
        let id = text_of(found[ELEMENT].take());
        Element { browser: self, id }
    }

    /// Waits until there is such an element, and counts them.
    pub async fn count(&self, css: &str) -> usize {
        let found = self.post("/elements", &selector(css)).await;
        found.as_array().unwrap().len()
    }
}

fn selector(css: &str) -> Value {
    json!({"using": "css selector", "value": css})
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => panic!("{other} is no text"),
    }
}

/// An element of the page.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Element<'_> {
    fn path(&self, command: &str) -> String {
        format!("/element/{}/{command}", self.id)
    }

    pub async fn click(&self) {
        self.browser.post(&self.path("click"), &json!({})).await;
    }

    pub async fn send_keys(&self, keys: &str) {
        let keys = json!({"text": keys});
        self.browser.post(&self.path("value"), &keys).await;
    }

    pub async fn text(&self) -> String {
        text_of(self.browser.get(&self.path("text")).await)
    }

    pub async fn is_displayed(&self) -> bool {
        self.browser.get(&self.path("displayed")).await == Value::Bool(true)
    }
}
