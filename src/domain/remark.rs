//! What the tool itself adds at the end of a record's detail, so that the report alone says which flag a row was about
//! and whether its change is in doubt. Written and read again here; pure.

use std::fmt::Display;

use super::Flag;

/// The longest detail of a record, in characters.
pub const MAX_DETAIL: usize = 500;

/// How a detail ends where nobody knows whether the change was made.
pub const DOUBT: &str = "the change may or may not have been made";

/// What leads to [`DOUBT`] where the last answer itself leaves none.
pub const EARLIER: &str = "; by an earlier request ";

/// How a remark about the flag begins.
const ABOUT: &str = "[mfaOptOut ";

/// Room for the longest remark about a flag, in characters.
const LONGEST_REMARK: usize = 48;

/// The remark on a row whose cells do not say its flag, such as one with a flag for all rows.
#[must_use]
pub fn about(flag: Flag) -> String {
    format!("{ABOUT}{}]", flag.is_opt_out())
}

/// The remark on a row that asks for an opt-out whose end, this day, is reached: it counts as an opt-in.
#[must_use]
pub fn lapsed(day: impl Display) -> String {
    format!("{ABOUT}false: opt-out ended {day}]")
}

/// The flag that a detail's remark speaks of; `None` where there is no such remark.
#[must_use]
pub fn flag_of(detail: &str) -> Option<Flag> {
    let (_, remark) = detail.rsplit_once(ABOUT)?;
    let word = remark.strip_suffix(']')?.split(':').next()?;
    [Flag::OptOut, Flag::OptIn]
        .into_iter()
        .find(|flag| word == flag.is_opt_out().to_string())
}

/// Whether a detail says that the change may have been made.
#[must_use]
pub fn is_in_doubt(detail: &str) -> bool {
    without(detail).ends_with(DOUBT)
}

/// A detail without the remark about its flag.
#[must_use]
pub fn without(detail: &str) -> &str {
    flag_of(detail)
        .and_then(|_| detail.rsplit_once(ABOUT))
        .map_or(detail, |(words, _)| words.trim_end())
}

/// A detail with a remark about the flag behind it.
#[must_use]
pub fn with(detail: &str, remark: &str) -> String {
    add(detail, " ", remark, MAX_DETAIL - 1)
}

/// A detail that ends in [`DOUBT`], with room for a remark. `because` leads from one to the other.
#[must_use]
pub fn with_doubt(detail: &str, because: &str) -> String {
    add(detail, because, DOUBT, MAX_DETAIL - LONGEST_REMARK - 2)
}

/// Where both are longer than `max` characters, the detail gives way. One character below the limit is left free for the
/// mark that keeps a spreadsheet from taking a detail for a formula.
fn add(detail: &str, separator: &str, words: &str, max: usize) -> String {
    if detail.is_empty() {
        return words.to_owned();
    }
    let room = max.saturating_sub(separator.chars().count() + words.chars().count());
    let fits = detail.chars().nth(room).is_none();
    let kept = if fits {
        detail.to_owned()
    } else {
        detail
            .chars()
            .take(room.saturating_sub(1))
            .chain(['…'])
            .collect()
    };
    kept + separator + words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_behind_words_of_any_length() {
        for said in [
            "",
            "=gone",
            "[mfaOptOut false]",
            &"long ".repeat(100),
            &"日".repeat(500),
        ] {
            for flag in [Flag::OptOut, Flag::OptIn] {
                let detail = with(said, &about(flag));
                assert_eq!(flag_of(&detail), Some(flag), "{detail}");
            }
            let detail = with(&with_doubt(said, "; "), &lapsed("2026-11-01"));
            assert_eq!(
                (flag_of(&detail), is_in_doubt(&detail)),
                (Some(Flag::OptIn), true),
                "{detail}"
            );
            assert!(detail.chars().count() < MAX_DETAIL && detail.ends_with(&lapsed("2026-11-01")));
        }
        assert_eq!(
            without("user 7 not found [mfaOptOut true]"),
            "user 7 not found"
        );
    }

    #[test]
    fn other_words_are_no_remark() {
        for detail in [
            "",
            "not found",
            "[mfaOptOut maybe]",
            "[mfaOptOut true] and more",
        ] {
            assert_eq!((flag_of(detail), without(detail)), (None, detail));
        }
    }
}
