//! What `mfa-optout config` prints: each setting, what it is worth and where that comes from. Secrets are not shown.

use std::fmt::Write as _;

use crate::api::Address;
use crate::error::Result;
use crate::settings::key::{Key, Scope, TABLE};
use crate::settings::origin::{Origin, Sources};
use crate::text::{shorten, shown_value, visible};

const NOT_SHOWN: &str = "(not shown: it has a user name, a password, a query or a fragment in it)";

/// The table of settings that apply. Those for one run only are left out unless they are given.
///
/// # Errors
/// A secret's variable is not UTF-8.
pub fn config_text(sources: Sources<'_>, notes: &[String]) -> Result<String> {
    let mut rows = Vec::new();
    for setting in &TABLE {
        rows.extend(row(sources, setting.key)?);
    }
    let mut out = String::new();
    let width = |column: fn(&Row) -> &str| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, values) = (width(|row| row.name), width(|row| &row.value));
    for Row {
        name,
        value,
        origin,
    } in &rows
    {
        let _ = writeln!(
            out,
            "{}",
            format!("{name:names$}  {value:values$}  {origin}").trim_end()
        );
    }
    for note in notes {
        let _ = write!(out, "\nnote: {note}\n");
    }
    Ok(out)
}

/// The name of a file as it was written; not shown if there is no such file and the name may be the secret itself.
fn shown_file(sources: Sources<'_>, key: Key, text: &str) -> String {
    let exists = sources
        .path(key)
        .is_some_and(|path| path.symlink_metadata().is_ok());
    if exists {
        shorten(&visible(text), 60)
    } else {
        shown_value(text)
    }
}

struct Row {
    name: &'static str,
    value: String,
    origin: String,
}

fn row(sources: Sources<'_>, key: Key) -> Result<Option<Row>> {
    let setting = key.setting();
    let name = setting.name;
    if setting.scope == Scope::Secret {
        let found = sources.secret(key)?;
        return Ok(found.map(|(_, origin)| Row {
            name,
            value: "(hidden)".to_owned(),
            origin: origin.to_string(),
        }));
    }
    let found = sources.find(key);
    let everyday = matches!(setting.scope, Scope::Everywhere | Scope::File);
    Ok(match found {
        Some(found) if everyday || found.origin != Origin::Default => {
            let text = found.text.to_string_lossy();
            let value = match key {
                Key::Address if Address::may_hold_a_secret(&text) => NOT_SHOWN.to_owned(),
                Key::ApiKeyFile | Key::PasswordFile | Key::CaCert => {
                    shown_file(sources, key, &text)
                }
                _ => shorten(&visible(&text), 60),
            };
            Some(Row {
                name,
                value,
                origin: found.origin.to_string(),
            })
        }
        None if everyday => Some(Row {
            name,
            value: "-".to_owned(),
            origin: String::new(),
        }),
        _ => None,
    })
}
