//! What the surroundings of the process say about the way to the Org: which proxy it takes, and whether other certificates
//! than the system's are trusted. Pure but for reading variables; nothing is connected here.

use std::env;
use std::ffi::OsString;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::Address;
use crate::error::{Error, Kind, Result};
use crate::text::visible;

/// Which of the variables are set that replace the system's trusted certificates, with their values made harmless: the
/// plan names them, for whoever sets them decides which servers are believed. Heeded on Linux and other Unix systems,
/// not on Windows and macOS.
#[must_use]
pub fn trust_store_variables() -> Vec<(&'static str, String)> {
    if cfg!(any(windows, target_vendor = "apple")) {
        Vec::new()
    } else {
        trust_store_among(|name| env::var_os(name))
    }
}

fn trust_store_among(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, String)> {
    ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter_map(|name| variable(name).map(|value| (name, visible(&value.to_string_lossy()))))
        .collect()
}

/// A loopback address has no proxy, and plain `http` is for loopback addresses only, so whatever goes through a proxy
/// goes through a tunnel that the proxy can't read.
pub(super) fn proxy_for(address: &Address, proxies: &Matcher) -> Result<Option<Intercept>> {
    if address.is_loopback() || !address.is_https() {
        return Ok(None);
    }
    let Ok(destination) = address.to_string().parse::<Uri>() else {
        return Ok(None);
    };
    match proxies.intercept(&destination) {
        Some(proxy) if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) => {
            Err(Error::new(
                Kind::Usage,
                format!(
                    "the proxy {} is of a kind that is not supported",
                    proxy_name(&proxy)
                ),
            )
            .help("set HTTPS_PROXY to an http:// proxy, or NO_PROXY to the Org's host"))
        }
        proxy => Ok(proxy),
    }
}

/// Scheme, host and port: what the proxy's variable holds besides was left out when it was read.
pub(super) fn proxy_name(proxy: &Intercept) -> String {
    visible(proxy.uri().to_string().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_replace_the_trust_store_are_named_and_harmless() {
        let set = |name: &str| (name == "SSL_CERT_DIR").then(|| OsString::from("/certs\x1b[2J"));
        assert_eq!(
            trust_store_among(set),
            [("SSL_CERT_DIR", "/certs\\u{1b}[2J".to_owned())]
        );
        assert_eq!(trust_store_among(|_| None), []);
    }

    #[test]
    fn hosts_that_need_no_proxy_have_none() {
        let proxies = Matcher::builder()
            .all("http://proxy.example:3128")
            .no("org.example")
            .build();
        for (address, proxy) in [
            ("https://org.example", None),
            ("https://other.example", Some("http://proxy.example:3128")),
        ] {
            let found = proxy_for(&Address::parse(address).unwrap(), &proxies).unwrap();
            assert_eq!(
                found.as_ref().map(proxy_name).as_deref(),
                proxy,
                "{address}"
            );
        }
    }
}
