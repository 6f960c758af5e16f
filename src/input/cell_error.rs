//! The ways in which a cell or a row can be wrong, with the words for each: what it looks like and
//! what to do about it.

/// A reason why a cell or a row is invalid. The variants are the kinds by which problems are
/// counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CellError {
    /// An ID cell with nothing in it.
    EmptyId,
    /// `1,732`, `1 732`, `1’732`.
    Thousands,
    /// `1.73E+03`.
    Scientific,
    /// `1732.0`.
    Decimal,
    /// `+5`, `-5`.
    Sign,
    /// `0`.
    Zero,
    /// `0001732`.
    LeadingZeros,
    /// `0x10`, `1_000`.
    Programming,
    /// Above 2^63 - 1.
    TooLarge,
    /// `１７３２`.
    ForeignDigits,
    /// A zero-width or another unseen character.
    Invisible,
    /// A zero byte.
    Nul,
    /// `zoe@example.com`.
    Email,
    /// `6f9619ff-8b86-d011-b42d-00cf4fc964ff`.
    Uuid,
    /// An address that is not just a path ending in the ID.
    Address,
    /// An address of another Org's host.
    OtherHost,
    /// `1732/../1733`, `1732?x=1`.
    Path,
    /// `#N/A`.
    FormulaError,
    /// A date or a time.
    Date,
    /// Several numbers in one cell.
    Several,
    /// Words.
    Words,
    /// A number cell of a spreadsheet of 10^15 or more.
    LongNumber,
    /// A cell computed by SUM, COUNT or another function of many rows.
    Computed,
    /// A last row that is the sum or the count of the rows above it.
    Total,
    /// A truth value of a spreadsheet that is neither true nor false.
    OddBoolean,
    /// A flag cell with nothing in it.
    EmptyFlag,
    /// A cell of an earlier report's column `wanted` that is neither `true` nor `false`.
    Wanted,
    /// A cell of an earlier report's column `line` that is not a number.
    Line,
    /// A flag cell with something else in it.
    Flag,
    /// A date that is none.
    NoSuchDate,
    /// A date not written as year-month-day.
    DateFormat,
    /// `45234` where a date should be.
    DateSerial,
    /// More cells than the header.
    TooManyCells,
    /// Fewer cells than the header.
    TooFewCells,
    /// A key cell with nothing in it, where the ID is in a directory.
    EmptyKey,
    /// A key that is not in the directory.
    Unmatched,
    /// A key with several IDs in the directory.
    SeveralEntries,
    /// A key whose ID in the directory is invalid.
    InvalidEntry,
    /// An ID of a JSON entry in which its member, or that of the key, has two values.
    MemberTwice,
    /// The same ID, another flag, another row.
    Contradiction,
    /// A report's outcome that is no outcome.
    Outcome,
}

impl CellError {
    /// Returns what the cell looks like and what to do about it; fits behind `column NAME: `.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::EmptyId => "the user ID is missing",
            Self::Thousands => "has a thousands separator; write the ID in plain digits",
            Self::Scientific => {
                "is in scientific notation: a spreadsheet has damaged the ID; format the column as \
                 text and enter it again"
            }
            Self::Decimal => "is a decimal number; an ID is a whole number in plain digits",
            Self::Sign => "has a sign; an ID is a positive whole number in plain digits",
            Self::Zero => "is zero; IDs begin at 1",
            Self::LeadingZeros => {
                "has leading zeros: it is probably another kind of number than a user ID"
            }
            Self::Programming => "is not written in plain decimal digits",
            Self::TooLarge => "is larger than an ID can be (9223372036854775807)",
            Self::ForeignDigits => "has non-ASCII digits; write the ID with 0 to 9",
            Self::Invisible => {
                "has an invisible character in it; delete the cell and type the ID again"
            }
            Self::Nul => "has a NUL byte in it; this may be a binary file",
            Self::Email => {
                "is an email address; give the user ID, or a list of users with --ids FILE"
            }
            Self::Uuid => {
                "is a UUID; the numeric user ID is needed, as in the address of the Edit User page"
            }
            Self::Address => {
                "is an address that does not plainly end in a user ID; give the number alone, \
                 without `?`, `#` or a slash at the end"
            }
            Self::OtherHost => {
                "is an address of another host than the Org's; give the ID of a user of this Org"
            }
            Self::Path => "is a piece of an address; give the number alone",
            Self::FormulaError => {
                "is a spreadsheet formula's error; correct the formula or enter the value"
            }
            Self::Date => "is a date or a time; format the column as text and enter the ID again",
            Self::Several => "has several numbers in one cell; give each user a row",
            Self::Words => {
                "is not a number; the numeric user ID is needed, as in the address of the Edit \
                 User page"
            }
            Self::LongNumber => {
                "is a number cell with more than 15 digits, and a spreadsheet keeps only 15: it \
                 may be another user's; format the column as text and enter the ID again"
            }
            Self::Computed => {
                "is computed from other rows, as a total is; an ID must be entered as a plain \
                 number"
            }
            Self::Total => {
                "is the sum or the count of the IDs above it, as in a row of totals; if it is a \
                 user's ID, give --keep-last-row"
            }
            Self::OddBoolean => {
                "is stored as a truth value, but is neither true nor false; enter it again"
            }
            Self::EmptyFlag => "the flag is missing; write true (opt out) or false (opt in)",
            Self::Wanted => "does not say which flag was wanted, true or false",
            Self::Line => "is not the number of a line",
            Self::Flag => "is not a flag; write true (opt out) or false (opt in)",
            Self::NoSuchDate => "is a date that does not exist",
            Self::DateFormat => "is not a date written as year-month-day, such as 2026-11-24",
            Self::DateSerial => {
                "looks like a spreadsheet's number for a date; write it as year-month-day, such as \
                 2026-11-24"
            }
            Self::TooManyCells => "the row has more cells than the header",
            Self::TooFewCells => "the row has fewer cells than the header",
            Self::EmptyKey => "is empty, so there is nothing to match by",
            Self::Unmatched => "is not in the list of users",
            Self::SeveralEntries => "has several user IDs in the list of users",
            Self::InvalidEntry => "has an invalid user ID in the list of users",
            Self::MemberTwice => "is in an entry that has a member twice, with different values",
            Self::Contradiction => "the same user has another flag in another row",
            Self::Outcome => "is not an outcome that a report can have",
        }
    }

    /// Returns whether the ID for a key can't be found in the directory.
    #[must_use]
    pub fn is_about_directory(self) -> bool {
        matches!(
            self,
            Self::EmptyKey | Self::Unmatched | Self::SeveralEntries | Self::InvalidEntry
        )
    }

    /// Returns a short name for counting, such as `email address`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::EmptyId => "missing ID",
            Self::Thousands => "thousands separator",
            Self::Scientific => "scientific notation",
            Self::Decimal => "decimal number",
            Self::Sign => "signed number",
            Self::Zero => "zero",
            Self::LeadingZeros => "leading zeros",
            Self::Programming => "programming notation",
            Self::TooLarge => "number too large",
            Self::ForeignDigits => "non-ASCII digits",
            Self::Invisible => "invisible character",
            Self::Nul => "NUL byte",
            Self::Email => "email address",
            Self::Uuid => "UUID",
            Self::Address => "unclear address",
            Self::OtherHost => "address of another host",
            Self::Path => "piece of an address",
            Self::FormulaError => "formula error",
            Self::Date => "date instead of an ID",
            Self::Several => "several numbers in a cell",
            Self::Words => "text instead of an ID",
            Self::LongNumber => "number cell above 15 digits",
            Self::Computed => "computed ID",
            Self::Total => "total",
            Self::OddBoolean => "odd truth value",
            Self::EmptyFlag => "missing flag",
            Self::Wanted => "wanted flag missing",
            Self::Line => "not a line number",
            Self::Flag => "not a flag",
            Self::NoSuchDate => "no such date",
            Self::DateFormat => "date in another format",
            Self::DateSerial => "date as a number",
            Self::TooManyCells => "too many cells",
            Self::TooFewCells => "too few cells",
            Self::EmptyKey => "nothing to match by",
            Self::Unmatched => "not in the list of users",
            Self::SeveralEntries => "several user IDs",
            Self::InvalidEntry => "invalid user ID in the list of users",
            Self::MemberTwice => "member twice in an entry",
            Self::Contradiction => "contradiction",
            Self::Outcome => "not an outcome",
        }
    }
}
