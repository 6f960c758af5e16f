//! Ways to the Org that are wrong from the start: names that nobody has, ports that speak something else, proxies that
//! won't, and where trust in certificates comes from.

use std::io::Write as _;

use crate::common::hostile::{Authority, Hostile, Reply};
use crate::common::{Cli, PASSWORD, Ran, table};

fn cli() -> Cli {
    let cli = Cli::new();
    cli.write("users.csv", table(3));
    cli
}

/// Some machines that tests run on trust nobody, so that an authority has to be given.
fn apply(cli: &Cli, address: &str) -> Ran {
    let authority = Authority::new().file();
    cli.apply(
        address,
        &[
            "--max-attempts",
            "1",
            "--ca-cert",
            &authority.path().to_string_lossy(),
        ],
    )
}

#[test]
fn a_name_that_nobody_has_is_named() {
    let cli = cli();
    let ran = apply(&cli, "https://org.invalid").exits(2);
    ran.says("the host org.invalid could not be found")
        .says("check the address and the network");
    assert!(
        !cli.path("users.report.csv").exists() && !cli.path("users.report.csv.partial").exists()
    );
}

#[test]
fn a_port_without_tls_and_one_with_old_tls_only_are_told_apart() {
    // The alert protocol_version (70), fatal, in a TLS 1.0 record: RFC 5246, 7.2.
    const OLD_TLS: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
    for (bytes, words) in [
        (
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".as_slice(),
            "does not speak TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak TLS"),
        (OLD_TLS, "TLS 1.2 is the oldest that is accepted"),
    ] {
        let server = Hostile::raw(move |_, mut wire| {
            wire.write_all(bytes)?;
            wire.wait_for_end()
        });
        apply(&cli(), &format!("https://127.0.0.1:{}", server.port()))
            .exits(2)
            .says(words);
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password() {
    for (status, words) in [
        (403, "would not connect to org.invalid:443"),
        (407, "asks for a user name and password"),
        (302, "would not connect to org.invalid:443"),
    ] {
        let proxy = Hostile::start(move |_| Reply::new(status));
        let authority = Authority::new().file();
        let cli = cli();
        let mut command = cli.command(&[
            "apply",
            "users.csv",
            "--yes",
            "--address",
            "https://org.invalid",
            "--ca-cert",
        ]);
        command.arg(authority.path());
        command.env(
            "HTTPS_PROXY",
            format!("http://admin:{PASSWORD}@127.0.0.1:{}", proxy.port()),
        );
        let ran = Ran::of(command.output().unwrap())
            .exits(2)
            .says(&format!("the proxy {} ", proxy.url()))
            .says(words);
        assert!(
            ran.text().contains("requests go through the proxy") && !ran.text().contains("admin"),
            "{}",
            ran.text()
        );
        let [asked] = proxy.requests().try_into().expect("one request");
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("CONNECT", "org.invalid:443")
        );
        assert!(
            asked.header("proxy-authorization").is_some() && asked.header("x-api-key").is_none()
        );
    }
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn certificates_that_replace_the_systems_are_named_and_used() {
    let (own, other) = (Authority::new(), Authority::new());
    for (trusted, exit, sent) in [(own.file(), 0, 3), (other.file(), 2, 0)] {
        let cli = cli();
        let org = Hostile::start_tls(own.server(&["127.0.0.1"]), |_| Reply::new(204));
        let mut command = cli.command(&["apply", "users.csv", "--yes", "--address", &org.url()]);
        let ran = Ran::of(
            command
                .env("SSL_CERT_FILE", trusted.path())
                .output()
                .unwrap(),
        )
        .exits(exit);
        ran.says(&format!(
            "SSL_CERT_FILE replaces the system's certificates: {}",
            trusted.path().display()
        ));
        assert_eq!(org.requests().len(), sent);
    }
}
