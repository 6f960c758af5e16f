//! How the table of an interrupted run is read again without the command line: as its journal says that it was read.

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use crate::api::Address;
use crate::domain::{Flag, TableFormat};
use crate::input::{self, ColumnChoice, HeaderChoice, UntilChoice};
use crate::journal::{Identity, Run};
use crate::plan::{self, Selection};

/// Returns the options with which the table of a run is read as the run has read it. Its size was accepted then.
pub(super) fn options_of(run: &Run) -> plan::Options {
    let identity = &run.identity;
    let table = &identity.table;
    let mut input = input::Options {
        id_column: Some(ColumnChoice::Number(table.id_column)),
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
    plan::Options {
        host: address.map(|address| address.authority().to_owned()),
        skip_invalid: identity.skip_invalid,
        keep_last_row: table.keep_last_row,
        selection,
        input,
        ..plan::Options::on(zone(identity).to_datetime(run.at).date())
    }
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
