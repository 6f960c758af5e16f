//! The text of a spreadsheet's cell as it goes into the report: numbers in plain digits, dates in
//! ISO 8601.

use calamine::{DataRef, ExcelDateTime};

use super::row::CellNote;
use super::sheet_copy::CellText;

/// From here on a number has lost digits, because a spreadsheet keeps 15.
const EXACT: f64 = 1e15;

/// Returns the text of a cell of an Excel sheet; `None` for an empty one.
pub(super) fn excel_text(value: &DataRef<'_>) -> Option<CellText> {
    let plain = |text: &str| (text.to_owned(), None);
    Some(match value {
        DataRef::Empty => return None,
        DataRef::Int(number) => {
            let is_long = number.unsigned_abs() >= 10_u64.pow(15);
            (number.to_string(), is_long.then_some(CellNote::LongNumber))
        }
        DataRef::Float(number) => number_text(*number),
        DataRef::String(text) => plain(text),
        DataRef::SharedString(text) => plain(text),
        DataRef::Bool(yes) => plain(if *yes { "TRUE" } else { "FALSE" }),
        DataRef::DateTime(date) => (date_text(date), Some(CellNote::Date)),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => iso_text(text),
        DataRef::Error(error) => (error.to_string(), None),
    })
}

/// Returns the text of a number, with a note if its last digits may not be those that were typed.
pub(super) fn number_text(number: f64) -> CellText {
    let is_long = number.abs() >= EXACT;
    (number.to_string(), is_long.then_some(CellNote::LongNumber))
}

/// Returns a date in ISO 8601 without its time of day if that is midnight.
pub(super) fn iso_text(date: &str) -> CellText {
    let (day, time) = date.split_at_checked(10).unwrap_or((date, ""));
    let is_midnight = matches!(time.trim_end_matches('Z'), "T00:00:00" | "T00:00:00.000");
    let text = if is_midnight { day } else { date };
    (text.to_owned(), Some(CellNote::Date))
}

/// Returns the text of a truth value of an `OpenDocument` sheet, with a note if it is none.
pub(super) fn boolean_text(value: &str) -> CellText {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => ("TRUE".to_owned(), None),
        "false" | "0" => ("FALSE".to_owned(), None),
        _ => (value.to_owned(), Some(CellNote::OddBoolean)),
    }
}

fn date_text(date: &ExcelDateTime) -> String {
    if !date.is_datetime() || date.as_f64() < 1.0 {
        return format!("{} days", date.as_f64());
    }
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    let text = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => text,
        _ => format!("{text}T{hour:02}:{minute:02}:{second:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_is_exactly_true_or_false() {
        for (value, text) in [
            ("true", "TRUE"),
            ("TRUE", "TRUE"),
            ("1", "TRUE"),
            ("false", "FALSE"),
            ("False", "FALSE"),
            ("0", "FALSE"),
        ] {
            assert_eq!(boolean_text(value), (text.to_owned(), None), "{value}");
        }
        for value in ["", "yes", "no", "2", "-1", "wahr", "on"] {
            let odd = (value.to_owned(), Some(CellNote::OddBoolean));
            assert_eq!(boolean_text(value), odd, "{value}");
        }
    }
}
