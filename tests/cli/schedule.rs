//! Runs that nobody watches, on the built binary: only differences are sent, opt-outs end on their
//! day, every line is JSON where that is asked for, figures are left for Prometheus, and settings
//! come from where they should.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::hostile::{Hostile, Reply};
use crate::common::{Cli, KEY, PASSWORD, Ran, table};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

/// Applies one opt-out until each of these days in a zone, and gives what was sent for each.
fn sent_until(days: &[Date], zone: &str) -> Vec<Option<bool>> {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    let rows: Vec<String> = days
        .iter()
        .zip(1..)
        .map(|(day, id)| format!("{id},true,{day}"))
        .collect();
    cli.write(
        "users.csv",
        format!("user_id,mfa_opt_out,opt_out_until\n{}\n", rows.join("\n")),
    );
    cli.run(&[
        "apply",
        "users.csv",
        "--yes",
        "--timezone",
        zone,
        "--rate",
        "unlimited",
        "--address",
        &org.url(),
    ])
    .exits(0);
    let mut sent: Vec<_> = org
        .requests()
        .iter()
        .map(|seen| (seen.user(), seen.flag()))
        .collect();
    sent.sort_unstable();
    sent.into_iter().map(|(_, flag)| flag).collect()
}

fn today_in(zone: &str) -> Date {
    TimeZone::get(zone)
        .unwrap()
        .to_datetime(Timestamp::now())
        .date()
}

/// Runs a story about a day until none has ended meanwhile: at most twice, however close to
/// midnight.
fn within_one_day<T>(zones: [&str; 2], mut story: impl FnMut([Date; 2]) -> T) -> T {
    loop {
        let days = zones.map(today_in);
        let outcome = story(days);
        if days == zones.map(today_in) {
            return outcome;
        }
    }
}

#[test]
fn an_opt_out_lasts_through_its_day() {
    let sent = within_one_day(["UTC", "UTC"], |[today, _]| {
        sent_until(
            &[today - 1.day(), today, today + 1.day(), today + 400.days()],
            "UTC",
        )
    });
    assert_eq!(sent, [Some(false), Some(true), Some(true), Some(true)]);
}

#[test]
fn it_ends_earlier_where_it_is_already_tomorrow() {
    // Their clocks are 26 hours apart: it is never the same day in both.
    let late = "Etc/GMT+12";
    let early = "Pacific/Kiritimati";
    let sent = within_one_day([late, early], |[today, _]| {
        [sent_until(&[today], late), sent_until(&[today], early)]
    });
    assert_eq!(sent, [[Some(true)], [Some(false)]]);
}

#[test]
fn a_past_end_is_shown_in_the_plan() {
    let cli = Cli::new();
    cli.write(
        "users.csv",
        "user_id,mfa_opt_out,opt_out_until\n1,true,2020-02-29\n2,true,\n",
    );
    let ran = cli
        .run(&["apply", "users.csv", "--sandbox", "--dry-run"])
        .exits(0);
    ran.says("1 to opt out of MFA")
        .says("1 to opt back in")
        .says("1 opt-out has reached its end date");
}

/// Every line of standard error as an event; nothing else is said.
#[track_caller]
fn events(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.stdout, "", "standard output is for people");
    ran.stderr.lines().map(event).collect()
}

#[track_caller]
fn event(line: &str) -> Value {
    crate::common::must_show_no_secret(line);
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value["event"].is_string(), "{line}");
    assert!(
        value["at"]
            .as_str()
            .is_some_and(|at| at.parse::<Timestamp>().is_ok()),
        "{line}"
    );
    value
}

#[track_caller]
fn find<'a>(events: &'a [Value], name: &str) -> &'a Value {
    events
        .iter()
        .find(|event| event["event"] == name)
        .unwrap_or_else(|| panic!("no {name} in {events:#?}"))
}

#[test]
fn a_whole_run_is_told_in_json() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| match seen.user() {
        Some(2) => Reply::new(404).body("application/json", r#"{"message":"No \"user\"\nhere"}"#),
        Some(3) if seen.number == 3 => Reply::new(429).header("Retry-After", "1"),
        _ => Reply::new(204),
    });
    cli.write("users.csv", table(12));
    let options = [
        "--concurrency",
        "1",
        "--rate",
        "unlimited",
        "--reason",
        "say \"why\"",
        "--log-format",
        "json",
    ];
    let ran = cli
        .run(
            &[
                &["apply", "users.csv", "--yes", "--address", &org.url()],
                &options[..],
            ]
            .concat(),
        )
        .exits(1);

    let told = events(&ran);
    let plan = find(&told, "plan");
    assert_eq!(
        (&plan["rows"], &plan["opt_out"], &plan["reason"]),
        (&12.into(), &12.into(), &"say \"why\"".into())
    );
    assert_eq!(find(&told, "waiting")["why"], "throttled");
    assert_eq!(find(&told, "row")["line"], 3);
    let ended = find(&told, "ended");
    assert_eq!(
        (&ended["applied"], &ended["failed"], &ended["requests"]),
        (&11.into(), &1.into(), &13.into())
    );
    let closed = told.last().unwrap();
    assert_eq!(
        (&closed["event"], &closed["exit_code"]),
        (&"closed".into(), &1.into())
    );
    let examples = serde_json::json!([{"line": 3, "user": "2"}]);
    assert_eq!(closed["failures"][0]["examples"], examples);
    assert_eq!(closed["report"], "users.report.csv");
}

#[test]
fn throttled_by_an_org_that_has_a_limit_it_stays_json() {
    let cli = Cli::new();
    cli.write("users.csv", table(15));
    let practice = [
        "--sandbox",
        "--rate-limit",
        "5/s",
        "--rate",
        "50/s",
        "--log-format",
        "json",
        "--verbose",
    ];
    let told = events(
        &cli.run(&[&["apply", "users.csv", "--yes"], &practice[..]].concat())
            .exits(0),
    );
    assert_eq!(
        told.iter().filter(|event| event["event"] == "row").count(),
        15
    );
    assert_eq!(find(&told, "waiting")["why"], "throttled");
}

#[cfg(unix)] // signals
#[test]
fn interrupted_it_stays_json() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(5_000));
    let options = ["--rate", "20/s", "--verbose", "--log-format", "json"];
    let mut command = cli.command(
        &[
            &["apply", "users.csv", "--yes", "--address", &org.url()],
            &options[..],
        ]
        .concat(),
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);

    let before: Vec<Value> = lines
        .by_ref()
        .map(|line| event(&line))
        .take_while(|event| event["line"] != 4)
        .collect();
    assert_eq!(before[0]["event"], "plan");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let after: Vec<Value> = lines.map(|line| event(&line)).collect();

    assert_eq!(find(&after, "ended")["how"], "interrupted");
    assert_eq!(after.last().unwrap()["exit_code"], 143);
    assert_eq!(after.last().unwrap()["report"], "users.report.csv.partial");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.exits(143).stdout, "");
}

#[test]
fn errors_are_json_as_well() {
    let cli = Cli::new();
    cli.write(
        "bad.csv",
        "user_id,mfa_opt_out\nada@example.com,true\n2,perhaps\n",
    );
    cli.write("unknown.toml", "log_format = \"json\"\nrat = \"5/s\"\n");
    cli.write("good.toml", "log_format = \"json\"\n");
    let json = ["--log-format", "json"];
    let no_file = ["apply", "none.csv", "--sandbox", "--yes"];
    let bad = ["apply", "bad.csv", "--sandbox", "--yes"];
    for arguments in [
        [&no_file[..], &json].concat(),
        [&bad[..], &json].concat(),
        [&bad[..], &["--config", "good.toml"]].concat(),
        [&bad[..], &["--config", "unknown.toml"], &json].concat(),
        ["apply", "bad.csv", "--yes"]
            .into_iter()
            .chain(json)
            .collect(),
        ["apply", "bad.csv", "--no-such-flag", "--log-format=json"].to_vec(),
        [
            "apply",
            "bad.csv",
            "--sandbox",
            "--yes",
            "--quiet",
            "--log-format",
            "json",
        ]
        .to_vec(),
    ] {
        let told = events(&cli.run(&arguments).exits(2));
        let error = told.last().unwrap();
        assert_eq!(
            (&error["event"], &error["exit_code"]),
            (&"error".into(), &2.into()),
            "{arguments:?}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{arguments:?}"
        );
    }
    let by_variable = cli
        .command(&bad)
        .env("MFA_OPTOUT_LOG_FORMAT", "json")
        .output()
        .unwrap();
    assert_eq!(
        find(&events(&Ran::of(by_variable).exits(2)), "error")["exit_code"],
        2
    );
}

#[test]
fn quiet_leaves_errors_and_one_line_if_rows_need_attention() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| Reply::new(if seen.user() == Some(2) { 404 } else { 204 }));
    cli.write("users.csv", table(3));
    let ran = cli
        .run(&[
            "apply",
            "users.csv",
            "--yes",
            "--quiet",
            "--address",
            &org.url(),
        ])
        .exits(1);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let ran = ran.says("1 row needs attention: failed 404");
    ran.says("report: users.report.csv");

    let again = cli
        .run(&[
            "apply",
            "users.csv",
            "--yes",
            "--quiet",
            "--address",
            &org.url(),
        ])
        .exits(2);
    assert_eq!(again.stdout, "");
    assert!(
        again.stderr.starts_with("error: ") && again.stderr.contains("users.report.csv"),
        "{}",
        again.stderr
    );

    // Windows allows no control characters in a name.
    let other = if cfg!(windows) {
        "other.csv"
    } else {
        "\u{1b}[2J.csv"
    };
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--quiet",
        "--report",
        other,
        "--max-failures",
        "1",
        "--address",
    ];
    let stopped = cli.run(&[&words[..], &[&org.url()]].concat()).exits(5);
    assert_eq!(stopped.stdout, "");
    assert!(
        stopped.stderr.starts_with(
            "Stopped early: a row failed.\n  note: 1 row has not been sent yet\nNext:   "
        ),
        "{}",
        stopped.stderr
    );
    assert!(!stopped.stderr.contains('\u{1b}'), "{:?}", stopped.stderr);
}

#[test]
fn nobody_is_asked_who_cannot_answer() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    cli.run(&["apply", "users.csv", "--address", &org.url()])
        .exits(2)
        .says("--yes");
    assert!(org.requests().is_empty() && !cli.path("users.report.csv.partial").exists());
}

/// The samples of a Prometheus text file, by name and labels.
type Samples = BTreeMap<(String, String), f64>;

/// Reads the text exposition format, version 0.0.4, and refuses anything else.
fn samples(path: &Path) -> Samples {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n') && !text.contains(KEY));
    let mut samples = Samples::new();
    let mut typed = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !words.is_empty(), "{line}");
            match kind {
                "HELP" => assert!(
                    !words.replace("\\\\", "").replace("\\n", "").contains('\\'),
                    "{line}"
                ),
                "TYPE" => {
                    assert!(
                        ["counter", "gauge"].contains(&words) && !typed.contains(&name),
                        "{line}"
                    );
                    typed.push(name);
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert_eq!(
            typed.last(),
            Some(&name),
            "{line}: samples of a metric stand together, below its type"
        );
        check_labels(labels.strip_suffix('}').unwrap());
        let before = samples.insert((name.to_owned(), labels.to_owned()), value.parse().unwrap());
        assert_eq!(before, None, "{line}: twice");
    }
    samples
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_labels(mut rest: &str) {
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{name}");
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            assert!(!escaped || ['\\', '"', 'n'].contains(&c), "{value}");
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn sample(samples: &Samples, name: &str, label: &str) -> f64 {
    let name = format!("mfa_optout_last_run_{name}");
    let found: Vec<f64> = samples
        .iter()
        .filter(|((n, labels), _)| *n == name && labels.contains(label))
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} {label}: {samples:?}");
    found[0]
}

#[test]
fn figures_are_left_for_prometheus() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| match seen.user() {
        Some(2) => Reply::new(404),
        Some(4) if seen.number == 4 => Reply::new(503),
        _ => Reply::new(204),
    });
    // Windows allows neither in a name.
    let name = if cfg!(windows) {
        "odd name.csv"
    } else {
        "odd \"name\" \\n.csv"
    };
    cli.write(name, table(6));
    let options = [
        "--metrics",
        "run.prom",
        "--concurrency",
        "1",
        "--rate",
        "unlimited",
    ];
    cli.run(
        &[
            &["apply", name, "--yes", "--address", &org.url()],
            &options[..],
        ]
        .concat(),
    )
    .exits(1);

    let samples = samples(&cli.path("run.prom"));
    let value = |name, label| sample(&samples, name, label);
    assert_eq!(
        (
            value("rows", "outcome=\"applied\""),
            value("rows", "outcome=\"failed\"")
        ),
        (5.0, 1.0)
    );
    assert_eq!(
        (
            value("requests", ""),
            value("retries", ""),
            value("exit_code", "")
        ),
        (7.0, 1.0, 1.0)
    );
    assert!(value("end_time_seconds", "") >= value("start_time_seconds", ""));
    assert!(value("start_time_seconds", "") > 1.7e9);
}

#[test]
fn figures_are_left_also_when_the_run_stops_early() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| Reply::new(if seen.user() < Some(3) { 204 } else { 404 }));
    cli.write("users.csv", table(50));
    cli.write(
        "run.prom",
        "# HELP mfa_optout_last_run_rows What was there before.\n",
    );
    let options = [
        "--metrics",
        "run.prom",
        "--max-failures",
        "4",
        "--concurrency",
        "1",
    ];
    cli.run(
        &[
            &[
                "apply",
                "users.csv",
                "--yes",
                "--rate",
                "100/s",
                "--address",
                &org.url(),
            ],
            &options[..],
        ]
        .concat(),
    )
    .exits(5);

    let samples = samples(&cli.path("run.prom"));
    assert_eq!(sample(&samples, "exit_code", ""), 5.0);
    assert_eq!(sample(&samples, "rows", "outcome=\"applied\""), 2.0);
}

#[test]
fn figures_of_an_earlier_run_are_not_left_for_those_of_one_that_is_refused() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(5));
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--overwrite",
        "--metrics",
        "run.prom",
        "--address",
        &url,
    ];
    let code = || sample(&samples(&cli.path("run.prom")), "exit_code", "");
    cli.run(&words).exits(0);
    assert_eq!(code(), 0.0);
    cli.run(&[&words[..], &["--max-opt-outs", "1", "--dry-run"]].concat())
        .exits(2);
    assert_eq!(code(), 0.0);
    cli.run(&[&words[..], &["--max-opt-outs", "1"]].concat())
        .exits(2);
    assert_eq!(code(), 2.0);
    let told = samples(&cli.path("run.prom"));
    assert!(
        told.keys().all(|(name, _)| !name.ends_with("_rows")),
        "{told:?}"
    );
    assert!(
        told.keys().all(|(_, labels)| labels.contains(&url)),
        "{told:?}"
    );
}

#[test]
fn the_command_line_counts_before_the_environment_before_the_file() {
    let cli = Cli::new();
    let orgs = [(); 3].map(|()| Hostile::start(|_| Reply::new(204)));
    let [file, environment, flag] = &orgs;
    cli.write("users.csv", table(1));
    cli.write("s.toml", format!("address = \"{}\"\n", file.url()));
    let start = |command: &mut Command| Ran::of(command.output().unwrap()).exits(0);
    let base = [
        "apply",
        "users.csv",
        "--yes",
        "--overwrite",
        "--config",
        "s.toml",
    ];

    start(&mut cli.command(&base));
    assert_eq!(orgs.each_ref().map(|org| org.requests().len()), [1, 0, 0]);
    start(
        cli.command(&base)
            .env("MFA_OPTOUT_ADDRESS", environment.url()),
    );
    assert_eq!(orgs.each_ref().map(|org| org.requests().len()), [1, 1, 0]);
    let at_flag = flag.url();
    let flagged = [&base[..], &["--address", &at_flag]].concat();
    start(
        cli.command(&flagged)
            .env("MFA_OPTOUT_ADDRESS", environment.url()),
    );
    assert_eq!(orgs.each_ref().map(|org| org.requests().len()), [1, 1, 1]);
}

#[test]
fn config_shows_what_counts_and_where_it_comes_from_but_no_secret() {
    let cli = Cli::new();
    cli.write(
        "s.toml",
        "rate = \"5/s\"\nconcurrency = 3\n\n[profile.night]\nrate = \"2/s\"\ntimeout = \"9s\"\n",
    );
    let arguments = [
        "config",
        "--config",
        "s.toml",
        "--profile",
        "night",
        "--max-wait",
        "1m",
    ];
    let with_a_password = format!("https://admin:{PASSWORD}@org.example");
    let mut command = cli.command(&arguments);
    let output = command
        .env("MFA_OPTOUT_TIMEOUT", "7s")
        .env("MFA_OPTOUT_ADDRESS", with_a_password)
        .output()
        .unwrap();
    let ran = Ran::of(output).exits(2);
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let told = |name: &str| {
        lines
            .iter()
            .find(|line| line.first() == Some(&name))
            .unwrap()[1..]
            .join(" ")
    };
    assert_eq!(told("api_key"), "(hidden) MFA_OPTOUT_API_KEY");
    assert!(
        told("address").starts_with("(not shown: it has a user name")
            && !ran.text().contains("admin")
    );
    assert_eq!(told("rate"), "2/s s.toml:5 (profile night)");
    assert_eq!(told("concurrency"), "3 s.toml:2");
    assert_eq!(told("timeout"), "7s MFA_OPTOUT_TIMEOUT");
    assert_eq!(told("max_wait"), "1m --max-wait");
    assert_eq!(told("max_attempts"), "5 default");
}

#[test]
fn an_unknown_setting_is_an_error_with_the_nearest_right_one() {
    let cli = Cli::new();
    for (line, nearest) in [
        ("max_opt_out = 5", "max_opt_outs"),
        ("adress = \"https://x\"", "address"),
    ] {
        cli.write("s.toml", format!("concurrency = 3\n{line}\n"));
        cli.run(&["config", "--config", "s.toml"])
            .exits(2)
            .says("s.toml:2")
            .says(nearest);
    }
}

#[test]
fn a_mistyped_variable_is_an_error_with_the_right_one() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(3));
    let with = |name: &str| {
        let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
        Ran::of(command.env(name, "1").output().unwrap())
    };
    with("MFA_OPTOUT_MAX_OPT_OUT")
        .exits(2)
        .says("did you mean MFA_OPTOUT_MAX_OPT_OUTS?");
    with("MFA_OPTOUT_OVERWRITE")
        .exits(2)
        .says("--overwrite can only be given on the command line");
    assert!(org.requests().is_empty());
    with("MFA_OPTOUT_MAX_OPT_OUTS")
        .exits(2)
        .says("--max-opt-outs allows 1");
    with("MFA_OPTOUT_FLAVOUR")
        .exits(2)
        .says("there is no setting for the variable MFA_OPTOUT_FLAVOUR");
    // A cluster with a service of this name sets such variables.
    with("MFA_OPTOUT_SERVICE_PORT").exits(0);
}

#[test]
fn config_names_every_fault_and_check_prints_nothing_else() {
    let cli = Cli::new();
    cli.write("s.toml", "rate = \"ten\"\nmax_wait = 30\n");
    let arguments = ["config", "--config", "s.toml", "--check"];
    let shown = cli.run(&arguments[..3]).exits(2);
    assert!(shown.stdout.contains("max_attempts"), "{}", shown.stdout);
    let checked = cli.run(&arguments).exits(2);
    assert_eq!(checked.stdout, "");
    for ran in [shown, checked] {
        ran.says("s.toml:1: \"ten\" can't be used as rate")
            .says("s.toml:2: \"30\" can't be used as max_wait");
    }
    cli.write("s.toml", "rate = \"10/s\"\n");
    let right = cli.run(&arguments).exits(0);
    assert_eq!(right.stdout, "");
    assert_eq!(right.stderr, "");
}

#[test]
fn the_record_holds_every_option_that_was_in_effect_and_no_secret() {
    let cli = Cli::new();
    let org = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(2));
    cli.write(
        "s.toml",
        "concurrency = 3\n\n[profile.night]\nmax_wait = \"2m\"\n",
    );
    let arguments = [
        "apply",
        "users.csv",
        "--address",
        &org.url(),
        "--config",
        "s.toml",
        "--profile",
        "night",
        "--overwrite",
        "--fresh",
        "--yes",
        "--html",
        "page.html",
    ];
    let mut command = cli.command(&arguments);
    let output = command.env("MFA_OPTOUT_TIMEOUT", "7s").output().unwrap();
    Ran::of(output).exits(0);
    let record = cli.read("users.report.json");
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let options = &record["options"];
    assert_eq!(*options, record["runs"][0]["who"]["options"]);
    for (option, value) in [
        ("--config", "s.toml"),
        ("--profile", "night"),
        ("--overwrite", "true"),
        ("--fresh", "true"),
        ("--yes", "true"),
        ("--html", "page.html"),
        ("--timeout", "7s"),
        ("--concurrency", "3"),
        ("--max-wait", "2m"),
        ("--rate", "10/s"),
    ] {
        assert_eq!(options[option], value, "{option} in {options}");
    }
    let names: Vec<&String> = options.as_object().unwrap().keys().collect();
    assert!(!names.iter().any(|name| *name == "--api-key"), "{names:?}");
}

#[test]
fn man_writes_a_page_for_every_command_into_a_folder() {
    let cli = Cli::new();
    cli.run(&["man", "pages/man1"]).exits(0);
    for name in ["mfa-optout", "mfa-optout-apply", "mfa-optout-config"] {
        let page = cli.read(&format!("pages/man1/{name}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let program = cli.run(&["man"]).exits(0).stdout;
    assert_eq!(program, cli.read("pages/man1/mfa-optout.1"));
}

#[test]
fn a_planted_file_of_settings_does_not_count_without_a_terminal() {
    let cli = Cli::new();
    let planted = Hostile::start(|_| Reply::new(204));
    cli.write("users.csv", table(1));
    cli.write(
        "mfa-optout.toml",
        format!("address = \"{}\"\n", planted.url()),
    );
    cli.run(&["apply", "users.csv", "--yes"])
        .exits(2)
        .says("no address")
        .says("mfa-optout.toml is ignored without a terminal");
    cli.run(&["exceptions"])
        .exits(2)
        .says("mfa-optout.toml is ignored without a terminal");
    cli.run(&["config"])
        .exits(0)
        .says("is ignored without a terminal");
    assert!(planted.requests().is_empty() && planted.connections() == 0);

    cli.run(&["apply", "users.csv", "--yes", "--config", "mfa-optout.toml"])
        .exits(0);
    assert_eq!(planted.requests().len(), 1);
}
