//! What the practice Org answers over HTTP: the two calls, their `OpenAPI` document with Swagger UI, and who may ask at
//! all. What is true of a member or a key is not decided here.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::org::{Credentials, Refusal, Update};
use super::{Call, House, Member, Stats, Verdict, pages};

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// What `Retry-After` says, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Everything that is served.
pub(super) fn router(house: House) -> Router {
    let swagger = Config::from("/api/openapi.json")
        .doc_expansion("none")
        .validator_url("none");
    Router::new()
        .route("/user/users/{id}/membership", put(set_membership))
        .route("/user/authenticate", post(authenticate))
        .route("/_sandbox/members", get(touched_members))
        .route("/_sandbox/stats", get(stats))
        .merge(pages::router())
        .merge(
            SwaggerUi::new("/api")
                .url("/api/openapi.json", Api::openapi())
                .config(swagger),
        )
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(loopback_only))
        .layer(middleware::from_fn(pages::harden))
        .with_state(house)
}

/// The document that Swagger UI shows.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Practice Org",
        description = "A sandbox on this machine, not Resolver Core. Press **Authorize** and enter the API key \
            (`sandbox-key` unless it was started with another one) before you try a call. \
            What the calls did is on the [members page](/members).",
        license(name = "MIT")
    ),
    paths(set_membership, authenticate),
    tags((name = "user", description = "Users and their membership in the Org")),
    modifiers(&Security)
)]
struct Api;

/// The two ways to authenticate.
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let key = ApiKeyValue::with_description("x-api-key", "The API key of the practice Org.");
        let session = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that `POST /user/authenticate` answers."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
        components.add_security_scheme("session", SecurityScheme::Http(session));
    }
}

/// Updates a user's membership
///
/// A partial update: fields that are not named stay as they are. To opt a user out of multi-factor authentication, cut
/// the body down to `{"mfaOptOut": true}`.
#[utoipa::path(
    put,
    path = "/user/users/{id}/membership",
    tag = "user",
    params(("id" = u64, Path, description = "The user's ID, from the address of the Edit User page", minimum = 1)),
    request_body = Update,
    responses(
        (status = 204, description = "Done"),
        (status = 400, description = "The ID or the body is not understood", body = Problem),
        (status = 401, description = "A wrong key, or a wrong or expired token", body = Problem),
        (status = 403, description = "No credentials", body = Problem),
        (status = 404, description = "No such user in this Org; IDs that end in 404 have left it", body = Problem),
        (status = 429, description = "Too many requests: come back after `Retry-After` seconds", body = Problem)
    ),
    security(("apiKey" = []), ("session" = []))
)]
async fn set_membership(
    State(house): State<House>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Response> {
    let id = user_id(&id);
    met(house.admit(Call::Put(id)).await)?;
    let now = house.clock.elapsed();
    house.authorise(credentials(&headers), now)?;
    let Some(id) = id else {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "the user's ID must be a positive integer below 2^63",
        ));
    };
    let update = read::<Update>(&headers, body)?;
    house
        .state()
        .org
        .update(id, update, now)
        .map_err(|refusal| house.refuse(refusal))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a log-in sends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({
    "email": "admin@example.com",
    "password": "sandbox-password",
    "selectedOrg": 1,
    "client": "core-client"
}))]
struct LogIn {
    email: String,
    password: String,
    selected_org: u64,
    client: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// To be sent as `Authorization: bearer TOKEN`.
    token: String,
    /// When it ends, in seconds since the Unix epoch.
    expires_at: u64,
}

/// Opens a session
#[utoipa::path(
    post,
    path = "/user/authenticate",
    tag = "user",
    request_body = LogIn,
    responses(
        (status = 200, description = "A session", body = Session),
        (status = 400, description = "The body is not understood", body = Problem),
        (status = 401, description = "Wrong credentials", body = Problem),
        (status = 404, description = "No active Org for this user", body = Problem),
        (status = 429, description = "Too many requests: come back after `Retry-After` seconds", body = Problem)
    )
)]
async fn authenticate(
    State(house): State<House>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Session>, Response> {
    met(house.admit(Call::LogIn).await)?;
    let LogIn {
        email,
        password,
        selected_org,
        client,
    } = read(&headers, body)?;
    if client != "core-client" {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "client must be \"core-client\"",
        ));
    }
    let now = house.clock.elapsed();
    let session = house
        .state()
        .org
        .log_in(&email, &password, selected_org, now);
    let (token, end) = session.map_err(|refusal| house.refuse(refusal))?;
    Ok(Json(Session {
        token,
        expires_at: house.clock.unix(end).as_secs(),
    }))
}

/// What `/_sandbox/members` can be asked for.
#[derive(Deserialize)]
struct Wanted {
    /// This member only, whether a PUT was sent to it or not.
    id: Option<u64>,
}

async fn touched_members(
    State(house): State<House>,
    Query(wanted): Query<Wanted>,
) -> Json<Vec<Member>> {
    let org = &house.state().org;
    Json(match wanted.id {
        Some(id) => org.member(id).into_iter().collect(),
        None => org.touched().collect(),
    })
}

async fn stats(State(house): State<House>) -> Json<Stats> {
    Json(house.state().stats())
}

/// What went wrong, for a person.
#[derive(Serialize, ToSchema)]
struct Problem {
    message: String,
}

fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (
        status,
        Json(Problem {
            message: message.into(),
        }),
    )
        .into_response()
}

/// Goes on with a request that is served; the others have their answer.
#[expect(
    clippy::result_large_err,
    reason = "an answer is what is wanted, and it is made once per request"
)]
fn met(verdict: Verdict) -> Result<(), Response> {
    match verdict {
        Verdict::Served => Ok(()),
        Verdict::Throttled => {
            let wait = [(RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())];
            Err((
                wait,
                problem(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
            )
                .into_response())
        }
        Verdict::Failed(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let message = status.canonical_reason().unwrap_or_default().to_lowercase();
            Err(problem(status, message))
        }
    }
}

#[expect(
    clippy::result_large_err,
    reason = "an answer is what is wanted, and it is made once per request"
)]
impl House {
    fn authorise(&self, credentials: Credentials<'_>, now: Duration) -> Result<(), Response> {
        let allowed = self.state().org.authorise(credentials, now);
        allowed.map_err(|refusal| self.refuse(refusal))
    }

    /// The answer to a refusal, which is counted.
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
            self.state().counts.refused += 1;
        }
        problem(status, message)
    }
}

/// A positive integer below 2^63 as a careful client writes it: digits, no sign, no leading zero.
fn user_id(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|&id| is_plain && i64::try_from(id).is_ok())
}

fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    if let Some(key) = headers.get("x-api-key") {
        return Credentials::Key(key.as_bytes());
    }
    match headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes().split_at_checked("bearer ".len()))
    {
        None => Credentials::Nothing,
        Some(Some((scheme, token))) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            Credentials::Token(token)
        }
        Some(_) => Credentials::Token(b""),
    }
}

/// Reads a JSON body.
#[expect(
    clippy::result_large_err,
    reason = "an answer is what is wanted, and it is made once per request"
)]
fn read<T: DeserializeOwned>(
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
    // Serde would also take a list of values in the order of the fields.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "the body must be a JSON object",
        ));
    }
    serde_json::from_slice(&body).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            format!("the body is not understood: {error}"),
        )
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

/// Turns away what was not meant for this machine. A web page can let its own host name point at 127.0.0.1 and then
/// read the answers (DNS rebinding); the name in `Host` gives it away.
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
    let named = Authority::try_from(host.as_bytes()).is_ok_and(|authority| is_loopback(&authority));
    named && uri.authority().is_none_or(is_loopback)
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
    fn an_id_is_written_in_one_way_only() {
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
    fn only_names_of_this_machine_are_answered() {
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
    fn two_host_headers_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, "localhost".parse().unwrap());
        headers.append(HOST, "example.com".parse().unwrap());
        assert!(!is_for_loopback(&headers, &Uri::from_static("/")));
    }

    #[test]
    fn the_scheme_of_a_token_may_be_written_in_any_case() {
        for (value, wanted) in [
            ("bearer abc", "abc"),
            ("Bearer abc", "abc"),
            ("Basic abc", ""),
            ("abc", ""),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            let Credentials::Token(token) = credentials(&headers) else {
                panic!("{value}")
            };
            assert_eq!(token, wanted.as_bytes(), "{value}");
        }
        assert!(matches!(
            credentials(&HeaderMap::new()),
            Credentials::Nothing
        ));
    }
}
