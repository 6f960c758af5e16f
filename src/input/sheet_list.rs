//! The sheets of a workbook by name, and which of them is read.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::text::{one_line, shorten, shown_value, visible};

/// The longest name of a sheet or style, in bytes. Excel allows 31 characters; the names of all
/// sheets are held in memory.
pub(super) const MAX_NAME: usize = 1024;

/// The number of sheets that a message lists by name.
const SHEETS_SHOWN: usize = 20;

/// A sheet of cells in a workbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) name: String,
    pub(super) is_visible: bool,
}

/// How well a sheet fits as the table of users, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SheetFit {
    /// The sheet has no rows.
    Empty,
    /// The sheet does not have the needed columns.
    OtherContent,
    /// The sheet has the needed columns, and no valid ID below them.
    NoIds,
    /// The sheet has the needed columns and a valid ID.
    Candidate,
}

/// Returns the index of the sheet with this name.
///
/// # Errors
///
/// Names the sheets of the workbook if there is no such sheet.
pub(super) fn find_sheet(sheets: &[Sheet], name: &str, book: &str) -> Result<usize> {
    if let Some(found) = sheets.iter().position(|sheet| sheet.name == name) {
        return Ok(found);
    }
    let message = format!("{book} has no sheet \"{}\"", shown_value(name));
    Err(Error::new(Kind::Input, message).help(format!("its sheets are {}", list(sheets))))
}

/// Returns the index of the sheet that is read, of those of which it is known how well they fit.
///
/// # Errors
///
/// Names the sheets if several are candidates.
pub(super) fn choose_sheet(sheets: &[Sheet], fits: &[SheetFit], book: &str) -> Result<usize> {
    let mut candidates = Vec::new();
    let mut best = 0;
    for (index, fit) in fits.iter().enumerate() {
        if *fit == SheetFit::Candidate {
            candidates.push(sheets[index].clone());
        }
        if *fit > fits[best] {
            best = index;
        }
    }
    if candidates.len() < 2 {
        return Ok(best);
    }
    let message = format!(
        "{book} has {} sheets that may be the table of users: {}",
        candidates.len(),
        list(&candidates)
    );
    Err(Error::new(Kind::Input, message).help(format!(
        "choose one with --sheet, such as --sheet \"{}\"",
        shown(&candidates[0].name)
    )))
}

fn list(sheets: &[Sheet]) -> String {
    let names: Vec<String> = sheets
        .iter()
        .take(SHEETS_SHOWN)
        .map(|sheet| format!("\"{}\"", shown(&sheet.name)))
        .collect();
    let more = match sheets.len().saturating_sub(SHEETS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}

fn shown(name: &str) -> String {
    shorten(&visible(name), 100)
}

/// Returns the error for a workbook that can't be read.
pub(super) fn damaged(name: &str, error: &impl fmt::Display) -> Error {
    let error = one_line(&error.to_string(), 300);
    Error::new(
        Kind::Input,
        format!("{name} is a damaged workbook: {error}"),
    )
    .help("open it in a spreadsheet program and save it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(fits: &[SheetFit]) -> Result<usize> {
        let sheets: Vec<Sheet> = (1..=fits.len())
            .map(|number| Sheet {
                name: format!("Sheet{number}"),
                is_visible: true,
            })
            .collect();
        choose_sheet(&sheets, fits, "b.xlsx")
    }

    #[test]
    fn the_only_candidate_is_chosen() {
        use SheetFit::{Candidate, Empty, NoIds, OtherContent};
        assert_eq!(choice(&[Empty, OtherContent, Candidate]).unwrap(), 2);
        assert_eq!(choice(&[NoIds, Candidate]).unwrap(), 1);
    }

    #[test]
    fn without_a_candidate_the_best_sheet_explains_what_is_missing() {
        use SheetFit::{Empty, NoIds, OtherContent};
        assert_eq!(choice(&[Empty, OtherContent, OtherContent]).unwrap(), 1);
        assert_eq!(choice(&[OtherContent, NoIds]).unwrap(), 1);
        assert_eq!(choice(&[Empty]).unwrap(), 0);
    }

    #[test]
    fn several_candidates_need_a_choice() {
        use SheetFit::{Candidate, Empty};
        let error = choice(&[Candidate, Empty, Candidate]).unwrap_err();
        assert!(error.to_string().contains("\"Sheet1\", \"Sheet3\""));
        assert!(error.advice().unwrap().contains("--sheet \"Sheet1\""));
    }
}
