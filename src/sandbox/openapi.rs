//! The `OpenAPI` document of the practice Org, which Swagger UI shows at `/api`.

use serde::Serialize;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{SandboxOptions, pages, routes};

/// Returns the page at `/api` with its document.
pub(super) fn swagger_ui(options: &SandboxOptions) -> SwaggerUi {
    // Without syntax highlighting, the list of all members is shown at once instead of after a
    // minute.
    let config = Config::from("/api/openapi.json")
        .doc_expansion("list")
        .with_syntax_highlight(false)
        .validator_url("none");
    SwaggerUi::new("/api")
        .url("/api/openapi.json", document(options))
        .config(config)
}

fn document(options: &SandboxOptions) -> Document {
    let mut document = PracticeApi::openapi();
    let (first, last) = options.members.clone().into_inner();
    document.info.description = Some(format!(
        "A sandbox on this machine, not Resolver Core. Press **Authorize** and enter the API key \
         `{}` before you try a call. The users have the IDs {first} to {last}, except those that \
         end in 404. The [members page](/members) shows what the calls have changed.",
        options.api_key
    ));
    document
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Practice Org", license(name = "MIT")),
    servers((url = "/", description = "This practice Org")),
    paths(routes::set_membership, routes::authenticate, pages::members_json),
    tags(
        (name = "user", description = "Users and their membership in the Org"),
        (
            name = "practice Org only",
            description = "Not part of the vendor's API: an Org's own user list has no user IDs"
        )
    ),
    modifiers(&SecuritySchemes)
)]
struct PracticeApi;

/// The two ways to authenticate.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut Document) {
        let key = ApiKeyValue::with_description("x-api-key", "The API key of the practice Org.");
        let session = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token from `POST /user/authenticate`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
        components.add_security_scheme("session", SecurityScheme::Http(session));
    }
}

/// The body of every error response.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    pub(super) message: String,
}

/// The error responses that every path can give.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only the derived description is used")]
pub(super) enum PathErrors {
    /// This path has no such method
    #[response(status = 405, headers(("Allow" = String, description = "The methods of this path")))]
    MethodNotAllowed(#[to_schema] ErrorBody),
    /// The `Host` header does not name this machine
    #[response(status = 421)]
    MisdirectedRequest(#[to_schema] ErrorBody),
}

/// The error responses that both API calls can give, besides their own.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only the derived description is used")]
pub(super) enum CallErrors {
    /// The body is longer than 64 KiB
    #[response(status = 413)]
    ContentTooLarge(#[to_schema] ErrorBody),
    /// The body is not `application/json`
    #[response(status = 415)]
    UnsupportedMediaType(#[to_schema] ErrorBody),
    /// Too many requests (`--rate-limit`, `--throttle-percent`)
    #[response(status = 429, headers(("Retry-After" = u64, description = "Seconds to wait before the next request")))]
    TooManyRequests(#[to_schema] ErrorBody),
    /// An injected error (`--error-percent`)
    #[response(status = 500)]
    InternalServerError(#[to_schema] ErrorBody),
    /// An injected error (`--error-percent`)
    #[response(status = 502)]
    BadGateway(#[to_schema] ErrorBody),
    /// An injected error (`--error-percent`) or an outage (`--outage`)
    #[response(status = 503)]
    ServiceUnavailable(#[to_schema] ErrorBody),
    /// An injected error (`--error-percent`)
    #[response(status = 504)]
    GatewayTimeout(#[to_schema] ErrorBody),
}
