//! Parses and checks the address of the Org before a key can be sent to it.
//!
//! Names are not resolved here. No error message repeats a user name, password, query or fragment
//! of a refused address.

use std::fmt;

use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::error::{Error, Kind, Result};
use crate::text::{may_be_secret, visible};

/// The base address of an Org: scheme, host, port and possibly a path prefix.
///
/// The scheme is `https`, or `http` if the host is a loopback address or `localhost`. The address
/// has no user info, query or fragment and does not end in a slash. Its [`Display`](fmt::Display)
/// is ASCII: international names are shown as they are looked up, so that look-alike letters are
/// visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: Url,
    prefix: String,
}

impl Address {
    /// Parses an address as a person typed it. Surrounding white space is ignored.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] if it is not a valid address, with the address that was probably meant.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let mut url = parse_url(text)?;
        let proposal = proposal(&url);
        check_scheme(&url)?;
        check_extras(&url, &proposal)?;
        check_host(&url)?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        if prefix == "/api" {
            return Err(refused("the address is that of the Org's Swagger page").help(proposal));
        }
        url.set_path(&prefix);
        Ok(Self { url, prefix })
    }

    /// Checks whether a text that should be an address may contain a secret: a password, or a query
    /// or fragment with a key.
    #[must_use]
    pub fn may_hold_a_secret(text: &str) -> bool {
        text.contains(['@', '?', '#'])
    }

    /// Checks whether the host is in 127.0.0.0/8, `[::1]` or `localhost`, so that no request leaves
    /// this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Checks whether the host is the name `localhost`, which a resolver could map to another
    /// machine.
    #[must_use]
    pub fn is_localhost_name(&self) -> bool {
        self.url.host() == Some(Host::Domain("localhost"))
    }

    /// Checks whether requests are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns the host in ASCII. IPv6 addresses are in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Returns the host, followed by the port if it is not the default of the scheme.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    /// Returns the port, which is the default of the scheme if none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// Returns the URL of an endpoint, given by its path segments below the base address.
    #[must_use]
    pub fn call(&self, segments: &[&str]) -> Url {
        below(&self.url, segments)
    }
}

/// Appends path segments to a URL, without parsing the URL again.
pub(super) fn below(url: &Url, segments: &[&str]) -> Url {
    let mut url = url.clone();
    // Only a URL without a host, such as `mailto:`, has no path segments.
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    url
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.url.origin().ascii_serialization(),
            self.prefix
        )
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// Parses a URL more strictly than the URL standard, which silently drops line breaks and reads `\`
/// as `/`. In an address that a key is sent to, both are more likely an attack than a mistake.
fn parse_url(text: &str) -> Result<Url> {
    if text.is_empty() {
        return Err(refused("the address is empty").help(EXAMPLE));
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(refused(
            "the address has white space, a control character or a backslash in it",
        )
        .help(EXAMPLE));
    }
    if !text.contains("://") {
        return Err(refused(format!(
            "the address{} does not begin with https://",
            quoted(text)
        ))
        .help(EXAMPLE));
    }
    Url::parse(text).map_err(|error| {
        refused(format!(
            "the address{} can't be read: {error}",
            quoted(text)
        ))
        .help(EXAMPLE)
    })
}

const EXAMPLE: &str = "give the Org's base address, such as https://eu.core.resolver.com";

/// Returns the text in quotes for an error message, or nothing if it may contain a secret.
fn quoted(text: &str) -> String {
    if Address::may_hold_a_secret(text) || may_be_secret(text) {
        String::new()
    } else {
        format!(" \"{}\"", visible(text))
    }
}

fn check_scheme(url: &Url) -> Result<()> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err(refused(format!(
            "http:// is refused for {}: the key would cross the network unencrypted",
            visible(url.host_str().unwrap_or_default())
        ))
        .help("use https://; plain http:// is for 127.0.0.1, [::1] and localhost only")),
        _ => Err(refused("the address does not begin with https://").help(EXAMPLE)),
    }
}

/// Refuses hosts and ports that the URL standard accepts but that no connection can be made to.
fn check_host(url: &Url) -> Result<()> {
    let is_valid = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name).is_ok(),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if !is_valid {
        return Err(refused("the host in the address is not a possible host name").help(EXAMPLE));
    }
    if url.port() == Some(0) {
        return Err(
            refused("the port in the address is 0, where nothing can listen").help(EXAMPLE),
        );
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn check_extras(url: &Url, proposal: &str) -> Result<()> {
    let extra = if !url.username().is_empty() || url.password().is_some() {
        "a user name or password"
    } else if url.query().is_some() {
        "a query (from `?` on)"
    } else if url.fragment().is_some() {
        "a fragment (from `#` on)"
    } else {
        return Ok(());
    };
    Err(refused(format!(
        "the address has {extra} in it, which does not belong there"
    ))
    .help(proposal))
}

fn proposal(url: &Url) -> String {
    format!(
        "give the Org's base address alone: {}",
        url.origin().ascii_serialization()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_addresses_are_normalised() {
        for (text, shown) in [
            (
                "https://eu.core.resolver.com",
                "https://eu.core.resolver.com",
            ),
            (
                " https://EU.core.resolver.com/ \n",
                "https://eu.core.resolver.com",
            ),
            (
                "https://eu.core.resolver.com:443",
                "https://eu.core.resolver.com",
            ),
            (
                "https://gateway.example:8443/org/7//",
                "https://gateway.example:8443/org/7",
            ),
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
            ("http://127.8.9.10", "http://127.8.9.10"),
            ("http://[::1]:4000/", "http://[::1]:4000"),
            ("http://LOCALHOST:4000", "http://localhost:4000"),
            (
                "https://b\u{fc}cher.example",
                "https://xn--bcher-kva.example",
            ),
            (
                "https://eu.core.resolver.com/api/v2",
                "https://eu.core.resolver.com/api/v2",
            ),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_a_reason_and_help() {
        for (text, why) in [
            ("", "empty"),
            ("eu.core.resolver.com", "does not begin with https://"),
            ("localhost:4000", "does not begin with https://"),
            ("ftp://eu.core.resolver.com", "does not begin with https://"),
            ("file:///etc/passwd", "does not begin with https://"),
            ("https://", "can't be read"),
            ("https://a..b", "not a possible host name"),
            ("https://.a.example", "not a possible host name"),
            ("https://-a.example", "not a possible host name"),
            (
                "https://a234567890123456789012345678901234567890123456789012345678901234.example",
                "not a possible host name",
            ),
            ("https://h.example:0", "the port in the address is 0"),
            ("https://a b.example", "white space"),
            ("https://a.example\\@b.example", "backslash"),
            ("https://a.exam\nple", "control character"),
            (
                "http://eu.core.resolver.com",
                "http:// is refused for eu.core.resolver.com",
            ),
            (
                "http://127.0.0.1.evil",
                "http:// is refused for 127.0.0.1.evil",
            ),
            (
                "http://localhost.evil",
                "http:// is refused for localhost.evil",
            ),
            ("http://localhost.", "http:// is refused for localhost."),
            (
                "http://[::ffff:10.0.0.1]",
                "http:// is refused for [::ffff:a00:1]",
            ),
            ("http://[::ffff:127.0.0.1]", "http:// is refused"),
            ("http://10.0.0.1", "http:// is refused for 10.0.0.1"),
            ("http://0.0.0.0", "http:// is refused for 0.0.0.0"),
            ("https://user:hunter2@h.example", "a user name or password"),
            ("https://user@h.example", "a user name or password"),
            (
                "http://127.0.0.1:80@evil.example",
                "http:// is refused for evil.example",
            ),
            ("https://h.example/?k=hunter2", "a query"),
            ("https://h.example/?", "a query"),
            ("https://h.example/#hunter2", "a fragment"),
            ("https://h.example/api/#/User", "a fragment"),
            ("https://h.example/api/", "Swagger page"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert!(error.to_string().contains("help: "), "{text}: {error}");
            assert_eq!(error.kind(), Kind::Usage);
        }
    }

    #[test]
    fn errors_do_not_repeat_possible_secrets() {
        for text in [
            "https://user:hunter2@h.example",
            "https://user:hunter2@",
            "user:hunter2@h.example",
            "ftp://user:hunter2@h.example",
            "http://user:hunter2@h.example",
            "https://user:hunter2@h.example:99999",
            "https://h.example?key=hunter2",
            "h.example?key=hunter2",
            "https://h.example/#hunter2",
            "xK9-hunter2-4Fz",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(
                !format!("{error}{error:?}").contains("hunter2"),
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepted_addresses_are_safe_and_parse_back_unchanged(
            text in r"(https?|HTTP|ftp)?(://?)?([a-z@:]{0,4}|127\.0\.0\.1|localhost|\[::1\])[.:a-z0-9@]{0,6}[/?#\\ -~]{0,8}"
        ) {
            if let Ok(address) = Address::parse(&text) {
                let shown = address.to_string();
                prop_assert!(address.is_https() || address.is_loopback(), "{}", shown);
                prop_assert!(!shown.contains(['@', '?', '#', ' ']) || address.prefix.contains('@'), "{}", shown);
                prop_assert_eq!(Address::parse(&shown).ok(), Some(address));
            }
        }
    }

    #[test]
    fn the_swagger_page_is_refused_with_the_base_address_as_help() {
        let error = Address::parse("https://eu.core.resolver.com/api/").expect_err("Swagger");
        assert!(
            error
                .to_string()
                .ends_with("alone: https://eu.core.resolver.com"),
            "{error}"
        );
    }

    #[test]
    fn calls_are_below_the_path_prefix() {
        for (base, call) in [
            (
                "https://h.example",
                "https://h.example/user/users/7/membership",
            ),
            (
                "https://h.example/org/",
                "https://h.example/org/user/users/7/membership",
            ),
            (
                "https://h.example:8443/a%20b/7//",
                "https://h.example:8443/a%20b/7/user/users/7/membership",
            ),
        ] {
            let address = Address::parse(base).unwrap();
            assert_eq!(
                address.call(&["user", "users", "7", "membership"]).as_str(),
                call
            );
            assert_eq!(
                below(&address.call(&["user", "users"]), &["7", "membership"]).as_str(),
                call
            );
        }
    }

    #[test]
    fn only_loopback_hosts_are_loopback() {
        for (text, loopback) in [
            ("https://127.0.0.1", true),
            ("https://localhost", true),
            ("https://h.example", false),
        ] {
            assert_eq!(
                Address::parse(text).unwrap().is_loopback(),
                loopback,
                "{text}"
            );
        }
    }
}
