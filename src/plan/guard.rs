//! How many people a plan may opt out. Pure arithmetic; shares are rounded down, so that a limit is
//! never more than was said.

use crate::domain::Threshold;
use crate::error::{Error, Kind, Result};

/// Checks whether a limit allows this number of opt-outs among this number of rows.
///
/// # Errors
///
/// Of [`Kind::Refused`] where they are not.
pub fn within_allowance(opt_outs: u64, rows: u64, limit: Threshold) -> Result<()> {
    let allowed = limit.allowance(rows);
    if opt_outs <= allowed {
        return Ok(());
    }
    let share = match limit {
        Threshold::Count(_) => String::new(),
        Threshold::Percent(percent) => format!(" ({percent} % of {rows} rows, rounded down)"),
    };
    Err(Error::new(
        Kind::Refused,
        format!("the plan opts out {opt_outs} people, and --max-opt-outs allows {allowed}{share}"),
    )
    .help("check the input; if it is right, raise --max-opt-outs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down() {
        let cases = [
            (10.0, 0, 0),
            (10.0, 9, 0),
            (10.0, 10, 1),
            (10.0, 19, 1),
            (33.333, 3, 0),
            (33.4, 3, 1),
            (0.29, 10_000, 29),
            (0.1, 999, 0),
            (0.1, 1000, 1),
            (100.0, 7, 7),
            (0.0, 1_000_000, 0),
            (50.0, u64::MAX, u64::MAX / 2),
            (99.999_999, 100, 99),
            (200.0, 5, 5),
            (-5.0, 5, 0),
            (f64::NAN, 5, 0),
        ];
        for (percent, rows, allowed) in cases {
            assert_eq!(
                Threshold::Percent(percent).allowance(rows),
                allowed,
                "{percent} % of {rows}"
            );
        }
    }

    #[test]
    fn exactly_the_limit_passes_and_one_more_does_not() {
        for rows in [1, 2, 5, 10, 51, 1000, 9999] {
            for limit in [
                Threshold::Count(0),
                Threshold::Count(1),
                Threshold::Count(rows),
                Threshold::Percent(5.0),
                Threshold::Percent(100.0),
                Threshold::Percent(0.0),
            ] {
                let allowed = limit.allowance(rows);
                assert!(
                    within_allowance(allowed, rows, limit).is_ok(),
                    "{limit:?} of {rows}"
                );
                let error = within_allowance(allowed + 1, rows, limit).unwrap_err();
                assert_eq!(error.kind(), Kind::Refused);
                assert!(
                    error.to_string().contains(&format!("allows {allowed}")),
                    "{error}"
                );
            }
        }
    }
}
