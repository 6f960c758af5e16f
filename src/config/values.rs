//! Parsers for the values of options: rates, durations, limits, sizes and others. Command line,
//! environment and config file share them, so that a value means the same everywhere. Pure.

use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;
use encoding_rs::Encoding;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::config::{ColorChoice, LogFormat, MatchColumns};
use crate::domain::Threshold;
use crate::domain::{Flag, Rate};

/// A value, or a phrase that says what is wrong and how to write it, to follow a colon.
pub type Parsed<T> = Result<T, String>;

/// Ceiling of `auto` without a number, in requests a second.
const AUTO_CEILING: u32 = 50;

/// Parses a rate: `10/s`, `600/m`, `36000/h`, `unlimited`, `auto`, `auto:50`.
///
/// # Errors
/// Anything else, zero, and numbers above 2^32 - 1.
pub fn rate(text: &str) -> Parsed<Rate> {
    const HOW: &str = "write 10/s, 600/m, 36000/h, unlimited, auto or auto:50";
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "unlimited" => return Ok(Rate::Unlimited),
        "auto" => {
            return Ok(Rate::Auto {
                ceiling: AUTO_CEILING,
            });
        }
        _ => {}
    }
    if let Some(ceiling) = text.strip_prefix("auto:") {
        let ceiling = ceiling.strip_suffix("/s").unwrap_or(ceiling);
        return positive(ceiling)
            .map(|ceiling| Rate::Auto { ceiling })
            .ok_or_else(|| HOW.to_owned());
    }
    let (number, unit) = text
        .split_once('/')
        .ok_or_else(|| format!("a rate needs its unit; {HOW}"))?;
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        _ => return Err(HOW.to_owned()),
    };
    match positive(number) {
        Some(requests) => Ok(Rate::Limited {
            requests,
            per: Duration::from_secs(seconds),
        }),
        None => Err(format!("the number must be whole and at least 1; {HOW}")),
    }
}

fn positive(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number > 0)
}

/// Parses a time: `30s`, `5m`, `2h 30m`. Zero is allowed.
///
/// # Errors
/// No unit, a negative time, anything else.
pub fn duration(text: &str) -> Parsed<Duration> {
    const HOW: &str = "write a time with its unit, such as 30s, 5m or 2h 30m";
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A longer number may be something else that was typed in the wrong place.
        let example = if text.len() <= 6 { text } else { "30" };
        return Err(format!("{HOW}; for seconds {example}s"));
    }
    let parsed: SignedDuration = text.trim().parse().map_err(|_| HOW.to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time can't be negative".to_owned())
}

/// Parses a time as [`duration`] does, but more than zero.
///
/// # Errors
/// As [`duration`], and zero.
pub fn positive_duration(text: &str) -> Parsed<Duration> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than zero".to_owned()),
        time => Ok(time),
    }
}

/// Parses a number such as `100`, or a share such as `5%`.
///
/// # Errors
/// Negative numbers, shares above 100 %, anything else.
pub fn limit(text: &str) -> Parsed<Threshold> {
    const HOW: &str = "write a whole number such as 100, or a share such as 5%";
    match text.trim().strip_suffix('%') {
        None => text
            .trim()
            .parse()
            .map(Threshold::Count)
            .map_err(|_| HOW.to_owned()),
        Some(share) => match share.trim().parse::<f64>() {
            Ok(share) if (0.0..=100.0).contains(&share) => Ok(Threshold::Percent(share)),
            _ => Err(format!("a share is between 0% and 100%; {HOW}")),
        },
    }
}

/// Parses a number of bytes: `500MB`, `2GiB`.
///
/// # Errors
/// Zero and anything that is no size.
pub fn size(text: &str) -> Parsed<u64> {
    match text.trim().parse::<ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        _ => Err("write a size such as 500MB or 2GiB".to_owned()),
    }
}

/// Parses a number of requests in flight, 1 to 1,000. Returns `None` for `auto`.
///
/// # Errors
/// Anything else.
pub fn concurrency(text: &str) -> Parsed<Option<usize>> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    match text.parse() {
        Ok(number @ 1..=1000) => Ok(Some(number)),
        _ => Err("write a whole number from 1 to 1000, or auto".to_owned()),
    }
}

/// Parses a number of changes, at least 1.
///
/// # Errors
/// Anything else.
pub fn changes(text: &str) -> Parsed<u64> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a whole number of changes, at least 1".to_owned())
}

/// Parses a number of attempts, 1 to 100.
///
/// # Errors
/// Anything else.
pub fn attempts(text: &str) -> Parsed<u32> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| "write a whole number from 1 to 100".to_owned())
}

/// Parses the number of an Org.
///
/// # Errors
/// Anything but a positive whole number.
pub fn org(text: &str) -> Parsed<u64> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "an Org is known by its number, such as 42".to_owned())
}

/// Parses a delimiter: one character, or `tab`, `comma`, `semicolon`, `pipe`.
///
/// # Errors
/// More than one character, quotes, letters, digits, line breaks, non-ASCII.
pub fn delimiter(text: &str) -> Parsed<u8> {
    match text.to_ascii_lowercase().as_str() {
        "tab" | "\\t" => return Ok(b'\t'),
        "comma" => return Ok(b','),
        "semicolon" => return Ok(b';'),
        "pipe" => return Ok(b'|'),
        _ => {}
    }
    match text.as_bytes() {
        [byte] if *byte == b'\t' || (byte.is_ascii_punctuation() && *byte != b'"') => Ok(*byte),
        _ => Err("write one of , ; | or tab, or another single character".to_owned()),
    }
}

/// Parses the name of an encoding, such as `utf-8`, `windows-1252`, `shift_jis`.
///
/// # Errors
/// Names that the WHATWG Encoding Standard does not list.
pub fn encoding(text: &str) -> Parsed<&'static Encoding> {
    Encoding::for_label_no_replacement(text.as_bytes()).ok_or_else(|| {
        "write a name such as utf-8, utf-16le, windows-1252 or iso-8859-15".to_owned()
    })
}

/// Parses the IANA name of a time zone, such as `Europe/Berlin`.
///
/// # Errors
/// Names that neither the system nor the built-in table knows.
pub fn timezone(text: &str) -> Parsed<TimeZone> {
    TimeZone::get(text.trim()).map_err(|_| {
        "this system has no such zone; write a name such as Europe/Berlin or UTC".to_owned()
    })
}

/// Parses the flag for all rows, in any of the words that a cell may have.
///
/// # Errors
/// Any other word.
pub fn flag(text: &str) -> Parsed<Flag> {
    Flag::from_table_word(text.trim())
        .ok_or_else(|| "write true or yes (opt out), or false or no (opt back in)".to_owned())
}

/// Parses a switch.
///
/// # Errors
/// Anything but `true` and `false`.
pub fn switch(text: &str) -> Parsed<bool> {
    text.trim()
        .parse()
        .map_err(|_| "write true or false".to_owned())
}

/// Parses a switch whose field is on when the switch is off.
///
/// # Errors
/// As [`switch`].
pub fn switched_off(text: &str) -> Parsed<bool> {
    switch(text).map(|on| !on)
}

/// Parses `text` or `json`.
///
/// # Errors
/// Anything else.
pub fn log_format(text: &str) -> Parsed<LogFormat> {
    match text.trim() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

/// Parses the number of a line, from 1.
///
/// # Errors
/// Anything but a positive whole number.
pub fn line(text: &str) -> Parsed<u64> {
    match text.trim().parse() {
        Ok(line @ 1..) => Ok(line),
        _ => Err("write the number of a line, counted from 1".to_owned()),
    }
}

/// Parses `COLUMN`, or `TABLE_COLUMN=FILE_COLUMN`.
///
/// # Errors
/// An empty name, and more than one `=`, since a name with one can't be told from two names.
pub fn match_columns(text: &str) -> Parsed<MatchColumns> {
    let (in_table, in_list) = text.split_once('=').unwrap_or((text, text));
    let in_table = in_table.trim();
    let in_list = in_list.trim();
    if in_table.is_empty() || in_list.is_empty() || in_list.contains('=') {
        return Err(
            "write COLUMN, or TABLE_COLUMN=FILE_COLUMN; a column whose name has a = is \
            given by its number"
                .to_owned(),
        );
    }
    Ok(MatchColumns {
        in_table: in_table.to_owned(),
        in_list: in_list.to_owned(),
    })
}

/// Parses `auto`, `always` or `never`.
///
/// # Errors
/// Anything else.
pub fn color(text: &str) -> Parsed<ColorChoice> {
    match text.trim() {
        "auto" => Ok(ColorChoice::Auto),
        "always" => Ok(ColorChoice::Always),
        "never" => Ok(ColorChoice::Never),
        _ => Err("write auto, always or never".to_owned()),
    }
}

/// Parses a text that is not empty.
///
/// # Errors
/// Nothing but white space.
pub fn words(text: &str) -> Parsed<String> {
    match text.trim() {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Parses the number of a practice Org's members.
///
/// # Errors
/// Anything but a positive whole number.
pub fn members(text: &str) -> Parsed<u64> {
    match text.trim().parse() {
        Ok(number) if (1..=i64::MAX.unsigned_abs()).contains(&number) => Ok(number),
        _ => Err("write a whole number, at least 1 and below 2^63".to_owned()),
    }
}

/// Parses the API key of a practice Org: visible ASCII characters, because it travels in a header.
///
/// # Errors
/// An empty text, spaces, and characters outside of ASCII.
pub fn sandbox_key(text: &str) -> Parsed<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("write letters, digits and signs, without spaces".to_owned())
    }
}

/// Parses requests a second, such as `20/s`.
///
/// # Errors
/// Other units and anything that is no rate.
pub fn per_second(text: &str) -> Parsed<u32> {
    match rate(text)? {
        Rate::Limited { requests, per } if per == Duration::from_secs(1) => Ok(requests),
        _ => Err("write requests a second, such as 20/s".to_owned()),
    }
}

/// Parses a share of a hundred, with or without a percent sign.
///
/// # Errors
/// Anything but a number from 0 to 100.
pub fn percent(text: &str) -> Parsed<f64> {
    let number = text.trim().trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|share| (0.0..=100.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 100".to_owned())
}

/// Parses a window of time, such as `10s..40s`.
///
/// # Errors
/// A window that ends before it begins, and anything else.
pub fn window(text: &str) -> Parsed<Range<Duration>> {
    const HOW: &str = "write when it begins and when it ends, such as 10s..40s";
    let (from, to) = text.split_once("..").ok_or_else(|| HOW.to_owned())?;
    let window = duration(from)?..duration(to)?;
    if window.is_empty() {
        Err(format!("it must end after it begins; {HOW}"))
    } else {
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let per = |requests, seconds| {
            Ok(Rate::Limited {
                requests,
                per: Duration::from_secs(seconds),
            })
        };
        assert_eq!(rate("10/s"), per(10, 1));
        assert_eq!(rate("600/m"), per(600, 60));
        assert_eq!(rate(" 36000 / Hour "), per(36_000, 3600));
        assert_eq!(rate("Unlimited"), Ok(Rate::Unlimited));
        assert_eq!(rate("auto"), Ok(Rate::Auto { ceiling: 50 }));
        assert_eq!(rate("auto:7"), Ok(Rate::Auto { ceiling: 7 }));
        for wrong in [
            "",
            "10",
            "0/s",
            "-1/s",
            "1.5/s",
            "10/d",
            "10/",
            "/s",
            "auto:",
            "auto:0",
            "4294967296/s",
        ] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h 30m"), Ok(Duration::from_mins(150)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(positive_duration("0s").is_err());
        assert!(duration("30").unwrap_err().ends_with("for seconds 30s"));
        for wrong in ["", "s", "-5s", "5 parsecs", "99999999999999999999h", "1mo"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(limit("100"), Ok(Threshold::Count(100)));
        assert_eq!(limit("2.5 %"), Ok(Threshold::Percent(2.5)));
        for wrong in ["", "-1", "1.5", "101%", "-1%", "NaN%", "inf%", "%"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("500 MB"), Ok(500_000_000));
        assert!(size("0").is_err() && size("-1").is_err() && size("much").is_err());
        assert_eq!(
            (concurrency("8"), attempts("5"), org("42")),
            (Ok(Some(8)), Ok(5), Ok(42))
        );
        assert!(
            concurrency("0").is_err()
                && concurrency("1001").is_err()
                && attempts("0").is_err()
                && org("0").is_err()
        );
    }

    #[test]
    fn columns_to_match() {
        let columns = |in_table: &str, in_list: &str| {
            Ok(MatchColumns {
                in_table: in_table.to_owned(),
                in_list: in_list.to_owned(),
            })
        };
        assert_eq!(match_columns("login"), columns("login", "login"));
        assert_eq!(match_columns(" a b = 2 "), columns("a b", "2"));
        for wrong in ["", "=", "a=", "=b", "a=b=c"] {
            assert!(match_columns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_tables_are_made_of() {
        for (text, byte) in [
            (",", b','),
            ("tab", b'\t'),
            ("\\t", b'\t'),
            ("\t", b'\t'),
            ("Semicolon", b';'),
            ("^", b'^'),
        ] {
            assert_eq!(delimiter(text), Ok(byte), "{text}");
        }
        for wrong in ["", ",,", "\"", "a", "1", "\n", "\r", "§"] {
            assert!(delimiter(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(encoding("UTF8"), Ok(encoding_rs::UTF_8));
        assert_eq!(encoding("latin1"), Ok(encoding_rs::WINDOWS_1252));
        assert!(encoding("klingon").is_err());
        assert!(timezone("Europe/Berlin").is_ok() && timezone("Europe/Atlantis").is_err());
        assert_eq!(
            (flag("true"), flag(" No ")),
            (Ok(Flag::OptOut), Ok(Flag::OptIn))
        );
        assert!(flag("maybe").is_err() && words("  ").is_err() && log_format("xml").is_err());
    }
}
