//! The form of a table as it was found: its encoding and delimiter, or its sheet.
//!
//! It is part of a run's identity: an interrupted run is only resumed if the table is still read in
//! the same way.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::visible;

/// The form of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TableFormat {
    /// Text with a delimiter between the cells.
    Text {
        /// Name of the encoding, such as `UTF-8` or `windows-1252`.
        encoding: String,
        /// Whether the text begins with a byte order mark.
        byte_order_mark: bool,
        /// Whether the text is compressed with gzip.
        gzip: bool,
        /// The character between two cells.
        delimiter: char,
        /// How its lines end.
        #[serde(default)]
        line_end: LineEnd,
        /// Whether the first line says which delimiter it is, such as `sep=;`.
        sep_line: bool,
    },
    /// A sheet of a workbook.
    Sheet {
        /// The kind of workbook.
        workbook: WorkbookKind,
        /// Name of the sheet.
        sheet: String,
        /// Number of sheets in the workbook.
        sheets: usize,
    },
}

/// The ways in which lines end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    /// A line feed.
    #[default]
    Lf,
    /// A carriage return and a line feed.
    CrLf,
    /// A carriage return.
    Cr,
}

impl LineEnd {
    /// Returns the bytes at the end of a line.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::Cr => b"\r",
        }
    }
}

/// The kinds of workbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkbookKind {
    /// `.xlsx`.
    Excel,
    /// `.ods`.
    OpenDocument,
}

impl fmt::Display for TableFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text {
                encoding,
                byte_order_mark,
                gzip,
                delimiter,
                line_end: _,
                sep_line,
            } => {
                if *gzip {
                    f.write_str("gzip, ")?;
                }
                f.write_str(encoding)?;
                if *byte_order_mark {
                    f.write_str(" with BOM")?;
                }
                match delimiter {
                    ',' => f.write_str(", commas")?,
                    ';' => f.write_str(", semicolons")?,
                    '\t' => f.write_str(", tabs")?,
                    '|' => f.write_str(", pipes")?,
                    other => write!(f, ", separated by \"{}\"", visible(&other.to_string()))?,
                }
                if *sep_line {
                    f.write_str(", after a sep= line")?;
                }
                Ok(())
            }
            Self::Sheet {
                workbook,
                sheet,
                sheets,
            } => {
                let kind = match workbook {
                    WorkbookKind::Excel => "Excel workbook",
                    WorkbookKind::OpenDocument => "OpenDocument spreadsheet",
                };
                write!(f, "{kind}, sheet \"{}\"", visible(sheet))?;
                if *sheets > 1 {
                    write!(f, " (one of {sheets})")?;
                }
                Ok(())
            }
        }
    }
}
