//! The HTTP interface of the practice Org: the two API calls, what programs can ask about it, and
//! the check that a request comes from this machine. Rules about members and keys are in
//! [`super::org`].

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use super::org::{MembershipUpdate, PresentedCredentials, Refusal};
use super::{ApiCall, Decision, Member, SandboxOptions, SharedState, Stats, pages, swagger};

/// Maximum size of a request body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Value of `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Returns the router of everything that is served.
pub(super) fn router(options: &SandboxOptions) -> Router<SharedState> {
    Router::new()
        .route("/user/users/{id}/membership", put(set_membership))
        .route("/user/authenticate", post(authenticate))
        .route("/_sandbox/members", get(touched_members))
        .route("/_sandbox/stats", get(stats))
        .merge(pages::router(options))
        .merge(swagger::router(options))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(loopback_only))
        .layer(middleware::from_fn(pages::add_security_headers))
}

/// Updates a user's membership. Fields that are left out stay as they are.
async fn set_membership(
    State(state): State<SharedState>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Response> {
    // A path that is not UTF-8 is rejected by axum; it is a wrong ID like any other.
    let id = id.ok().and_then(|Path(id)| user_id(&id));
    check_decision(state.admit(ApiCall::Put(id)).await)?;
    let now = state.clock.elapsed();
    state.authorise(credentials(&headers), now)?;
    let Some(id) = id else {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "the user's ID must be a positive integer below 2^63",
        ));
    };
    let update = read_json::<MembershipUpdate>(&headers, body)?;
    let updated = state.lock().org.update(id, update, now);
    match updated {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(state.refuse(refusal)),
    }
}

/// The body of a log-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LogIn {
    email: String,
    password: String,
    #[serde(deserialize_with = "whole_number")]
    selected_org: u64,
    #[expect(dead_code, reason = "there is only one value")]
    client: ClientName,
}

/// Reads a whole number. JSON Schema takes `1.0` for one as well; a number that is too large
/// becomes the largest one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is whole and not negative, and the cast saturates"
)]
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = Number::deserialize(deserializer)?;
    if let Some(whole) = number.as_u64() {
        return Ok(whole);
    }
    match number.as_f64() {
        Some(value) if value >= 0.0 && value.fract() == 0.0 => Ok(value as u64),
        _ => Err(D::Error::custom("a whole number is expected")),
    }
}

/// The kind of client that logs in.
#[derive(Deserialize)]
enum ClientName {
    #[serde(rename = "core-client")]
    CoreClient,
}

/// The response to a log-in.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionToken {
    /// To be sent as `Authorization: bearer TOKEN`.
    token: String,
    /// Expiry, in seconds since the Unix epoch.
    expires_at: u64,
}

/// Opens a session.
async fn authenticate(
    State(state): State<SharedState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SessionToken>, Response> {
    check_decision(state.admit(ApiCall::LogIn).await)?;
    let log_in: LogIn = read_json(&headers, body)?;
    let now = state.clock.elapsed();
    let opened = state
        .lock()
        .org
        .log_in(&log_in.email, &log_in.password, log_in.selected_org, now);
    match opened {
        Ok((token, expiry)) => Ok(Json(SessionToken {
            token,
            expires_at: state.clock.unix(expiry).as_secs(),
        })),
        Err(refusal) => Err(state.refuse(refusal)),
    }
}

/// The query of `/_sandbox/members`.
#[derive(Deserialize)]
struct TouchedQuery {
    /// Return this member only, whether it received a PUT or not.
    id: Option<u64>,
}

async fn touched_members(
    State(state): State<SharedState>,
    query: Result<Query<TouchedQuery>, QueryRejection>,
) -> Result<Json<Vec<Member>>, Response> {
    let Query(query) =
        query.map_err(|rejection| problem(rejection.status(), rejection.body_text()))?;
    let org = &state.lock().org;
    let members = match query.id {
        Some(id) => org.member(id).into_iter().collect(),
        None => org.touched().collect(),
    };
    Ok(Json(members))
}

async fn stats(State(state): State<SharedState>) -> Json<Stats> {
    Json(state.lock().stats())
}

/// The body of every error response.
#[derive(Serialize)]
struct ErrorBody {
    message: String,
}

fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    let message = message.into();
    (status, Json(ErrorBody { message })).into_response()
}

/// Returns the error response of a request that is not served.
#[expect(
    clippy::result_large_err,
    reason = "the response is what is wanted, and it is built once per request"
)]
fn check_decision(decision: Decision) -> Result<(), Response> {
    match decision {
        Decision::Serve => Ok(()),
        Decision::Throttle => {
            let retry_after = [(RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())];
            let response = problem(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            Err((retry_after, response).into_response())
        }
        Decision::Fail(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let message = status.canonical_reason().unwrap_or_default().to_lowercase();
            Err(problem(status, message))
        }
    }
}

impl SharedState {
    #[expect(
        clippy::result_large_err,
        reason = "the response is what is wanted, and it is built once per request"
    )]
    fn authorise(
        &self,
        credentials: PresentedCredentials<'_>,
        now: Duration,
    ) -> Result<(), Response> {
        let allowed = self.lock().org.authorise(credentials, now);
        allowed.map_err(|refusal| self.refuse(refusal))
    }

    /// Counts a refusal and returns its response.
    fn refuse(&self, refusal: Refusal) -> Response {
        let (status, message) = match refusal {
            Refusal::NoCredentials => (
                StatusCode::FORBIDDEN,
                "no credentials: send x-api-key or a bearer token",
            ),
            Refusal::WrongKey => (StatusCode::UNAUTHORIZED, "the API key is not valid"),
            Refusal::WrongToken => (
                StatusCode::UNAUTHORIZED,
                "the token is not valid or has expired",
            ),
            Refusal::WrongPassword => (StatusCode::UNAUTHORIZED, "wrong email or password"),
            Refusal::NoSuchOrg => (
                StatusCode::NOT_FOUND,
                "there is no active Org for this user",
            ),
            Refusal::NoSuchUser => (StatusCode::NOT_FOUND, "there is no such user in this Org"),
        };
        if status != StatusCode::NOT_FOUND {
            self.lock().counts.refused += 1;
        }
        problem(status, message)
    }
}

/// Parses a user ID: a positive integer below 2^63, in digits, without sign or leading zero.
fn user_id(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let id: i64 = text.parse().ok()?;
    if is_plain {
        u64::try_from(id).ok()
    } else {
        None
    }
}

fn credentials(headers: &HeaderMap) -> PresentedCredentials<'_> {
    if let Some(key) = headers.get("x-api-key") {
        return PresentedCredentials::Key(key.as_bytes());
    }
    let Some(value) = headers.get(AUTHORIZATION) else {
        return PresentedCredentials::Nothing;
    };
    match value.as_bytes().split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            PresentedCredentials::Token(token)
        }
        _ => PresentedCredentials::Token(b""),
    }
}

/// Parses a JSON body.
#[expect(
    clippy::result_large_err,
    reason = "the response is what is wanted, and it is built once per request"
)]
fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Response> {
    let body = body.map_err(|rejection| problem(rejection.status(), rejection.body_text()))?;
    if body.is_empty() {
        return Err(problem(StatusCode::BAD_REQUEST, "the body is empty"));
    }
    if !is_json(headers) {
        return Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json",
        ));
    }
    // Serde would also accept an array of the values in the order of the fields.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "the body must be a JSON object",
        ));
    }
    serde_json::from_slice(&body).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            format!("the body is not valid: {error}"),
        )
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Rejects requests that were not meant for this machine.
///
/// A web page can let its own host name point at 127.0.0.1 and then read the responses (DNS
/// rebinding). Such a request has that name in its `Host` header.
async fn loopback_only(request: Request, next: Next) -> Response {
    if is_for_loopback(request.headers(), request.uri()) {
        next.run(request).await
    } else {
        problem(
            StatusCode::MISDIRECTED_REQUEST,
            "the sandbox answers only to localhost, 127.0.0.1 and [::1]",
        )
    }
}

fn is_for_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    is_loopback(&authority) && uri.authority().is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let has_user = authority.as_str().contains('@');
    !has_user && (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_an_id_only_in_its_plain_form() {
        assert_eq!(user_id("1732"), Some(1_732));
        assert_eq!(
            user_id("9223372036854775807"),
            Some(i64::MAX.unsigned_abs())
        );
        for odd in [
            "",
            "0",
            "01",
            "+1",
            "-1",
            "1.0",
            "1e3",
            "9223372036854775808",
            "١",
            "1 ",
            "ada@example.com",
        ] {
            assert_eq!(user_id(odd), None, "{odd}");
        }
    }

    #[test]
    fn answers_only_to_names_of_this_machine() {
        let asked = |host: &str, uri: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            is_for_loopback(&headers, &Uri::from_static(uri))
        };
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:9",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(asked(host, "/"), "{host}");
        }
        for host in [
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com:80",
            "x@127.0.0.1",
            "",
            "0.0.0.0",
        ] {
            assert!(!asked(host, "/"), "{host}");
        }
        assert!(!asked("localhost", "http://example.com/"));
        assert!(!is_for_loopback(&HeaderMap::new(), &Uri::from_static("/")));
    }

    #[test]
    fn rejects_two_host_headers() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, "localhost".parse().unwrap());
        headers.append(HOST, "example.com".parse().unwrap());
        assert!(!is_for_loopback(&headers, &Uri::from_static("/")));
    }

    #[test]
    fn accepts_the_bearer_scheme_in_any_case() {
        for (value, wanted) in [
            ("bearer abc", "abc"),
            ("Bearer abc", "abc"),
            ("Basic abc", ""),
            ("abc", ""),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            let PresentedCredentials::Token(token) = credentials(&headers) else {
                panic!("{value}")
            };
            assert_eq!(token, wanted.as_bytes(), "{value}");
        }
        assert!(matches!(
            credentials(&HeaderMap::new()),
            PresentedCredentials::Nothing
        ));
    }
}
