//! The page of a plan, and what the page of a run says about itself.

use serde_json::{Value, json};

use crate::common::Cli;

/// The rows and columns that a page's script works with.
fn data_of(page: &str) -> Value {
    let (_, data) = page
        .split_once(r#"<script type="application/json" id="data">"#)
        .unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

const TABLE: &str = "\
Name,User ID,MFA opt-out
Ada,1,true
Bruno,2,false
Ada again,1,true
<script>,x,true
";

#[test]
fn dry_run_with_html_writes_the_plan_as_a_page() {
    let cli = Cli::new();
    cli.write("users.csv", TABLE);
    let command = [
        "apply",
        "users.csv",
        "--sandbox",
        "--dry-run",
        "--skip-invalid",
    ];
    let options = [
        "--html",
        "plan.html",
        "--reason",
        "<b>ticket</b> 4711",
        "--max-opt-outs",
        "5",
    ];
    cli.run(&[&command[..], &options[..]].concat()).exits(0);
    assert!(!cli.path("users.report.csv").exists());

    let page = cli.read("plan.html");
    for words in [
        "<h1>1 user to opt out, 1 to opt in</h1>",
        "This is a plan. Nothing has been sent.",
        "&#60;b&#62;ticket&#60;/b&#62; 4711",
        "--max-opt-outs 5",
        "users.report.csv",
    ] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let data = data_of(&page);
    let outcomes = data["outcomes"].as_array().unwrap();
    let rows = data["rows"].as_array().unwrap();
    let seen: Vec<Value> = rows
        .iter()
        .map(|row| {
            let outcome = row[0].as_u64().unwrap();
            json!([
                row[2],
                row[3],
                row[4],
                row[5],
                row[6],
                outcomes[usize::try_from(outcome).unwrap()]["name"]
            ])
        })
        .collect();
    assert_eq!(
        seen,
        [
            json!([2, "1", "Ada", "not known", "opt out", "opt_out"]),
            json!([3, "2", "Bruno", "not known", "opt in", "opt_in"]),
            json!([4, "1", "Ada again", "not known", "opt out", "duplicate"]),
            json!([5, "x", "<script>", "not known", null, "invalid"]),
        ]
    );
}

#[test]
fn page_of_a_run_has_a_policy_with_hashes_and_no_inline_permission() {
    let cli = Cli::new();
    cli.write("users.csv", TABLE);
    let options = ["--skip-invalid", "--yes", "--html", "page.html"];
    cli.run(&[&["apply", "users.csv", "--sandbox"], &options[..]].concat())
        .exits(1);
    let page = cli.read("page.html");
    assert!(
        page.contains("default-src 'none'; style-src 'sha256-"),
        "{page}"
    );
    assert!(page.contains("; script-src 'sha256-"), "{page}");
    assert!(!page.contains("unsafe-inline"), "{page}");
}

#[test]
fn page_of_a_stopped_run_names_who_why_the_guards_and_the_next_command() {
    let cli = Cli::new();
    cli.write("users.csv", "user_id,mfa_opt_out\n1,true\n2,true\n");
    let command = [
        "apply",
        "users.csv",
        "--sandbox",
        "--members",
        "5",
        "--error-percent",
        "100",
    ];
    let options = [
        "--yes",
        "--html",
        "page.html",
        "--max-attempts",
        "1",
        "--reason",
        "ticket 4711",
    ];
    cli.run(&[&command[..], &options[..], &["--max-opt-outs", "2"]].concat())
        .exits(5);
    // The words of a command are kept together one by one.
    let page = cli.read("page.html").replace("</span><span>", "");
    for words in [
        "0 of 2 rows applied",
        "2 rows have no outcome yet",
        "<dt>Why</dt><dd>ticket 4711</dd>",
        "<dt>Guards</dt><dd>--max-opt-outs 2; confirmed: --yes</dd>",
        "apply users.csv --sandbox",
        "<dt>Who</dt><dd>",
    ] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let (visible, _) = page.split_once("<script").unwrap();
    assert!(!visible.contains('`'), "{visible}");
}
