//! The Org of a run: its address and the credentials, or those of the practice Org. The secret is
//! read here, once, and goes only to `api`.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::{is_standard_input, practice, runtime};
use crate::api::Address;
use crate::api::ConnectOptions;
use crate::api::HttpOrg;
use crate::api::trust_store_variables;
use crate::config::{ProcessEnv, SecretPlace, Settings, SignIn};
use crate::domain::Credentials;
use crate::error::{Error, Kind, Result};
use crate::policy::MAX_AUTO_CONCURRENCY;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::ui::say;

/// Time in which a connection has to be established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum share of the request's time for connecting. A request that ends while connecting was
/// certainly not sent; one that ends by its own timeout may have been.
const CONNECT_SHARE: f64 = 0.9;

/// The Org of a run.
pub(super) struct Target {
    pub(super) org: HttpOrg,
    pub(super) address: Address,
    /// Method of authentication, in words.
    pub(super) sign_in: String,
    /// Facts about the connection that need no action.
    pub(super) notes: Vec<String>,
    /// Facts about the connection that may need action.
    pub(super) warnings: Vec<String>,
    /// The number of requests that may be in flight at a time.
    pub(super) max_in_flight: usize,
    pub(super) credentials: Credentials<SecretString>,
    /// The practice Org, which ends with the run.
    sandbox: Option<Sandbox>,
}

impl Target {
    /// Checks the address and reads the secret, or starts a practice Org.
    pub(super) async fn of(settings: &Settings, input: &std::path::Path) -> Result<Self> {
        if settings.connection.sandbox {
            return Self::practice(settings).await;
        }
        let address = address(settings)?;
        let sign_in = match settings.connection.sign_in.clone() {
            Some(sign_in) => sign_in,
            None => SignIn::Key(SecretPlace::Terminal),
        };
        let list_of_users = settings.reading.ids.as_deref();
        let other = if is_standard_input(input) {
            Some("table")
        } else if list_of_users.is_some_and(is_standard_input) {
            Some("list of users")
        } else {
            None
        };
        if sign_in.reads_standard_input()
            && let Some(other) = other
        {
            let message = format!("the secret and the {other} can't both come from standard input");
            return Err(Error::new(Kind::Usage, message).help("put one of them into a file"));
        }
        let words = sign_in.in_words();
        let note = sign_in.note();
        let ask = |name: &str| ask_at_terminal(name, &settings.notes);
        let (credentials, warning) = sign_in.read(std::io::stdin(), &ask)?;
        let mut target = Self::new(settings, address, credentials)?;
        target.sign_in = words;
        target.notes.extend(note);
        target.warnings.extend(warning);
        Ok(target)
    }

    async fn practice(settings: &Settings) -> Result<Self> {
        let key = SecretString::from(SandboxOptions::default().api_key);
        let sandbox = practice::start_for_a_run(&settings.practice).await?;
        let address = Address::parse(&sandbox.address())?;
        let mut target = Self::new(settings, address, Credentials::Key(key))?;
        "the practice Org's own key".clone_into(&mut target.sign_in);
        target.sandbox = Some(sandbox);
        Ok(target)
    }

    fn new(
        settings: &Settings,
        address: Address,
        credentials: Credentials<SecretString>,
    ) -> Result<Self> {
        if !address.is_loopback() {
            runtime::start_lookups()?;
        }
        let wanted = settings.sending.concurrency.unwrap_or(MAX_AUTO_CONCURRENCY);
        let max_in_flight = runtime::max_connections(wanted);
        let org = HttpOrg::new(ConnectOptions {
            address: address.clone(),
            credentials: credentials.clone(),
            timeout: settings.connection.timeout,
            connect_timeout: CONNECT_TIMEOUT
                .min(settings.connection.timeout.mul_f64(CONNECT_SHARE)),
            ca_cert: settings.connection.ca_cert.clone(),
            concurrency: max_in_flight,
        })?;
        let mut notes = Vec::new();
        let mut warnings = Vec::new();
        if max_in_flight < wanted {
            let requests = if max_in_flight == 1 {
                "request"
            } else {
                "requests"
            };
            notes.push(format!(
                "at most {max_in_flight} {requests} in flight at a time, because the system lets \
                 this process open few files (`ulimit -n`)"
            ));
        }
        match org.localhost() {
            Some(IpAddr::V4(ip)) => notes.push(format!("localhost is {ip}")),
            Some(IpAddr::V6(ip)) => warnings.push(format!(
                "localhost is [{ip}]: nothing listens at 127.0.0.1:{}",
                address.port()
            )),
            None => {}
        }
        warnings.extend(
            org.proxy()
                .map(|proxy| format!("requests go through the proxy {proxy}")),
        );
        warnings.extend(org.proxy_warning().map(str::to_owned));
        if address.is_https() {
            let stores = trust_store_variables().into_iter();
            warnings.extend(stores.map(|(name, value)| {
                format!("{name} replaces the system's certificates: {value}")
            }));
        }
        Ok(Self {
            org,
            address,
            sign_in: String::new(),
            max_in_flight,
            notes,
            warnings,
            credentials,
            sandbox: None,
        })
    }

    /// Returns the name of the Org in reports. A practice Org listens on another port each time and
    /// is the same Org.
    pub(super) fn name(&self) -> String {
        if self.sandbox.is_some() {
            "practice Org".to_owned()
        } else {
            self.address.to_string()
        }
    }

    /// Returns the host that the pasted address of a user must have; a practice Org has none.
    pub(super) fn host(&self) -> Option<String> {
        self.sandbox
            .is_none()
            .then(|| self.address.authority().to_owned())
    }
}

fn address(settings: &Settings) -> Result<Address> {
    let address = settings.connection.address.as_deref();
    Address::parse(address.ok_or_else(|| {
        let help = "give the Org's base address with --address, such as \
            https://eu.core.resolver.com, or try --sandbox";
        Error::new(Kind::Usage, "no address given").help(with_notes(help, &settings.notes))
    })?)
}

/// Asks for a secret at the terminal, without echo.
///
/// # Errors
/// There is no terminal, or nothing was typed.
fn ask_at_terminal(name: &str, notes: &[String]) -> Result<SecretString> {
    let typed = if ProcessEnv::of_this_process().terminal {
        say::read_hidden(&format!("{name} (not shown): "))
    } else {
        None
    };
    if let Some(secret) = typed {
        return Ok(secret);
    }
    if name == "Password" {
        let help = "put the password into a file and name it with --password-file, or set \
            MFA_OPTOUT_PASSWORD";
        return Err(Error::new(Kind::Usage, "no password given").help(with_notes(help, notes)));
    }
    let help = "put the API key into a file and name it with --api-key-file, or set \
        MFA_OPTOUT_API_KEY";
    Err(Error::new(Kind::Usage, "no credentials given").help(with_notes(help, notes)))
}

/// Returns the help about a setting that is missing, with notes about where settings come from: the
/// reason may be a config file that is ignored.
pub(super) fn with_notes(help: &str, notes: &[String]) -> String {
    let mut help = help.to_owned();
    for note in notes {
        help.push_str("; ");
        help.push_str(note);
    }
    help
}
