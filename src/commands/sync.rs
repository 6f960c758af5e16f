//! What only `sync` does: the name of the list, the comparison with the register, and what is said
//! about it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;

use super::is_standard_input;
use super::registered::OpenRegister;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::output::absolute;
use crate::plan::{Plan, RegisterUse, SyncUse};
use crate::register::comparison::SyncRules;
use crate::register::{Register, SOON_DAYS};
use crate::report::{SyncFact, SyncKind, SyncOverview};
use crate::text::{Shell, counted, visible_path};

/// Number of people who are named in the note on exceptions that end soon.
const MAX_NAMED: usize = 5;

/// Returns how `sync` compares the table with the register.
///
/// # Errors
/// Of [`Kind::Usage`] if the list needs a name and has none.
pub(super) fn register_use(
    register: &OpenRegister,
    settings: &Settings,
    table: &Path,
    today: Date,
) -> Result<RegisterUse> {
    let list = match &settings.register.list {
        Some(name) => name.clone(),
        None => list_of(table)?,
    };
    Ok(RegisterUse::Sync(Arc::new(SyncUse {
        register: Arc::clone(&register.register),
        rules: SyncRules {
            list,
            full: settings.register.full,
            today,
        },
        keep_missing: settings.register.keep_missing,
    })))
}

/// Returns the absolute path of a table, which is the name of its list.
fn list_of(table: &Path) -> Result<String> {
    let why = if is_standard_input(table) {
        "a table from standard input"
    } else if has_date(&table.to_string_lossy()) {
        "a table with a date in its name"
    } else {
        return match absolute(table).into_os_string().into_string() {
            Ok(path) => Ok(path),
            Err(_) => Err(needs_list("a table whose path is not Unicode text")),
        };
    };
    Err(needs_list(why))
}

fn needs_list(what: &str) -> Error {
    let message =
        format!("{what} needs the name of its list, which stays the same from run to run");
    Error::new(Kind::Usage, message).help("give it with --list, such as --list exceptions")
}

/// Checks whether the file name of a path has a date or a month in it, such as `2026-11-28`,
/// `20261128` or `2026-11`.
fn has_date(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let has_month = name.as_bytes().windows(7).any(|window| {
        let is_number = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        window.starts_with(b"20")
            && is_number(&window[2..4])
            && matches!(window[4], b'-' | b'_' | b'.')
            && matches!(window[5..], [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'])
    });
    if has_month {
        return true;
    }
    let digits: Vec<char> = name
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | '.'))
        .collect();
    digits.windows(8).any(|window| {
        let text: String = window.iter().collect();
        text.starts_with("20") && Date::strptime("%Y%m%d", &text).is_ok()
    })
}

/// Says how the table differs from the register; `None` for a command other than `sync`.
pub(super) fn comparison_note(plan: &Plan) -> Option<String> {
    let RegisterUse::Sync(sync) = &plan.options().register else {
        return None;
    };
    let counts = plan.sync_counts();
    let kinds = [
        (counts.arrivals, "arrival", "arrivals"),
        (counts.changes, "change", "changes"),
        (counts.doubts, "doubt", "doubts"),
        (counts.departures, "departure", "departures"),
        (counts.expiries, "expiry", "expiries"),
        (counts.leaving, "left this list only", "left this list only"),
    ];
    let mut words: Vec<String> = Vec::new();
    for (number, one, many) in kinds {
        if number > 0 {
            words.push(counted(number, one, many));
        }
    }
    let differences = if words.is_empty() {
        "no differences".to_owned()
    } else {
        words.join(", ")
    };
    let unchanged = plan.counts().unchanged - counts.withheld;
    Some(format!(
        "compared with the register as list {}: {differences}, {unchanged} unchanged",
        visible_path(Path::new(&sync.rules.list))
    ))
}

/// Warns of a list that the register does not know although it has others: if the table was only
/// renamed, the people who have left it stay opted out.
pub(super) fn new_list_note(plan: &Plan) -> Option<String> {
    let RegisterUse::Sync(sync) = &plan.options().register else {
        return None;
    };
    let mut lists: BTreeSet<&str> = BTreeSet::new();
    for entry in sync.register.entries.values() {
        if entry.flag.may_be_opted_out() {
            if entry.lists.contains(&sync.rules.list) {
                return None;
            }
            lists.extend(entry.lists.iter().map(String::as_str));
        }
    }
    let first = lists.first()?;
    Some(format!(
        "this list is new in the register, so nobody has left it; if the table was renamed, give \
         its former name, such as --list {}",
        Shell::OF_THIS_SYSTEM.quote(first)
    ))
}

/// Returns what the page of a run says about the comparison with the register; `None` for a command
/// other than `sync`.
pub(super) fn overview(plan: &Plan) -> Option<SyncOverview> {
    let RegisterUse::Sync(sync) = &plan.options().register else {
        return None;
    };
    let counts = plan.sync_counts();
    let changes = if sync.rules.full {
        SyncFact::new("Changed or sent again (--full)", counts.changes, "")
    } else {
        SyncFact::new("Changes", counts.changes, SyncKind::Change.word())
    };
    let not_in_table = SyncKind::NotInTable.word();
    Some(SyncOverview {
        list: sync.rules.list.clone(),
        facts: vec![
            SyncFact::new("Arrivals", counts.arrivals, SyncKind::Arrival.word()),
            changes,
            SyncFact::new("In doubt", counts.doubts, SyncKind::Doubt.word()),
            SyncFact::new("Departures", counts.departures, not_in_table),
            SyncFact::new("Departures not sent", counts.withheld, not_in_table),
            SyncFact::new("Expired", counts.expiries, not_in_table),
            SyncFact::new("Left this list only", counts.leaving, ""),
        ],
        ending_soon: None,
    })
}

/// Says what a person should know about rows that are not sent.
pub(super) fn warnings(plan: &Plan) -> Vec<String> {
    let counts = plan.sync_counts();
    let mut warnings = Vec::new();
    if counts.withheld > 0 {
        warnings.push(format!(
            "{} the table and are not opted back in; they are the last rows of the report",
            counted(counts.withheld, "person has left", "people have left")
        ));
    }
    if counts.changed_later > 0 {
        warnings.push(format!(
            "{} not sent because a later run has changed the user; see the report",
            counted(counts.changed_later, "row is", "rows are")
        ));
    }
    if counts.not_restorable > 0 {
        warnings.push(format!(
            "{} not undone because it is not certain what the user was set to before; see the \
             report",
            counted(counts.not_restorable, "row is", "rows are")
        ));
    }
    warnings
}

/// Says whose exception ends within a week, in one line; `None` if nobody's does.
pub(super) fn expiry_note(register: &Register, today: Date) -> Option<String> {
    let ending = register.exceptions(|exception| exception.ends_within(SOON_DAYS, today));
    if ending.is_empty() {
        return None;
    }
    let mut named = Vec::new();
    for exception in ending.iter().take(MAX_NAMED) {
        if let Some(until) = exception.entry.until {
            let person = format!("{} {}", exception.user, exception.entry.name);
            named.push(format!("{} ({until})", person.trim()));
        }
    }
    let more = if ending.len() > named.len() {
        ", ..."
    } else {
        ""
    };
    Some(format!(
        "{} within a week: {}{more}",
        counted(ending.len() as u64, "exception ends", "exceptions end"),
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_date_needs_the_name_of_its_list() {
        for name in [
            "exceptions-2026-11-28.csv",
            "20261128.csv",
            "/srv/list_2026_01_31_v2.xlsx",
        ] {
            assert!(has_date(name), "{name}");
        }
        for name in [
            "exceptions.csv",
            "/srv/2026-11-28/exceptions.csv",
            "team12345678.csv",
            "20269999.csv",
        ] {
            assert!(!has_date(name), "{name}");
        }
    }
}
