//! How no answer came, told from a chain of errors: which `Cause`, whether anything may have been sent, and one
//! sentence that names host, port and seconds but never a secret. Pure; that nothing came is found out in `http.rs`.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};

use super::redact::Secrets;
use crate::domain::{Cause, Silence};
use crate::text::one_line;

/// What was tried, for the sentences.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// The name or address asked for.
    pub(super) host: String,
    /// And its port.
    pub(super) port: u16,
    /// How long a connection may take.
    pub(super) connect_timeout: Duration,
    /// How long the whole request may take.
    pub(super) timeout: Duration,
    /// The proxy in between, without its password.
    pub(super) proxy: Option<String>,
}

/// How far the request had come, as the HTTP client tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The host's name was being looked up.
    LookUp,
    /// The connection was being made: no byte of the request has left.
    Connecting,
    /// The connection stood: some of the request may have left.
    Underway,
}

/// A failure, as the HTTP client tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    /// How far it had come.
    pub(super) stage: Stage,
    /// Whether the system, or the HTTP client while connecting, has waited in vain.
    pub(super) timed_out: bool,
    /// The error and what led to it.
    pub(super) error: &'a (dyn StdError + 'static),
    /// What must not be shown: a server's words can be part of an error, such as the debug data of an HTTP/2 `GOAWAY`.
    pub(super) secrets: &'a Secrets,
}

impl Failure<'_> {
    /// Returns what the last link of the chain says, without secrets.
    fn root(&self) -> String {
        one_line(&self.secrets.redact(&root_text(self.error)), LONGEST_DETAIL)
    }
}

/// The longest piece that is taken over from an error's own text, in characters.
const LONGEST_DETAIL: usize = 200;

/// Names the failure.
pub(super) fn silence(tried: &Tried, failure: Failure<'_>) -> Silence {
    let (cause, message) = match failure.stage {
        Stage::Underway => underway(tried, failure),
        _ if is_from_proxy(tried, failure.error) => (Cause::Proxy, by_proxy(tried, failure)),
        Stage::LookUp => (Cause::HostNotFound, not_found(tried, failure)),
        Stage::Connecting => connecting(tried, failure),
    };
    Silence {
        cause,
        sent: failure.stage == Stage::Underway && !is_unprocessed(failure.error),
        message,
    }
}

/// Names what was given up for its time had run out, however far it had come.
pub(super) fn too_late(tried: &Tried) -> Silence {
    let Tried { host, timeout, .. } = tried;
    let message = format!("no complete answer from {host} within {timeout:?}");
    Silence {
        cause: Cause::Timeout,
        sent: true,
        message,
    }
}

fn underway(tried: &Tried, failure: Failure<'_>) -> (Cause, String) {
    let Tried { host, .. } = tried;
    if failure.timed_out {
        return (
            Cause::Timeout,
            format!("no complete answer from {host}: {}", failure.root()),
        );
    }
    if find::<hyper::Error>(failure.error).is_some_and(hyper::Error::is_parse) {
        return (
            Cause::NotUnderstood,
            format!("answer not understood: {host} sent {}", not_http(failure)),
        );
    }
    if is_unprocessed(failure.error) {
        return (
            Cause::Reset,
            format!(
                "{host} closed the connection and has not looked at the request: {}",
                failure.root()
            ),
        );
    }
    (
        Cause::Reset,
        format!(
            "{host} closed the connection before its answer was complete: {}",
            failure.root()
        ),
    )
}

/// Checks whether an HTTP/2 server has said that it did not process the request: `REFUSED_STREAM` (RFC 9113, section 8.7), or
/// a `GOAWAY` without an error, which ends the streams above the last one that it names (section 6.8). nginx sends one after
/// `keepalive_requests`, also when more requests are on their way.
fn is_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    let Some(error) = find::<h2::Error>(error).filter(|error| error.is_remote()) else {
        return false;
    };
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    }
}

fn not_http(failure: Failure<'_>) -> String {
    if find::<hyper::Error>(failure.error).is_some_and(hyper::Error::is_parse_too_large) {
        return "more headers than are accepted".to_owned();
    }
    format!("something that is not HTTP ({})", failure.root())
}

fn connecting(tried: &Tried, failure: Failure<'_>) -> (Cause, String) {
    let Tried {
        host,
        port,
        connect_timeout,
        ..
    } = tried;
    if let Some(error) = find::<TlsError>(failure.error) {
        return tls(tried, error);
    }
    if failure.timed_out {
        // Behind a proxy, nobody can tell whether the proxy or the Org was waited for.
        let message = match &tried.proxy {
            Some(proxy) => format!(
                "the proxy {proxy} has not connected to {host}:{port} within {connect_timeout:?}"
            ),
            None => {
                format!("no answer from {host}:{port}: not connected within {connect_timeout:?}")
            }
        };
        return (Cause::ConnectTimeout, message);
    }
    match io_kind(failure.error) {
        Some(ErrorKind::ConnectionRefused) => (
            Cause::Refused,
            format!("{host}:{port} refused the connection: nothing listens there"),
        ),
        Some(
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted,
        ) => (
            Cause::Reset,
            format!("{host}:{port} closed the connection while it was being made"),
        ),
        _ => (
            Cause::Unreachable,
            format!("{host}:{port} can't be reached: {}", failure.root()),
        ),
    }
}

/// Names the host that was not found. Behind a proxy, only the proxy's own name is looked up here.
fn not_found(tried: &Tried, failure: Failure<'_>) -> String {
    let host = match &tried.proxy {
        Some(proxy) => format!("the host of the proxy {proxy}"),
        None => format!("the host {}", tried.host),
    };
    format!("{host} could not be found: {}", failure.root())
}

/// The proxy's own failures are told by the first words of an error that the HTTP client keeps to itself.
fn is_from_proxy(tried: &Tried, error: &(dyn StdError + 'static)) -> bool {
    tried.proxy.is_some() && chain(error).any(|link| link.to_string().starts_with("tunnel error"))
}

fn by_proxy(tried: &Tried, failure: Failure<'_>) -> String {
    let root = failure.root();
    let why = match root.strip_prefix("tunnel error: ") {
        Some("proxy authorization required") => {
            "asks for a user name and password, or for other ones".to_owned()
        }
        Some("unsuccessful") => format!("would not connect to {}:{}", tried.host, tried.port),
        Some(other) => format!("gave no usable answer: {other}"),
        None => format!("can't be used: {root}"),
    };
    format!(
        "the proxy {} {why}",
        tried.proxy.as_deref().unwrap_or_default()
    )
}

fn tls(tried: &Tried, error: &TlsError) -> (Cause, String) {
    let Tried { host, port, .. } = tried;
    let why = match error {
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::MessageTooLarge,
        ) => {
            return (
                Cause::NotTls,
                format!("{host}:{port} does not speak TLS; is it an http:// port?"),
            );
        }
        TlsError::InvalidCertificate(error) => {
            format!("the certificate {}", certificate(host, error))
        }
        TlsError::PeerIncompatible(_)
        | TlsError::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        )
        | TlsError::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            "no common protocol version or cipher; TLS 1.2 is the oldest that is accepted"
                .to_owned()
        }
        other => detail(other),
    };
    (
        Cause::Tls,
        format!("no secure connection to {host}:{port}: {why}"),
    )
}

fn certificate(host: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("has expired, or this machine's clock is wrong ({})", detail(error))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("is not valid yet, or this machine's clock is wrong ({})", detail(error))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("is not for {host} ({})", detail(error))
        }
        CertificateError::UnknownIssuer => {
            "is from an authority that this machine does not trust; if it is your company's own, give its certificate \
             with --ca-cert"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "is not from the authority of that name which this machine trusts; if it is your company's own, give its \
             certificate with --ca-cert"
                .to_owned()
        }
        CertificateError::Revoked => "has been revoked".to_owned(),
        error if is_authority_as_server(error) => {
            "is self-signed, or an authority's own, and this machine does not trust it; if it is the right one, give \
             that very certificate with --ca-cert"
                .to_owned()
        }
        CertificateError::Other(error) if error.0.to_string() == "UnsupportedCertVersion" => {
            "is of X.509 version 1, which is not accepted; the server needs a certificate of version 3".to_owned()
        }
        CertificateError::Other(error) => format!("is not acceptable ({})", detail(&error.0)),
        other => format!("is not acceptable ({})", detail(other)),
    }
}

/// Checks whether a server's certificate was refused because it is marked as that of an authority, as most self-signed
/// certificates are. The verifier's own error type is in a crate that nothing else here needs, so its text is compared.
pub(super) fn is_authority_as_server(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(error) if error.0.to_string() == "CaUsedAsEndEntity")
}

fn detail(error: &dyn fmt::Display) -> String {
    one_line(&error.to_string(), LONGEST_DETAIL)
}

/// Returns what the last link of a chain says, for errors that have nothing of a server's words in them.
pub(super) fn root(error: &(dyn StdError + 'static)) -> String {
    detail(&root_text(error))
}

/// The last link of the chain: what the operating system or the protocol said.
fn root_text(error: &(dyn StdError + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The first error of a type in the chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|link| link.downcast_ref())
}

/// What the operating system said: outer I/O errors merely wrap inner ones.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    chain(error)
        .filter_map(|link| link.downcast_ref())
        .last()
        .map(io::Error::kind)
}

/// The error and what led to it. An `io::Error` that wraps another error leaves that one out of its `source`, so it is
/// put in here.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&link| cause_of(link))
}

fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of a chain, as the HTTP client wraps its errors.
    #[derive(Debug)]
    struct Link(&'static str, Option<Box<dyn StdError>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Link {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref()
        }
    }

    fn tried(proxy: Option<&str>) -> Tried {
        Tried {
            host: "org.example".into(),
            port: 443,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            proxy: proxy.map(str::to_owned),
        }
    }

    fn of(stage: Stage, error: impl StdError + 'static) -> Silence {
        let error = Link("error sending request", Some(Box::new(error)));
        silence(
            &tried(None),
            Failure {
                stage,
                timed_out: false,
                error: &error,
                secrets: &Secrets::default(),
            },
        )
    }

    fn of_tls(error: TlsError) -> Silence {
        of(
            Stage::Connecting,
            io::Error::new(ErrorKind::InvalidData, error),
        )
    }

    #[test]
    fn what_happens_while_connecting_has_sent_nothing() {
        for (kind, cause, words) in [
            (
                ErrorKind::ConnectionRefused,
                Cause::Refused,
                "org.example:443 refused the connection",
            ),
            (
                ErrorKind::ConnectionReset,
                Cause::Reset,
                "closed the connection while it was being made",
            ),
            (
                ErrorKind::UnexpectedEof,
                Cause::Reset,
                "closed the connection while it was being made",
            ),
            (
                ErrorKind::NetworkUnreachable,
                Cause::Unreachable,
                "org.example:443 can't be reached: ",
            ),
            (
                ErrorKind::PermissionDenied,
                Cause::Unreachable,
                "org.example:443 can't be reached: ",
            ),
        ] {
            let silence = of(Stage::Connecting, io::Error::from(kind));
            assert_eq!((silence.cause, silence.sent), (cause, false), "{kind}");
            assert!(silence.message.contains(words), "{}", silence.message);
        }
        let wrapped = io::Error::other(io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!(of(Stage::Connecting, wrapped).cause, Cause::Reset);
        let silence = of(Stage::LookUp, Link("Name or service not known", None));
        assert_eq!((silence.cause, silence.sent), (Cause::HostNotFound, false));
        assert_eq!(
            silence.message,
            "the host org.example could not be found: Name or service not known"
        );
    }

    #[test]
    fn what_happens_later_may_have_sent_something() {
        let silence = of(Stage::Underway, io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!((silence.cause, silence.sent), (Cause::Reset, true));
        let stream = of(
            Stage::Underway,
            Link("stream error received: refused stream", None),
        );
        assert_eq!((stream.cause, stream.sent), (Cause::Reset, true));
    }

    #[test]
    fn timeouts_name_their_seconds() {
        let failure = Failure {
            stage: Stage::Connecting,
            timed_out: true,
            error: &Link("operation timed out", None),
            secrets: &Secrets::default(),
        };
        let silence = silence(&tried(None), failure);
        assert_eq!(
            (silence.cause, silence.sent),
            (Cause::ConnectTimeout, false)
        );
        assert!(
            silence.message.contains("not connected within 10s"),
            "{}",
            silence.message
        );

        let failure = Failure {
            stage: Stage::Underway,
            timed_out: true,
            error: &io::Error::from(ErrorKind::TimedOut),
            secrets: &Secrets::default(),
        };
        let silence = super::silence(&tried(None), failure);
        assert_eq!((silence.cause, silence.sent), (Cause::Timeout, true));
        assert_eq!(
            silence.message,
            "no complete answer from org.example: timed out"
        );

        let silence = too_late(&tried(None));
        assert_eq!((silence.cause, silence.sent), (Cause::Timeout, true));
        assert_eq!(
            silence.message,
            "no complete answer from org.example within 30s"
        );
    }

    #[test]
    fn each_way_that_tls_fails_has_its_words() {
        for (error, cause, words) in [
            (
                TlsError::InvalidCertificate(CertificateError::Expired),
                Cause::Tls,
                "has expired",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidYet),
                Cause::Tls,
                "is not valid yet",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidForName),
                Cause::Tls,
                "is not for org.example",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
                Cause::Tls,
                "--ca-cert",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::Revoked),
                Cause::Tls,
                "revoked",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::BadEncoding),
                Cause::Tls,
                "is not acceptable",
            ),
            (
                TlsError::AlertReceived(AlertDescription::ProtocolVersion),
                Cause::Tls,
                "TLS 1.2 is the oldest",
            ),
            (
                TlsError::AlertReceived(AlertDescription::InternalError),
                Cause::Tls,
                "no secure connection",
            ),
            (
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
                Cause::NotTls,
                "does not speak TLS",
            ),
        ] {
            let silence = of_tls(error);
            assert_eq!(
                (silence.cause, silence.sent),
                (cause, false),
                "{}",
                silence.message
            );
            assert!(silence.message.contains(words), "{}", silence.message);
            assert!(
                words == "--ca-cert" || !silence.message.contains("--ca-cert"),
                "{}",
                silence.message
            );
        }
    }

    #[test]
    fn a_proxy_is_named_and_its_refusal_is_not_the_orgs() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        for (error, words) in [
            (
                Link("tunnel error: proxy authorization required", None),
                "asks for a user name and password",
            ),
            (
                Link("tunnel error: unsuccessful", None),
                "would not connect to org.example:443",
            ),
            (
                Link("tunnel error: unexpected end of file", None),
                "gave no usable answer",
            ),
            (
                Link(
                    "tunnel error: failed to create underlying connection",
                    Some(refused.into()),
                ),
                "can't be used",
            ),
        ] {
            let failure = Failure {
                stage: Stage::Connecting,
                timed_out: false,
                error: &error,
                secrets: &Secrets::default(),
            };
            let silence = silence(&tried(Some("http://proxy.example:3128")), failure);
            assert_eq!((silence.cause, silence.sent), (Cause::Proxy, false));
            assert!(
                silence
                    .message
                    .starts_with("the proxy http://proxy.example:3128 "),
                "{}",
                silence.message
            );
            assert!(silence.message.contains(words), "{}", silence.message);
        }
    }

    #[test]
    fn a_proxy_that_hangs_or_can_not_be_found_is_named_and_not_the_org() {
        for (stage, timed_out, cause, words) in [
            (
                Stage::Connecting,
                true,
                Cause::ConnectTimeout,
                "the proxy http://proxy.example:3128 has not connected to org.example:443 within 10s",
            ),
            (
                Stage::LookUp,
                false,
                Cause::HostNotFound,
                "the host of the proxy http://proxy.example:3128 could not be found: ",
            ),
        ] {
            let failure = Failure {
                stage,
                timed_out,
                error: &Link("operation timed out", None),
                secrets: &Secrets::default(),
            };
            let silence = silence(&tried(Some("http://proxy.example:3128")), failure);
            assert_eq!((silence.cause, silence.sent), (cause, false));
            assert!(silence.message.starts_with(words), "{}", silence.message);
        }
    }

    #[test]
    fn secrets_in_an_error_are_hidden_before_it_is_cut() {
        let mut secrets = Secrets::default();
        secrets.add("k3y-\"secret\"");
        let text = format!("{}b\"k3y-\\\"secret\\\"\"", "x".repeat(LONGEST_DETAIL - 8));
        let failure = Failure {
            stage: Stage::Underway,
            timed_out: false,
            error: &io::Error::other(text),
            secrets: &secrets,
        };
        let silence = silence(&tried(None), failure);
        assert!(!silence.message.contains("k3y"), "{}", silence.message);
    }
}
