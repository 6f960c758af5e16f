//! `mfa-optout exceptions`: lists who is opted out according to the register. Sends nothing and
//! needs no credentials.

use jiff::civil::Date;
use serde_json::json;
use std::fmt::Write as _;
use std::io;

use super::target::with_notes;
use super::{broken, print, start};
use crate::cli::{Exceptions, ListFormat};
use crate::config::{self, Key, ProcessEnv};
use crate::error::{Error, Exit, Kind, Result};
use crate::register::{Exception, RegisterFile};
use crate::text::{visible, visible_path};
use crate::ui::say::now;

/// The columns of the list.
const COLUMNS: [&str; 8] = [
    "user_id",
    "name",
    "mfa_opt_out",
    "opt_out_until",
    "reason",
    "since",
    "confirmed_at",
    "lists",
];

pub(super) fn list(args: &Exceptions) -> Result<Exit> {
    let facts = ProcessEnv::of_this_process();
    let environment = |name: &str| std::env::var_os(name);
    let found = config::load(&args.given, &environment, &facts, |sources, notes| {
        let path = sources.only(Key::Register)?.register.path;
        let zone = start::zone(&sources.only(Key::Timezone)?);
        Ok((path, zone.to_datetime(now()).date(), notes))
    })?;
    let (path, today, notes) = found;
    let Some(path) = path else {
        let help = "name it with --register, or with `register` in a profile";
        return Err(Error::new(Kind::Usage, "no register is named").help(with_notes(help, &notes)));
    };
    let file = RegisterFile::at(&path)?;
    let Some(stored) = file.read()? else {
        let message = format!("the register {} is not there", visible_path(file.path()));
        return Err(Error::new(Kind::Refused, message).help("`sync` with --full creates it"));
    };
    let is_wanted = |exception: &Exception<'_>| is_wanted(exception, args, today);
    let exceptions = stored.register.exceptions(is_wanted);
    let text = match args.format {
        ListFormat::Table => table(&exceptions).into_bytes(),
        ListFormat::Csv => csv(&exceptions).map_err(|error| broken("write the list", &error))?,
        ListFormat::Json => json_text(&exceptions).into_bytes(),
    };
    print(&text);
    if args.fail_if_any && !exceptions.is_empty() {
        return Ok(Exit::RowsNeedAttention);
    }
    Ok(Exit::Done)
}

fn is_wanted(exception: &Exception<'_>, args: &Exceptions, today: Date) -> bool {
    if args.without_end {
        return exception.entry.until.is_none();
    }
    match args.expiring {
        Some(days) => exception.ends_within(days, today),
        None => true,
    }
}

/// Returns the cells of one exception, in the order of [`COLUMNS`].
fn cells(exception: &Exception<'_>) -> [String; COLUMNS.len()] {
    let entry = exception.entry;
    let lists: Vec<&str> = entry.lists.iter().map(String::as_str).collect();
    [
        exception.user.to_string(),
        entry.name.clone(),
        entry.flag.to_string(),
        entry
            .until
            .map(|until| until.to_string())
            .unwrap_or_default(),
        entry.reason.to_string(),
        format!("{:.0}", entry.since),
        entry
            .confirmed_at
            .map(|at| format!("{at:.0}"))
            .unwrap_or_default(),
        lists.join(" | "),
    ]
}

/// Returns aligned columns with a line that counts them.
fn table(exceptions: &[Exception<'_>]) -> String {
    const TITLES: [&str; 5] = ["ID", "Name", "Opted out", "Until", "Reason"];
    let mut rows = vec![TITLES.map(str::to_owned)];
    for exception in exceptions {
        let [id, name, flag, until, reason, ..] = cells(exception);
        let until = if until.is_empty() {
            "no end".to_owned()
        } else {
            until
        };
        rows.push([id, visible(&name), flag, until, visible(&reason)]);
    }
    let mut widths = [0; TITLES.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(console::measure_text_width(cell));
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&console::pad_str(
                cell,
                width + 2,
                console::Alignment::Left,
                None,
            ));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = match exceptions.len() {
        0 => writeln!(text, "nobody"),
        1 => writeln!(text, "1 person"),
        number => writeln!(text, "{number} people"),
    };
    text
}

fn csv(exceptions: &[Exception<'_>]) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS)?;
    for exception in exceptions {
        csv.write_record(cells(exception))?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn json_text(exceptions: &[Exception<'_>]) -> String {
    let mut list = Vec::new();
    for exception in exceptions {
        let entry = exception.entry;
        list.push(json!({
            "user_id": exception.user.get(),
            "name": entry.name,
            "mfa_opt_out": entry.flag.as_str(),
            "opt_out_until": entry.until.map(|until| until.to_string()),
            "reason": &*entry.reason,
            "since": entry.since.to_string(),
            "confirmed_at": entry.confirmed_at.map(|at| at.to_string()),
            "lists": &*entry.lists,
        }));
    }
    format!("{:#}\n", serde_json::Value::Array(list))
}
