//! Reads any table that an administrator has, as text in many forms or as a workbook, into rows of
//! cells in UTF-8.
//!
//! [`Input`] is an opened table: its form is detected, its columns are found, and its rows can be
//! read again and again without being held in memory. [`cell`] parses single cells. What the rows
//! ask for is the matter of `plan`.

mod bytes;
pub mod cell;
mod cell_error;
mod cell_text;
mod column_rules;
mod container;
mod directory;
mod encoding;
mod excel;
mod formula;
mod header;
mod header_row;
mod json;
mod key_index;
mod open_document;
mod options;
mod quotes;
mod row;
mod sheet_copy;
mod sheet_list;
mod sheet_marks;
mod table;
mod text;
mod workbook;

pub use self::bytes::{PrivateCopy, Source};
pub use self::directory::{Directory, DirectoryOptions};
pub use self::header::{Columns, plain};
pub use self::options::{ColumnChoice, Content, HeaderChoice, Options, UntilChoice};
pub use self::row::{CellNote, Place, Row};
pub use self::table::{Input, Rows};
