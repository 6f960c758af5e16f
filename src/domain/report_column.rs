//! The columns that the tool adds to a report, behind the columns that the report carries. Declared once: whoever writes
//! a report and whoever reads one back take names and order from here.

/// A column that the tool adds to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportColumn {
    /// Where the row stands in the input: the first physical line of the record, or the row of the sheet.
    Line,
    /// What became of the row.
    Outcome,
    /// The flag that was wanted, `true` or `false`; empty where none is known.
    Wanted,
    /// Status of the last answer.
    HttpStatus,
    /// Requests sent for the row; 0 if nothing was sent.
    Attempts,
    /// Milliseconds from the first request to the last answer.
    ElapsedMs,
    /// When the outcome was recorded.
    FinishedAt,
    /// One line for a person; no code reads it.
    Detail,
}

/// The names of the tool's columns in a report, in the order of [`ReportColumn`].
pub const REPORT_COLUMNS: [&str; 8] = [
    "line",
    "outcome",
    "wanted",
    "http_status",
    "attempts",
    "elapsed_ms",
    "finished_at",
    "detail",
];

/// The same in reports of format 1, which this version refuses.
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
    /// Its place among [`REPORT_COLUMNS`], from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_own_name() {
        let named = [
            (ReportColumn::Line, "line"),
            (ReportColumn::Outcome, "outcome"),
            (ReportColumn::Wanted, "wanted"),
            (ReportColumn::HttpStatus, "http_status"),
            (ReportColumn::Attempts, "attempts"),
            (ReportColumn::ElapsedMs, "elapsed_ms"),
            (ReportColumn::FinishedAt, "finished_at"),
            (ReportColumn::Detail, "detail"),
        ];
        assert_eq!(named.len(), REPORT_COLUMNS.len());
        for (column, name) in named {
            assert_eq!(REPORT_COLUMNS[column.index()], name);
        }
    }
}
