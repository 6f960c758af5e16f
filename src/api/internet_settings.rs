//! The proxy settings of Windows ("Internet Options"), as they are in the registry.

/// The proxy settings of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InternetSettings {
    /// `ProxyEnable`: whether `server` counts.
    pub(super) is_enabled: bool,
    /// `ProxyServer`: one server for everything, or servers by scheme, such as
    /// `http=a:80;https=b:81`.
    pub(super) server: String,
    /// `ProxyOverride`: hosts without a proxy, separated by semicolons.
    pub(super) exceptions: String,
    /// `AutoConfigURL`: the address of a script that chooses the proxy.
    pub(super) script: Option<String>,
}

impl InternetSettings {
    /// Reads the settings of the current user. A value that can't be read counts as not set.
    #[cfg(windows)]
    pub(super) fn of_this_user() -> Self {
        const PATH: &str = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings";
        let Ok(key) = windows_registry::CURRENT_USER.open(PATH) else {
            return Self::default();
        };
        Self {
            is_enabled: key.get_u32("ProxyEnable").is_ok_and(|value| value != 0),
            server: key.get_string("ProxyServer").unwrap_or_default(),
            exceptions: key.get_string("ProxyOverride").unwrap_or_default(),
            script: key.get_string("AutoConfigURL").ok(),
        }
    }

    /// Returns the proxy for `https` addresses.
    pub(super) fn https_server(&self) -> Option<&str> {
        if !self.is_enabled {
            return None;
        }
        let servers = self
            .server
            .split([';', ' '])
            .filter(|part| !part.is_empty());
        let mut for_all = None;
        for part in servers {
            match part.split_once('=') {
                Some((scheme, server)) if scheme.eq_ignore_ascii_case("https") => {
                    return Some(server);
                }
                Some(_) => {}
                None => for_all = Some(part),
            }
        }
        for_all
    }

    /// Returns the hosts without a proxy in the form of the variable `NO_PROXY`.
    ///
    /// `<local>`, which means names without a dot, is left out: no Org has such a name.
    pub(super) fn hosts_without_proxy(&self) -> String {
        let hosts = self
            .exceptions
            .split([';', ' '])
            .filter(|host| *host != "<local>");
        let hosts: Vec<String> = hosts.map(without_wildcard).collect();
        hosts.join(",")
    }

    /// Returns a warning if these settings name a proxy in a way that has no effect.
    pub(super) fn warning(&self) -> Option<String> {
        let what = if self.script.as_ref().is_some_and(|url| !url.is_empty()) {
            "the proxy script in the system's settings"
        } else if self.is_enabled && !self.server.is_empty() && self.https_server().is_none() {
            "the proxy in the system's settings, which is not for https,"
        } else {
            return None;
        };
        Some(format!(
            "{what} has no effect; if the Org is reached through a proxy only, name it in the \
             variable HTTPS_PROXY"
        ))
    }
}

/// Returns a host without a wildcard: `*.example.org` becomes `example.org`, which includes the
/// hosts below it, and `10.*` becomes `10.0.0.0/8`.
fn without_wildcard(host: &str) -> String {
    if let Some(domain) = host.strip_prefix("*.") {
        return domain.to_owned();
    }
    let numbers: Vec<&str> = host.split('.').take_while(|part| *part != "*").collect();
    let is_network = host.ends_with(".*")
        && (1..4).contains(&numbers.len())
        && numbers.iter().all(|number| number.parse::<u8>().is_ok());
    if !is_network {
        return host.to_owned();
    }
    let bits = 8 * numbers.len();
    let zeros = vec!["0"; 4 - numbers.len()];
    format!("{}.{}/{bits}", numbers.join("."), zeros.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(server: &str) -> InternetSettings {
        InternetSettings {
            is_enabled: true,
            server: server.to_owned(),
            ..InternetSettings::default()
        }
    }

    #[test]
    fn the_server_for_https_counts_and_otherwise_the_one_for_everything() {
        for (server, expected) in [
            ("proxy:3128", Some("proxy:3128")),
            ("http://proxy:3128", Some("http://proxy:3128")),
            ("http=a:80;https=b:81;ftp=c:82", Some("b:81")),
            ("HTTPS=b:81", Some("b:81")),
            ("http=a:80", None),
            ("socks=a:1080", None),
            ("", None),
        ] {
            assert_eq!(settings(server).https_server(), expected, "{server}");
        }
        let disabled = InternetSettings {
            is_enabled: false,
            ..settings("proxy:3128")
        };
        assert_eq!(disabled.https_server(), None);
        assert_eq!(disabled.warning(), None);
    }

    #[test]
    fn exceptions_become_those_of_no_proxy() {
        for (exceptions, expected) in [
            ("", ""),
            ("<local>", ""),
            ("*.example.org;intranet;<local>", "example.org,intranet"),
            (
                "10.*;192.168.*.*;172.16.1.*",
                "10.0.0.0/8,192.168.0.0/16,172.16.1.0/24",
            ),
            ("*", "*"),
        ] {
            let settings = InternetSettings {
                exceptions: exceptions.to_owned(),
                ..settings("proxy:3128")
            };
            assert_eq!(settings.hosts_without_proxy(), expected);
        }
    }

    #[test]
    fn a_script_and_a_proxy_for_other_schemes_are_warned_about() {
        assert_eq!(settings("proxy:3128").warning(), None);
        assert_eq!(settings("").warning(), None);
        let other = settings("http=a:80;socks=b:1080").warning().unwrap();
        assert!(other.contains("not for https"), "{other}");
        let script = InternetSettings {
            script: Some("http://wpad/wpad.dat".to_owned()),
            ..InternetSettings::default()
        };
        let warning = script.warning().unwrap();
        assert!(warning.contains("proxy script"), "{warning}");
        assert!(warning.contains("HTTPS_PROXY"), "{warning}");
    }
}
