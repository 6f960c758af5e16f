//! How the table of an interrupted run is read again without the command line: as its journal says
//! that it was read.

use std::sync::Arc;

use encoding_rs::Encoding;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::table_request::choice;
use crate::api::Address;
use crate::domain::{Flag, TableFormat};
use crate::input::{self, ColumnChoice, Content, DirectoryOptions, HeaderChoice, UntilChoice};
use crate::journal::{Identity, Run, UserList};
use crate::plan::{self, Selection};
use crate::plan::{REGISTERED_COLUMN, RegisterUse, SyncUse};
use crate::register::Register;
use crate::register::comparison::SyncRules;

/// Returns the options with which the table of a run is read as the run has read it. Its size was
/// accepted then. `former` is the register as it was before the run.
pub(super) fn options_of(run: &Run, former: Option<&Register>) -> plan::Options {
    let identity = &run.identity;
    let table = &identity.table;
    let id_column = Some(ColumnChoice::Number(table.id_column));
    let (content, id_column) = match &identity.ids {
        Some(_) => (Content::People { key: id_column }, None),
        None => (Content::Users, id_column),
    };
    let mut input = input::Options {
        content,
        id_column,
        flag_column: table.flag_column.map(ColumnChoice::Number),
        set: identity.set.map(Flag::from_opt_out),
        until_column: match table.until_column {
            Some(column) => UntilChoice::Column(ColumnChoice::Number(column)),
            None => UntilChoice::Nothing,
        },
        header: match table.header_line {
            Some(line) => HeaderChoice::At(line),
            None => HeaderChoice::Absent,
        },
        visible_only: table.visible_only,
        max_input: Some(u64::MAX),
        ..input::Options::default()
    };
    match &table.format {
        TableFormat::Text {
            encoding,
            byte_order_mark,
            delimiter,
            ..
        } => {
            input.delimiter = u8::try_from(*delimiter).ok();
            // A byte order mark says the encoding by itself.
            if !byte_order_mark {
                input.encoding = Encoding::for_label(encoding.as_bytes());
            }
        }
        TableFormat::Sheet { sheet, .. } => input.sheet = Some(sheet.clone()),
    }
    let address = Address::parse(&identity.address).ok();
    let selection = match identity.command.as_str() {
        "retry" => Selection::Retry(identity.outcomes.clone()),
        "undo" => Selection::Undo,
        _ => Selection::All,
    };
    let today = zone(identity).to_datetime(run.at).date();
    plan::Options {
        register: former.map_or(RegisterUse::None, |former| {
            register_use(identity, former, today)
        }),
        has_registered_column: has_registered_column(identity),
        host: address.map(|address| address.authority().to_owned()),
        skip_invalid: identity.skip_invalid,
        keep_last_row: table.keep_last_row,
        selection,
        input,
        ..plan::Options::on(today)
    }
}

/// Returns how the list of users is read as the run has read it.
pub(super) fn directory_options_of(list: &UserList, run: &Run) -> DirectoryOptions {
    let address = Address::parse(&run.identity.address).ok();
    DirectoryOptions {
        key_column: list.key_choice.as_deref().and_then(choice),
        id_column: list.id_choice.as_deref().and_then(choice),
        max_input: Some(u64::MAX),
        host: address.map(|address| address.authority().to_owned()),
    }
}

/// Returns how a run uses the register.
fn register_use(identity: &Identity, former: &Register, today: Date) -> RegisterUse {
    let list = identity.register.as_ref().and_then(|register| {
        let list = register.list.clone()?;
        Some((list, register.full, register.keep_missing))
    });
    match (list, identity.command.as_str()) {
        (Some((list, full, keep_missing)), _) => RegisterUse::Sync(Arc::new(SyncUse {
            register: Arc::new(former.clone()),
            rules: SyncRules { list, full, today },
            keep_missing,
        })),
        (None, "retry" | "undo") => RegisterUse::FollowUp(Arc::new(former.clone())),
        (None, _) => RegisterUse::None,
    }
}

/// Checks whether the report of a run ends with what the register said before.
pub(super) fn has_registered_column(identity: &Identity) -> bool {
    let last = identity.header.last();
    last.is_some_and(|column| column.added && column.name == REGISTERED_COLUMN)
}

/// Returns the zone in which the run's end dates are meant.
fn zone(identity: &Identity) -> TimeZone {
    let Some(name) = &identity.time_zone else {
        return TimeZone::UTC;
    };
    TimeZone::get(name)
        .or_else(|_| TimeZone::posix(name))
        .unwrap_or_else(|_| TimeZone::system())
}
