//! Makes clap's error messages harmless: they repeat what was typed, which can be the name of a
//! hostile file (`mfa-optout apply *.csv`) or a key in the wrong place.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

use crate::text::shown_value;

/// Returns the error with everything that was typed made harmless, or left out if it may be a
/// secret.
///
/// The parts of a message are kept apart in the error's context: what was typed is plain text
/// there, and styled texts are the command's usage and tips. Tips repeat what was typed, so they go
/// where that had to be changed.
pub(super) fn cleansed(mut error: Error) -> Error {
    let mut changes = Vec::new();
    for (kind, value) in error.context() {
        let shown = match value {
            ContextValue::String(text) => ContextValue::String(shown_value(text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| shown_value(text)).collect())
            }
            _ => continue,
        };
        if shown != *value {
            changes.push((kind, shown));
        }
    }
    if !changes.is_empty() {
        error.remove(ContextKind::Suggested);
    }
    for (kind, shown) in changes {
        error.insert(kind, shown);
    }
    error
}
