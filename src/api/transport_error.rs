//! Classifies requests that got no usable response, by the chain of errors of the HTTP client.
//!
//! The result is the kind of failure, whether anything may have been sent, and one sentence that
//! names host, port and seconds but never a secret.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};

use super::redact::Secrets;
use crate::domain::{TransportError, TransportErrorKind};
use crate::text::one_line;

/// The maximum length of the part of a message that is an error's own text, in characters.
const MAX_ERROR_TEXT: usize = 200;

/// The parameters of requests that are mentioned in messages.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    /// The host name or address.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// The timeout for establishing a connection.
    pub(super) connect_timeout: Duration,
    /// The timeout of a request.
    pub(super) timeout: Duration,
    /// The proxy, without its password.
    pub(super) proxy: Option<String>,
}

/// The stage in which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The host name was being resolved.
    LookUp,
    /// The connection was being established. Nothing of the request has been sent.
    Connecting,
    /// The connection was established. Some of the request may have been sent.
    Underway,
}

/// An error of the HTTP client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientError<'a> {
    /// The stage in which the request failed.
    pub(super) stage: Stage,
    /// Whether a timeout of the operating system or of the HTTP client has passed.
    pub(super) timed_out: bool,
    /// The error, with the errors that caused it as its sources.
    pub(super) error: &'a (dyn StdError + 'static),
    /// Secrets to be removed: an error can contain text of the server, such as the debug data of an
    /// HTTP/2 `GOAWAY`.
    pub(super) secrets: &'a Secrets,
}

impl ClientError<'_> {
    /// Returns the text of the innermost error, without secrets.
    fn root(&self) -> String {
        let text = self.secrets.redact(&root_text(self.error));
        one_line(&text, MAX_ERROR_TEXT)
    }
}

/// Classifies an error of the HTTP client.
pub(super) fn classify(context: &RequestContext, error: ClientError<'_>) -> TransportError {
    let is_processed = !is_unprocessed(error.error);
    let (cause, message) = match error.stage {
        Stage::Underway => underway(context, error),
        Stage::LookUp | Stage::Connecting if is_from_proxy(context, error.error) => {
            (TransportErrorKind::Proxy, from_proxy(context, error))
        }
        Stage::LookUp => (TransportErrorKind::HostNotFound, not_found(context, error)),
        Stage::Connecting => connecting(context, error),
    };
    TransportError {
        cause,
        sent: error.stage == Stage::Underway && is_processed,
        message,
    }
}

/// Returns the error of a request whose deadline has passed.
pub(super) fn timed_out(context: &RequestContext) -> TransportError {
    let RequestContext { host, timeout, .. } = context;
    TransportError {
        cause: TransportErrorKind::Timeout,
        sent: true,
        message: format!("no complete answer from {host} within {timeout:?}"),
    }
}

fn underway(context: &RequestContext, error: ClientError<'_>) -> (TransportErrorKind, String) {
    let host = &context.host;
    let root = error.root();
    let protocol_error = find::<hyper::Error>(error.error).filter(|error| error.is_parse());
    if error.timed_out {
        let message = format!("no complete answer from {host}: {root}");
        (TransportErrorKind::Timeout, message)
    } else if let Some(protocol_error) = protocol_error {
        let what = if protocol_error.is_parse_too_large() {
            "more headers than are accepted".to_owned()
        } else {
            format!("something that is not HTTP ({root})")
        };
        let message = format!("answer not understood: {host} sent {what}");
        (TransportErrorKind::NotUnderstood, message)
    } else if is_unprocessed(error.error) {
        let message =
            format!("{host} closed the connection and has not looked at the request: {root}");
        (TransportErrorKind::Reset, message)
    } else {
        let message =
            format!("{host} closed the connection before its answer was complete: {root}");
        (TransportErrorKind::Reset, message)
    }
}

/// Checks whether an HTTP/2 server has said that it did not process the request.
///
/// It does so by `REFUSED_STREAM` (RFC 9113, section 8.7), or by a `GOAWAY` without an error, which
/// ends the streams above the last one that it names (section 6.8). nginx sends a `GOAWAY` after
/// `keepalive_requests`, even if more requests are on their way.
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

fn connecting(context: &RequestContext, error: ClientError<'_>) -> (TransportErrorKind, String) {
    let RequestContext { host, port, .. } = context;
    if let Some(error) = find::<TlsError>(error.error) {
        return tls(context, error);
    }
    if error.timed_out {
        return (TransportErrorKind::ConnectTimeout, connect_timeout(context));
    }
    match io_kind(error.error) {
        Some(ErrorKind::ConnectionRefused) => (
            TransportErrorKind::Refused,
            format!("{host}:{port} refused the connection: nothing listens there"),
        ),
        Some(
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted,
        ) => (
            TransportErrorKind::Reset,
            format!("{host}:{port} closed the connection while it was being made"),
        ),
        _ => (
            TransportErrorKind::Unreachable,
            format!("{host}:{port} can't be reached: {}", error.root()),
        ),
    }
}

fn connect_timeout(context: &RequestContext) -> String {
    let RequestContext {
        host,
        port,
        connect_timeout: timeout,
        ..
    } = context;
    match &context.proxy {
        // Either the proxy or the Org did not respond; there is no telling which.
        Some(proxy) => {
            format!("the proxy {proxy} has not connected to {host}:{port} within {timeout:?}")
        }
        None => format!("no answer from {host}:{port}: not connected within {timeout:?}"),
    }
}

/// Names the host that was not found. If there is a proxy, only the proxy's own name is resolved
/// here.
fn not_found(context: &RequestContext, error: ClientError<'_>) -> String {
    let host = match &context.proxy {
        Some(proxy) => format!("the host of the proxy {proxy}"),
        None => format!("the host {}", context.host),
    };
    format!("{host} could not be found: {}", error.root())
}

/// Checks whether an error is the proxy's. The HTTP client does not export the type of these
/// errors, so their text is compared.
fn is_from_proxy(context: &RequestContext, error: &(dyn StdError + 'static)) -> bool {
    context.proxy.is_some() && chain(error).any(|link| link.to_string().starts_with("tunnel error"))
}

fn from_proxy(context: &RequestContext, error: ClientError<'_>) -> String {
    let root = error.root();
    let reason = match root.strip_prefix("tunnel error: ") {
        Some("proxy authorization required") => {
            "asks for a user name and password, or for other ones".to_owned()
        }
        Some("unsuccessful") => format!("would not connect to {}:{}", context.host, context.port),
        Some(other) => format!("gave no usable answer: {other}"),
        None => format!("can't be used: {root}"),
    };
    let proxy = context.proxy.as_deref().unwrap_or_default();
    format!("the proxy {proxy} {reason}")
}

fn tls(context: &RequestContext, error: &TlsError) -> (TransportErrorKind, String) {
    let RequestContext { host, port, .. } = context;
    let reason = match error {
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::MessageTooLarge,
        ) => {
            let message = format!("{host}:{port} does not speak TLS; it may be a port for http://");
            return (TransportErrorKind::NotTls, message);
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
        other => shown(other),
    };
    let message = format!("no secure connection to {host}:{port}: {reason}");
    (TransportErrorKind::Tls, message)
}

/// Returns what is wrong with a certificate, as the end of a sentence.
fn certificate(host: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "has expired, or this machine's clock is wrong ({})",
            shown(error)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "is not valid yet, or this machine's clock is wrong ({})",
            shown(error)
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("is not for {host} ({})", shown(error))
        }
        CertificateError::UnknownIssuer => "is from an authority that this machine does not \
             trust; if it is your company's own, give its certificate with --ca-cert"
            .to_owned(),
        CertificateError::BadSignature => "is not from the authority of that name which this \
             machine trusts; if it is your company's own, give its certificate with --ca-cert"
            .to_owned(),
        CertificateError::Revoked => "has been revoked".to_owned(),
        error if is_authority_as_server(error) => {
            "is self-signed, or an authority's own, and this machine does not trust it; if it is \
             the right one, give that certificate with --ca-cert"
                .to_owned()
        }
        CertificateError::Other(error) if error.0.to_string() == "UnsupportedCertVersion" => {
            "is of X.509 version 1, which is not accepted; the server needs a certificate of \
             version 3"
                .to_owned()
        }
        CertificateError::Other(error) => format!("is not acceptable ({})", shown(&error.0)),
        other => format!("is not acceptable ({})", shown(other)),
    }
}

/// Checks whether a server's certificate was refused because it is marked as that of an authority,
/// as most self-signed certificates are. The type of the verifier's error is in a crate that
/// nothing else here needs, so its text is compared.
pub(super) fn is_authority_as_server(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(error) if error.0.to_string() == "CaUsedAsEndEntity")
}

fn shown(error: &dyn fmt::Display) -> String {
    one_line(&error.to_string(), MAX_ERROR_TEXT)
}

/// Returns the text of the innermost error, for errors that contain no text of a server.
pub(super) fn root(error: &(dyn StdError + 'static)) -> String {
    shown(&root_text(error))
}

/// Returns the text of the innermost error, which is that of the operating system or of the
/// protocol.
fn root_text(error: &(dyn StdError + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Returns the first error of a type in the chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|link| link.downcast_ref())
}

/// Returns the kind of the innermost I/O error, which is the operating system's.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    chain(error)
        .filter_map(|link| link.downcast_ref())
        .last()
        .map(io::Error::kind)
}

/// Returns an error and its sources, from the outermost to the innermost.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&link| source_of(link))
}

/// Returns the source of an error. An `io::Error` that wraps another error returns the source of
/// that one, so the wrapped error is added here.
fn source_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
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

    fn context(proxy: Option<&str>) -> RequestContext {
        RequestContext {
            host: "org.example".into(),
            port: 443,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            proxy: proxy.map(str::to_owned),
        }
    }

    fn of(stage: Stage, error: impl StdError + 'static) -> TransportError {
        let error = Link("error sending request", Some(Box::new(error)));
        classify(
            &context(None),
            ClientError {
                stage,
                timed_out: false,
                error: &error,
                secrets: &Secrets::default(),
            },
        )
    }

    fn of_tls(error: TlsError) -> TransportError {
        of(
            Stage::Connecting,
            io::Error::new(ErrorKind::InvalidData, error),
        )
    }

    #[test]
    fn errors_while_connecting_have_sent_nothing() {
        for (kind, cause, words) in [
            (
                ErrorKind::ConnectionRefused,
                TransportErrorKind::Refused,
                "org.example:443 refused the connection",
            ),
            (
                ErrorKind::ConnectionReset,
                TransportErrorKind::Reset,
                "closed the connection while it was being made",
            ),
            (
                ErrorKind::UnexpectedEof,
                TransportErrorKind::Reset,
                "closed the connection while it was being made",
            ),
            (
                ErrorKind::NetworkUnreachable,
                TransportErrorKind::Unreachable,
                "org.example:443 can't be reached: ",
            ),
            (
                ErrorKind::PermissionDenied,
                TransportErrorKind::Unreachable,
                "org.example:443 can't be reached: ",
            ),
        ] {
            let error = of(Stage::Connecting, io::Error::from(kind));
            assert_eq!((error.cause, error.sent), (cause, false), "{kind}");
            assert!(error.message.contains(words), "{}", error.message);
        }
        let wrapped = io::Error::other(io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!(
            of(Stage::Connecting, wrapped).cause,
            TransportErrorKind::Reset
        );
        let error = of(Stage::LookUp, Link("Name or service not known", None));
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::HostNotFound, false)
        );
        assert_eq!(
            error.message,
            "the host org.example could not be found: Name or service not known"
        );
    }

    #[test]
    fn errors_after_connecting_may_have_sent_the_request() {
        let error = of(Stage::Underway, io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!((error.cause, error.sent), (TransportErrorKind::Reset, true));
        let stream = of(
            Stage::Underway,
            Link("stream error received: refused stream", None),
        );
        assert_eq!(
            (stream.cause, stream.sent),
            (TransportErrorKind::Reset, true)
        );
    }

    #[test]
    fn messages_of_timeouts_name_the_timeout() {
        let error = ClientError {
            stage: Stage::Connecting,
            timed_out: true,
            error: &Link("operation timed out", None),
            secrets: &Secrets::default(),
        };
        let error = classify(&context(None), error);
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::ConnectTimeout, false)
        );
        assert!(
            error.message.contains("not connected within 10s"),
            "{}",
            error.message
        );

        let error = ClientError {
            stage: Stage::Underway,
            timed_out: true,
            error: &io::Error::from(ErrorKind::TimedOut),
            secrets: &Secrets::default(),
        };
        let error = classify(&context(None), error);
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::Timeout, true)
        );
        assert_eq!(
            error.message,
            "no complete answer from org.example: timed out"
        );

        let error = timed_out(&context(None));
        assert_eq!(
            (error.cause, error.sent),
            (TransportErrorKind::Timeout, true)
        );
        assert_eq!(
            error.message,
            "no complete answer from org.example within 30s"
        );
    }

    #[test]
    fn tls_errors_are_explained() {
        for (error, cause, words) in [
            (
                TlsError::InvalidCertificate(CertificateError::Expired),
                TransportErrorKind::Tls,
                "has expired",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidYet),
                TransportErrorKind::Tls,
                "is not valid yet",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidForName),
                TransportErrorKind::Tls,
                "is not for org.example",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
                TransportErrorKind::Tls,
                "--ca-cert",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::Revoked),
                TransportErrorKind::Tls,
                "revoked",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::BadEncoding),
                TransportErrorKind::Tls,
                "is not acceptable",
            ),
            (
                TlsError::AlertReceived(AlertDescription::ProtocolVersion),
                TransportErrorKind::Tls,
                "TLS 1.2 is the oldest",
            ),
            (
                TlsError::AlertReceived(AlertDescription::InternalError),
                TransportErrorKind::Tls,
                "no secure connection",
            ),
            (
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
                TransportErrorKind::NotTls,
                "does not speak TLS",
            ),
        ] {
            let error = of_tls(error);
            assert_eq!(
                (error.cause, error.sent),
                (cause, false),
                "{}",
                error.message
            );
            assert!(error.message.contains(words), "{}", error.message);
            assert!(
                words == "--ca-cert" || !error.message.contains("--ca-cert"),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn errors_of_a_proxy_name_the_proxy() {
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
            let error = ClientError {
                stage: Stage::Connecting,
                timed_out: false,
                error: &error,
                secrets: &Secrets::default(),
            };
            let error = classify(&context(Some("http://proxy.example:3128")), error);
            assert_eq!(
                (error.cause, error.sent),
                (TransportErrorKind::Proxy, false)
            );
            assert!(
                error
                    .message
                    .starts_with("the proxy http://proxy.example:3128 "),
                "{}",
                error.message
            );
            assert!(error.message.contains(words), "{}", error.message);
        }
    }

    #[test]
    fn a_proxy_that_hangs_or_is_not_found_is_named_instead_of_the_org() {
        for (stage, timed_out, cause, words) in [
            (
                Stage::Connecting,
                true,
                TransportErrorKind::ConnectTimeout,
                "the proxy http://proxy.example:3128 has not connected to org.example:443 within \
                 10s",
            ),
            (
                Stage::LookUp,
                false,
                TransportErrorKind::HostNotFound,
                "the host of the proxy http://proxy.example:3128 could not be found: ",
            ),
        ] {
            let error = ClientError {
                stage,
                timed_out,
                error: &Link("operation timed out", None),
                secrets: &Secrets::default(),
            };
            let error = classify(&context(Some("http://proxy.example:3128")), error);
            assert_eq!((error.cause, error.sent), (cause, false));
            assert!(error.message.starts_with(words), "{}", error.message);
        }
    }

    #[test]
    fn secrets_are_hidden_before_an_error_is_cut() {
        let mut secrets = Secrets::default();
        secrets.add("k3y-\"secret\"");
        let text = format!("{}b\"k3y-\\\"secret\\\"\"", "x".repeat(MAX_ERROR_TEXT - 8));
        let error = ClientError {
            stage: Stage::Underway,
            timed_out: false,
            error: &io::Error::other(text),
            secrets: &secrets,
        };
        let error = classify(&context(None), error);
        assert!(!error.message.contains("k3y"), "{}", error.message);
    }
}
