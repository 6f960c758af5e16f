//! The pages in a real browser: one user by hand through the practice Org's Swagger UI, as an administrator does it, the
//! report page with hostile words in it, and how the pages fit a telephone. Needs `chromedriver` with Chromium; a machine without them leaves it out.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::Cli;
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use futures::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use mfa_optout::sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page may take until it shows what is waited for, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `chromedriver`, ended when dropped.
struct Driver {
    process: Child,
    address: String,
}

impl Driver {
    /// `None` where there is none on this machine.
    fn start() -> Option<Self> {
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => panic!("chromedriver does not start: {error}"),
        };
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let port = lines.find_map(|line| port_in(&line));
        let port =
            port.unwrap_or_else(|| panic!("chromedriver does not say on which port it listens"));
        Some(Self {
            process,
            address: format!("http://127.0.0.1:{port}"),
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port in `ChromeDriver was started successfully on port 12345.`
fn port_in(line: &str) -> Option<u16> {
    line.strip_suffix('.')?
        .split_once("successfully on port ")?
        .1
        .parse()
        .ok()
}

/// A browser with a fresh profile, and a practice Org to look at.
struct Visit {
    browser: Client,
    org: Sandbox,
}

impl Visit {
    /// Runs a story in a browser of `width` CSS pixels, and closes the browser however the story ends. Without
    /// `chromedriver` it says so, which is a failure where `CI` is set.
    async fn with_width(width: u32, story: impl AsyncFnOnce(&Self)) {
        let Some(driver) = Driver::start() else {
            assert!(env::var_os("CI").is_none(), "chromedriver is not installed");
            // Written past the capture of the test harness, which would keep it from everybody.
            let note =
                b"LEFT OUT: chromedriver is not installed, the pages were not tried in a browser\n";
            io::stderr().write_all(note).unwrap();
            return;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let Value::Object(capabilities) = capabilities(width, &profile) else {
            unreachable!()
        };
        let browser = builder
            .capabilities(capabilities)
            .connect(&driver.address)
            .await
            .unwrap();
        let visit = Self {
            browser,
            org: Sandbox::start(SandboxOptions::default()).await.unwrap(),
        };

        let outcome = AssertUnwindSafe(story(&visit)).catch_unwind().await;
        visit.browser.close().await.unwrap();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    async fn open(&self, path: &str) {
        self.browser
            .goto(&format!("{}{path}", self.org.address()))
            .await
            .unwrap();
    }

    /// Waits until there is such an element.
    async fn find(&self, css: &str) -> Element {
        let found = self
            .browser
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(css))
            .await;
        found.unwrap_or_else(|error| panic!("no {css}: {error}"))
    }

    async fn click(&self, css: &str) {
        self.find(css)
            .await
            .click()
            .await
            .unwrap_or_else(|error| panic!("cannot click {css}: {error}"));
    }

    async fn type_into(&self, css: &str, text: &str) {
        self.find(css).await.send_keys(text).await.unwrap();
    }

    async fn script(&self, script: &str) -> Value {
        self.browser.execute(script, Vec::new()).await.unwrap()
    }

    /// Whether everything that the page has loaded came from the practice Org.
    async fn stayed_at_home(&self) {
        let loaded = self
            .script("return performance.getEntriesByType('resource').map(entry => entry.name)")
            .await;
        let loaded: Vec<String> = serde_json::from_value(loaded).unwrap();
        let at_home = |address: &String| {
            address.starts_with(&self.org.address()) || address.starts_with("data:")
        };
        assert!(
            !loaded.is_empty() && loaded.iter().all(at_home),
            "{loaded:?}"
        );
    }
}

fn capabilities(width: u32, profile: &TempDir) -> Value {
    json!({"goog:chromeOptions": {
        "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            format!("--user-data-dir={}", profile.path().display()),
        ],
        "mobileEmulation": {"deviceMetrics": {"width": width, "height": 900, "pixelRatio": 1.0, "touch": false}},
    }})
}

#[tokio::test]
async fn one_user_is_opted_out_by_hand() {
    Visit::with_width(1_200, async |visit| {
        // The members page stays open in a window of its own: it has to notice the change by itself.
        visit.open("/members?id=1732").await;
        let badge = visit.find("#user-1732 .in").await;
        assert_eq!(badge.text().await.unwrap(), "Required");
        visit.stayed_at_home().await;
        let members = visit.browser.window().await.unwrap();
        let other = visit.browser.new_window(true).await.unwrap();
        visit.browser.switch_to_window(other.handle).await.unwrap();

        visit.open("/api").await;
        visit.click(".auth-wrapper .authorize").await;
        visit.type_into("#api_key_value", "sandbox-key").await;
        visit
            .click("form:has(#api_key_value) .modal-btn[type=submit]")
            .await;
        visit.click(".modal-ux .btn-done").await;

        visit.click(".opblock-put .opblock-summary-control").await;
        let example = visit
            .find(".opblock-put .body-param__example")
            .await
            .text()
            .await
            .unwrap();
        assert!(
            example.contains("firstName") && example.contains("mfaOptOut"),
            "{example}"
        );
        visit.click(".opblock-put .try-out__btn").await;
        visit
            .type_into(".opblock-put input[placeholder=id]", "1732")
            .await;
        // Selects all of the example, so that what is typed next takes its place.
        let everything = format!("{}a{}", char::from(Key::Control), char::from(Key::Null));
        visit
            .type_into(".opblock-put .body-param__text", &everything)
            .await;
        visit
            .type_into(".opblock-put .body-param__text", r#"{"mfaOptOut": true}"#)
            .await;
        visit.click(".opblock-put .execute").await;
        let status = visit
            .find(".opblock-put .live-responses-table .response .response-col_status")
            .await;
        assert!(status.text().await.unwrap().starts_with("204"));
        visit.stayed_at_home().await;

        visit.browser.switch_to_window(members).await.unwrap();
        let badge = visit.find("#user-1732 .out").await;
        assert_eq!(badge.text().await.unwrap(), "Opted out");
        let changed: Vec<_> = visit
            .org
            .members()
            .iter()
            .map(|m| (m.id, m.mfa_opt_out, m.puts, m.changes))
            .collect();
        assert_eq!(changed, [(1_732, true, 1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn pages_fit_a_telephone() {
    Visit::with_width(360, async |visit| {
        for path in ["/", "/members", "/members?page=200", "/members?id=404"] {
            visit.open(path).await;
            visit.find("footer").await;
            assert_eq!(
                visit.script("return innerWidth").await,
                json!(360),
                "{path}"
            );
            let width = visit
                .script("return document.documentElement.scrollWidth")
                .await;
            assert_eq!(width, json!(360), "{path} is wider than the screen");
        }
    })
    .await;
}

/// What a page must show as words: markup, ends of attributes and of the style, text that reorders, a very long word.
const HOSTILE: [&str; 6] = [
    "<script>document.title = 'executed'</script>",
    "\"><img src=x onerror=\"document.title = 'executed'\">",
    "' onmouseover='document.title = 1",
    "</style><script>document.title = 'executed'</script>",
    "\u{202e}executed\u{202c} ]]> --> &lt;",
    "javascript:document.title=1",
];

/// The report page of a real run over a table with these comments. Every second row of it is invalid, and all after the
/// first few, so that little is sent.
fn report_page(cli: &Cli, comments: &[String]) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    table
        .write_record(["user_id", "mfa_opt_out", HOSTILE[0]])
        .unwrap();
    for (comment, row) in comments.iter().zip(1..) {
        let id = if row % 2 == 0 || row > 25 {
            comment.clone()
        } else {
            row.to_string()
        };
        table.write_record([&id, "true", comment]).unwrap();
    }
    cli.write("users.csv", table.into_inner().unwrap());
    let practice = [
        "--sandbox",
        "--members",
        "20",
        "--error-percent",
        "20",
        "--rate",
        "50/s",
    ];
    let options = ["--skip-invalid", "--yes", "--html", "page.html"];
    let ran = cli.run(&[&["apply", "users.csv"], &practice[..], &options[..]].concat());
    assert!(
        matches!(ran.code, Some(0 | 1)),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    format!("file://{}", cli.path("page.html").display())
}

#[tokio::test]
async fn a_report_page_runs_nothing_loads_nothing_and_fits() {
    let hostile = HOSTILE
        .map(str::to_owned)
        .into_iter()
        .chain(["W".repeat(3_000)]);
    let few: Vec<_> = hostile.cycle().take(25).collect();
    let many = few
        .iter()
        .cloned()
        .chain(HOSTILE.map(str::to_owned).into_iter().cycle())
        .take(100_000)
        .collect();
    let tables = [Vec::new(), few, many];
    let folders = tables.each_ref().map(|_| Cli::new());
    let pages: Vec<_> = folders
        .iter()
        .zip(&tables)
        .map(|(cli, comments)| report_page(cli, comments))
        .collect();
    for width in [360, 1_400] {
        Visit::with_width(width, async |visit| {
            for page in &pages {
                visit.browser.goto(page).await.unwrap();
                let title = visit.find("h1").await.text().await.unwrap();
                assert!(title.ends_with("rows applied") || title == "The table has no rows", "{title}");
                let root = "const root = document.documentElement; return root.scrollWidth <= root.clientWidth";
                assert_eq!(visit.script(root).await, json!(true), "{page} is wider than {width} pixels");
                assert!(!visit.browser.title().await.unwrap().contains("executed"));
                let active = "return document.querySelectorAll('script, img, iframe, link, [onerror]').length";
                assert_eq!(visit.script(active).await, json!(0), "{page}");
                let loaded = visit.script("return performance.getEntriesByType('resource').length").await;
                assert_eq!(loaded, json!(0), "{page}");
            }
        })
        .await;
    }
}
