//! The Org over HTTP: one client, set up so that a key goes to one host and nowhere else, and one request per call. The
//! only file that names the HTTP client's crate; what answers mean is not decided here.

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
use secrecy::ExposeSecret;
use url::Url;

use super::address::below;
use super::environment::{Lookup, ProxyServer, find_localhost, proxy_for};
use super::limit::{Limit, Limits};
use super::redact::Secrets;
use super::silence::{self, Failure, Stage, Tried};
use super::{Address, Credentials, Org, answer, session, trust, wait};
use crate::domain::{Answer, Flag, LoginAnswer, Silence, UserId};
use crate::error::{Error, Kind, Result};
use crate::text::shown_path;
use crate::trusted_file;

/// At most so much of a body is read.
const LONGEST_BODY: usize = 64 << 10;

/// Connections that were idle for longer are not used again: gateways drop theirs after 60 s, and a request that meets
/// such a drop is lost.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// How the tool introduces itself.
const NAME: &str = concat!("mfa-optout/", env!("CARGO_PKG_VERSION"));

/// Everything that `HttpOrg` needs to know.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where the Org is.
    pub address: Address,
    /// Who asks.
    pub credentials: Credentials,
    /// For a whole request, its body read included.
    pub timeout: Duration,
    /// For making a connection, TLS included.
    pub connect_timeout: Duration,
    /// Certificates (PEM) trusted in addition to the system's.
    pub ca_cert: Option<PathBuf>,
    /// Requests in flight at most; so many idle connections are kept.
    pub concurrency: usize,
}

/// An Org that is spoken to over HTTP.
///
/// No redirect is followed, nothing is sent twice, no body is decompressed. A loopback address is reached without a
/// proxy and, under the name `localhost`, without asking a resolver.
pub struct HttpOrg {
    client: Client,
    address: Address,
    /// Below this are the users.
    users: Url,
    credentials: Credentials,
    /// Of every request for a membership, the proof of who asks included.
    headers: RefCell<HeaderMap>,
    /// What the run has sent to prove who asks, for as long as it lasts: a late answer can repeat an earlier token.
    secrets: RefCell<Secrets>,
    /// Where `localhost` listens, if that is the host.
    localhost: Option<IpAddr>,
    limits: Limits,
    tried: Tried,
}

impl HttpOrg {
    /// Sets the client up; nothing is sent yet. Proxies are taken from the environment (on Windows and macOS, from the
    /// system's settings too). For `localhost`, connections are opened and closed to find out where it listens.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`] for an impossible key, an unreadable `ca_cert`, a proxy that can't be used, or a system without
    /// trusted certificates.
    pub fn new(connection: Connection) -> Result<Self> {
        Self::in_environment(connection, &|name| std::env::var_os(name))
    }

    fn in_environment(connection: Connection, environment: Lookup<'_>) -> Result<Self> {
        let proxy = proxy_for(&connection.address, environment)?;
        let localhost = connection
            .address
            .is_localhost_name()
            .then(|| find_localhost(connection.address.port()));
        let client = client(&connection, proxy.as_ref(), localhost)?;
        let mut headers = membership_headers();
        headers.extend(session::first_header(&connection.credentials)?);
        let tried = Tried {
            host: connection.address.host().to_owned(),
            port: connection.address.port(),
            connect_timeout: connection.connect_timeout,
            timeout: connection.timeout,
            proxy: proxy.map(|proxy| proxy.name),
        };
        let limits = Limits::new(connection.timeout);
        let secrets = RefCell::new(first_secrets(&connection.credentials));
        let Connection {
            address,
            credentials,
            ..
        } = connection;
        let users = address.call(&["user", "users"]);
        Ok(Self {
            client,
            address,
            users,
            credentials,
            headers: RefCell::new(headers),
            secrets,
            localhost,
            limits,
            tried,
        })
    }

    /// The proxy that requests go through, without its password.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.tried.proxy.as_deref()
    }

    /// The loopback address that the name `localhost` stands for in this run; `None` for any other host.
    #[must_use]
    pub fn localhost(&self) -> Option<IpAddr> {
        self.localhost
    }

    async fn send(
        &self,
        request: Request,
        limit: &mut Limit,
    ) -> std::result::Result<Response, Answer> {
        match limit.within(self.client.execute(request)).await {
            Some(answered) => answered.map_err(|error| self.silence(&error)),
            None => Err(silence::too_late(&self.tried)),
        }
        .map_err(Answer::Silence)
    }

    fn silence(&self, error: &reqwest::Error) -> Silence {
        let secrets = self.secrets.borrow();
        silence::silence(&self.tried, failure(error, &secrets))
    }

    /// Reads what came back. A server may repeat what it was sent; no secret goes on from here.
    async fn reply(&self, mut response: Response, limit: &mut Limit) -> Answer {
        let body = words(&mut response, limit).await;
        let secrets = self.secrets.borrow();
        let reply = answer::reply(
            response.status(),
            response.headers(),
            &body,
            &secrets,
            wall_clock,
        );
        Answer::Reply(reply)
    }
}

/// The key or the password, which a server may repeat.
fn first_secrets(credentials: &Credentials) -> Secrets {
    let (Credentials::Key(secret)
    | Credentials::Session {
        password: secret, ..
    }) = credentials;
    let mut secrets = Secrets::default();
    secrets.add(secret.expose_secret());
    secrets
}

impl fmt::Debug for HttpOrg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOrg")
            .field("address", &self.address.to_string())
            .finish_non_exhaustive()
    }
}

impl Org for HttpOrg {
    async fn set(&self, user: UserId, flag: Flag) -> Answer {
        let url = below(
            &self.users,
            &[itoa::Buffer::new().format(user.get()), "membership"],
        );
        let body: &'static str = match flag {
            Flag::OptOut => r#"{"mfaOptOut": true}"#,
            Flag::OptIn => r#"{"mfaOptOut": false}"#,
        };
        let mut request = Request::new(Method::PUT, url);
        *request.body_mut() = Some(body.into());
        *request.headers_mut() = self.headers.borrow().clone();
        let mut limit = self.limits.begin();
        let answer = match self.send(request, &mut limit).await {
            Ok(response) if is_bare_success(&response) => Answer::Reply(answer::reply(
                response.status(),
                response.headers(),
                &[],
                &self.secrets.borrow(),
                wall_clock,
            )),
            // In a box, so that not every request takes the room that few answers need.
            Ok(response) => Box::pin(self.reply(response, &mut limit)).await,
            Err(silence) => silence,
        };
        self.limits.end(limit);
        answer
    }

    async fn log_in(&self) -> LoginAnswer {
        let Credentials::Session {
            email,
            password,
            org,
        } = &self.credentials
        else {
            return LoginAnswer::Unusable("an API key needs no log-in".to_owned());
        };
        let mut request = Request::new(Method::POST, self.address.call(&["user", "authenticate"]));
        *request.body_mut() = Some(session::log_in_body(email, password, *org).into());
        *request.headers_mut() = json_headers();
        let mut limit = self.limits.begin();
        let mut response = match self.send(request, &mut limit).await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return LoginAnswer::Failed(self.reply(response, &mut limit).await),
            Err(silence) => return LoginAnswer::Failed(silence),
        };
        let mut body = Vec::new();
        let read = limit.within(beginning(&mut response, &mut body)).await;
        let token = session::read_token(&body, wait::server_time(response.headers(), wall_clock()));
        match (token, read) {
            (Ok(issued), _) => {
                let (name, token) = issued.header;
                self.secrets.borrow_mut().add(&issued.token);
                self.headers.borrow_mut().insert(name, token);
                LoginAnswer::Token {
                    lifetime: issued.lifetime,
                }
            }
            (Err(odd), Some(Ok(()))) => LoginAnswer::Unusable(odd),
            (Err(_), Some(Err(error))) => {
                LoginAnswer::Failed(Answer::Silence(self.silence(&error)))
            }
            (Err(_), None) => LoginAnswer::Failed(Answer::Silence(silence::too_late(&self.tried))),
        }
    }
}

/// Returns everything that is the same in each request for a membership. The client adds `Host` over HTTP/1.1 and
/// `:authority` over HTTP/2; nginx 1.22 refuses a request that has both.
fn membership_headers() -> HeaderMap {
    let mut headers = json_headers();
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    headers
}

fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)])
}

fn client(
    connection: &Connection,
    proxy: Option<&ProxyServer>,
    localhost: Option<IpAddr>,
) -> Result<Client> {
    let builder = Client::builder()
        .user_agent(HeaderValue::from_static(NAME))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .https_only(connection.address.is_https())
        .connect_timeout(connection.connect_timeout)
        .pool_max_idle_per_host(connection.concurrency)
        .pool_idle_timeout(IDLE_CONNECTION)
        .tcp_nodelay(true);
    let builder = through(builder, proxy)?;
    let builder = match localhost {
        Some(ip) => {
            let address = SocketAddr::new(ip, connection.address.port());
            // `localhost` is this machine (RFC 6761, section 6.3), whatever a resolver says.
            builder.resolve("localhost", address)
        }
        None => builder,
    };
    let builder = with_trust(builder, connection)?;
    builder.build().map_err(|error| set_up(&error))
}

fn set_up(error: &reqwest::Error) -> Error {
    let reason = silence::root(error);
    Error::new(
        Kind::Usage,
        format!("no secure connection can be set up: {reason}"),
    )
    .help(
        "this needs the system's trusted certificates (package ca-certificates), or --ca-cert FILE",
    )
}

fn through(builder: ClientBuilder, proxy: Option<&ProxyServer>) -> Result<ClientBuilder> {
    let Some(ProxyServer {
        name,
        authorization,
    }) = proxy
    else {
        return Ok(builder);
    };
    let Ok(proxy) = Proxy::https(name) else {
        let message = format!("the proxy {name} can't be used");
        return Err(Error::new(Kind::Usage, message));
    };
    let proxy = match authorization {
        Some(authorization) => proxy.custom_http_auth(authorization.clone()),
        None => proxy,
    };
    Ok(builder.proxy(proxy))
}

/// Trusts the system's certificates and those of `--ca-cert`. Plain `http` needs none, and works on a machine that has
/// none.
fn with_trust(builder: ClientBuilder, connection: &Connection) -> Result<ClientBuilder> {
    // An error means that another client was set up before, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = builder.tls_version_min(tls::Version::TLS_1_2);
    let given = match &connection.ca_cert {
        Some(path) => Some((path, certificates(path)?)),
        None => None,
    };
    match given {
        _ if !connection.address.is_https() => Ok(builder.tls_certs_only([])),
        Some((path, certificates)) => match trust::tls_config(certificates) {
            Ok(config) => Ok(builder.tls_backend_preconfigured(config)),
            Err(error) => Err(unusable_certificate(path, &error.to_string())),
        },
        None => Ok(builder),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
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

fn failure<'a>(error: &'a reqwest::Error, secrets: &'a Secrets) -> Failure<'a> {
    let stage = match error {
        _ if error.is_dns() => Stage::LookUp,
        _ if error.is_connect() => Stage::Connecting,
        _ => Stage::Underway,
    };
    Failure {
        stage,
        timed_out: error.is_timeout(),
        error,
        secrets,
    }
}

/// The 204 that nearly all answers are: there is nothing to wait for.
fn is_bare_success(response: &Response) -> bool {
    response.status().is_success() && response.content_length() == Some(0)
}

/// Reads what the server has to say, for as long as the request may last: the body of a success can contradict it.
/// Whether or not it came to its end, what has been read is used.
async fn words(response: &mut Response, limit: &mut Limit) -> Vec<u8> {
    let mut body = Vec::new();
    let _ = limit.within(beginning(response, &mut body)).await;
    body
}

/// Reads the first [`LONGEST_BODY`] bytes of the body, or what comes of them before it breaks off, and says if it does.
/// Dropping the response closes a connection that has more to say.
async fn beginning(response: &mut Response, body: &mut Vec<u8>) -> reqwest::Result<()> {
    while body.len() < LONGEST_BODY
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(LONGEST_BODY - body.len())]);
    }
    Ok(())
}

/// Only for dates in answers, where the server's own clock isn't told.
#[expect(
    clippy::disallowed_methods,
    reason = "a date in an answer has to be judged against some clock"
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
    use crate::domain::Cause;

    const PASSWORD: &str = "hunter2";

    fn connection(address: &str) -> Connection {
        Connection {
            address: Address::parse(address).unwrap(),
            credentials: Credentials::Key(SecretString::from("secret-key")),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            ca_cert: None,
            concurrency: 8,
        }
    }

    /// The Org of an environment in which this is the proxy for everything.
    fn behind(connection: Connection, proxy: &str) -> Result<HttpOrg> {
        HttpOrg::in_environment(connection, &|name| {
            (name == "ALL_PROXY").then(|| proxy.into())
        })
    }

    /// A trusted certificate, so that the test needs none of the machine's.
    fn authority() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let certificate =
            rcgen::generate_simple_self_signed(["authority.example".to_owned()]).unwrap();
        file.write_all(certificate.cert.pem().as_bytes()).unwrap();
        file
    }

    async fn opt_out(org: &HttpOrg) -> Answer {
        org.set(UserId::new(7).unwrap(), Flag::OptOut).await
    }

    /// What comes of a request through a proxy that gives this answer, and what the proxy was asked.
    async fn through_proxy(answer: &'static str) -> (Silence, String) {
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
        let connection = Connection {
            ca_cert: Some(file.path().into()),
            ..connection("https://org.example")
        };
        let org = behind(connection, &proxy).unwrap();
        let Answer::Silence(silence) = opt_out(&org).await else {
            panic!("the proxy let it through")
        };
        (silence, asked.join().unwrap())
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_without_its_password() {
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
            let (silence, asked) = through_proxy(answer).await;
            assert_eq!(
                (silence.cause, silence.sent),
                (Cause::Proxy, false),
                "{silence:?}"
            );
            assert!(
                silence.message.starts_with("the proxy http://127.0.0.1:"),
                "{}",
                silence.message
            );
            assert!(silence.message.contains(words), "{}", silence.message);
            assert!(
                !silence.message.contains(PASSWORD) && !silence.message.contains("user:"),
                "{}",
                silence.message
            );
            assert!(asked.starts_with("CONNECT org.example:443 "), "{asked}");
            assert!(!asked.contains("secret-key"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_named() {
        let file = authority();
        let connection = Connection {
            ca_cert: Some(file.path().into()),
            ..connection("https://org.invalid")
        };
        let org = behind(connection, "").unwrap();
        let Answer::Silence(silence) = opt_out(&org).await else {
            panic!("there is such a host")
        };
        assert_eq!((silence.cause, silence.sent), (Cause::HostNotFound, false));
        assert!(
            silence
                .message
                .starts_with("the host org.invalid could not be found: "),
            "{}",
            silence.message
        );
    }

    #[tokio::test]
    async fn a_server_that_repeats_the_key_is_not_repeated() {
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
        let org = HttpOrg::new(connection(&address)).unwrap();
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
            let connection = connection(&format!("http://{host}:{port}"));
            let org = behind(connection, &proxy_address).unwrap();
            assert_eq!(org.proxy(), None);
            assert!(matches!(opt_out(&org).await, Answer::Reply(reply) if reply.status == 204));
        }
        served.join().unwrap();
        assert!(proxy.accept().is_err(), "the proxy was asked");
    }

    #[test]
    fn a_proxy_that_can_not_be_used_is_refused_without_its_password() {
        let proxy = format!("socks5://user:{PASSWORD}@proxy.example:1080");
        let error = behind(connection("https://org.example"), &proxy).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the proxy socks5://proxy.example:1080 is of a kind"),
            "{error}"
        );
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let connection = connection("http://127.0.0.1:1");
        assert!(!format!("{connection:?}").contains("secret-key"));
        let org = behind(connection, "").unwrap();
        assert_eq!(
            format!("{org:?}"),
            "HttpOrg { address: \"http://127.0.0.1:1\", .. }"
        );
    }
}
