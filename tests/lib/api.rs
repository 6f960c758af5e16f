//! Tests the HTTP client against misbehaving servers on loopback: what it sends, where to, and how
//! it reads responses.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::hostile::http2::{self, Frames};
use crate::hostile::{Authority, ClosedPort, Hostile, Reply, Then};
use mfa_optout::testing::api::{Address, ConnectOptions, HttpOrg, Org};
use mfa_optout::testing::domain::{
    self, BodyKind, Credentials, Flag, LoginResult, SendResult, TransportError, TransportErrorKind,
    UserId,
};
use secrecy::SecretString;

const KEY: &str = "key-that-nobody-may-see";

fn options(address: &str) -> ConnectOptions {
    ConnectOptions {
        address: Address::parse(address).unwrap(),
        credentials: Credentials::Key(SecretString::from(KEY)),
        timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ca_cert: None,
        concurrency: 8,
    }
}

fn org(address: &str) -> HttpOrg {
    HttpOrg::new(options(address)).unwrap()
}

/// Returns an Org with a short timeout, for servers that never respond.
fn impatient(address: &str) -> HttpOrg {
    let timeout = Duration::from_millis(300);
    HttpOrg::new(ConnectOptions {
        timeout,
        connect_timeout: timeout,
        ..options(address)
    })
    .unwrap()
}

async fn opt_out(org: &HttpOrg, user: u64) -> SendResult {
    org.set(UserId::new(user).unwrap(), Flag::OptOut).await
}

async fn reply(org: &HttpOrg) -> domain::Reply {
    match opt_out(org, 7).await {
        SendResult::Reply(reply) => reply,
        SendResult::TransportError(error) => panic!("no answer: {error:?}"),
    }
}

async fn transport_error(org: &HttpOrg) -> TransportError {
    match opt_out(org, 7).await {
        SendResult::Reply(reply) => panic!("an answer: {reply:?}"),
        SendResult::TransportError(error) => {
            assert!(
                !error.message.contains(KEY) && !error.message.contains('\n'),
                "{}",
                error.message
            );
            error
        }
    }
}

#[tokio::test]
async fn a_change_is_sent_as_exactly_one_put() {
    let server = Hostile::start(|_| Reply::new(204));
    let org = org(&format!("{}/prefix/", server.url()));
    for (user, flag) in [(1732, Flag::OptOut), (UserId::MAX, Flag::OptIn)] {
        let answer = org.set(UserId::new(user).unwrap(), flag).await;
        assert_eq!(
            answer,
            SendResult::Reply(domain::Reply {
                status: 204,
                ..domain::Reply::default()
            })
        );
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(server.connections(), 1);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("PUT", "/prefix/user/users/1732/membership")
    );
    assert_eq!(
        (requests[0].user(), requests[0].flag()),
        (Some(1732), Some(true))
    );
    assert_eq!(
        (requests[1].user(), requests[1].flag()),
        (Some(UserId::MAX), Some(false))
    );
    let mut names: Vec<_> = requests[0]
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "x-api-key"
        ]
    );
    assert_eq!(
        requests[0].header("host"),
        Some(format!("127.0.0.1:{}", server.port()).as_str())
    );
    assert_eq!(requests[0].header("x-api-key"), Some(KEY));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert!(
        requests[0]
            .header("user-agent")
            .unwrap()
            .starts_with("mfa-optout/")
    );
}

#[tokio::test]
async fn a_listener_at_the_other_loopback_address_receives_nothing() {
    let server = Hostile::start(|_| Reply::new(204).then(Then::Close));
    // A machine without IPv6 has no other address.
    let Ok(other) = std::net::TcpListener::bind(("::1", server.port())) else {
        return;
    };
    other.set_nonblocking(true).unwrap();
    let org = org(&format!("http://localhost:{}", server.port()));
    assert_eq!(org.localhost(), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(reply(&org).await.status, 204);
    // Not even when nothing listens at the first address any more.
    drop(server);
    assert!(!transport_error(&org).await.message.is_empty());
    assert!(other.accept().is_err(), "somebody has connected to [::1]");
}

#[tokio::test]
async fn localhost_is_resolved_to_loopback_without_a_resolver() {
    let server = Hostile::start(|_| Reply::new(204));
    assert_eq!(
        reply(&org(&format!("http://localhost:{}", server.port())))
            .await
            .status,
        204
    );
    let closed = ClosedPort::new();
    assert_eq!(
        transport_error(&org(&format!("http://localhost:{}", closed.port())))
            .await
            .cause,
        TransportErrorKind::Refused
    );
}

#[tokio::test]
async fn redirects_are_reported_and_not_followed() {
    let elsewhere = Hostile::start(|_| Reply::new(204));
    let target = format!("{}/stolen", elsewhere.url());
    let server = {
        let target = target.clone();
        Hostile::start(move |seen| match seen.user() {
            Some(status @ 301..309) => {
                Reply::new(u16::try_from(status).unwrap()).header("location", &target)
            }
            _ => Reply::new(302),
        })
    };
    let org = org(&server.url());
    for status in [301, 302, 303, 307, 308] {
        let SendResult::Reply(reply) = opt_out(&org, status).await else {
            panic!("{status}")
        };
        assert_eq!(
            (u64::from(reply.status), reply.location.as_deref()),
            (status, Some(target.as_str()))
        );
    }
    assert_eq!(reply(&org).await.location.as_deref(), Some(""));
    assert_eq!((server.requests().len(), elsewhere.connections()), (6, 0));
}

#[tokio::test]
async fn a_success_counts_even_if_its_body_is_odd_or_incomplete() {
    let server = Hostile::start(|seen| {
        let open = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        match seen.user() {
            Some(1) => Reply::raw("HTTP/1.1 200 OK\r\n\r\n").then(Then::Close),
            Some(2) => Reply::raw(open).then(Then::Repeat(
                [b"2000\r\n", &[b'x'; 0x2000][..], b"\r\n"].concat(),
                Duration::ZERO,
            )),
            Some(3) => Reply::raw(open).then(Then::Repeat(
                b"1\r\nx\r\n".to_vec(),
                Duration::from_millis(50),
            )),
            Some(4) => Reply::new(200)
                .body("application/json", "{\"cut\": 1}")
                .cut(80),
            Some(5) => Reply::raw("HTTP/1.1 204 No Content\r\n\r\nunexpected"),
            Some(6) => Reply::raw(format!(
                "{}HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\n".repeat(200)
            )),
            Some(7) => Reply::raw(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            ),
            Some(8) => Reply::new(200).body("text/plain", "Welcome"),
            // Windows may throw away an answer that a reset follows.
            Some(9) => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").then(
                if cfg!(windows) {
                    Then::Close
                } else {
                    Then::Reset
                },
            ),
            Some(10) => Reply::raw("HTTP/1.0 204 No Content\r\n\r\n").then(Then::Close),
            Some(11) => Reply::raw("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
            _ => Reply::new(202),
        }
    });
    for user in 1..=12 {
        // The third body does not end before the request's time is over.
        let org = if user == 3 {
            impatient(&server.url())
        } else {
            org(&server.url())
        };
        let SendResult::Reply(reply) = opt_out(&org, user).await else {
            panic!("{user}")
        };
        assert_eq!(reply.body, BodyKind::Plain, "{user}");
        assert!((200..300).contains(&reply.status), "{user}: {reply:?}");
        let message = match user {
            12 => "accepted, which may not yet be carried out",
            _ => "",
        };
        assert_eq!(reply.message, message, "{user}");
    }
    let users: Vec<_> = server
        .requests()
        .iter()
        .filter_map(crate::hostile::Seen::user)
        .collect();
    assert_eq!(users, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_web_page_and_a_contradiction_are_recognised_in_a_2xx() {
    let long = "x".repeat(100 << 10);
    let server = Hostile::start(move |seen| match seen.user() {
        Some(1) => Reply::new(200).body("text/html", "<html><title>Sign in</title>"),
        Some(2) => Reply::new(200).body("text/html; charset=utf-8", "Sign in"),
        Some(3) => Reply::new(200).body("text/plain", "\u{feff}\n<!-- x --><!doctype html>"),
        Some(4) => Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n")
            .then(Then::Repeat(vec![b'x'; 1 << 16], Duration::ZERO)),
        Some(5) => {
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n")
                .then(Then::Close)
        }
        Some(6) => Reply::new(200).body("application/json", r#"{"mfaOptOut": false}"#),
        Some(7) => Reply::new(200).body(
            "application/json",
            format!(r#"{{"success": false, "log": "{long}"}}"#),
        ),
        Some(8) => Reply::new(200).body(
            "application/json",
            format!(r#"{{"log": "{long}", "success": false}}"#),
        ),
        _ => Reply::new(207).body("application/json", r#"[{"status": 409, "message": "no"}]"#),
    });
    let org = org(&server.url());
    for (user, body, message) in [
        (1, BodyKind::WebPage, "Sign in"),
        (2, BodyKind::WebPage, "Sign in"),
        (3, BodyKind::WebPage, ""),
        (4, BodyKind::WebPage, "xxx"),
        (5, BodyKind::WebPage, ""),
        (6, BodyKind::Set(Flag::OptIn), ""),
        (7, BodyKind::Failure, "{\"success\": false"),
        (8, BodyKind::Plain, ""),
        (9, BodyKind::Failure, "no"),
    ] {
        let SendResult::Reply(reply) = opt_out(&org, user).await else {
            panic!("{user}")
        };
        assert_eq!(reply.body, body, "{user}");
        assert!(
            reply.message.starts_with(message),
            "{user}: {}",
            reply.message
        );
    }
}

#[tokio::test]
async fn a_retry_after_of_zero_is_ignored() {
    let server = Hostile::start(|seen| match seen.user() {
        Some(1) => Reply::new(429).header("retry-after", "0"),
        Some(2) => Reply::new(503).header("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"),
        _ => Reply::new(429)
            .header("retry-after", "0")
            .header("retry-after", "3"),
    });
    let org = org(&server.url());
    for (user, wait) in [(1, None), (2, None), (3, Some(Duration::from_secs(3)))] {
        let SendResult::Reply(reply) = opt_out(&org, user).await else {
            panic!("{user}")
        };
        assert_eq!(reply.retry_after, wait, "{user}");
    }
}

#[tokio::test]
async fn the_message_of_a_refusal_is_read_from_any_kind_of_body() {
    let server = Hostile::start(|seen| match seen.user() {
        Some(1) => Reply::new(404).body(
            "application/json",
            r#"{"message": "No \u001b[31msuch user"}"#,
        ),
        Some(2) => Reply::new(502).body("text/html", "<!doctype html><title>Bad gateway</title>"),
        Some(3) => Reply::raw("HTTP/1.1 500 No\r\n\r\n")
            .then(Then::Repeat(vec![b'x'; 0x4000], Duration::ZERO)),
        Some(4) => Reply::raw("HTTP/1.1 500 No\r\n\r\n")
            .then(Then::Repeat(b"x".to_vec(), Duration::from_millis(20))),
        Some(5) => Reply::new(500)
            .header("content-encoding", "gzip")
            .body("text/plain", [0x1f, 0x8b, 8, 0]),
        Some(6) => Reply::new(409)
            .body("text/plain", "cut in the middle")
            .cut(75 + 10),
        _ => Reply::new(400),
    });
    let org = HttpOrg::new(ConnectOptions {
        timeout: Duration::from_secs(1),
        ..options(&server.url())
    })
    .unwrap();
    for (user, status, start) in [
        (1, 404, "No \\u{1b}[31msuch user"),
        (2, 502, "Bad gateway"),
        (3, 500, "xxxxxxxx"),
        (4, 500, "x"),
        (5, 500, "(a body compressed by gzip"),
        (6, 409, "cut in"),
        (7, 400, ""),
    ] {
        let SendResult::Reply(reply) = opt_out(&org, user).await else {
            panic!("{user}")
        };
        assert_eq!(reply.status, status);
        assert!(
            reply.message.starts_with(start),
            "{user}: {}",
            reply.message
        );
        assert!(reply.message.chars().count() <= 500);
    }
}

#[tokio::test]
async fn retry_after_and_quota_are_read() {
    let server = Hostile::start(|_| {
        Reply::new(429)
            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
            .header("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")
            .header("ratelimit", "\"default\";r=0;t=4")
    });
    let reply = reply(&org(&server.url())).await;
    assert_eq!(
        (reply.retry_after, reply.quota_reset),
        (Some(Duration::from_secs(10)), Some(Duration::from_secs(4)))
    );
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let closed = ClosedPort::new();
    let error = transport_error(&org(&format!("http://127.0.0.1:{}", closed.port()))).await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::Refused, false)
    );
    assert!(
        error
            .message
            .contains(&format!("127.0.0.1:{} refused", closed.port())),
        "{}",
        error.message
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connect_timeout_has_sent_nothing() {
    let silent = crate::hostile::SilentPort::new();
    let address = format!("http://127.0.0.1:{}", silent.port());
    let connect_timeout = Duration::from_millis(300);
    let error = transport_error(
        &HttpOrg::new(ConnectOptions {
            connect_timeout,
            ..options(&address)
        })
        .unwrap(),
    )
    .await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::ConnectTimeout, false)
    );
    assert!(
        error.message.contains("not connected within 300ms"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout() {
    let server = Hostile::start(|_| Reply::raw("").then(Then::Hang));
    let error = transport_error(&impatient(&server.url())).await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::Timeout, true)
    );
    assert!(error.message.contains("within 300ms"), "{}", error.message);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn incomplete_responses_are_resets() {
    for reply in [
        Reply::raw("").then(Then::Close),
        Reply::raw("").then(Then::Reset),
        Reply::raw("HTTP/1.1 20").then(Then::Close),
        Reply::raw("HTTP/1.1 204 No Content\r\nx: ").then(Then::Reset),
    ] {
        let shown = format!("{reply:?}");
        let server = Hostile::start(move |_| reply.clone());
        let error = transport_error(&org(&server.url())).await;
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::Reset, true),
            "{shown}: {error:?}"
        );
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn a_connection_reset_before_the_response_is_a_reset() {
    let server = Hostile::raw(|_, wire| wire.reset());
    assert_eq!(
        transport_error(&org(&server.url())).await.cause,
        TransportErrorKind::Reset
    );
}

#[tokio::test]
async fn a_response_that_is_not_http_is_not_understood() {
    let many = (0..10_000).fold(String::from("HTTP/1.1 204 No Content\r\n"), |head, n| {
        format!("{head}x{n}: y\r\n")
    });
    for (bytes, words) in [
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "not HTTP"),
        ("HTTP/1.1 2x4 No\r\n\r\n".to_owned(), "not HTTP"),
        (
            "HTTP/1.1 204 No Content\r\nno colon here\r\n\r\n".to_owned(),
            "not HTTP",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
            "not HTTP",
        ),
        (format!("{many}\r\n"), "more headers than are accepted"),
        (
            format!(
                "HTTP/1.1 204 No Content\r\nx: {}\r\n\r\n",
                "y".repeat(1 << 20)
            ),
            "more headers than are accepted",
        ),
    ] {
        let shown = bytes[..40.min(bytes.len())].to_owned();
        let server = Hostile::start(move |_| Reply::raw(bytes.clone()).then(Then::Close));
        let error = transport_error(&org(&server.url())).await;
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::NotUnderstood, true),
            "{shown}: {error:?}"
        );
        assert!(
            error.message.contains("answer not understood") && error.message.contains(words),
            "{error:?}"
        );
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn a_connection_closed_while_idle_does_not_fail_the_next_request() {
    let server = Hostile::start(|_| Reply::new(204).then(Then::Close));
    let org = org(&server.url());
    for user in 1..=20 {
        // The client may see the close only after it has begun the next request; then it says so
        // and sends nothing twice.
        match opt_out(&org, user).await {
            SendResult::Reply(reply) => assert_eq!(reply.status, 204),
            SendResult::TransportError(error) => {
                assert_eq!(error.cause, TransportErrorKind::Reset);
            }
        }
    }
    let mut users: Vec<_> = server
        .requests()
        .iter()
        .filter_map(crate::hostile::Seen::user)
        .collect();
    users.dedup();
    assert_eq!(users.len(), server.requests().len());
}

fn session(options: ConnectOptions) -> HttpOrg {
    let credentials = Credentials::Session {
        email: "admin@example.org".into(),
        password: SecretString::from("hunter2"),
        org: 42,
    };
    HttpOrg::new(ConnectOptions {
        credentials,
        ..options
    })
    .unwrap()
}

#[tokio::test]
async fn the_token_of_a_login_is_sent_with_later_requests() {
    let server = Hostile::start(|seen| match seen.path.as_str() {
        "/user/authenticate" => Reply::new(200)
            .header("date", "Thu, 09 Oct 2025 08:53:20 GMT")
            .body(
                "application/json",
                format!(
                    r#"{{"token": "t{}", "expiresAt": 1760000900}}"#,
                    seen.number
                ),
            ),
        _ => Reply::new(204),
    });
    let org = session(options(&server.url()));
    assert_eq!(reply(&org).await.status, 204);
    for _ in 0..2 {
        assert_eq!(
            org.log_in().await,
            LoginResult::Token {
                lifetime: Some(Duration::from_mins(15))
            }
        );
        assert_eq!(reply(&org).await.status, 204);
    }
    let requests = server.requests();
    let proofs: Vec<_> = requests
        .iter()
        .map(|seen| seen.header("authorization"))
        .collect();
    assert_eq!(
        proofs,
        [None, None, Some("bearer t2"), None, Some("bearer t4")]
    );
    assert_eq!(
        (
            requests[1].method.as_str(),
            requests[1].header("content-type")
        ),
        ("POST", Some("application/json"))
    );
    let body: serde_json::Value = serde_json::from_slice(&requests[1].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!(
            {"email": "admin@example.org", "password": "hunter2", "selectedOrg": 42, "client": "core-client"}
        )
    );
    assert!(!format!("{org:?}").contains("hunter2") && !format!("{org:?}").contains("t4"));
}

#[tokio::test]
async fn passwords_and_tokens_in_responses_are_hidden() {
    const PASSWORD: &str = "p\"a\\s/s & w\u{f6}rd";
    let server = Hostile::start(|seen| {
        if seen.path == "/user/authenticate" {
            let token = format!(r#"{{"token": "first-or-later-t0ken-{}"}}"#, seen.number);
            return Reply::new(200).body("application/json", token);
        }
        let echo = serde_json::json!({ "sent": PASSWORD, "then": "first-or-later-t0ken-1" });
        let target = "/login?t=first%2Dor-later-t0ken-1&u=first-or-later-t0ken-3";
        Reply::new(302)
            .header("location", target)
            .body("application/json", echo.to_string())
    });
    let credentials = Credentials::Session {
        email: "admin@example.org".into(),
        password: SecretString::from(PASSWORD),
        org: 42,
    };
    let org = HttpOrg::new(ConnectOptions {
        credentials,
        ..options(&server.url())
    })
    .unwrap();
    for _ in 0..2 {
        assert!(matches!(org.log_in().await, LoginResult::Token { .. }));
        let _ = opt_out(&org, 1).await;
    }
    let reply = reply(&org).await;
    assert_eq!(reply.message, r#"{"sent":"(hidden)","then":"(hidden)"}"#);
    assert_eq!(
        reply.location.as_deref(),
        Some("/login?t=(hidden)&u=(hidden)")
    );
}

#[tokio::test]
async fn a_failed_login_reports_the_reason() {
    let server = Hostile::start(|seen| match seen.number {
        1 => Reply::new(401).body("application/json", r#"{"message": "wrong password"}"#),
        2 => Reply::new(200).body("application/json", r#"{"token": ""}"#),
        3 => Reply::new(204),
        4 => Reply::raw("HTTP/1.1 200 OK\r\n\r\n")
            .then(Then::Repeat(vec![b' '; 0x4000], Duration::ZERO)),
        5 => Reply::new(302).header("location", "https://elsewhere.example/"),
        6 => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"token\":\"abc\"")
            .then(Then::Close),
        _ => Reply::raw("").then(Then::Reset),
    });
    let org = session(options(&server.url()));
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(match org.log_in().await {
            LoginResult::Failed(SendResult::Reply(reply)) => {
                format!("{} {}", reply.status, reply.message)
            }
            LoginResult::Failed(SendResult::TransportError(error)) => {
                format!("{:?}", error.cause)
            }
            LoginResult::Unusable(odd) => odd,
            LoginResult::Token { .. } => panic!("there was no token"),
        });
    }
    assert_eq!(
        answers,
        [
            "401 wrong password",
            "the `token` in the answer to the log-in is empty",
            "the answer to the log-in is not JSON",
            "the answer to the log-in is not JSON",
            "302 ",
            "Reset",
            "Reset",
        ]
    );
    assert_eq!(server.requests().len(), 7);
}

#[tokio::test]
async fn a_login_response_that_never_ends_is_a_timeout() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"token\":\"abc\"";
    let server = Hostile::start(move |_| Reply::raw(begun).then(Then::Hang));
    let org = session(ConnectOptions {
        timeout: Duration::from_millis(300),
        ..options(&server.url())
    });
    let LoginResult::Failed(SendResult::TransportError(error)) = org.log_in().await else {
        panic!("half an answer is none")
    };
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::Timeout, true)
    );
}

fn trusting(address: &str, ca_cert: Option<PathBuf>) -> HttpOrg {
    HttpOrg::new(ConnectOptions {
        ca_cert,
        ..options(address)
    })
    .unwrap()
}

#[tokio::test]
async fn a_certificate_issued_by_a_given_authority_is_accepted() {
    let authority = Authority::new();
    let file = authority.file();
    let server = Hostile::start_tls(authority.server(&["127.0.0.1"]), |_| Reply::new(204));
    assert_eq!(
        reply(&trusting(&server.url(), Some(file.path().into())))
            .await
            .status,
        204
    );
    assert_eq!(server.requests()[0].header("x-api-key"), Some(KEY));
}

#[tokio::test]
async fn a_server_with_a_wrong_certificate_receives_no_request() {
    let authority = Authority::new();
    let file = authority.file();
    for (tls, ca_cert, words) in [
        (
            authority.server(&["127.0.0.1"]),
            Some(Authority::new().file()),
            "does not trust",
        ),
        (
            authority.expired_server(&["127.0.0.1"]),
            Some(authority.file()),
            "has expired",
        ),
        (
            authority.server(&["other.example"]),
            Some(file),
            "is not for 127.0.0.1",
        ),
    ] {
        let server = Hostile::start_tls(tls, |_| Reply::new(204));
        let error = transport_error(&trusting(
            &server.url(),
            ca_cert.as_ref().map(|file| file.path().into()),
        ))
        .await;
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::Tls, false),
            "{error:?}"
        );
        assert!(error.message.contains(words), "{error:?}");
        assert_eq!(
            error.message.contains("--ca-cert"),
            words == "does not trust",
            "{error:?}"
        );
        assert_eq!(server.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_given_self_signed_certificate_is_accepted() {
    for is_ca in [true, false] {
        let (tls, file) = Authority::self_signed(&["127.0.0.1"], is_ca, 2100);
        let server = Hostile::start_tls(tls, |_| Reply::new(204));
        let org = trusting(&server.url(), Some(file.path().into()));
        assert_eq!(reply(&org).await.status, 204, "{is_ca}");
    }
}

#[tokio::test]
async fn a_given_server_certificate_is_accepted_whoever_issued_it() {
    let (tls, file) = Authority::issued(&["127.0.0.1"]);
    let server = Hostile::start_tls(tls, |_| Reply::new(204));
    let org = trusting(&server.url(), Some(file.path().into()));
    assert_eq!(reply(&org).await.status, 204);
}

#[tokio::test]
async fn a_server_with_another_self_signed_certificate_receives_no_request() {
    for is_ca in [true, false] {
        let (right, _) = Authority::self_signed(&["127.0.0.1"], is_ca, 2100);
        let (expired, expired_file) = Authority::self_signed(&["127.0.0.1"], is_ca, 2001);
        let (renamed, renamed_file) = Authority::self_signed(&["other.example"], is_ca, 2100);
        let (_, other) = Authority::self_signed(&["127.0.0.1"], is_ca, 2100);
        for (tls, given, words) in [
            (right, &other, "--ca-cert"),
            (expired, &expired_file, "has expired"),
            (renamed, &renamed_file, "is not for 127.0.0.1"),
        ] {
            let server = Hostile::start_tls(tls, |_| Reply::new(204));
            let error = transport_error(&trusting(&server.url(), Some(given.path().into()))).await;
            assert_eq!((error.cause, error.sent), (TransportErrorKind::Tls, false));
            assert!(error.message.contains(words), "{is_ca}: {error:?}");
            assert_eq!(server.requests().len(), 0);
        }
    }
}

/// Returns an Org with a given authority, because some machines that run tests trust none.
fn speaking_tls_to(server: &Hostile) -> (HttpOrg, tempfile::NamedTempFile) {
    let file = Authority::new().file();
    (
        trusting(
            &format!("https://127.0.0.1:{}", server.port()),
            Some(file.path().into()),
        ),
        file,
    )
}

#[tokio::test]
async fn a_server_without_tls_is_recognised() {
    let server = Hostile::raw(|_, mut wire| {
        wire.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        wire.wait_for_end()
    });
    let (org, _file) = speaking_tls_to(&server);
    let error = transport_error(&org).await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::NotTls, false),
        "{error:?}"
    );
    assert!(error.message.contains("does not speak TLS"), "{error:?}");
}

#[tokio::test]
async fn a_server_with_old_tls_only_is_recognised() {
    // The alert protocol_version (70), fatal, in a TLS 1.0 record: RFC 5246, 7.2.
    let server = Hostile::raw(|_, mut wire| {
        wire.write_all(&[21, 3, 1, 0, 2, 2, 70])?;
        wire.wait_for_end()
    });
    let (org, _file) = speaking_tls_to(&server);
    let error = transport_error(&org).await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::Tls, false),
        "{error:?}"
    );
    assert!(error.message.contains("TLS 1.2 is the oldest"), "{error:?}");
}

#[tokio::test]
async fn an_interrupted_handshake_is_a_reset() {
    let server = Hostile::raw(|_, wire| wire.reset());
    let (org, _file) = speaking_tls_to(&server);
    let error = transport_error(&org).await;
    assert_eq!(
        (error.cause, error.sent),
        (TransportErrorKind::Reset, false),
        "{error:?}"
    );
}

#[test]
fn a_ca_cert_without_a_certificate_is_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (path, words) in [
        (empty.path().into(), "no certificate"),
        (PathBuf::from("/nowhere/ca.pem"), "can't be read"),
    ] {
        let error = HttpOrg::new(ConnectOptions {
            ca_cert: Some(path),
            ..options("https://127.0.0.1")
        })
        .unwrap_err();
        assert!(
            error.to_string().contains(words) && error.to_string().contains("--ca-cert"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn refused_http2_streams_leave_no_doubt_and_interrupted_ones_do() {
    let authority = Authority::new();
    let file = authority.file();
    for (frames, may_be_processed) in [
        (Frames::Refused, false),
        (Frames::Cut, true),
        (Frames::GoAway, false),
    ] {
        let server = Hostile::raw_tls(authority.http2_server(&["127.0.0.1"]), move |_, wire| {
            http2::serve(wire, |_| frames)
        });
        let error = transport_error(&trusting(&server.url(), Some(file.path().into()))).await;
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::Reset, may_be_processed),
            "{error:?}"
        );
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn http2_is_used_if_offered_and_has_no_host_header() {
    let authority = Authority::new();
    let file = authority.file();
    let server = Hostile::raw_tls(authority.http2_server(&["127.0.0.1"]), |_, wire| {
        http2::serve(wire, |_| Frames::NoContent)
    });
    // The server looks at the names of all headers, also of those that later requests only refer
    // to.
    let org = trusting(&server.url(), Some(file.path().into()));
    for _ in 0..3 {
        assert_eq!(reply(&org).await.status, 204);
    }
    let org = session(ConnectOptions {
        ca_cert: Some(file.path().into()),
        ..options(&server.url())
    });
    assert!(matches!(org.log_in().await, LoginResult::Unusable(_)));
}
