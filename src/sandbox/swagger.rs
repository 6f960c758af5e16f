//! Swagger UI at `/api`, and the `OpenAPI` document that it shows. The document is a template; its
//! description and its version are filled in here. Swagger UI comes as a zip archive in a crate.

use std::io::{Cursor, Read};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

use super::{SandboxOptions, SharedState};

const DOCUMENT: &str = include_str!("../../templates/sandbox/openapi.json");

/// The script that starts Swagger UI. Without syntax highlighting, the list of all members is shown
/// at once instead of after a minute.
const INITIALIZER: &str = include_str!("../../templates/sandbox/swagger.js");

/// Returns the router of everything below `/api`.
pub(super) fn router(options: &SandboxOptions) -> Router<SharedState> {
    let document = document(options);
    Router::new()
        .route("/api", get(async || Redirect::to("/api/")))
        .route("/api/", get(async || file("index.html")))
        .route(
            "/api/{file}",
            get(async |Path(name): Path<String>| file(&name)),
        )
        .route("/api/openapi.json", get(async || Json(document)))
}

fn document(options: &SandboxOptions) -> Value {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let (first, last) = options.members.clone().into_inner();
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    document["info"]["description"] = json!(format!(
        "A sandbox on this machine, not Resolver Core. Press **Authorize** and enter the API key \
         `{}` before you try a call. The users have the IDs {first} to {last}, except those that \
         end in 404. The [members page](/members) shows what the calls have changed.",
        options.api_key
    ));
    document
}

/// Returns a file of Swagger UI.
fn file(name: &str) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css",
        Some((_, "html")) => "text/html",
        Some((_, "js")) => "text/javascript",
        Some((_, "png")) => "image/png",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let contents = match name {
        "swagger-initializer.js" => Some(INITIALIZER.into()),
        _ => unpacked(name),
    };
    match contents {
        Some(contents) => ([(CONTENT_TYPE, kind)], contents).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Unpacks a file of the archive; `None` if it holds no such file.
fn unpacked(name: &str) -> Option<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).ok()?;
    let end = format!("/dist/{name}");
    // Its folder is named after the version, and other folders hold a `dist` too.
    let path = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|path| path.ends_with(&end) && path.split('/').count() == 3)?
        .into_owned();
    let mut contents = Vec::new();
    archive
        .by_name(&path)
        .ok()?
        .read_to_end(&mut contents)
        .ok()?;
    Some(contents)
}
