//! Parses cells: a user's ID, a flag, a date. A cell that could be read in two ways is refused,
//! with what it looks like. Everything here is pure.

use jiff::civil::Date;

pub use super::cell_error::CellError;
use super::row::{CellNote, Row};
use crate::domain::{Flag, UserId};
use crate::text::visible;

/// Parses the user ID in a cell. White space around it, also no-break space, is ignored. A pasted
/// address of the Edit User page is accepted if it plainly ends in the ID and, if `host` is given,
/// is on that host. `="1701"` and `'1701`, with which people protect digits from a spreadsheet
/// program, are read as 1701.
///
/// # Errors
///
/// Returns what the cell looks like if it is not exactly a positive integer below 2^63 in ASCII
/// digits.
pub fn user_id(cell: &[u8], host: Option<&str>) -> Result<UserId, CellError> {
    match plain_number(cell) {
        Some(id) => Ok(id),
        None => explain_id(cell, host),
    }
}

/// Checks whether a cell is a user ID of any host, without asking what else it looks like.
pub(super) fn is_user_id(cell: &[u8]) -> bool {
    // Digits stand at the end, before a quote or white space that is not ASCII at most.
    let last = cell.trim_ascii_end().last();
    matches!(last, Some(b'0'..=b'9' | b'"' | 0x80..)) && user_id(cell, None).is_ok()
}

/// Parses the user ID in a column of a row; see [`user_id`].
///
/// # Errors
///
/// Returns what the cell looks like if it is no user ID, or if it was computed or damaged by a
/// spreadsheet program.
pub fn user_id_of_row(row: &Row, column: usize, host: Option<&str>) -> Result<UserId, CellError> {
    match row.note(column) {
        Some(CellNote::LongNumber) => Err(CellError::LongNumber),
        Some(CellNote::Date) => Err(CellError::Date),
        Some(CellNote::Aggregate) => Err(CellError::Computed),
        Some(CellNote::OddBoolean) => Err(CellError::OddBoolean),
        None => user_id(row.cells.get(column).unwrap_or_default(), host),
    }
}

/// Returns the text that is protected from a spreadsheet program as `="1701"` or `'1701`.
fn unprotected(text: &str) -> Option<&str> {
    let digits = match text.strip_prefix("=\"") {
        Some(rest) => rest.strip_suffix('"')?,
        None => text.strip_prefix('\'')?,
    };
    Some(digits).filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Parses a cell of digits and nothing else, which is the form that ten million rows have.
fn plain_number(cell: &[u8]) -> Option<UserId> {
    let (first, rest) = cell.split_first()?;
    if !matches!(first, b'1'..=b'9') || cell.len() > 18 {
        return None;
    }
    let start = u64::from(first - b'0');
    let number = rest.iter().try_fold(start, |sum, b| {
        b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0'))
    })?;
    UserId::new(number)
}

fn explain_id(cell: &[u8], host: Option<&str>) -> Result<UserId, CellError> {
    let text = std::str::from_utf8(cell)
        .map_err(|_| CellError::Words)?
        .trim();
    let text = unprotected(text).unwrap_or(text);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return whole_number(text);
    }
    if text.contains("://") {
        return address(text, host);
    }
    Err(looks_like(text))
}

fn whole_number(digits: &str) -> Result<UserId, CellError> {
    if digits.bytes().all(|b| b == b'0') {
        return Err(CellError::Zero);
    }
    if digits.starts_with('0') {
        return Err(CellError::LeadingZeros);
    }
    digits
        .parse()
        .ok()
        .and_then(UserId::new)
        .ok_or(CellError::TooLarge)
}

fn address(text: &str, host: Option<&str>) -> Result<UserId, CellError> {
    let plain = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .ok_or(CellError::Address)?;
    let strange = |c: char| c.is_whitespace() || c.is_control() || "?#%@\\;\"'<>".contains(c);
    if plain.contains(strange)
        || plain
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(CellError::Address);
    }
    let (authority, path) = plain.split_once('/').ok_or(CellError::Address)?;
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
        return Err(CellError::OtherHost);
    }
    plain_number(path.rsplit('/').next().unwrap_or_default().as_bytes()).ok_or(CellError::Address)
}

/// Whether a text is of some kind.
type Likeness = fn(&str) -> bool;

/// The first likeness that fits, from the certain to the vague.
fn looks_like(text: &str) -> CellError {
    const LIKENESSES: [(Likeness, CellError); 17] = [
        (str::is_empty, CellError::EmptyId),
        (|t| t.contains('\0'), CellError::Nul),
        (is_formula_error, CellError::FormulaError),
        (has_invisible, CellError::Invisible),
        (|t| t.contains('@'), CellError::Email),
        (is_uuid, CellError::Uuid),
        (has_foreign_digits, CellError::ForeignDigits),
        (is_signed, CellError::Sign),
        (is_scientific, CellError::Scientific),
        (is_programming, CellError::Programming),
        (looks_like_date, CellError::Date),
        (has_thousands, CellError::Thousands),
        (is_decimal, CellError::Decimal),
        (is_several, CellError::Several),
        (
            |t| t.starts_with("javascript:") || t.starts_with("www."),
            CellError::Address,
        ),
        (is_path, CellError::Path),
        (|_| true, CellError::Words),
    ];
    LIKENESSES
        .into_iter()
        .find_map(|(fits, wrong)| fits(text).then_some(wrong))
        .unwrap_or(CellError::Words)
}

fn is_formula_error(text: &str) -> bool {
    text.len() > 2
        && text.starts_with('#')
        && (text.ends_with(['!', '?']) || text.eq_ignore_ascii_case("#n/a"))
        || text.eq_ignore_ascii_case("#nv")
}

fn has_invisible(text: &str) -> bool {
    text.chars()
        .any(|c| visible(c.encode_utf8(&mut [0; 4])).starts_with("\\u"))
}

fn is_uuid(text: &str) -> bool {
    let bare = text.trim_matches(['{', '}']);
    bare.len() == 36
        && bare.bytes().enumerate().all(|(i, b)| {
            if matches!(i, 8 | 13 | 18 | 23) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

/// Numbers of other scripts, in superscript or in circles: numeric, but not ASCII.
fn has_foreign_digits(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii() && c.is_numeric())
        && text
            .chars()
            .all(|c| c.is_numeric() || c.is_whitespace() || matches!(c, '.' | ',' | '+' | '-'))
}

fn is_signed(text: &str) -> bool {
    text.strip_prefix(['+', '-', '−', '＋', '－'])
        .is_some_and(|rest| rest.trim_start().starts_with(ascii_digit))
}

fn ascii_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return false;
    };
    let digits = |t: &str, others: &str| {
        t.contains(ascii_digit) && t.chars().all(|c| ascii_digit(c) || others.contains(c))
    };
    digits(mantissa, ".,") && digits(exponent, "+-")
}

fn is_programming(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["0x", "0b", "0o"].iter().any(|prefix| {
        lower
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }) || (text.contains('_')
        && text.starts_with(ascii_digit)
        && text.chars().all(|c| ascii_digit(c) || c == '_'))
}

/// Checks whether a cell looks like a date in one of the usual forms, with or without a time of
/// day.
pub(super) fn is_date(cell: &[u8]) -> bool {
    match std::str::from_utf8(cell) {
        Ok(text) => looks_like_date(text.trim()),
        Err(_) => false,
    }
}

fn looks_like_date(text: &str) -> bool {
    let parts: Vec<&str> = text
        .split(['T', ' '])
        .next()
        .unwrap_or_default()
        .split(['-', '/', '.'])
        .collect();
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
    let separator =
        |c: char| matches!(c, ',' | '.' | '\'' | '’' | '`' | '´' | '·' | '٬') || c.is_whitespace();
    let mut groups = text.split(separator);
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    (1..=3).contains(&first.len())
        && first.chars().all(ascii_digit)
        && rest.peek().is_some()
        && rest.all(|group| group.len() == 3 && group.chars().all(ascii_digit))
}

fn is_decimal(text: &str) -> bool {
    text.contains(ascii_digit)
        && text
            .chars()
            .all(|c| ascii_digit(c) || matches!(c, '.' | ','))
}

fn is_several(text: &str) -> bool {
    let mut numbers = text
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '/'))
        .filter(|t| !t.is_empty());
    numbers.clone().count() > 1 && numbers.all(|t| t.chars().all(ascii_digit))
}

fn is_path(text: &str) -> bool {
    text.contains(ascii_digit) && text.contains(['/', '\\', '?', '#', '%', '&'])
        || text.contains("../")
}

/// Parses the flag in a cell, which is one of the words that people and spreadsheets use.
///
/// # Errors
///
/// Returns an error for an empty cell, which is never a flag, and for any other word.
pub fn flag(cell: &[u8]) -> Result<Flag, CellError> {
    match cell {
        b"true" => Ok(Flag::OptOut),
        b"false" => Ok(Flag::OptIn),
        _ => read_flag(cell),
    }
}

fn read_flag(cell: &[u8]) -> Result<Flag, CellError> {
    let text = std::str::from_utf8(cell)
        .map_err(|_| CellError::Flag)?
        .trim();
    if text.is_empty() {
        Err(CellError::EmptyFlag)
    } else if text.contains('\0') {
        Err(CellError::Nul)
    } else if is_formula_error(text) {
        Err(CellError::FormulaError)
    } else {
        Flag::from_table_word(text).ok_or(CellError::Flag)
    }
}

/// Parses the day in an `opt_out_until` cell, written as in ISO 8601 (`2026-11-24`); `None` for an
/// empty cell, which means no end.
///
/// # Errors
///
/// Returns an error for a day that does not exist and for every other form: `03/04/2026` is two
/// different days.
pub fn until(cell: &[u8]) -> Result<Option<Date>, CellError> {
    let text = std::str::from_utf8(cell)
        .map_err(|_| CellError::DateFormat)?
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    if is_formula_error(text) {
        return Err(CellError::FormulaError);
    }
    if text.parse::<f64>().is_ok() {
        return Err(CellError::DateSerial);
    }
    iso_date(text).map(Some)
}

fn iso_date(text: &str) -> Result<Date, CellError> {
    let form = |(i, b): (usize, u8)| {
        if matches!(i, 4 | 7) {
            b == b'-'
        } else {
            b.is_ascii_digit()
        }
    };
    if text.len() != 10 || !text.bytes().enumerate().all(form) {
        return Err(CellError::DateFormat);
    }
    text.parse().map_err(|_| CellError::NoSuchDate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(cases: &[&str], wrong: CellError) {
        for case in cases {
            assert_eq!(user_id(case.as_bytes(), None), Err(wrong), "{case:?}");
        }
    }

    #[test]
    fn an_id_is_a_positive_integer_below_two_to_the_63() {
        let good = [
            ("1", 1),
            ("1732", 1732),
            (" 1732\t", 1732),
            ("\u{a0}1732\u{a0}", 1732),
            ("\u{202f}1732", 1732),
            ("999999999999999999", 999_999_999_999_999_999),
            ("9223372036854775807", UserId::MAX),
            ("https://eu.core.resolver.com/admin/users/1732", 1732),
            (" http://localhost:8080/users/1732 ", 1732),
        ];
        for (case, number) in good.into_iter().chain([
            ("=\"1701\"", 1701),
            (" '1701 ", 1701),
            ("=\"9223372036854775807\"", UserId::MAX),
        ]) {
            assert_eq!(
                user_id(case.as_bytes(), None).map(UserId::get),
                Ok(number),
                "{case:?}"
            );
            assert!(is_user_id(case.as_bytes()), "{case:?}");
        }
    }

    #[test]
    fn each_way_of_being_no_id_has_its_own_name() {
        ids(&["", "  ", "\u{a0}"], CellError::EmptyId);
        ids(
            &[
                "1,732",
                "1.732",
                "1 732",
                "1’732",
                "1'732",
                "1\u{202f}732",
                "1\u{a0}732",
                "12,345,678",
            ],
            CellError::Thousands,
        );
        ids(
            &["1.73E+03", "1E3", "1e3", "1,73E+15", "9.22337E+18"],
            CellError::Scientific,
        );
        ids(
            &["1732.0", "1732,0", "17.5", "1732.", ".5"],
            CellError::Decimal,
        );
        ids(&["-5", "+5", "−5", "+ 5"], CellError::Sign);
        ids(&["0", "00", "000000"], CellError::Zero);
        ids(&["0001732", "01"], CellError::LeadingZeros);
        ids(&["0x10", "1_000", "0b11", "0o17"], CellError::Programming);
        ids(
            &[
                "9223372036854775808",
                "18446744073709551616",
                "12345678901234567890",
                &"9".repeat(40),
            ],
            CellError::TooLarge,
        );
        ids(
            &["١٧٣٢", "१७३२", "１７３２", "¹²", "17³", "②"],
            CellError::ForeignDigits,
        );
        ids(
            &["17\u{200b}32", "\u{feff}1732", "17\u{ad}32", "1732\u{200e}"],
            CellError::Invisible,
        );
        ids(&["17\x0032", "\x001732"], CellError::Nul);
        ids(
            &["zoe@example.com", "Zoe <zoe@example.com>"],
            CellError::Email,
        );
        ids(
            &[
                "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
                "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}",
            ],
            CellError::Uuid,
        );
        ids(
            &[
                "#N/A", "#REF!", "#NAME?", "#DIV/0!", "#NV", "#VALUE!", "#WERT!",
            ],
            CellError::FormulaError,
        );
        ids(
            &[
                "2026-11-24",
                "24.11.2026",
                "03/04/2026",
                "2026-11-24T10:00:00",
            ],
            CellError::Date,
        );
        ids(
            &["1732 1733", "1732, 1733", "1732;1733"],
            CellError::Several,
        );
        ids(
            &["Zoë Müller", "null", "N/A", "TRUE", "user 1732", "O'Brien"],
            CellError::Words,
        );
    }

    #[test]
    fn only_plain_digits_are_protected() {
        ids(&["=\"0001701\"", "'01"], CellError::LeadingZeros);
        ids(&["=\"0\""], CellError::Zero);
        for case in [
            "=1701",
            "=\"1701",
            "'",
            "=\"\"",
            "=\"17 01\"",
            "''1701",
            "'1701'",
        ] {
            assert!(user_id(case.as_bytes(), None).is_err(), "{case}");
        }
    }

    #[test]
    fn pieces_of_addresses_never_become_an_id() {
        ids(
            &[
                "1732/../1733",
                "1732?x=1",
                "1732#",
                "%31",
                "1732/membership",
                "../org/mfa",
                "1732/",
                "1732\\..\\1",
            ],
            CellError::Path,
        );
        ids(
            &[
                "https://eu.core.resolver.com/users/1732?tab=1",
                "https://eu.core.resolver.com/users/1732#x",
                "https://eu.core.resolver.com/users/1732/",
                "https://eu.core.resolver.com/users/1732/edit",
                "https://eu.core.resolver.com/users/0001732",
                "https://eu.core.resolver.com/users/../1732",
                "https://eu.core.resolver.com/users//1732",
                "https://eu.core.resolver.com",
                "https://1732",
                "javascript:alert(1732)",
                "ftp://eu.core.resolver.com/1732",
                "see https://eu.core.resolver.com/users/1732",
            ],
            CellError::Address,
        );
    }

    #[test]
    fn an_address_must_be_on_the_given_host() {
        let address = |host: &str| format!("https://{host}/users/5");
        let read = |host: &str| {
            user_id(address(host).as_bytes(), Some("eu.core.resolver.com")).map(UserId::get)
        };
        assert_eq!(read("eu.core.resolver.com"), Ok(5));
        assert_eq!(read("EU.core.resolver.com"), Ok(5));
        for other in [
            "us.core.resolver.com",
            "evil-eu.core.resolver.com",
            "evil.eu.core.resolver.com",
            "eu.core.resolver.com.evil.example",
            "eu.core.resolver.com:8443",
        ] {
            assert_eq!(read(other), Err(CellError::OtherHost), "{other}");
        }
        assert_eq!(
            read("eu.core.resolver.com@evil.example"),
            Err(CellError::Address)
        );
    }

    #[test]
    fn flags_are_read_in_every_language_of_excel() {
        for word in Flag::OPT_OUT_WORDS {
            assert_eq!(flag(word.as_bytes()), Ok(Flag::OptOut), "{word}");
            assert_eq!(
                flag(format!(" {}\u{a0}", word.to_uppercase()).as_bytes()),
                Ok(Flag::OptOut),
                "{word}"
            );
        }
        for word in Flag::OPT_IN_WORDS {
            assert_eq!(flag(word.as_bytes()), Ok(Flag::OptIn), "{word}");
            assert_eq!(
                flag(format!("\t{} ", word.to_uppercase()).as_bytes()),
                Ok(Flag::OptIn),
                "{word}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_flag() {
        for case in [
            "-1",
            "2",
            "null",
            "N/A",
            "maybe",
            "✓",
            "true false",
            "1.0",
            "ｔｒｕｅ",
            "truе",
        ] {
            assert_eq!(flag(case.as_bytes()), Err(CellError::Flag), "{case}");
        }
        assert_eq!(flag(b""), Err(CellError::EmptyFlag));
        assert_eq!(flag(" \u{a0}".as_bytes()), Err(CellError::EmptyFlag));
        assert_eq!(flag(b"#N/A"), Err(CellError::FormulaError));
        assert_eq!(flag(b"\xff"), Err(CellError::Flag));
    }

    #[test]
    fn only_one_way_of_writing_a_day_is_read() {
        assert_eq!(until(b""), Ok(None));
        assert_eq!(
            until(b" 2026-11-24 "),
            Ok(Some(jiff::civil::date(2026, 11, 24)))
        );
        assert_eq!(
            until(b"2028-02-29"),
            Ok(Some(jiff::civil::date(2028, 2, 29)))
        );
        for case in ["2026-02-31", "2026-13-01", "2026-00-10", "2027-02-29"] {
            assert_eq!(until(case.as_bytes()), Err(CellError::NoSuchDate), "{case}");
        }
        for case in [
            "03/04/2026",
            "24.11.2026",
            "2026-1-5",
            "24 Nov 2026",
            "2026-11-24T10:00:00",
            "20261-1-24",
            "tomorrow",
            "２０２６-11-24",
        ] {
            assert_eq!(until(case.as_bytes()), Err(CellError::DateFormat), "{case}");
        }
        for case in ["46350", "46350.5", "20261124", "0"] {
            assert_eq!(until(case.as_bytes()), Err(CellError::DateSerial), "{case}");
        }
        assert_eq!(until(b"#REF!"), Err(CellError::FormulaError));
    }

    proptest::proptest! {
        #[test]
        fn no_cell_makes_it_panic_and_only_digits_become_an_id(cell: Vec<u8>) {
            let id = user_id(&cell, None);
            proptest::prop_assert_eq!(is_user_id(&cell), id.is_ok());
            if let Ok(id) = id {
                proptest::prop_assert!(String::from_utf8_lossy(&cell).contains(&id.to_string()));
            }
            let _ = flag(&cell);
            let _ = until(&cell);
        }
    }
}
