//! The pages in a real browser: the practice Org's Swagger UI and members, and the report page with
//! its search, filters, order, links and hostile cells. Needs `chromedriver` with Chromium; a
//! machine without them leaves these tests out.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Child, Command, Stdio};

use crate::common::Cli;
use crate::webdriver::{Browser, CONTROL, Element, RELEASE};
use futures::FutureExt;
use mfa_optout::testing::sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

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
            .env("TZ", "Asia/Tokyo")
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
    browser: Browser,
    org: Sandbox,
}

impl Visit {
    /// Runs a story in a browser of `width` CSS pixels.
    async fn with_width(width: u32, story: impl AsyncFnOnce(&Self)) {
        Self::run(width, Script::Allowed, story).await;
    }

    /// Runs a story in a browser of `width` CSS pixels, and closes the browser however the story
    /// ends. Without `chromedriver` it says so, which is a failure where `CI` is set.
    async fn run(width: u32, script: Script, story: impl AsyncFnOnce(&Self)) {
        let Some(driver) = Driver::start() else {
            assert!(env::var_os("CI").is_none(), "chromedriver is not installed");
            // Written past the capture of the test harness, which would keep it from everybody.
            let note =
                b"LEFT OUT: chromedriver is not installed, the pages were not tried in a browser\n";
            io::stderr().write_all(note).unwrap();
            return;
        };
        let profile = tempfile::tempdir().unwrap();
        let capabilities = capabilities(width, script, &profile);
        let visit = Self {
            browser: Browser::start(&driver.address, &capabilities).await,
            org: Sandbox::start(SandboxOptions::default()).await.unwrap(),
        };

        let outcome = AssertUnwindSafe(story(&visit)).catch_unwind().await;
        visit.browser.close().await;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    async fn open(&self, path: &str) {
        let page = format!("{}{path}", self.org.address());
        self.browser.goto(&page).await;
    }

    /// Waits until there is such an element.
    async fn find(&self, css: &str) -> Element<'_> {
        self.browser.find(css).await
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await;
    }

    async fn type_into(&self, css: &str, text: &str) {
        self.find(css).await.send_keys(text).await;
    }

    async fn script(&self, script: &str) -> Value {
        self.browser.execute(script).await
    }

    async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await
    }

    /// Returns the texts of all elements, also of those that are not in view.
    async fn texts(&self, css: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll({})].map(element => element.textContent)",
            Value::from(css)
        );
        serde_json::from_value(self.script(&script).await).unwrap()
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

/// Whether the browser runs the scripts of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Allowed,
    Blocked,
}

fn capabilities(width: u32, script: Script, profile: &TempDir) -> Value {
    let javascript = if script == Script::Allowed { 1 } else { 2 };
    json!({"goog:chromeOptions": {
        "prefs": {"profile.managed_default_content_settings.javascript": javascript},
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
        // The members page stays open in a window of its own: it has to notice the change by
        // itself.
        visit.open("/members?id=1732").await;
        let badge = visit.find("#user-1732 .in").await;
        assert_eq!(badge.text().await, "Required");
        visit.stayed_at_home().await;
        let members = visit.browser.window().await;
        let other = visit.browser.new_tab().await;
        visit.browser.switch_to_window(&other).await;

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
            .await;
        assert!(
            example.contains("firstName") && example.contains("mfaOptOut"),
            "{example}"
        );
        visit.click(".opblock-put .try-out__btn").await;
        visit
            .type_into(".opblock-put input[placeholder=id]", "1732")
            .await;
        // Selects all of the example, so that what is typed next takes its place.
        let everything = format!("{CONTROL}a{RELEASE}");
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
        assert!(status.text().await.starts_with("204"));
        visit.stayed_at_home().await;

        visit.browser.switch_to_window(&members).await;
        let badge = visit.find("#user-1732 .out").await;
        assert_eq!(badge.text().await, "Opted out");
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

/// Texts that a page must show as text: markup, ends of attributes and of the style, text that
/// reorders.
const HOSTILE: [&str; 7] = [
    "<script>document.title = 'executed'</script>",
    "\"><img src=x onerror=\"document.title = 'executed'\">",
    "' onmouseover='document.title = 1",
    "</style><script>document.title = 'executed'</script>",
    "\u{202e}executed\u{202c} ]]> --> &lt;",
    "<!-- data --></script><script>document.title = 'executed'</script>",
    "javascript:document.title=1",
];

/// Writes the table, runs it against a practice Org with 20 members, and returns the address of its
/// page.
fn report_page(cli: &Cli, table: csv::Writer<Vec<u8>>, options: &[&str]) -> String {
    cli.write("users.csv", table.into_inner().unwrap());
    let command = [
        "apply",
        "users.csv",
        "--sandbox",
        "--members",
        "20",
        "--skip-invalid",
        "--yes",
        "--html",
        "page.html",
    ];
    let ran = cli.run(&[&command[..], options].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.text());
    format!("file://{}", cli.path("page.html").display())
}

/// Returns the page of a run over a table with these comments. Every second row of it is invalid,
/// and so are all after the first few, so that little is sent.
fn hostile_page(cli: &Cli, comments: &[String]) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = ["user_id", "mfa_opt_out", HOSTILE[0], HOSTILE[5]];
    table.write_record(header).unwrap();
    for (comment, row) in comments.iter().zip(1..) {
        let id = if row % 2 == 0 || row > 25 {
            comment.clone()
        } else {
            row.to_string()
        };
        table.write_record([&id, "true", comment, "x"]).unwrap();
    }
    let options = [
        "--error-percent",
        "20",
        "--rate",
        "50/s",
        "--reason",
        HOSTILE[5],
    ];
    report_page(cli, table, &options)
}

#[tokio::test]
async fn report_page_runs_no_hostile_script_loads_nothing_and_fits() {
    let hostile = HOSTILE
        .map(str::to_owned)
        .into_iter()
        .chain(["W".repeat(3_000)]);
    let few: Vec<_> = hostile.cycle().take(25).collect();
    let many = few
        .iter()
        .cloned()
        .chain(HOSTILE.map(str::to_owned).into_iter().cycle())
        .take(10_000)
        .collect();
    let tables = [few, many];
    let folders = tables.each_ref().map(|_| Cli::new());
    let pages: Vec<_> = folders
        .iter()
        .zip(&tables)
        .map(|(cli, comments)| hostile_page(cli, comments))
        .collect();
    for width in [360, 900, 1_400] {
        Visit::with_width(width, async |visit| {
            for (page, table) in pages.iter().zip(&tables) {
                visit.browser.goto(page).await;
                let found = visit.text("#found").await;
                let all = format!("of {} listed rows", grouped(table.len()));
                assert!(found.ends_with(&all), "{found}");
                let root = "const root = document.documentElement; return root.scrollWidth <= \
                    root.clientWidth";
                assert_eq!(
                    visit.script(root).await,
                    json!(true),
                    "{page} is wider than {width} pixels"
                );
                assert!(!visit.browser.title().await.contains("executed"));
                let active = "return document.querySelectorAll('img, iframe, link, object, \
                    [onerror], [onmouseover]').length";
                assert_eq!(visit.script(active).await, json!(0), "{page}");
                let scripts = "return document.scripts.length";
                assert_eq!(visit.script(scripts).await, json!(2), "{page}");
                let loaded = visit
                    .script("return performance.getEntriesByType('resource').length")
                    .await;
                assert_eq!(loaded, json!(0), "{page}");
            }
        })
        .await;
    }
}

fn grouped(number: usize) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", number / 1_000, number % 1_000)
    }
}

/// Returns the page of 30 rows, of which the last ten are for users who are not in the Org.
fn page_with_ten_failures(cli: &Cli) -> String {
    let mut table = csv::Writer::from_writer(Vec::new());
    table
        .write_record(["Name", "User ID", "MFA opt-out", "Comment"])
        .unwrap();
    for id in 1..=30 {
        let flag = if id % 2 == 0 { "true" } else { "false" };
        let row = [
            format!("Person {id}"),
            id.to_string(),
            flag.to_owned(),
            HOSTILE[id % 7].to_owned(),
        ];
        table.write_record(row).unwrap();
    }
    report_page(cli, table, &["--rate", "unlimited"])
}

#[tokio::test]
async fn report_page_filters_by_outcome_cause_and_text() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::with_width(1_400, async |visit| {
        visit.browser.goto(&page).await;
        assert_eq!(visit.text("h1").await, "20 of 30 rows applied");
        assert_eq!(visit.text("#found").await, "10 of 30 listed rows");
        assert_eq!(visit.texts("#rows tbody tr").await.len(), 10);

        visit.click(".counts .applied a").await;
        assert_eq!(visit.text("#found").await, "20 of 30 listed rows");
        visit.click(".cause a[data-cause='0']").await;
        assert_eq!(visit.text("#found").await, "10 of 30 listed rows");
        visit.type_into("#search", "PERSON 21 opt").await;
        assert_eq!(visit.text("#found").await, "1 of 30 listed rows");
        assert_eq!(visit.texts("#rows td.id").await, ["21"]);
        visit.click("#clear").await;
        assert_eq!(visit.text("#found").await, "30 of 30 listed rows");
        visit.type_into("#search", "onmouseover").await;
        assert_eq!(
            visit.texts("#rows td.id").await,
            ["2", "9", "16", "23", "30"]
        );
    })
    .await;
}

#[tokio::test]
async fn report_page_links_causes_and_rows_both_ways() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::with_width(1_400, async |visit| {
        visit.browser.goto(&page).await;
        let hash = "return location.hash";
        let in_view = "const { top } = document.querySelector('.cause').getBoundingClientRect();
            return top >= 0 && top < innerHeight";
        visit.click("#rows tbody tr:last-child td.detail a").await;
        assert_eq!(visit.script(hash).await, json!("#cause-0"));
        assert_eq!(visit.script(in_view).await, json!(true));
        visit.click(".cause a[data-cause]").await;
        assert_eq!(
            visit.script("return document.activeElement.id").await,
            json!("listing")
        );
        visit.click("#back").await;
        assert_eq!(visit.script(hash).await, json!("#cause-0"));
        assert_eq!(visit.script(in_view).await, json!(true));
    })
    .await;
}

#[tokio::test]
async fn report_page_sorts_by_any_column() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::with_width(1_400, async |visit| {
        visit.browser.goto(&page).await;
        visit.click("#clear").await;
        let id_button = "#rows th.id button";
        visit.click(id_button).await;
        let ascending: Vec<String> = (1..=30).map(|id| id.to_string()).collect();
        assert_eq!(visit.texts("#rows td.id").await, ascending);
        visit.click(id_button).await;
        let descending: Vec<String> = ascending.iter().rev().cloned().collect();
        assert_eq!(visit.texts("#rows td.id").await, descending);
        assert_eq!(
            visit
                .script("return document.querySelector('th.id').ariaSort")
                .await,
            json!("descending")
        );
        visit.click("#rows th.outcome button").await;
        let outcomes = visit.texts("#rows td.outcome").await;
        assert_eq!(
            (outcomes[19].as_str(), outcomes[20].as_str()),
            ("applied", "failed")
        );
    })
    .await;
}

#[tokio::test]
async fn report_page_copies_the_ids_of_the_rows_that_are_shown() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::with_width(1_400, async |visit| {
        visit.browser.goto(&page).await;
        visit.click("#copy").await;
        let copied = visit.find("#copied:not(:empty)").await;
        assert_eq!(copied.text().await, "10 IDs copied");
        let add_area = "const area = document.createElement('textarea'); area.id = 'area'; \
            document.querySelector('h1').append(area)";
        visit.script(add_area).await;
        let paste = format!("{CONTROL}v{RELEASE}");
        visit.type_into("#area", &paste).await;
        let pasted = visit
            .script("return document.getElementById('area').value")
            .await;
        let ids: Vec<String> = (21..=30).map(|id| id.to_string()).collect();
        assert_eq!(
            pasted
                .as_str()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>(),
            ids
        );
    })
    .await;
}

#[tokio::test]
async fn report_page_shows_times_in_the_readers_zone_and_in_utc() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::with_width(1_400, async |visit| {
        visit.browser.goto(&page).await;
        let times = visit.texts("dl time").await;
        for time in &times {
            assert!(
                time.contains("GMT+9 (") && time.ends_with(" UTC)"),
                "{time}"
            );
        }
        assert_eq!(times.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn report_page_lists_the_rows_that_need_attention_without_script() {
    let cli = Cli::new();
    let page = page_with_ten_failures(&cli);
    Visit::run(1_400, Script::Blocked, async |visit| {
        visit.browser.goto(&page).await;
        assert_eq!(visit.text("h1").await, "20 of 30 rows applied");
        assert_eq!(visit.browser.count("#rows tbody tr").await, 10);
        let note = visit.text("#static-note").await;
        assert!(
            note.contains("Without JavaScript") && note.ends_with("users.report.csv."),
            "{note}"
        );
        assert!(!visit.find("#tools").await.is_displayed().await);
        assert_eq!(visit.text("#rows tbody tr:first-child td.id").await, "21");
        visit.click("#rows tbody tr:last-child td.detail a").await;
        assert!(visit.browser.address().await.ends_with("#cause-0"));
    })
    .await;
}
