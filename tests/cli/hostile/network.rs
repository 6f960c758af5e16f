//! Ways to the Org that don't work, and answers that are broken, odd or endless.

use std::time::Duration;

use crate::common::hostile::{Authority, ClosedPort, Hostile, Reply, Then};
use crate::common::{Cli, outcomes, table};

fn cli(rows: u64) -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(rows));
    cli
}

const QUICK: [&str; 6] = [
    "--timeout",
    "1s",
    "--max-attempts",
    "2",
    "--rate",
    "unlimited",
];

#[test]
fn a_closed_port_stops_the_run_with_the_command_to_go_on() {
    let cli = cli(3);
    let closed = ClosedPort::new();
    let host = format!("127.0.0.1:{} refused", closed.port());
    let ran = cli
        .apply(&format!("http://127.0.0.1:{}", closed.port()), &QUICK)
        .exits(5);
    ran.says(&host).says("mfa-optout apply users.csv --yes");
    assert!(cli.path("users.report.csv.partial").exists());
}

#[cfg(target_os = "linux")] // a port that never answers
#[test]
fn a_connection_that_is_never_made_names_host_and_seconds() {
    let cli = cli(3);
    let silent = crate::common::hostile::SilentPort::new();
    let words = format!(
        "no answer from 127.0.0.1:{}: not connected within 900ms",
        silent.port()
    );
    cli.apply(&format!("http://127.0.0.1:{}", silent.port()), &QUICK)
        .exits(5)
        .says(&words);
}

#[test]
fn a_certificate_that_is_wrong_gets_no_request() {
    let authority = Authority::new();
    let own = authority.file();
    let other = Authority::new().file();
    for (tls, trusted, words) in [
        (
            authority.expired_server(&["127.0.0.1"]),
            &own,
            "has expired",
        ),
        (
            authority.server(&["other.example"]),
            &own,
            "is not for 127.0.0.1",
        ),
        (authority.server(&["127.0.0.1"]), &other, "does not trust"),
    ] {
        let cli = cli(3);
        let org = Hostile::start_tls(tls, |_| Reply::new(204));
        let ran = cli
            .apply(
                &org.url(),
                &["--ca-cert", &trusted.path().to_string_lossy()],
            )
            .exits(2)
            .says(words);
        assert_eq!(
            ran.text().contains("--ca-cert"),
            words == "does not trust",
            "{}",
            ran.text()
        );
        assert!(org.requests().is_empty());
    }
}

#[test]
fn a_company_authority_is_trusted_when_it_is_given() {
    let authority = Authority::new();
    let cli = cli(3);
    let org = Hostile::start_tls(authority.server(&["127.0.0.1"]), |_| Reply::new(204));
    cli.apply(
        &org.url(),
        &["--ca-cert", &authority.file().path().to_string_lossy()],
    )
    .exits(0);
    assert_eq!(org.requests().len(), 3);
}

#[test]
fn a_redirect_is_shown_and_not_followed() {
    let elsewhere = Hostile::start(|_| Reply::new(204));
    for (status, target) in [
        (301, elsewhere.url()),
        (302, "file:///etc/passwd".into()),
        (307, elsewhere.url()),
        (308, String::new()),
    ] {
        let shown = if target.is_empty() {
            "nowhere".to_owned()
        } else {
            target.clone()
        };
        let cli = cli(3);
        let org = Hostile::start(move |_| Reply::new(status).header("location", &target));
        cli.apply(&org.url(), &QUICK)
            .exits(2)
            .says(&shown)
            .says("redirects are not followed");
        assert_eq!(org.requests().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_304_is_not_called_a_redirect() {
    let org = Hostile::start(|_| Reply::new(304));
    let ran = cli(3)
        .apply(&org.url(), &QUICK)
        .exits(2)
        .says("the address answered 304 (not modified)");
    assert!(!ran.text().contains("redirect"), "{}", ran.text());
    assert_eq!(org.requests().len(), 1);
}

#[test]
fn a_redirect_in_mid_run_stops_it() {
    let cli = cli(9);
    let org = Hostile::start(|seen| match seen.user() {
        Some(4) => Reply::new(302).header("location", "https://login.example/"),
        _ => Reply::new(204),
    });
    cli.apply(&org.url(), &["--concurrency", "1", "--rate", "unlimited"])
        .exits(5)
        .says("https://login.example/");
    assert_eq!(org.requests().len(), 4);
}

#[test]
fn not_found_for_everybody_asks_about_the_path() {
    let cli = cli(30);
    let org = Hostile::start(|_| Reply::new(404));
    cli.apply(&org.url(), &QUICK)
        .exits(5)
        .says("check that the path of the address is right");
    assert_eq!(org.requests().len(), 10);
}

#[test]
fn a_portal_is_not_the_org() {
    for status in [407, 501, 505, 511] {
        let cli = cli(3);
        let org = Hostile::start(move |_| Reply::new(status));
        cli.apply(&org.url(), &QUICK)
            .exits(2)
            .says("a proxy or a portal answered instead of the Org");
        assert_eq!(org.requests().len(), 1);
    }
}

#[test]
fn an_answer_lost_on_the_way_is_asked_for_again() {
    for (status, then) in [(None, Then::Reset), (Some(500), Then::KeepAlive)] {
        let tried = std::sync::Mutex::new(std::collections::HashSet::new());
        let org = Hostile::start(move |seen| {
            let first = tried.lock().unwrap().insert(seen.user());
            match (
                first && seen.user().is_some_and(|user| user % 5 == 0),
                status,
            ) {
                (false, _) => Reply::new(204),
                (true, None) => Reply::raw("").then(then.clone()),
                (true, Some(status)) => Reply::new(status).then(then.clone()),
            }
        });
        let cli = cli(20);
        cli.apply(&org.url(), &["--rate", "unlimited"]).exits(0);
        let rows = cli.report();
        assert_eq!(outcomes(&rows, "applied"), 20);
        let again: Vec<_> = rows
            .iter()
            .filter(|row| row["attempts"] == "2")
            .map(|row| row["user_id"].as_str())
            .collect();
        assert_eq!(again, ["5", "10", "15", "20"]);
        assert_eq!(org.requests().len(), 24);
    }
}

#[test]
fn a_success_counts_with_any_headers_and_body() {
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50) + "HTTP/1.1 204 No Content\r\n\r\n";
    let org = Hostile::start(move |seen| match seen.user() {
        Some(2) => {
            Reply::new(200).body("application/json", r#"{"mfaOptOut": true, "error": null}"#)
        }
        Some(3) => Reply::new(202),
        Some(4) => Reply::new(200).body("application/json", r#"{"errors": ["not really"]}"#),
        Some(5) => Reply::raw("HTTP/1.1 200 OK\r\n\r\n")
            .then(Then::Repeat(vec![b'x'; 1 << 16], Duration::ZERO)),
        Some(6) => Reply::raw(flood.as_bytes()),
        _ => Reply::new(200),
    });
    let cli = cli(7);
    cli.apply(&org.url(), &["--rate", "unlimited"]).exits(0);
    let rows = cli.report();
    assert_eq!((outcomes(&rows, "applied"), org.requests().len()), (7, 7));
    assert!(
        rows[2]["detail"].contains("accepted") && rows[3]["detail"].contains("not really"),
        "{rows:?}"
    );
}

#[test]
fn a_web_page_for_every_row_stops_the_run_after_one_request() {
    let page = "<!doctype html><html><head><title>Sign in to Example</title></head></html>";
    for status in [200, 201, 203] {
        let cli = cli(40);
        let org =
            Hostile::start(move |_| Reply::new(status).body("text/html; charset=utf-8", page));
        cli.apply(&org.url(), &["--rate", "unlimited"])
            .exits(2)
            .says("the answer is a web page, not the API")
            .says("Sign in to Example");
        assert_eq!(org.requests().len(), 1);
        assert!(!cli.path("users.report.csv").exists());
        assert!(!cli.path("users.report.csv.partial").exists());
    }
}

#[test]
fn a_web_page_before_any_success_of_a_continued_run_is_not_exit_2_if_rows_were_changed_before() {
    let org = Hostile::start(|seen| match seen.number {
        1..=5 => Reply::new(204),
        6 => Reply::new(302).header("location", "https://login.example/"),
        _ => Reply::new(200).body("text/html", "<title>Sign in</title>"),
    });
    let cli = cli(40);
    let options = ["--rate", "unlimited", "--concurrency", "1"];
    cli.apply(&org.url(), &options).exits(5);
    cli.apply(&org.url(), &options)
        .exits(5)
        .says("the answer is a web page, not the API");
    assert_eq!(org.requests().len(), 7);
    assert!(cli.path("users.report.csv.partial").exists());
}

#[test]
fn a_contradiction_of_the_first_change_stops_the_run_and_the_row_is_unknown() {
    let bodies = [
        (200, r#"{"mfaOptOut": false}"#, "mfaOptOut is false"),
        (200, r#"{"success": false}"#, "success"),
        (
            200,
            r#"{"error": "the user is locked"}"#,
            "the user is locked",
        ),
        (
            207,
            r#"[{"status": 409, "message": "half done"}]"#,
            "half done",
        ),
    ];
    for (status, body, words) in bodies {
        let cli = cli(40);
        let org = Hostile::start(move |_| Reply::new(status).body("application/json", body));
        cli.apply(&org.url(), &["--rate", "unlimited"])
            .exits(5)
            .says("contradicted the change")
            .says(words);
        assert_eq!(org.requests().len(), 1);
        let partial = cli.read("users.report.csv.partial");
        assert!(partial.contains(",unknown,"), "{partial}");
    }
}

#[test]
fn a_contradiction_after_a_success_makes_its_row_unknown_at_once() {
    let org = Hostile::start(|seen| match seen.user() {
        Some(3) => Reply::new(200).body("application/json", r#"{"mfaOptOut": false}"#),
        Some(4) => Reply::new(200).body("application/json", r#"{"error": "the user is locked"}"#),
        _ => Reply::new(200).body("application/json", r#"{"mfaOptOut": true}"#),
    });
    let cli = cli(6);
    cli.apply(&org.url(), &["--rate", "unlimited"]).exits(1);
    let rows = cli.report();
    assert_eq!(
        (outcomes(&rows, "applied"), outcomes(&rows, "unknown")),
        (4, 2)
    );
    assert_eq!(org.requests().len(), 6);
    for (row, words) in [(2, "mfaOptOut is false"), (3, "the user is locked")] {
        assert_eq!(rows[row]["http_status"], "200");
        assert!(rows[row]["detail"].contains(words), "{:?}", rows[row]);
    }
}

#[test]
fn rows_that_are_refused_are_sent_once_and_told_apart() {
    let org = Hostile::start(|seen| match seen.user() {
        Some(user @ 400..500) => Reply::new(u16::try_from(user).unwrap()).body(
            "application/json",
            "{\"message\": \"=1+1\\u001b[31m\\u202e;=2+2\"}",
        ),
        _ => Reply::new(204),
    });
    let cli = Cli::new();
    let ids = [1, 400, 404, 405, 409, 410, 415, 422, 2];
    cli.write(
        "users.csv",
        ids.iter().fold("id,opt_out\n".to_owned(), |text, id| {
            text + &format!("{id},true\n")
        }),
    );
    let ran = cli
        .apply(&org.url(), &["--rate", "unlimited", "--verbose"])
        .exits(1);
    assert!(
        !ran.text()
            .contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'),
        "{}",
        ran.text()
    );
    let rows = cli.report();
    assert_eq!((outcomes(&rows, "failed"), org.requests().len()), (7, 9));
    for row in rows.iter().filter(|row| row["outcome"] == "failed") {
        assert_eq!(
            (&row["http_status"], row["attempts"].as_str()),
            (&row["id"], "1")
        );
        assert!(
            row["detail"].starts_with("'=1+1\\u{1b}[31m\\u{202e};'=2+2"),
            "{row:?}"
        );
    }
}

#[test]
fn a_proxy_never_hears_of_a_loopback_address() {
    let proxy = Hostile::start(|_| Reply::new(403));
    let org = Hostile::start(|_| Reply::new(204));
    let cli = cli(3);
    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, proxy.url());
    }
    crate::common::Ran::of(command.output().unwrap()).exits(0);
    assert_eq!((proxy.connections(), org.requests().len()), (0, 3));
}

#[test]
fn a_proxy_never_hears_of_an_https_loopback_address() {
    let authority = Authority::new();
    let file = authority.file();
    let tls = authority.server(&["127.0.0.1", "localhost"]);
    let proxy = Hostile::start(|_| Reply::new(403));
    let org = Hostile::start_tls(tls, |_| Reply::new(204));
    for host in ["127.0.0.1", "localhost"] {
        let cli = cli(3);
        let address = format!("https://{host}:{}", org.port());
        let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &address]);
        command.arg("--ca-cert").arg(file.path());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            command.env(name, proxy.url());
        }
        crate::common::Ran::of(command.output().unwrap()).exits(0);
    }
    assert_eq!((proxy.connections(), org.requests().len()), (0, 6));
}
