//! The main job, end to end: the built binary, a table, an Org, a report.

use std::path::Path;

use crate::common::hostile::{Hostile, Reply};
use crate::common::practice::TestOrg;
use crate::common::{Cli, KEY, ReportRow, outcomes, report, table};

#[test]
fn a_table_goes_in_and_a_report_that_tells_the_truth_comes_out() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(3) { 404 } else { 204 }));
    cli.write(
        "users.csv",
        "Name,User ID,MFA opt-out\nAda,1,yes\n\"Bo, B\",2,no\nCy,3,true\nAda again,1,true\n",
    );

    cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()])
        .exits(1)
        .says("users.report.csv");

    let rows = report(&cli.path("users.report.csv"));
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["Name"].as_str(), row["outcome"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("Ada", "applied"),
            ("Bo, B", "applied"),
            ("Cy", "failed"),
            ("Ada again", "duplicate")
        ]
    );
    let sent: Vec<_> = org
        .requests()
        .iter()
        .map(|seen| (seen.user(), seen.flag()))
        .collect();
    assert_eq!(
        sent,
        [
            (Some(1), Some(true)),
            (Some(2), Some(false)),
            (Some(3), Some(true))
        ]
    );
}

#[test]
fn a_bad_table_sends_nothing_and_shows_what_is_wrong() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    let table = table(12)
        .replace("\n6,true", "\nada@example.com,true")
        .replace("\n11,true", "\n11,maybe");
    cli.write("users.csv", table);

    let ran = cli
        .run(&["apply", "users.csv", "--yes", "--address", &org.url()])
        .exits(2);
    ran.says("users.csv:7: column user_id")
        .says("users.csv:12: column mfa_opt_out");

    assert!(org.requests().is_empty());
    assert!(!cli.path("users.report.csv").exists());
}

#[test]
fn a_wrong_key_costs_one_request() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(401));
    cli.write("users.csv", table(100));
    cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()])
        .exits(3)
        .says("refused the credentials");
    assert_eq!(org.requests().len(), 1);
}

/// A file of the samples.
fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(name);
    std::fs::read_to_string(path).expect("the samples are there")
}

/// The Org's own state against the report, row by row.
fn assert_the_report_is_true(org: &TestOrg, rows: &[ReportRow]) {
    let members = org.members();
    for row in rows {
        let id = row["user_id"].parse().expect("the sample has plain IDs");
        let reported = (row["outcome"] == "applied").then(|| row["mfa_opt_out"] == "true");
        assert_eq!(members.get(&id).copied(), reported, "line {}", row["line"]);
    }
    assert!(
        rows.iter()
            .zip(2..)
            .all(|(row, line)| row["line"] == line.to_string()),
        "the order is the input's"
    );
}

fn against(org: &TestOrg, cli: &Cli, options: &[&str]) -> crate::common::Ran {
    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", org.address()]);
    command
        .args(options)
        .env("MFA_OPTOUT_API_KEY", "sandbox-key");
    crate::common::Ran::of(command.output().expect("the binary can be started"))
}

#[test]
fn the_first_command_of_the_readme_reports_the_one_who_has_left() {
    let cli = Cli::new();
    cli.write("users.csv", sample("users.csv"));
    let ran = cli
        .run(&["apply", "users.csv", "--sandbox", "--yes"])
        .exits(1);
    let ran = ran.says("line 20").says("Report: users.report.csv");
    assert!(
        !ran.stdout.contains("mfa-optout retry"),
        "the Org would refuse the user again"
    );
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(
        (
            rows.len(),
            outcomes(&rows, "applied"),
            outcomes(&rows, "failed")
        ),
        (25, 24, 1)
    );
}

#[test]
fn ten_thousand_rows_come_out_in_order_and_are_true() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &[]);
    cli.write("users.csv", sample("users-10k.csv"));
    against(&org, &cli, &["--rate", "unlimited"]).exits(0);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(outcomes(&rows, "applied"), 10_000);
    assert_the_report_is_true(&org, &rows);
    assert_eq!(org.counted("puts"), 10_000);
}

#[test]
fn errors_and_throttling_cost_time_and_no_row() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &["--error-percent", "10", "--throttle-percent", "2"]);
    let sample = sample("users-10k.csv");
    cli.write(
        "users.csv",
        sample.lines().take(61).collect::<Vec<_>>().join("\n"),
    );
    against(&org, &cli, &["--rate", "unlimited"]).exits(0);
    let rows = report(&cli.path("users.report.csv"));
    assert_eq!(outcomes(&rows, "applied"), 60);
    assert_the_report_is_true(&org, &rows);
    let attempts: u64 = rows
        .iter()
        .map(|row| row["attempts"].parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(
        org.counted("requests"),
        attempts,
        "every request is in the report"
    );
}

#[test]
fn no_server_there_is_said_with_the_address() {
    let cli = Cli::new();
    let closed = crate::common::hostile::ClosedPort::new();
    cli.write("users.csv", table(100));
    let address = format!("http://127.0.0.1:{}", closed.port());
    cli.run(&["apply", "users.csv", "--yes", "--address", &address])
        .exits(5)
        .says(&format!("127.0.0.1:{}", closed.port()))
        .says("refused");
}

#[test]
fn a_plan_is_shown_and_nothing_is_sent_by_a_dry_run_or_without_a_yes() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(1_200));
    cli.run(&["apply", "users.csv", "--dry-run", "--address", &org.url()])
        .exits(0)
        .says("1,200 to opt out of MFA")
        .says("10 requests a second: about 2 min");
    cli.run(&["apply", "users.csv", "--address", &org.url()])
        .exits(2)
        .says("add --yes");
    cli.run(&[
        "apply",
        "users.csv",
        "--yes",
        "--max-opt-outs",
        "1000",
        "--address",
        &org.url(),
    ])
    .exits(2);
    assert!(org.requests().is_empty());
    let files = std::fs::read_dir(cli.folder())
        .expect("the folder is there")
        .count();
    assert_eq!(files, 1, "only the table is there");
}

#[test]
fn the_key_comes_from_a_file_as_well() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(1));
    cli.write("key.txt", format!("{KEY}\n"));
    let mut command = cli.command(&[
        "apply",
        "users.csv",
        "--yes",
        "--api-key-file",
        "key.txt",
        "--address",
        &org.url(),
    ]);
    command.env_remove("MFA_OPTOUT_API_KEY");
    crate::common::Ran::of(command.output().expect("the binary can be started"))
        .exits(0)
        .says("API key from key.txt");
    assert_eq!(org.requests()[0].header("x-api-key"), Some(KEY));
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_the_run() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(5_000));
    let mut command = cli.command(&[
        "apply",
        "users.csv",
        "--yes",
        "--verbose",
        "--rate",
        "unlimited",
    ]);
    command.args(["--address", &org.url()]);
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut process = command.spawn().expect("the binary can be started");
    let unread = process.stderr.take();
    let status = process.wait().expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        outcomes(&report(&cli.path("users.report.csv")), "applied"),
        5_000
    );
    drop(unread);
}

#[test]
fn nothing_that_is_written_takes_the_place_of_what_is_read() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    for (option, path, words) in [
        (
            "--html",
            "users.csv",
            "--html can't be users.csv: that is the table",
        ),
        ("--metrics", "./users.report.csv", "that is the report"),
        ("--problems", "users.csv", "that is the table"),
        ("--html", "users.report.json", "that is the run's record"),
    ] {
        let ran = cli.run(&[
            "apply",
            "users.csv",
            "--yes",
            "--address",
            &org.url(),
            option,
            path,
        ]);
        ran.exits(2).says(words);
    }
    assert_eq!(cli.read("users.csv"), table(2));
    assert!(org.requests().is_empty());
}

#[test]
fn nothing_that_is_written_takes_the_place_of_a_key_or_a_certificate() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    cli.write("key.txt", crate::common::KEY);
    let url = org.url();
    for (credential, output, words) in [
        ("--api-key-file", "--html", "that is the file with the key"),
        (
            "--api-key-file",
            "--metrics",
            "that is the file with the key",
        ),
        (
            "--api-key-file",
            "--report",
            "the report can't be ./key.txt",
        ),
        ("--ca-cert", "--report", "the report can't be ./key.txt"),
        ("--ca-cert", "--html", "that is the CA certificate"),
    ] {
        let given = [
            "apply",
            "users.csv",
            "--yes",
            "--overwrite",
            "--address",
            &url,
        ];
        let mut command =
            cli.command(&[&given[..], &[credential, "key.txt", output, "./key.txt"]].concat());
        if credential == "--api-key-file" {
            command.env_remove("MFA_OPTOUT_API_KEY");
        }
        crate::common::Ran::of(command.output().unwrap())
            .exits(2)
            .says(words);
        assert_eq!(cli.read("key.txt"), crate::common::KEY);
    }
    assert!(org.requests().is_empty());
}

#[test]
fn nothing_that_is_written_takes_the_place_of_the_settings() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    let settings = format!("address = \"{}\"\n", org.url());
    let url = org.url();
    // Given, and one that does not count without a terminal but may in another run.
    for (name, way) in [
        ("night.toml", ["--config", "night.toml"]),
        ("mfa-optout.toml", ["--address", &url]),
    ] {
        cli.write(name, &settings);
        for output in ["--report", "--html", "--metrics", "--problems"] {
            let given = [
                &["apply", "users.csv", "--yes", "--overwrite"],
                &way[..],
                &[output, &format!("./{name}")],
            ];
            cli.run(&given.concat())
                .exits(2)
                .says(&format!("./{name}"))
                .says("config file");
            assert_eq!(cli.read(name), settings, "{output}");
        }
    }
    assert!(org.requests().is_empty());
}

#[cfg(unix)] // file modes
#[test]
fn what_a_killed_run_left_of_its_page_and_figures_is_removed_and_what_another_run_is_writing_is_not()
 {
    use std::os::unix::fs::PermissionsExt;

    let cli = Cli::new();
    cli.write("users.csv", table(2));
    let plant = |of: &str, mode: u32| {
        let hash = blake3::hash(of.as_bytes()).to_hex();
        let left = cli.write(
            &format!(".mfa-optout-{}-aBc1{mode:o}.tmp", &hash[..8]),
            "half",
        );
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(mode))
            .expect("it is this test's");
        left
    };
    let left = ["page.html", "run.prom"].map(|of| plant(of, 0o600));
    let kept = [("other.html", 0o600), ("page.html", 0o644)].map(|(of, mode)| plant(of, mode));
    let written = plant("page.html", 0o700);
    let writer = std::fs::File::open(&written).expect("it is there");
    writer.lock().expect("nobody else has it");
    cli.run(&[
        "apply",
        "users.csv",
        "--yes",
        "--sandbox",
        "--html",
        "page.html",
        "--metrics",
        "run.prom",
    ])
    .exits(0);
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");
    assert!(kept.iter().chain([&written]).all(|path| path.exists()));
    drop(writer);
    let again = [
        "apply",
        "users.csv",
        "--yes",
        "--sandbox",
        "--html",
        "page.html",
        "--overwrite",
    ];
    cli.run(&again).exits(0);
    assert!(!written.exists(), "its writer is gone");
}

#[test]
fn a_run_that_may_have_changed_somebody_keeps_its_journal_and_does_not_say_that_nothing_was_changed()
 {
    for (reply, code) in [
        (Reply::new(401), 3),
        (Reply::new(302).header("Location", "/elsewhere"), 5),
    ] {
        let cli = Cli::new();
        let org = Hostile::start(move |seen| match seen.number {
            1 => Reply::raw("").then(crate::common::hostile::Then::Reset),
            _ => reply.clone(),
        });
        cli.write("users.csv", table(3));
        cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()])
            .exits(code)
            .says("users.report.csv.partial");
        assert_eq!(org.requests().len(), 2);
        assert!(cli.path("users.report.csv.partial").exists());
    }
    for (reply, code) in [
        (Reply::new(401), 3),
        (Reply::new(302).header("Location", "/elsewhere"), 2),
    ] {
        let cli = Cli::new();
        let org = Hostile::start(move |_| reply.clone());
        cli.write("users.csv", table(3));
        cli.run(&["apply", "users.csv", "--yes", "--address", &org.url()])
            .exits(code)
            .says("Report: none");
        assert!(!cli.path("users.report.csv.partial").exists());
    }
}

#[test]
fn what_an_output_would_destroy_is_refused_before_anything_is_sent() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    let address = org.url();
    let with = |options: &[&str]| {
        cli.run(
            &[
                &["apply", "users.csv", "--yes", "--address", &address],
                options,
            ]
            .concat(),
        )
    };
    for name in ["other.csv", "other.csv.partial", "notes"] {
        cli.write(name, "user_id,mfa_opt_out\n1,true\n");
        for option in ["--html", "--metrics"] {
            with(&[option, name])
                .exits(2)
                .says("another kind of file is there");
        }
        assert_eq!(cli.read(name), "user_id,mfa_opt_out\n1,true\n");
    }
    for option in ["--html", "--metrics"] {
        with(&[option, "no-folder/run"])
            .exits(2)
            .says("its folder is not there");
        #[cfg(unix)] // devices
        with(&[option, "/dev/null"])
            .exits(2)
            .says("not a plain file");
    }
    cli.write("mine.json", "{\"hand\":\"made\"}");
    with(&["--report", "mine.csv"])
        .exits(2)
        .says("mine.json exists already");
    assert_eq!(cli.read("mine.json"), "{\"hand\":\"made\"}");
    assert!(org.requests().is_empty());

    let outputs = [
        "--html",
        "page.html",
        "--metrics",
        "run.prom",
        "--overwrite",
    ];
    with(&outputs).exits(0);
    with(&outputs).exits(0);
}

#[test]
fn verbose_dry_run_lists_every_change() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write(
        "users.csv",
        "User ID,MFA opt-out\n1701,true\n1702,no\n1701,true\n",
    );
    let arguments = ["apply", "users.csv", "--dry-run", "--address", &org.url()];
    let ran = cli.run(&[&arguments[..], &["--verbose"]].concat()).exits(0);
    let changes: Vec<_> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    assert_eq!(
        changes,
        ["line 2: 1701: opt out of MFA", "line 3: 1702: opt back in"]
    );
    assert!(!cli.run(&arguments).stdout.contains("1701: opt out"));
    assert!(org.requests().is_empty());
}

#[test]
fn retry_is_suggested_only_if_it_can_help() {
    for (status, helps) in [(404, false), (409, false), (422, false), (501, true)] {
        let cli = Cli::new();
        let org = Hostile::start(move |seen| {
            Reply::new(if seen.user() == Some(3) { status } else { 204 })
        });
        cli.write("users.csv", table(3));
        let ran = cli.apply(&org.url(), &[]).exits(1);
        assert_eq!(
            ran.stdout.contains("Next:"),
            helps,
            "{status}: {}",
            ran.stdout
        );
    }
}
