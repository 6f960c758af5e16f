//! How long the server asks to wait: `Retry-After` and the `RateLimit` fields, as durations. Pure; whether and how they
//! are heeded is the policy's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

/// No wait is longer, so that no sum with it overflows; the policy has given up long before.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// The time by the server's own clock where the answer tells it (RFC 9110, 6.6.1), else the time here. Dates in an
/// answer are judged against this, so that it doesn't matter which of the clocks is wrong.
pub(super) fn server_time(headers: &HeaderMap, here: SystemTime) -> SystemTime {
    headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(date)
        .unwrap_or(here)
}

/// Whether there is any field at all that the functions below look into.
pub(super) fn may_ask(headers: &HeaderMap) -> bool {
    let names = ["retry-after", "ratelimit", "rate-limit"];
    headers
        .keys()
        .any(|field| names.iter().any(|name| field.as_str().contains(name)))
}

/// Returns the time that `Retry-After` asks to wait (RFC 9110, 10.2.3): seconds, or a date in one of three formats. Zero,
/// a date that has passed and anything unreadable are no hint, as if there were no header; of several headers the longest
/// wait counts. A client that takes a zero literally sends thousands of requests a second.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let waits = headers.get_all(RETRY_AFTER).iter().filter_map(|value| {
        let text = value.to_str().ok()?;
        seconds_or_date(text.trim(), now)
    });
    waits.filter(|wait| !wait.is_zero()).max()
}

fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    whole_seconds(text).or_else(|| date(text).map(|date| until(date, now)))
}

/// Digits alone: no sign, no fraction. More of them than fit stand for the longest wait there is.
fn whole_seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| {
        text.parse()
            .map_or(LONGEST, |seconds| Duration::from_secs(seconds).min(LONGEST))
    })
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

fn until(date: SystemTime, now: SystemTime) -> Duration {
    date.duration_since(now).unwrap_or_default().min(LONGEST)
}

/// How long until another request is allowed, where the server's quota says that none is left. Read are the `RateLimit`
/// field (draft-ietf-httpapi-ratelimit-headers, as a list of policies and as the older dictionary) and the three-field
/// forms with and without `X-`. What can't be read is ignored.
pub(super) fn quota_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let fields = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| in_one_field(value.as_bytes(), now));
    let pairs = [
        ("ratelimit-remaining", "ratelimit-reset"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
        ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ];
    fields
        .chain(
            pairs
                .into_iter()
                .filter_map(|pair| in_two_fields(headers, pair, now)),
        )
        .max()
}

fn in_one_field(value: &[u8], now: SystemTime) -> Option<Duration> {
    if let Ok(policies) = Parser::new(value).parse::<List>()
        && let Some(reset) = policies
            .iter()
            .filter_map(|policy| exhausted_policy(policy, now))
            .max()
    {
        return Some(reset);
    }
    let fields = Parser::new(value).parse::<Dictionary>().ok()?;
    let number = |name: &str| fields.get(name).and_then(entry_number);
    (number("remaining")? == 0).then(|| number("reset").map(|reset| delta_or_time(reset, now)))?
}

fn exhausted_policy(entry: &ListEntry, now: SystemTime) -> Option<Duration> {
    let ListEntry::Item(Item { params, .. }) = entry else {
        return None;
    };
    let number = |name: &str| params.get(name).and_then(bare_number);
    (number("r")? == 0).then(|| number("t").map(|reset| delta_or_time(reset, now)))?
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

fn in_two_fields(
    headers: &HeaderMap,
    (remaining, reset): (&str, &str),
    now: SystemTime,
) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    (number(remaining)? == 0_u64).then(|| number(reset).map(|reset| delta_or_time(reset, now)))?
}

/// A number of seconds from now, or since 1970, or milliseconds since 1970: nobody waits for thirty years.
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
        .map_or(LONGEST, |time| until(time, now))
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
    fn retry_after_table() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, wait) in [
            ("2", seconds(2)),
            (" 2 ", seconds(2)),
            ("0", None),
            ("000", None),
            ("007", seconds(7)),
            ("1000000000", seconds(1_000_000_000)),
            ("999999999999999999999", Some(LONGEST)),
            ("18446744073709551615", Some(LONGEST)),
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
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
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
    fn of_two_headers_the_longer_wait_counts() {
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
    fn a_date_is_judged_by_the_servers_own_clock() {
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
    fn rate_limit_table() {
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
                Some(LONGEST),
            ),
            (&[], None),
        ] {
            assert_eq!(quota_reset(&headers(fields), at(now)), reset, "{fields:?}");
        }
    }
}
