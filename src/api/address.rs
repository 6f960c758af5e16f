//! The Org's address, taken apart and checked before any key could travel to it. Pure: names are not looked up here, and
//! no message repeats a user name, password, query or fragment that was part of a refused address.

use std::fmt;

use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::error::{Error, Kind, Result};
use crate::text::{may_be_secret, visible};

/// The base address of an Org: scheme, host, port and possibly a path prefix.
///
/// Its scheme is `https`, or `http` where the host is a loopback address or `localhost`. It has no user info, query or
/// fragment and doesn't end in a slash. Its [`Display`](fmt::Display) is ASCII: international names are shown as they
/// are looked up, so that a look-alike letter can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: Url,
    prefix: String,
}

impl Address {
    /// Reads an address as a person typed it; white space around it is ignored.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] for anything that is not such an address, with the address that was probably meant.
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

    /// Whether a text that should be an address may have a secret in it: user name and password, or a query or fragment
    /// with a key.
    #[must_use]
    pub fn may_hold_a_secret(text: &str) -> bool {
        text.contains(['@', '?', '#'])
    }

    /// Whether requests can't leave this machine: the host is 127.0.0.0/8, `[::1]` or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Whether the host is the name `localhost`, which a resolver could take elsewhere.
    #[must_use]
    pub fn is_localhost_name(&self) -> bool {
        self.url.host() == Some(Host::Domain("localhost"))
    }

    /// Whether requests are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host in ASCII, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The host, with the port where that is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    /// The port, the scheme's own where none was given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// The URL of a call: these segments below the base address.
    #[must_use]
    pub fn call(&self, segments: &[&str]) -> Url {
        below(&self.url, segments)
    }
}

/// These segments below this URL. What stands in it already is not taken apart again.
pub(super) fn below(url: &Url, segments: &[&str]) -> Url {
    let mut url = url.clone();
    // Only a URL without a host, such as `mailto:`, can't be added to.
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

/// The URL standard silently drops line breaks and takes `\` for `/`; in an address that a key is sent to, both are
/// more likely an attempt to mislead than a slip.
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

/// The text for a message, or nothing where it may hold a secret.
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

/// Checks what the URL standard lets through and no connection could be made to.
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
        "the address has {extra} in it, which has no place there"
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
    fn addresses_that_are_taken() {
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
    fn addresses_that_are_refused() {
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
    fn no_message_repeats_what_may_be_a_secret() {
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
        fn whatever_is_taken_is_safe_and_reads_back_the_same(
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
    fn a_refused_address_comes_with_the_right_one() {
        let error = Address::parse("https://eu.core.resolver.com/api/").expect_err("Swagger");
        assert!(
            error
                .to_string()
                .ends_with("alone: https://eu.core.resolver.com"),
            "{error}"
        );
    }

    #[test]
    fn a_call_is_below_the_prefix() {
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
    fn loopback_is_told_from_the_rest() {
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
