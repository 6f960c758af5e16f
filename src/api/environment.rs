//! Reads what the process's environment determines about connections: the proxy, the address of
//! `localhost`, and trusted certificates other than the system's.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use http::Uri;
use http::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::Address;
#[cfg(any(windows, test))]
use super::internet_settings::InternetSettings;
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// Variables that may hold the proxy for an `https://` address. The first one that is set and not
/// empty counts.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Variables that may hold the hosts that are reached without a proxy.
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The timeout of connections to a loopback address. Windows takes 2 s to refuse one.
const LOOPBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A function that returns the value of an environment variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A proxy that requests go through. Its `Debug` text has no password in it.
#[derive(Clone, Debug)]
pub(super) struct ProxyServer {
    /// Scheme, host and port, without user name and password.
    pub(super) name: String,
    /// The `Proxy-Authorization` header, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

/// The proxy that was found, if there is one, and what could not be used.
#[derive(Debug, Default)]
pub(super) struct ProxyChoice {
    pub(super) proxy: Option<ProxyServer>,
    /// A warning about settings of the system that have no effect.
    pub(super) warning: Option<String>,
}

/// Returns the variables that are set and replace the system's trusted certificates, with their
/// values escaped.
///
/// The plan names them because they decide which servers are trusted. They have no effect on
/// Windows and macOS.
#[must_use]
pub fn trust_store_variables() -> Vec<(&'static str, String)> {
    if cfg!(any(windows, target_vendor = "apple")) {
        Vec::new()
    } else {
        trust_store_among(|name| env::var_os(name))
    }
}

fn trust_store_among(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = variable(name) {
            found.push((name, visible(&value.to_string_lossy())));
        }
    }
    found
}

/// Finds the proxy for an address, from the environment or, on Windows and macOS, from the system's
/// settings.
///
/// A loopback address has no proxy, and plain `http` is for loopback addresses only. Therefore
/// everything that goes through a proxy is in a tunnel that the proxy can't read.
///
/// # Errors
///
/// [`Kind::Usage`] if a variable is not the address of an HTTP proxy. Ignoring it would mean to
/// connect directly although a proxy is wanted.
pub(super) fn proxy_for(address: &Address, environment: Lookup<'_>) -> Result<ProxyChoice> {
    if address.is_loopback() || !address.is_https() {
        return Ok(ProxyChoice::default());
    }
    let Ok(destination) = address.to_string().parse::<Uri>() else {
        return Ok(ProxyChoice::default());
    };
    let Some((name, value)) = first_set(&PROXY_VARIABLES, environment)? else {
        return Ok(system_proxy(&destination));
    };
    let exceptions = first_set(&NO_PROXY_VARIABLES, environment)?.map(|(_, hosts)| hosts);
    let proxy = parse_proxy(&value).map_err(|reason| malformed(name, &reason))?;
    let matcher = Matcher::builder()
        .https(proxy)
        .no(exceptions.unwrap_or_default())
        .build();
    Ok(ProxyChoice {
        proxy: server(&matcher, &destination),
        warning: None,
    })
}

/// Returns the proxy of the system's settings.
#[cfg(windows)]
fn system_proxy(destination: &Uri) -> ProxyChoice {
    choose(&InternetSettings::of_this_user(), destination)
}

/// Returns the proxy of the system's settings, on systems that have such settings.
#[cfg(not(windows))]
fn system_proxy(destination: &Uri) -> ProxyChoice {
    let proxy = if cfg!(target_vendor = "apple") {
        server(&Matcher::from_system(), destination)
    } else {
        None
    };
    ProxyChoice {
        proxy,
        warning: None,
    }
}

/// Returns the proxy that the settings of Windows name for an address.
#[cfg(any(windows, test))]
fn choose(settings: &InternetSettings, destination: &Uri) -> ProxyChoice {
    let mut choice = ProxyChoice {
        proxy: None,
        warning: settings.warning(),
    };
    let Some(value) = settings.https_server() else {
        return choice;
    };
    match parse_proxy(value) {
        Ok(proxy) => {
            let matcher = Matcher::builder()
                .https(proxy)
                .no(settings.hosts_without_proxy())
                .build();
            choice.proxy = server(&matcher, destination);
        }
        Err(reason) => {
            choice.warning = Some(format!(
                "the proxy in the system's settings can't be used: {reason}"
            ));
        }
    }
    choice
}

fn server(matcher: &Matcher, destination: &Uri) -> Option<ProxyServer> {
    let found = matcher.intercept(destination)?;
    Some(ProxyServer {
        name: visible(found.uri().to_string().trim_end_matches('/')),
        authorization: found.basic_auth().cloned(),
    })
}

/// Returns the first variable that is set and not empty, with its value.
fn first_set(
    names: &[&'static str],
    environment: Lookup<'_>,
) -> Result<Option<(&'static str, String)>> {
    for name in names {
        let Some(value) = environment(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let Ok(text) = value.into_string() else {
            return Err(malformed(name, "it is not UTF-8 text"));
        };
        return Ok(Some((name, text)));
    }
    Ok(None)
}

fn malformed(name: &str, reason: &str) -> Error {
    Error::new(Kind::Usage, format!("{name} can't be used: {reason}")).help(
        "set it to the address of an HTTP proxy, such as http://proxy.example:3128, or unset it",
    )
}

/// Checks the address of a proxy and returns it in a form that has only one interpretation.
///
/// User name and password end at the last `@`, because people write passwords with an `@`
/// literally.
///
/// # Errors
///
/// The reason in words. It contains no part of the value, except for the address of a proxy of an
/// unsupported kind.
fn parse_proxy(value: &str) -> std::result::Result<String, String> {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it has white space or a control character in it".to_owned());
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let scheme = scheme.to_ascii_lowercase();
    let (userinfo, host) = match rest.rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, rest),
    };
    if userinfo.is_some_and(|userinfo| userinfo.contains(['/', '?', '#', '\\'])) {
        let reason =
            "its user name or password has one of / ? # \\ in it; write it percent-encoded";
        return Err(reason.to_owned());
    }
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_valid = !host.contains(['/', '?', '#', '\\']) && is_host_and_port(host);
    match scheme.as_str() {
        "http" | "https" if is_valid => {}
        "socks4" | "socks4a" | "socks5" | "socks5h" if is_valid => {
            return Err(format!(
                "the proxy {scheme}://{} is of a kind that is not supported",
                visible(host)
            ));
        }
        "http" | "https" => return Err("it has no valid host and port in it".to_owned()),
        _ => return Err("it begins with neither http:// nor https://".to_owned()),
    }
    match userinfo {
        Some(userinfo) => Ok(format!("{scheme}://{}@{host}", percent_encoded(userinfo))),
        None => Ok(format!("{scheme}://{host}")),
    }
}

fn is_host_and_port(text: &str) -> bool {
    Url::parse(&format!("http://{text}/")).is_ok_and(|url| url.has_host() && url.port() != Some(0))
}

/// Percent-encodes everything that is not allowed in the user name and password of a URL. Existing
/// `%` are kept.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:%".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns the loopback address at which a server listens on this port: 127.0.0.1, unless only
/// `[::1]` accepts connections.
///
/// Opens connections and closes them without sending anything. The client uses the result for all
/// requests. Trying both addresses for each connection, as is usual, could send the key to another
/// program that listens on the other one.
pub(super) fn find_localhost(port: u16) -> IpAddr {
    let ipv4 = connect(Ipv4Addr::LOCALHOST.into(), port);
    let is_refused = ipv4.is_err_and(|kind| kind == ErrorKind::ConnectionRefused);
    if is_refused && connect(Ipv6Addr::LOCALHOST.into(), port).is_ok() {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    }
}

fn connect(address: IpAddr, port: u16) -> std::result::Result<TcpStream, ErrorKind> {
    TcpStream::connect_timeout(&SocketAddr::new(address, port), LOOPBACK_TIMEOUT)
        .map_err(|error| error.kind())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PASSWORD: &str = "hunter2";

    #[test]
    fn variables_that_replace_the_trust_store_are_returned_escaped() {
        let set = |name: &str| (name == "SSL_CERT_DIR").then(|| OsString::from("/certs\x1b[2J"));
        assert_eq!(
            trust_store_among(set),
            [("SSL_CERT_DIR", "/certs\\u{1b}[2J".to_owned())]
        );
        assert_eq!(trust_store_among(|_| None), []);
    }

    fn proxy_with(variables: &[(&str, &str)], address: &str) -> Result<Option<ProxyServer>> {
        let environment = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        proxy_for(&Address::parse(address).unwrap(), &environment).map(|choice| choice.proxy)
    }

    fn name_with(variables: &[(&str, &str)], address: &str) -> Option<String> {
        proxy_with(variables, address)
            .unwrap()
            .map(|proxy| proxy.name)
    }

    #[test]
    fn the_settings_of_windows_name_a_proxy_and_its_exceptions() {
        let settings = |server: &str, exceptions: &str| InternetSettings {
            is_enabled: true,
            server: server.to_owned(),
            exceptions: exceptions.to_owned(),
            script: None,
        };
        let destination = "https://eu.org.example".parse().unwrap();
        for (server, exceptions, expected) in [
            ("proxy.example:3128", "", Some("http://proxy.example:3128")),
            (
                "http=a.example:80;https=b.example:81",
                "<local>",
                Some("http://b.example:81"),
            ),
            ("b.example:81", "*.org.example;10.*", None),
            ("b.example:81", "other.example", Some("http://b.example:81")),
        ] {
            let choice = choose(&settings(server, exceptions), &destination);
            let name = choice.proxy.map(|proxy| proxy.name);
            assert_eq!(name.as_deref(), expected, "{server} {exceptions}");
            assert_eq!(choice.warning, None);
        }
        let choice = choose(&settings("user:hunter2@", ""), &destination);
        assert!(choice.proxy.is_none());
        let warning = choice.warning.unwrap();
        assert!(warning.contains("no valid host"), "{warning}");
        assert!(!warning.contains(PASSWORD), "{warning}");
    }

    #[test]
    fn hosts_in_no_proxy_have_no_proxy() {
        let proxy = ("ALL_PROXY", "http://proxy.example:3128");
        for (no_proxy, expected) in [
            ("org.example", None),
            ("other.example", Some("http://proxy.example:3128")),
            ("*", None),
        ] {
            let found = name_with(&[proxy, ("no_proxy", no_proxy)], "https://org.example");
            assert_eq!(found.as_deref(), expected, "{no_proxy}");
        }
    }

    #[test]
    fn loopback_addresses_have_no_proxy() {
        let variables = [
            ("HTTPS_PROXY", "http://proxy.example"),
            ("ALL_PROXY", "junk junk"),
        ];
        for address in [
            "https://127.0.0.1:8443",
            "https://[::1]",
            "https://localhost",
            "http://127.0.0.1",
        ] {
            assert_eq!(name_with(&variables, address), None, "{address}");
        }
    }

    #[test]
    fn the_first_variable_that_is_not_empty_counts() {
        for (variables, expected) in [
            (
                &[("HTTPS_PROXY", "a.example"), ("ALL_PROXY", "b.example")][..],
                "a",
            ),
            (&[("HTTPS_PROXY", ""), ("https_proxy", "b.example")], "b"),
            (
                &[("https_proxy", "c.example"), ("all_proxy", "d.example")],
                "c",
            ),
            (
                &[("HTTP_PROXY", "e.example"), ("all_proxy", "d.example")],
                "d",
            ),
        ] {
            let found = name_with(variables, "https://org.example").unwrap();
            assert_eq!(found, format!("http://{expected}.example"));
        }
        assert_eq!(
            name_with(&[("HTTP_PROXY", "e.example")], "https://org.example"),
            None
        );
    }

    #[test]
    fn a_password_ends_at_the_last_at_sign_and_is_sent_as_written() {
        for (userinfo, sent) in [
            ("user:p@ss@hunter2", "user:p@ss@hunter2"),
            ("us@er:hunter2", "us@er:hunter2"),
            ("user:hunter2%40x", "user:hunter2@x"),
            ("user:hunter2\"<>^`{|}\u{e9}", "user:hunter2\"<>^`{|}\u{e9}"),
            ("user:a:b", "user:a:b"),
            ("user", "user:"),
        ] {
            let value = format!("http://{userinfo}@proxy.example:3128/");
            let proxy = proxy_with(&[("HTTPS_PROXY", &value)], "https://org.example")
                .unwrap()
                .unwrap();
            assert_eq!(proxy.name, "http://proxy.example:3128", "{userinfo}");
            let authorization = proxy.authorization.as_ref().unwrap();
            assert!(authorization.is_sensitive());
            let encoded = authorization.to_str().unwrap().strip_prefix("Basic ");
            let decoded = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                encoded.unwrap(),
            );
            assert_eq!(String::from_utf8(decoded.unwrap()).unwrap(), sent);
            assert!(!format!("{proxy:?}").contains("unter2"), "{proxy:?}");
        }
    }

    #[test]
    fn malformed_proxies_are_refused_without_showing_them() {
        for (value, words) in [
            (" http://user:hunter2@proxy.example", "white space"),
            ("http://user:hunter2@proxy.example ", "white space"),
            ("http://user:hun\tter2@proxy.example", "white space"),
            ("http://", "no valid host"),
            ("http://user:hunter2@", "no valid host"),
            ("http:///", "no valid host"),
            ("http://:3128", "no valid host"),
            ("http://user:hunter2@proxy.example:port", "no valid host"),
            ("http://user:hunter2@proxy.example:99999", "no valid host"),
            ("http://user:hunter2@proxy.example:0", "no valid host"),
            ("http://user:hunter2@proxy.example/path", "no valid host"),
            (
                "http://user:hunter2@proxy.example?x=hunter2",
                "no valid host",
            ),
            ("http://user:hun/ter2@proxy.example", "percent-encoded"),
            ("http://user:hun#ter2@proxy.example", "percent-encoded"),
            (
                "ftp://user:hunter2@proxy.example",
                "neither http:// nor https://",
            ),
            ("hunter2://proxy.example", "neither http:// nor https://"),
            ("://proxy.example", "neither http:// nor https://"),
            (
                "socks5://user:hunter2@proxy.example:1080",
                "the proxy socks5://proxy.example:1080 is of a kind that is not supported",
            ),
        ] {
            let error = proxy_with(&[("https_proxy", value)], "https://org.example").unwrap_err();
            let text = format!("{error}{error:?}");
            assert_eq!(error.kind(), Kind::Usage);
            assert!(text.contains("https_proxy can't be used: "), "{text}");
            assert!(text.contains(words), "{value}: {text}");
            assert!(!text.contains(PASSWORD) && !text.contains("ter2"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_proxy_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;

        let environment = |_: &str| Some(OsString::from_vec(b"http://\xff".to_vec()));
        let address = Address::parse("https://org.example").unwrap();
        let error = proxy_for(&address, &environment).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }

    #[test]
    fn localhost_is_127_0_0_1_if_that_accepts_or_nothing_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(find_localhost(port), Ipv4Addr::LOCALHOST);
        drop(listener);
        assert_eq!(find_localhost(port), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn localhost_is_the_ipv6_address_if_only_that_accepts() {
        // A machine without IPv6 has nothing to test.
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(find_localhost(port), Ipv6Addr::LOCALHOST);
    }
}
