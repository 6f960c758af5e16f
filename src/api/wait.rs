//! Reads how long the server asks to wait, from `Retry-After` and the `RateLimit` fields.
//!
//! What follows for the run is decided in `policy`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

/// The longest wait, so that no sum with it overflows. The policy gives up long before.
const MAX_WAIT: Duration = Duration::from_hours(100 * 365 * 24);

/// Returns the time of the server's clock if the response has a `Date` (RFC 9110, section 6.6.1),
/// or else `here`.
///
/// Dates in a response are compared with this time, so that it doesn't matter which of the two
/// clocks is wrong.
pub(super) fn server_time(headers: &HeaderMap, here: SystemTime) -> SystemTime {
    headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(date)
        .unwrap_or(here)
}

/// Checks whether the response has any header that [`retry_after`] or [`quota_reset`] read.
pub(super) fn may_ask(headers: &HeaderMap) -> bool {
    let names = ["retry-after", "ratelimit", "rate-limit"];
    headers
        .keys()
        .any(|field| names.iter().any(|name| field.as_str().contains(name)))
}

/// Returns the time that `Retry-After` asks to wait (RFC 9110, section 10.2.3): seconds, or a date
/// in one of three formats.
///
/// Zero, a date that has passed and anything unreadable are treated as if there were no header: a
/// client that takes a zero literally sends thousands of requests per second. If there are several
/// headers, the longest wait counts.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|text| seconds_or_date(text.trim(), now))
        .filter(|wait| !wait.is_zero())
        .max()
}

fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Some(until(date(text)?, now));
    }
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds).min(MAX_WAIT)),
        // A number that is too large.
        Err(_) => Some(MAX_WAIT),
    }
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

fn until(date: SystemTime, now: SystemTime) -> Duration {
    date.duration_since(now).unwrap_or_default().min(MAX_WAIT)
}

/// Returns the time until another request is allowed, if the server's quota says that none is left.
///
/// Reads the `RateLimit` field (draft-ietf-httpapi-ratelimit-headers, as a list of policies and as
/// the older dictionary) and the forms with several fields, with and without `X-`. Unreadable
/// fields are ignored.
pub(super) fn quota_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let combined = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| reset_in_one_field(value.as_bytes(), now));
    let separate = ["ratelimit", "x-ratelimit", "x-rate-limit"]
        .into_iter()
        .filter_map(|prefix| reset_in_two_fields(headers, prefix, now));
    combined.chain(separate).max()
}

fn reset_in_one_field(value: &[u8], now: SystemTime) -> Option<Duration> {
    if let Ok(policies) = Parser::new(value).parse::<List>()
        && let Some(reset) = policies
            .iter()
            .filter_map(|policy| exhausted_policy(policy, now))
            .max()
    {
        return Some(reset);
    }
    let fields = Parser::new(value).parse::<Dictionary>().ok()?;
    let remaining = entry_number(fields.get("remaining")?)?;
    let reset = entry_number(fields.get("reset")?)?;
    reset_if_exhausted(remaining, reset, now)
}

fn exhausted_policy(entry: &ListEntry, now: SystemTime) -> Option<Duration> {
    let ListEntry::Item(Item { params, .. }) = entry else {
        return None;
    };
    let remaining = bare_number(params.get("r")?)?;
    let reset = bare_number(params.get("t")?)?;
    reset_if_exhausted(remaining, reset, now)
}

fn entry_number(entry: &ListEntry) -> Option<u64> {
    let ListEntry::Item(item) = entry else {
        return None;
    };
    bare_number(&item.bare_item)
}

fn bare_number(item: &BareItem) -> Option<u64> {
    item.as_integer()
        .and_then(|number| u64::try_from(i64::from(number)).ok())
}

fn reset_in_two_fields(headers: &HeaderMap, prefix: &str, now: SystemTime) -> Option<Duration> {
    let remaining = header_number(headers, &format!("{prefix}-remaining"))?;
    let reset = header_number(headers, &format!("{prefix}-reset"))?;
    reset_if_exhausted(remaining, reset, now)
}

fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn reset_if_exhausted(remaining: u64, reset: u64, now: SystemTime) -> Option<Duration> {
    if remaining == 0 {
        Some(delta_or_time(reset, now))
    } else {
        None
    }
}

/// Returns the wait that a number stands for: seconds from now, seconds since 1970, or milliseconds
/// since 1970.
///
/// The size of the number tells which, because no server asks to wait for thirty years.
fn delta_or_time(number: u64, now: SystemTime) -> Duration {
    const IS_A_TIME: u64 = 1_000_000_000;
    const IS_IN_MILLISECONDS: u64 = 100 * IS_A_TIME;
    let since_1970 = match number {
        0..IS_A_TIME => return Duration::from_secs(number),
        IS_A_TIME..IS_IN_MILLISECONDS => Duration::from_secs(number),
        _ => Duration::from_millis(number),
    };
    UNIX_EPOCH
        .checked_add(since_1970)
        .map_or(MAX_WAIT, |time| until(time, now))
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    const NOW: u64 = 784_111_777;

    fn at(unix: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(unix)
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in fields {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_the_future() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, wait) in [
            ("2", seconds(2)),
            (" 2 ", seconds(2)),
            ("0", None),
            ("000", None),
            ("007", seconds(7)),
            ("1000000000", seconds(1_000_000_000)),
            ("999999999999999999999", Some(MAX_WAIT)),
            ("18446744073709551615", Some(MAX_WAIT)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e9", None),
            ("1, 2", None),
            ("soon", None),
            ("\u{663}", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", seconds(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", seconds(10)),
            ("Sun Nov  6 08:49:47 1994", seconds(10)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:27 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(MAX_WAIT)),
            ("Sun, 06 Nov 1994 08:49:47", None),
        ] {
            assert_eq!(
                retry_after(&headers(&[("retry-after", text)]), at(NOW)),
                wait,
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_longer_of_two_headers_counts() {
        for fields in [
            [("retry-after", "2"), ("retry-after", "7")],
            [("retry-after", "7"), ("retry-after", "soon")],
            [("retry-after", "0"), ("retry-after", "7")],
        ] {
            assert_eq!(
                retry_after(&headers(&fields), at(NOW)),
                Some(Duration::from_secs(7))
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), at(NOW)), None);
    }

    #[test]
    fn dates_are_compared_with_the_servers_own_clock() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for skew in [-3_600_i64, 0, 3_600, 86_400 * 365] {
            let now = server_time(&headers(&[date]), at(NOW.saturating_add_signed(skew)));
            let answer = headers(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]);
            assert_eq!(
                retry_after(&answer, now),
                Some(Duration::from_mins(1)),
                "{skew}"
            );
        }
        assert_eq!(server_time(&headers(&[("date", "today")]), at(5)), at(5));
    }

    #[test]
    fn only_an_exhausted_quota_with_a_reset_asks_to_wait() {
        let seconds = |n| Some(Duration::from_secs(n));
        let now = 1_760_000_000;
        for (fields, reset) in [
            (&[("ratelimit", "\"default\";r=0;t=5")][..], seconds(5)),
            (
                &[("ratelimit", "\"a;r=9\";r=0;t=5, \"day\";r=0;t=60")],
                seconds(60),
            ),
            (
                &[("ratelimit", "\"a\";r=3;t=5, \"day\";r=0;t=7")],
                seconds(7),
            ),
            (&[("ratelimit", "\"a\";r=0")], None),
            (&[("ratelimit", "\"a\";r=1;t=5")], None),
            (&[("ratelimit", "\"a\";r=-1;t=5")], None),
            (&[("ratelimit", "\"a\";r=0;t=\"5\"")], None),
            (&[("ratelimit", "\"a;r=0;t=5")], None),
            (
                &[("ratelimit", "limit=100, remaining=0, reset=5")],
                seconds(5),
            ),
            (&[("ratelimit", "limit=100, remaining=1, reset=5")], None),
            (&[("ratelimit-policy", "\"default\";q=100;w=10")], None),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")],
                seconds(30),
            ),
            (
                &[("ratelimit-remaining", "1"), ("ratelimit-reset", "30")],
                None,
            ),
            (&[("ratelimit-remaining", "0")], None),
            (&[("ratelimit-reset", "30")], None),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "soon")],
                None,
            ),
            (
                &[("ratelimit-remaining", "none"), ("ratelimit-reset", "30")],
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1760000045"),
                ],
                seconds(45),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1760000045000"),
                ],
                seconds(45),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1759999999"),
                ],
                seconds(0),
            ),
            (
                &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "3")],
                seconds(3),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "18446744073709551615"),
                ],
                Some(MAX_WAIT),
            ),
            (&[], None),
        ] {
            assert_eq!(quota_reset(&headers(fields), at(now)), reset, "{fields:?}");
        }
    }
}
