//! The Org over HTTP: one client, configured so that the key is sent to one host only, and one
//! request per call.
//!
//! This is the only file that names the crate of the HTTP client.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, ClientBuilder, Proxy, Request, Response, redirect, retry, tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Address;
use super::Org;
use super::address::below;
use super::deadline::{Deadline, DeadlinePool};
use super::environment::{Lookup, ProxyChoice, ProxyServer, find_localhost, proxy_for};
use super::redact::Secrets;
use super::send_result;
use super::session;
use super::transport_error;
use super::transport_error::ClientError;
use super::transport_error::RequestContext;
use super::transport_error::Stage;
use super::trust;
use super::wait;
use crate::domain::Credentials;
use crate::domain::Flag;
use crate::domain::LoginResult;
use crate::domain::Reply;
use crate::domain::SendResult;
use crate::domain::TransportError;
use crate::domain::UserId;
use crate::error::{Error, Kind, Result};
use crate::text::shown_path;
use crate::trusted_file;

/// The maximum number of bytes that are read of a body.
const MAX_BODY: usize = 64 << 10;

/// How long idle connections are kept. Gateways drop theirs after 60 s, and a request on a dropped
/// connection is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The name and version of the tool in the header `User-Agent`.
const PRODUCT: &str = concat!("mfa-optout/", env!("CARGO_PKG_VERSION"));

/// The parameters of an [`HttpOrg`].
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The address of the Org.
    pub address: Address,
    /// The key, or the account that signs in.
    pub credentials: Credentials<SecretString>,
    /// The timeout of a request, including reading the body of the response.
    pub timeout: Duration,
    /// The timeout for establishing a connection, including TLS.
    pub connect_timeout: Duration,
    /// A PEM file with certificates that are trusted in addition to the system's.
    pub ca_cert: Option<PathBuf>,
    /// The maximum number of requests in flight, which is also the number of idle connections that
    /// are kept.
    pub concurrency: usize,
}

/// An Org that is reached over HTTP.
///
/// Redirects are not followed, nothing is sent twice, and no body is decompressed. A loopback
/// address is reached without a proxy and, under the name `localhost`, without asking a resolver.
pub struct HttpOrg {
    client: Client,
    address: Address,
    /// The URL of the collection of users.
    users: Url,
    credentials: Credentials<SecretString>,
    /// The headers of every request for a membership, including authentication.
    headers: RefCell<HeaderMap>,
    /// All keys, passwords and tokens of the run, because a late response can repeat an earlier
    /// token.
    secrets: RefCell<Secrets>,
    /// The loopback address that is used for the name `localhost`, if that is the host.
    localhost: Option<IpAddr>,
    proxy_warning: Option<String>,
    deadlines: DeadlinePool,
    context: RequestContext,
}

impl HttpOrg {
    /// Configures a client without sending anything.
    ///
    /// The proxy is taken from the environment or, on Windows and macOS, from the system's
    /// settings. If the host is `localhost`, connections are opened and closed to find out at which
    /// address it listens.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] for an impossible key, an unreadable `ca_cert`, a proxy that can't be used,
    /// or a system without trusted certificates.
    pub fn new(options: ConnectOptions) -> Result<Self> {
        Self::in_environment(options, &|name| std::env::var_os(name))
    }

    fn in_environment(options: ConnectOptions, environment: Lookup<'_>) -> Result<Self> {
        let address = &options.address;
        let ProxyChoice { proxy, warning } = proxy_for(address, environment)?;
        let localhost = if address.is_localhost_name() {
            Some(find_localhost(address.port()))
        } else {
            None
        };
        let client = client(&options, proxy.as_ref(), localhost)?;
        let mut headers = membership_headers();
        if let Credentials::Key(key) = &options.credentials {
            headers.extend([session::key_header(key)?]);
        }
        let mut secrets = Secrets::default();
        secrets.add(options.credentials.secret().expose_secret());
        let context = RequestContext {
            host: address.host().to_owned(),
            port: address.port(),
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
            proxy: proxy.map(|proxy| proxy.name),
        };
        Ok(Self {
            client,
            users: address.call(&["user", "users"]),
            address: options.address,
            credentials: options.credentials,
            headers: RefCell::new(headers),
            secrets: RefCell::new(secrets),
            localhost,
            proxy_warning: warning,
            deadlines: DeadlinePool::new(options.timeout),
            context,
        })
    }

    /// Returns the proxy that requests go through, without its password.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.context.proxy.as_deref()
    }

    /// Returns a warning if the system's settings name a proxy in a way that has no effect.
    #[must_use]
    pub fn proxy_warning(&self) -> Option<&str> {
        self.proxy_warning.as_deref()
    }

    /// Returns the loopback address that is used for the name `localhost`, or `None` for any other
    /// host.
    #[must_use]
    pub fn localhost(&self) -> Option<IpAddr> {
        self.localhost
    }

    /// Sends a request and returns the response before its body is read.
    async fn send(
        &self,
        request: Request,
        deadline: &mut Deadline,
    ) -> std::result::Result<Response, TransportError> {
        match deadline.within(self.client.execute(request)).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(self.classify(&error)),
            None => Err(transport_error::timed_out(&self.context)),
        }
    }

    fn classify(&self, error: &reqwest::Error) -> TransportError {
        let stage = if error.is_dns() {
            Stage::LookUp
        } else if error.is_connect() {
            Stage::Connecting
        } else {
            Stage::Underway
        };
        let error = ClientError {
            stage,
            timed_out: error.is_timeout(),
            error,
            secrets: &self.secrets.borrow(),
        };
        transport_error::classify(&self.context, error)
    }

    /// Reads the body of a response, which can contradict a success, for as long as the deadline
    /// allows. If it is not complete, what was read is used.
    async fn read(&self, mut response: Response, deadline: &mut Deadline) -> Reply {
        let mut body = Vec::new();
        let _ = deadline.within(read_body(&mut response, &mut body)).await;
        self.reply(&response, &body)
    }

    /// Returns what is known of a response. A server may repeat what it was sent; secrets are
    /// removed here.
    fn reply(&self, response: &Response, body: &[u8]) -> Reply {
        let secrets = self.secrets.borrow();
        let headers = response.headers();
        send_result::reply(response.status(), headers, body, &secrets, wall_clock)
    }
}

impl fmt::Debug for HttpOrg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOrg")
            .field("address", &self.address.to_string())
            .finish_non_exhaustive()
    }
}

impl Org for HttpOrg {
    async fn set(&self, user: UserId, flag: Flag) -> SendResult {
        let mut digits = itoa::Buffer::new();
        let url = below(&self.users, &[digits.format(user.get()), "membership"]);
        let body = match flag {
            Flag::OptOut => r#"{"mfaOptOut": true}"#,
            Flag::OptIn => r#"{"mfaOptOut": false}"#,
        };
        let mut request = Request::new(Method::PUT, url);
        *request.body_mut() = Some(body.into());
        *request.headers_mut() = self.headers.borrow().clone();
        let mut deadline = self.deadlines.start();
        let result = match self.send(request, &mut deadline).await {
            Ok(response) if has_no_body(&response) => SendResult::Reply(self.reply(&response, &[])),
            // Boxed, because few responses need the space of this future.
            Ok(response) => SendResult::Reply(Box::pin(self.read(response, &mut deadline)).await),
            Err(error) => SendResult::TransportError(error),
        };
        self.deadlines.recycle(deadline);
        result
    }

    async fn log_in(&self) -> LoginResult {
        let Credentials::Session {
            email,
            password,
            org,
        } = &self.credentials
        else {
            return LoginResult::Unusable("an API key needs no log-in".to_owned());
        };
        let mut request = Request::new(Method::POST, self.address.call(&["user", "authenticate"]));
        *request.body_mut() = Some(session::log_in_body(email, password, *org).into());
        *request.headers_mut() = json_headers();
        let mut deadline = self.deadlines.start();
        let mut response = match self.send(request, &mut deadline).await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => {
                let reply = self.read(response, &mut deadline).await;
                return LoginResult::Failed(SendResult::Reply(reply));
            }
            Err(error) => return LoginResult::Failed(SendResult::TransportError(error)),
        };
        let mut body = Vec::new();
        let is_read = deadline.within(read_body(&mut response, &mut body)).await;
        let now = wait::server_time(response.headers(), wall_clock());
        match (session::read_token(&body, now), is_read) {
            (Ok(token), _) => {
                let (name, value) = token.header;
                self.secrets.borrow_mut().add(&token.text);
                self.headers.borrow_mut().insert(name, value);
                LoginResult::Token {
                    lifetime: token.lifetime,
                }
            }
            (Err(reason), Some(Ok(()))) => LoginResult::Unusable(reason),
            (Err(_), Some(Err(error))) => {
                LoginResult::Failed(SendResult::TransportError(self.classify(&error)))
            }
            (Err(_), None) => LoginResult::Failed(SendResult::TransportError(
                transport_error::timed_out(&self.context),
            )),
        }
    }
}

/// Returns the headers of every request for a membership, without authentication.
///
/// There is no `Host` among them: the client adds `Host` over HTTP/1.1 and `:authority` over
/// HTTP/2, and nginx 1.22 refuses a request that has both.
fn membership_headers() -> HeaderMap {
    let mut headers = json_headers();
    headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
    headers
}

fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)])
}

fn client(
    options: &ConnectOptions,
    proxy: Option<&ProxyServer>,
    localhost: Option<IpAddr>,
) -> Result<Client> {
    let mut builder = Client::builder()
        .user_agent(HeaderValue::from_static(PRODUCT))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .https_only(options.address.is_https())
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.concurrency)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true);
    if let Some(server) = proxy {
        builder = builder.proxy(https_proxy(server)?);
    }
    if let Some(ip) = localhost {
        let address = SocketAddr::new(ip, options.address.port());
        // `localhost` must be this machine (RFC 6761, section 6.3), so no resolver is asked.
        builder = builder.resolve("localhost", address);
    }
    with_trust(builder, options)?.build().map_err(|error| {
        let reason = transport_error::root(&error);
        let message = format!("no secure connection can be set up: {reason}");
        Error::new(Kind::Usage, message).help(if cfg!(target_os = "linux") {
            "this needs the system's trusted certificates (package ca-certificates), or \
             --ca-cert FILE"
        } else {
            "this needs the system's trusted certificates, or --ca-cert FILE"
        })
    })
}

fn https_proxy(server: &ProxyServer) -> Result<Proxy> {
    let Ok(proxy) = Proxy::https(&server.name) else {
        let message = format!("the proxy {} can't be used", server.name);
        return Err(Error::new(Kind::Usage, message));
    };
    match &server.authorization {
        Some(authorization) => Ok(proxy.custom_http_auth(authorization.clone())),
        None => Ok(proxy),
    }
}

/// Trusts the system's certificates and those of `--ca-cert`. Plain `http` works on a machine that
/// has no certificates.
fn with_trust(builder: ClientBuilder, options: &ConnectOptions) -> Result<ClientBuilder> {
    // An error means that another client was set up before, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = builder.tls_version_min(tls::Version::TLS_1_2);
    let Some(path) = &options.ca_cert else {
        return if options.address.is_https() {
            Ok(builder)
        } else {
            Ok(builder.tls_certs_only([]))
        };
    };
    // Read even if they are not used, so that a wrong file is always an error.
    let certificates = read_certificates(path)?;
    if !options.address.is_https() {
        return Ok(builder.tls_certs_only([]));
    }
    match trust::tls_config(certificates) {
        Ok(config) => Ok(builder.tls_backend_preconfigured(config)),
        Err(error) => Err(unusable_certificate(path, &error.to_string())),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = trusted_file::read(path, trusted_file::MAX_BYTES)
        .map_err(|error| unusable_certificate(path, &format!("can't be read: {error}")))?;
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unusable_certificate(path, "there is no certificate in it")),
    }
}

fn unusable_certificate(path: &Path, reason: &str) -> Error {
    Error::new(Kind::Usage, format!("{}: {reason}", shown_path(path)))
        .help("--ca-cert takes a file with one or more certificates in PEM form")
}

/// Checks whether a response is a success without a body, as nearly all responses are.
fn has_no_body(response: &Response) -> bool {
    response.status().is_success() && response.content_length() == Some(0)
}

/// Appends the first [`MAX_BODY`] bytes of the body to `body`, or as many as arrive before an
/// error.
///
/// If there is more, dropping the response closes the connection.
async fn read_body(response: &mut Response, body: &mut Vec<u8>) -> reqwest::Result<()> {
    while body.len() < MAX_BODY
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - body.len())]);
    }
    Ok(())
}

/// Returns the time of this machine's clock, for responses that do not tell the server's.
#[expect(
    clippy::disallowed_methods,
    reason = "a date in a response has to be compared with some clock"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use secrecy::SecretString;

    use super::*;
    use crate::domain::TransportErrorKind;

    const PASSWORD: &str = "hunter2";

    fn options(address: &str) -> ConnectOptions {
        ConnectOptions {
            address: Address::parse(address).unwrap(),
            credentials: Credentials::Key(SecretString::from("secret-key")),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            ca_cert: None,
            concurrency: 8,
        }
    }

    /// Returns an Org in an environment with this proxy.
    fn behind(options: ConnectOptions, proxy: &str) -> Result<HttpOrg> {
        HttpOrg::in_environment(options, &|name| (name == "ALL_PROXY").then(|| proxy.into()))
    }

    /// Returns a file with a certificate, so that the test does not need the system's certificates.
    fn authority() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let certificate =
            rcgen::generate_simple_self_signed(["authority.example".to_owned()]).unwrap();
        file.write_all(certificate.cert.pem().as_bytes()).unwrap();
        file
    }

    async fn opt_out(org: &HttpOrg) -> SendResult {
        org.set(UserId::new(7).unwrap(), Flag::OptOut).await
    }

    /// Returns the result of a request through a proxy that responds with `answer`, and the request
    /// to the proxy.
    async fn through_proxy(answer: &'static str) -> (TransportError, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://user:{PASSWORD}@{}", listener.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let file = authority();
        let options = ConnectOptions {
            ca_cert: Some(file.path().into()),
            ..options("https://org.example")
        };
        let org = behind(options, &proxy).unwrap();
        let SendResult::TransportError(error) = opt_out(&org).await else {
            panic!("the proxy let it through")
        };
        (error, asked.join().unwrap())
    }

    #[tokio::test]
    async fn a_refusing_proxy_is_named_without_its_password() {
        for (answer, words) in [
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n",
                "would not connect to org.example:443",
            ),
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "asks for a user name and password",
            ),
            ("SSH-2.0-OpenSSH_9.9\r\n\r\n", "would not connect"),
            ("", "gave no usable answer"),
        ] {
            let (error, asked) = through_proxy(answer).await;
            assert_eq!(
                (error.cause, error.sent),
                (TransportErrorKind::Proxy, false),
                "{error:?}"
            );
            assert!(
                error.message.starts_with("the proxy http://127.0.0.1:"),
                "{}",
                error.message
            );
            assert!(error.message.contains(words), "{}", error.message);
            assert!(
                !error.message.contains(PASSWORD) && !error.message.contains("user:"),
                "{}",
                error.message
            );
            assert!(asked.starts_with("CONNECT org.example:443 "), "{asked}");
            assert!(!asked.contains("secret-key"), "{asked}");
        }
    }

    #[tokio::test]
    async fn an_unknown_host_is_named() {
        let file = authority();
        let options = ConnectOptions {
            ca_cert: Some(file.path().into()),
            ..options("https://org.invalid")
        };
        let org = behind(options, "").unwrap();
        let SendResult::TransportError(error) = opt_out(&org).await else {
            panic!("there is such a host")
        };
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::HostNotFound, false)
        );
        assert!(
            error
                .message
                .starts_with("the host org.invalid could not be found: "),
            "{}",
            error.message
        );
    }

    #[tokio::test]
    async fn a_key_that_the_server_repeats_is_hidden() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let body = format!(
                r#"{{"message":"{}secret-key is not valid"}}"#,
                "x".repeat(494)
            );
            let head =
                "HTTP/1.1 302 Found\r\nLocation: /login?key=secret-key\r\nConnection: close\r\n";
            write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        let org = HttpOrg::new(options(&address)).unwrap();
        let answer = org.set(UserId::new(1).unwrap(), Flag::OptOut).await;
        server.join().unwrap();
        let said = format!("{answer:?}");
        assert!(
            said.contains("(hidden)") && !said.contains("secret") && !said.contains("key is"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_loopback_address_has_no_proxy() {
        let org = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_nonblocking(true).unwrap();
        let port = org.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            // The one in between only finds out whether somebody listens.
            for is_request in [true, false, true] {
                let (mut socket, _) = org.accept().unwrap();
                let read = socket.read(&mut [0; 4096]).unwrap();
                assert_eq!(read > 0, is_request);
                let _ = socket.write_all(answer);
            }
        });
        let proxy_address = format!("http://{}", proxy.local_addr().unwrap());
        for host in ["127.0.0.1", "localhost"] {
            let options = options(&format!("http://{host}:{port}"));
            let org = behind(options, &proxy_address).unwrap();
            assert_eq!(org.proxy(), None);
            assert!(matches!(opt_out(&org).await, SendResult::Reply(reply) if reply.status == 204));
        }
        served.join().unwrap();
        assert!(proxy.accept().is_err(), "the proxy was asked");
    }

    #[test]
    fn an_unsupported_proxy_is_refused_without_its_password() {
        let proxy = format!("socks5://user:{PASSWORD}@proxy.example:1080");
        let error = behind(options("https://org.example"), &proxy).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the proxy socks5://proxy.example:1080 is of a kind"),
            "{error}"
        );
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }

    #[test]
    fn debug_texts_contain_no_secret() {
        let options = options("http://127.0.0.1:1");
        assert!(!format!("{options:?}").contains("secret-key"));
        let org = behind(options, "").unwrap();
        assert_eq!(
            format!("{org:?}"),
            "HttpOrg { address: \"http://127.0.0.1:1\", .. }"
        );
    }
}
