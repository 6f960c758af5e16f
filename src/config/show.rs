//! What is shown and recorded of the settings: the table that `mfa-optout config` prints, the
//! faults that it names, and the options in a run's record. Secrets are in none of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use crate::api::Address;
use crate::config::origin::Sources;
use crate::config::setting::{Form, Scope, Setting};
use crate::config::table::{Key, TABLE};
use crate::config::{Settings, SignIn, sign_in};
use crate::error::Error;
use crate::text::{shorten, shown_value, visible};

/// Length at which `config` cuts a value.
const MAX_SHOWN: usize = 60;

const NOT_SHOWN: &str = "(not shown: it has a user name, a password, a query or a fragment in it)";

/// Returns a table of all options: the name, the value that applies, and where it comes from.
#[must_use]
pub fn config_text(sources: Sources<'_>, notes: &[String]) -> String {
    let rows: Vec<ShownSetting> = TABLE.iter().map(|setting| row(sources, setting)).collect();
    let width = |column: fn(&ShownSetting) -> &str| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
    };
    let names = width(|row| &row.name);
    let values = width(|row| &row.value);
    let mut out = String::new();
    for row in &rows {
        let ShownSetting {
            name,
            value,
            origin,
        } = row;
        let line = format!("{name:names$}  {value:values$}  {origin}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let settings = Settings::resolve(sources, Vec::new()).ok();
    let sign_in = settings.and_then(|settings| settings.connection.sign_in);
    // A key that was typed where its file belongs is not repeated.
    let is_there = |sign_in: &SignIn| sign_in.file().is_some_and(Path::exists);
    let unchecked = sign_in.filter(is_there).and_then(|sign_in| sign_in.note());
    for note in notes.iter().chain(&unchecked) {
        let _ = write!(out, "\nnote: {note}\n");
    }
    out
}

struct ShownSetting {
    name: String,
    value: String,
    origin: String,
}

fn row(sources: Sources<'_>, setting: &Setting) -> ShownSetting {
    let (value, origin) = if setting.scope == Scope::Secret {
        match sources.secret_origin(setting.key) {
            Some(origin) => ("(hidden)".to_owned(), origin.to_string()),
            None => ("-".to_owned(), String::new()),
        }
    } else {
        match sources.find(setting.key) {
            Some(found) => (
                shorten(&public(sources, setting.key, &found.text), MAX_SHOWN),
                found.origin.to_string(),
            ),
            None => ("-".to_owned(), String::new()),
        }
    };
    ShownSetting {
        name: setting.file_key(),
        value,
        origin,
    }
}

/// Returns an option's text, harmless for a terminal and without a secret in it. A key is sometimes
/// typed where the file that holds it belongs; the name of a file that does not exist is not shown
/// if it may be one.
fn public(sources: Sources<'_>, key: Key, text: &OsStr) -> String {
    let text = text.to_string_lossy();
    match key {
        Key::Address if Address::may_hold_a_secret(&text) => NOT_SHOWN.to_owned(),
        Key::ApiKeyFile | Key::PasswordFile | Key::CaCert => {
            let path = sources.path(key);
            if path.is_some_and(|path| path.symlink_metadata().is_ok()) {
                visible(&text)
            } else {
                shown_value(&text)
            }
        }
        _ => visible(&text),
    }
}

/// Returns every option that is in effect, for the run's record: by the name of its flag, with its
/// text as it was given. A relative path in the config file is given with the file's folder.
/// Secrets and switches that are off are left out.
pub(super) fn in_effect(sources: Sources<'_>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for setting in TABLE {
        let Some(found) = sources.find(setting.key) else {
            continue;
        };
        let text = match (setting.form, sources.path(setting.key)) {
            (Form::Path(_), Some(path)) => path.into_os_string(),
            _ => found.text,
        };
        let text = public(sources, setting.key, &text);
        if setting.form != Form::Switch || text.trim() == "true" {
            options.insert(setting.label(), text);
        }
    }
    options
}

/// Checks the value of every option, and whether the credentials fit together. Returns an error for
/// each fault.
#[must_use]
pub fn faults(sources: Sources<'_>) -> Vec<Error> {
    let mut settings = Settings::unset();
    let mut faults = Vec::new();
    for setting in TABLE {
        faults.extend(sources.apply(setting.key, &mut settings).err());
    }
    if let Some(address) = &settings.connection.address {
        faults.extend(Address::parse(address).err());
    }
    if faults.is_empty() {
        faults.extend(sign_in(sources, &settings.connection).err());
    }
    faults
}
