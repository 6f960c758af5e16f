//! Ways to the Org that are wrong from the start: names that nobody has, ports that speak something
//! else, proxies that won't, and where trust in certificates comes from.

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

#[test]
fn a_proxy_that_hangs_is_named_without_its_password() {
    let proxy = Hostile::raw(|_, mut wire| wire.wait_for_end());
    let authority = Authority::new().file();
    let cli = cli();
    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address"]);
    command.args([
        "https://org.invalid",
        "--timeout",
        "1s",
        "--max-attempts",
        "1",
    ]);
    command.arg("--ca-cert").arg(authority.path());
    command.env(
        "HTTPS_PROXY",
        format!("admin:{PASSWORD}@127.0.0.1:{}", proxy.port()),
    );
    let words = format!(
        "the proxy {} has not connected to org.invalid:443 within 900ms",
        proxy.url()
    );
    Ran::of(command.output().unwrap()).exits(5).says(&words);
}

#[test]
fn a_password_with_at_signs_goes_to_the_proxy_whole_and_nowhere_else() {
    let proxy = Hostile::start(|_| Reply::new(407));
    let authority = Authority::new().file();
    let cli = cli();
    let mut command = cli.command(&["apply", "users.csv", "--yes", "--address"]);
    command.arg("https://org.invalid");
    command.arg("--ca-cert").arg(authority.path());
    let userinfo = format!("admin:se@cret@{PASSWORD}");
    command.env(
        "https_proxy",
        format!("http://{userinfo}@127.0.0.1:{}", proxy.port()),
    );
    let ran = Ran::of(command.output().unwrap()).exits(2);
    assert!(!ran.text().contains("cret"), "{}", ran.text());
    let [asked] = proxy.requests().try_into().expect("one request");
    let sent = asked.header("proxy-authorization").unwrap();
    let expected = "Basic YWRtaW46c2VAY3JldEBwNHNzLXRoYXQtbXVzdC1uZXZlci1iZS1zZWVuLTUxYzg=";
    assert_eq!(sent, expected);
}

#[test]
fn a_malformed_proxy_is_an_error_and_nothing_is_sent() {
    let org = Hostile::raw(|_, mut wire| wire.wait_for_end());
    for value in [
        format!(" http://admin:{PASSWORD}@proxy.invalid"),
        format!("ftp://admin:{PASSWORD}@proxy.invalid"),
        format!("http://admin:{PASSWORD}@"),
        "http://".to_owned(),
    ] {
        let cli = cli();
        let mut command = cli.command(&["apply", "users.csv", "--yes", "--address"]);
        command.arg(format!("https://org.invalid:{}", org.port()));
        command.env("ALL_PROXY", &value);
        let ran = Ran::of(command.output().unwrap())
            .exits(2)
            .says("ALL_PROXY can't be used: ");
        assert!(!ran.text().contains("admin"), "{}", ran.text());
    }
    assert_eq!(org.connections(), 0);
}

#[test]
fn a_self_signed_certificate_is_explained_and_can_be_pinned() {
    let (tls, certificate) = Authority::self_signed(&["127.0.0.1"], true, 2100);
    let org = Hostile::start_tls(tls, |_| Reply::new(204));
    apply(&cli(), &org.url())
        .exits(2)
        .says("give that certificate with --ca-cert");
    assert!(org.requests().is_empty());
    let options = ["--ca-cert", &certificate.path().to_string_lossy()];
    cli().apply(&org.url(), &options).exits(0);
    assert_eq!(org.requests().len(), 3);
}

#[test]
fn a_host_that_is_no_name_is_refused_at_once() {
    for (address, words) in [
        ("https://a..b", "not a possible host name"),
        ("https://.a", "not a possible host name"),
        ("https://a.example:0", "the port in the address is 0"),
    ] {
        cli().apply(address, &[]).exits(2).says(words);
    }
}

#[test]
fn the_plan_names_the_address_of_localhost() {
    let org = Hostile::start(|_| Reply::new(204));
    let address = format!("http://localhost:{}", org.port());
    cli()
        .apply(&address, &[])
        .exits(0)
        .says("note: localhost is 127.0.0.1\n");
    assert_eq!(org.requests().len(), 3);
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn certificates_that_replace_the_systems_are_named_and_used() {
    let own = Authority::new();
    let other = Authority::new();
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
