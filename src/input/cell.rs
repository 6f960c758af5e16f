//! What a cell means: a user's ID, a flag, a date; and where it means nothing, what it looks like and what to do. Pure
//! and strict: a cell that could be read in two ways is read in none.

use jiff::civil::Date;

use crate::domain::{Flag, UserId};
use crate::text::visible;

/// What is wrong with a cell or a row. The variants are the kinds by which problems are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wrong {
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
    /// A flag cell with nothing in it.
    EmptyFlag,
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
    /// The same ID, another flag, another row.
    Contradiction,
    /// A report's outcome that is no outcome.
    Outcome,
}

impl Wrong {
    /// What the cell looks like and what to do about it; fits behind `column NAME: `.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::EmptyId => "the user ID is missing",
            Self::Thousands => "has a thousands separator; write the ID in plain digits",
            Self::Scientific => {
                "is in scientific notation: a spreadsheet has damaged the ID; format the column as text and enter it again"
            }
            Self::Decimal => "is a decimal number; an ID is a whole number in plain digits",
            Self::Sign => "has a sign; an ID is a positive whole number in plain digits",
            Self::Zero => "is zero; IDs begin at 1",
            Self::LeadingZeros => "has leading zeros: it is probably another kind of number than a user ID",
            Self::Programming => "is written as a program would; write the ID in plain decimal digits",
            Self::TooLarge => "is larger than an ID can be (9223372036854775807)",
            Self::ForeignDigits => "has non-ASCII digits; write the ID with 0 to 9",
            Self::Invisible => "has an invisible character in it; delete the cell and type the ID again",
            Self::Nul => "has a NUL byte in it; this may be a binary file",
            Self::Email => {
                "is an email address; the numeric user ID is needed, as in the address of the Edit User page"
            }
            Self::Uuid => "is a UUID; the numeric user ID is needed, as in the address of the Edit User page",
            Self::Address => {
                "is an address that does not plainly end in a user ID; give the number alone, without `?`, `#` or a slash at the end"
            }
            Self::OtherHost => "is an address of another host than the Org's; give the ID of a user of this Org",
            Self::Path => "is a piece of an address; give the number alone",
            Self::FormulaError => "is a spreadsheet formula's error; mend the formula or enter the value",
            Self::Date => "is a date or a time; format the column as text and enter the ID again",
            Self::Several => "has several numbers in one cell; give each user a row",
            Self::Words => "is not a number; the numeric user ID is needed, as in the address of the Edit User page",
            Self::LongNumber => {
                "is a number cell with more than 15 digits, and a spreadsheet keeps only 15: it may be another user's; format the column as text and enter the ID again"
            }
            Self::EmptyFlag => "the flag is missing; write true (opt out) or false (opt in)",
            Self::Flag => "is not a flag; write true (opt out) or false (opt in)",
            Self::NoSuchDate => "is a date that does not exist",
            Self::DateFormat => "is not a date written as year-month-day, such as 2026-11-24",
            Self::DateSerial => {
                "looks like a spreadsheet's number for a date; write it as year-month-day, such as 2026-11-24"
            }
            Self::TooManyCells => "the row has more cells than the header",
            Self::TooFewCells => "the row has fewer cells than the header",
            Self::Contradiction => "the same user has another flag in another row",
            Self::Outcome => "is not an outcome that a report can have",
        }
    }

    /// A short name for counting, such as `email address`.
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
            Self::Words => "words instead of an ID",
            Self::LongNumber => "number cell above 15 digits",
            Self::EmptyFlag => "missing flag",
            Self::Flag => "not a flag",
            Self::NoSuchDate => "no such date",
            Self::DateFormat => "date in another format",
            Self::DateSerial => "date as a number",
            Self::TooManyCells => "too many cells",
            Self::TooFewCells => "too few cells",
            Self::Contradiction => "contradiction",
            Self::Outcome => "not an outcome",
        }
    }
}

/// The ID in a cell. White space around it, also no-break space, is ignored; a pasted address of the Edit User page is
/// taken where it plainly ends in the ID and, if `host` is given, is on that host.
///
/// # Errors
///
/// Anything that is not exactly a positive integer below 2^63 in ASCII digits, with what it looks like instead.
pub fn user_id(cell: &[u8], host: Option<&str>) -> Result<UserId, Wrong> {
    match plain_number(cell) {
        Some(id) => Ok(id),
        None => explain_id(cell, host),
    }
}

/// Digits and nothing else, the one form that ten million rows have.
fn plain_number(cell: &[u8]) -> Option<UserId> {
    let (first, rest) = cell.split_first()?;
    if !matches!(first, b'1'..=b'9') || cell.len() > 18 {
        return None;
    }
    let start = u64::from(first - b'0');
    let number = rest.iter().try_fold(start, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))?;
    UserId::new(number)
}

fn explain_id(cell: &[u8], host: Option<&str>) -> Result<UserId, Wrong> {
    let text = std::str::from_utf8(cell).map_err(|_| Wrong::Words)?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return whole_number(text);
    }
    if text.contains("://") {
        return address(text, host);
    }
    Err(looks_like(text))
}

fn whole_number(digits: &str) -> Result<UserId, Wrong> {
    if digits.bytes().all(|b| b == b'0') {
        return Err(Wrong::Zero);
    }
    if digits.starts_with('0') {
        return Err(Wrong::LeadingZeros);
    }
    digits.parse().ok().and_then(UserId::new).ok_or(Wrong::TooLarge)
}

fn address(text: &str, host: Option<&str>) -> Result<UserId, Wrong> {
    let plain =
        ["https://", "http://"].into_iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or(Wrong::Address)?;
    let strange = |c: char| c.is_whitespace() || c.is_control() || "?#%@\\;\"'<>".contains(c);
    if plain.contains(strange) || plain.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Wrong::Address);
    }
    let (authority, path) = plain.split_once('/').ok_or(Wrong::Address)?;
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
        return Err(Wrong::OtherHost);
    }
    plain_number(path.rsplit('/').next().unwrap_or_default().as_bytes()).ok_or(Wrong::Address)
}

/// Whether a text is of some kind.
type Likeness = fn(&str) -> bool;

/// The first likeness that fits, from the certain to the vague.
fn looks_like(text: &str) -> Wrong {
    const LIKENESSES: [(Likeness, Wrong); 17] = [
        (str::is_empty, Wrong::EmptyId),
        (|t| t.contains('\0'), Wrong::Nul),
        (is_formula_error, Wrong::FormulaError),
        (has_invisible, Wrong::Invisible),
        (|t| t.contains('@'), Wrong::Email),
        (is_uuid, Wrong::Uuid),
        (has_foreign_digits, Wrong::ForeignDigits),
        (is_signed, Wrong::Sign),
        (is_scientific, Wrong::Scientific),
        (is_programming, Wrong::Programming),
        (is_date, Wrong::Date),
        (has_thousands, Wrong::Thousands),
        (is_decimal, Wrong::Decimal),
        (is_several, Wrong::Several),
        (|t| t.starts_with("javascript:") || t.starts_with("www."), Wrong::Address),
        (is_path, Wrong::Path),
        (|_| true, Wrong::Words),
    ];
    LIKENESSES.into_iter().find_map(|(fits, wrong)| fits(text).then_some(wrong)).unwrap_or(Wrong::Words)
}

fn is_formula_error(text: &str) -> bool {
    text.len() > 2 && text.starts_with('#') && (text.ends_with(['!', '?']) || text.eq_ignore_ascii_case("#n/a"))
        || text.eq_ignore_ascii_case("#nv")
}

fn has_invisible(text: &str) -> bool {
    text.chars().any(|c| visible(c.encode_utf8(&mut [0; 4])).starts_with("\\u"))
}

fn is_uuid(text: &str) -> bool {
    let bare = text.trim_matches(['{', '}']);
    bare.len() == 36
        && bare.bytes().enumerate().all(
            |(i, b)| {
                if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() }
            },
        )
}

/// Numbers of other scripts, in superscript or in circles: numeric, but not ASCII.
fn has_foreign_digits(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && c.is_numeric())
        && text.chars().all(|c| c.is_numeric() || c.is_whitespace() || matches!(c, '.' | ',' | '+' | '-'))
}

fn is_signed(text: &str) -> bool {
    text.strip_prefix(['+', '-', '−', '＋', '－']).is_some_and(|rest| rest.trim_start().starts_with(ascii_digit))
}

fn ascii_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    let digits =
        |t: &str, others: &str| t.contains(ascii_digit) && t.chars().all(|c| ascii_digit(c) || others.contains(c));
    digits(mantissa, ".,") && digits(exponent, "+-")
}

fn is_programming(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["0x", "0b", "0o"].iter().any(|prefix| {
        lower.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }) || (text.contains('_') && text.starts_with(ascii_digit) && text.chars().all(|c| ascii_digit(c) || c == '_'))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['T', ' ']).next().unwrap_or_default().split(['-', '/', '.']).collect();
    let digits = |part: &&str| (1..=4).contains(&part.len()) && part.chars().all(ascii_digit);
    let ends = [parts.first(), parts.last()];
    let short = parts.iter().filter(|part| part.len() <= 2).count() >= 2;
    parts.len() == 3
        && parts.iter().all(digits)
        && short
        && ends.into_iter().flatten().any(|p| matches!(p.len(), 2 | 4))
}

/// Groups of three digits behind the first, with one of the separators that are in use.
fn has_thousands(text: &str) -> bool {
    let separator = |c: char| matches!(c, ',' | '.' | '\'' | '’' | '`' | '´' | '·' | '٬') || c.is_whitespace();
    let mut groups = text.split(separator);
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    (1..=3).contains(&first.len())
        && first.chars().all(ascii_digit)
        && rest.peek().is_some()
        && rest.all(|group| group.len() == 3 && group.chars().all(ascii_digit))
}

fn is_decimal(text: &str) -> bool {
    text.contains(ascii_digit) && text.chars().all(|c| ascii_digit(c) || matches!(c, '.' | ','))
}

fn is_several(text: &str) -> bool {
    let mut numbers =
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '/')).filter(|t| !t.is_empty());
    numbers.clone().count() > 1 && numbers.all(|t| t.chars().all(ascii_digit))
}

fn is_path(text: &str) -> bool {
    text.contains(ascii_digit) && text.contains(['/', '\\', '?', '#', '%', '&']) || text.contains("../")
}

/// The flag in a cell, in one of the words that people and spreadsheets use.
///
/// # Errors
///
/// An empty cell, which is never taken for either, and any other word.
pub fn flag(cell: &[u8]) -> Result<Flag, Wrong> {
    match cell {
        b"true" => Ok(Flag::OptOut),
        b"false" => Ok(Flag::OptIn),
        _ => read_flag(cell),
    }
}

/// The words for yes and for no. Excel writes its TRUE and FALSE in the language of the person who saved the file.
const OPT_OUT: [&str; 16] = [
    "true",
    "yes",
    "y",
    "t",
    "1",
    "on",
    "opt-out",
    "opt_out",
    "opt out",
    "optout",
    "wahr",
    "vrai",
    "verdadero",
    "vero",
    "waar",
    "verdadeiro",
];
const OPT_IN: [&str; 14] =
    ["false", "no", "n", "f", "0", "off", "opt-in", "opt_in", "opt in", "optin", "falsch", "faux", "falso", "onwaar"];

fn read_flag(cell: &[u8]) -> Result<Flag, Wrong> {
    let text = std::str::from_utf8(cell).map_err(|_| Wrong::Flag)?.trim();
    let is = |word: &str| word.eq_ignore_ascii_case(text);
    if text.is_empty() {
        Err(Wrong::EmptyFlag)
    } else if text.contains('\0') {
        Err(Wrong::Nul)
    } else if is_formula_error(text) {
        Err(Wrong::FormulaError)
    } else if OPT_OUT.iter().any(|word| is(word)) {
        Ok(Flag::OptOut)
    } else if OPT_IN.iter().any(|word| is(word)) {
        Ok(Flag::OptIn)
    } else {
        Err(Wrong::Flag)
    }
}

/// The day in an `opt_out_until` cell, as ISO 8601 writes it (`2026-11-24`); `None` for an empty cell: no end.
///
/// # Errors
///
/// A day that does not exist, and every other way of writing one: `03/04/2026` is two different days.
pub fn until(cell: &[u8]) -> Result<Option<Date>, Wrong> {
    let text = std::str::from_utf8(cell).map_err(|_| Wrong::DateFormat)?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if is_formula_error(text) {
        return Err(Wrong::FormulaError);
    }
    if text.parse::<f64>().is_ok() {
        return Err(Wrong::DateSerial);
    }
    iso_date(text).map(Some)
}

fn iso_date(text: &str) -> Result<Date, Wrong> {
    let form = |(i, b): (usize, u8)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(form) {
        return Err(Wrong::DateFormat);
    }
    text.parse().map_err(|_| Wrong::NoSuchDate)
}
