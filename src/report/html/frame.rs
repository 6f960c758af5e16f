//! What the pages have in common: their place, their style and script, and how they are written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Kind, Result};
use crate::output::{Existing, Output};
use crate::report::html::rows::{PageRows, RowListing};
use crate::text::visible;

/// The first characters of a page, by which an earlier one is known.
const BEGINNING: &str = "<!doctype html>";

/// The place in a rendered page at which the rows as JSON go. Values can't contain it, because they
/// are escaped.
const DATA_MARK: &str = "<!-- data -->";

/// Checks, before anything is sent, that a page can be written to `place` later.
///
/// With `overwrite`, an earlier page may be replaced; without it, only the page that this report's
/// run left when it was interrupted. Another kind of file is never replaced.
///
/// # Errors
///
/// Returns [`Kind::Usage`], naming the file.
pub fn check_page_place(place: &Path, report: &Path, overwrite: bool) -> Result<Output> {
    let replaced = Output::check(place, Existing::ReplaceIfBegins(BEGINNING), Kind::Usage)?;
    if overwrite {
        return Ok(replaced);
    }
    let unfinished = format!("{BEGINNING}\n{}", unfinished_mark(report));
    Output::check(
        place,
        Existing::RefuseUnlessBegins(&unfinished),
        Kind::Usage,
    )
}

/// Returns the comment in the second line of an interrupted run's page, by which the run that
/// continues it knows the page as its own.
pub(super) fn unfinished_mark(report: &Path) -> String {
    let report = std::path::absolute(report).unwrap_or_else(|_| report.to_owned());
    let hash = blake3::hash(report.as_os_str().as_encoded_bytes()).to_hex();
    format!("<!-- unfinished run {} -->", &hash[..16])
}

/// Writes a page, with the rows of its table as JSON in their place.
pub(super) fn write_with_rows(
    out: &mut dyn Write,
    page: &impl Template,
    listing: &RowListing,
    rows: &mut dyn PageRows,
) -> io::Result<()> {
    let html = page.render().map_err(io::Error::other)?;
    let (head, tail) = html.split_once(DATA_MARK).unwrap_or((&html, ""));
    out.write_all(head.as_bytes())?;
    listing.write_json(out, rows)?;
    out.write_all(tail.as_bytes())
}

/// Returns named values as they are shown.
pub(super) fn visible_entries(
    entries: &BTreeMap<String, String>,
) -> impl Iterator<Item = (String, String)> {
    entries
        .iter()
        .map(|(name, value)| (visible(name), visible(value)))
}

/// The options that guard against too large a change.
const GUARDS: [&str; 2] = ["--max-opt-outs", "--max-missing"];

/// Returns the guards among the options of a run, as one line.
pub(super) fn guards_line(options: &BTreeMap<String, String>) -> String {
    let mut guards = Vec::new();
    for name in GUARDS {
        if let Some(value) = options.get(name) {
            guards.push(visible(&format!("{name} {value}")));
        }
    }
    if guards.is_empty() {
        return "no limit on opt-outs".to_owned();
    }
    guards.join("; ")
}

/// The style and the script of a page, with the hashes that its Content-Security-Policy allows.
pub(super) struct Assets {
    pub(super) style: String,
    pub(super) style_hash: String,
    pub(super) script: String,
    pub(super) script_hash: String,
}

impl Assets {
    pub(super) fn new() -> Self {
        // A browser reads every line end as a line feed before it computes the hash.
        let style = include_str!("../../../templates/report/page.css").replace('\r', "");
        let script = include_str!("../../../templates/report/page.js").replace('\r', "");
        Self {
            style_hash: csp_hash(&style),
            script_hash: csp_hash(&script),
            style,
            script,
        }
    }
}

fn csp_hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_stay_within_their_elements_and_load_nothing() {
        let assets = Assets::new();
        assert!(!assets.script.contains("</script") && !assets.script.contains("<!--"));
        assert!(!assets.style.contains("</style"));
        assert!(!assets.style.contains("url(") && !assets.style.contains("@import"));
        assert!(!assets.style.contains('\r') && !assets.script.contains('\r'));
    }

    #[test]
    fn hash_is_the_one_that_browsers_compute() {
        let empty = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(csp_hash(""), empty);
    }
}
