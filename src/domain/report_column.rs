//! The columns that the tool adds to a report, after the columns that the report carries.
//!
//! They are declared here once: code that writes a report and code that reads one back take names
//! and order from here.

/// A column that the tool adds to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportColumn {
    /// The place of the row in the input: the first physical line of the record, or the row of the
    /// sheet.
    Line,
    /// The outcome of the row.
    Outcome,
    /// The flag that the row asked for, `true` or `false`; empty if that is not known.
    Wanted,
    /// The status of the last response.
    HttpStatus,
    /// The number of requests sent for the row.
    Attempts,
    /// Milliseconds from the first request to the last response.
    ElapsedMs,
    /// When the outcome was recorded.
    FinishedAt,
    /// One line for a person; no code parses it.
    Detail,
}

/// The names of the tool's columns in a report, in the order of [`ReportColumn`].
pub const REPORT_COLUMNS: [&str; 8] = [
    ReportColumn::Line.name(),
    ReportColumn::Outcome.name(),
    ReportColumn::Wanted.name(),
    ReportColumn::HttpStatus.name(),
    ReportColumn::Attempts.name(),
    ReportColumn::ElapsedMs.name(),
    ReportColumn::FinishedAt.name(),
    ReportColumn::Detail.name(),
];

/// The names of the tool's columns in reports of format 1, which this version refuses.
pub const REPORT_COLUMNS_OF_FORMAT_1: [&str; 7] = [
    "row",
    "outcome",
    "http_status",
    "attempts",
    "elapsed_ms",
    "finished_at",
    "detail",
];

impl ReportColumn {
    /// Returns the index of the column in [`REPORT_COLUMNS`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Returns the name in the report's header.
    const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Outcome => "outcome",
            Self::Wanted => "wanted",
            Self::HttpStatus => "http_status",
            Self::Attempts => "attempts",
            Self::ElapsedMs => "elapsed_ms",
            Self::FinishedAt => "finished_at",
            Self::Detail => "detail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_its_name_at_its_index() {
        for column in [
            ReportColumn::Line,
            ReportColumn::Outcome,
            ReportColumn::Wanted,
            ReportColumn::HttpStatus,
            ReportColumn::Attempts,
            ReportColumn::ElapsedMs,
            ReportColumn::FinishedAt,
            ReportColumn::Detail,
        ] {
            assert_eq!(REPORT_COLUMNS[column.index()], column.name());
        }
    }
}
