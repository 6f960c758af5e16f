//! The pages for people: what this is, and every member's state, as text made from state. The style, the script and the
//! frame of a page lie beside in `pages/`; the calls of the API are not here.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::Deserialize;

use super::org::Org;
use super::{Clock, House, Member};

const FRAME: &str = include_str!("pages/frame.html");
const HOME: &str = include_str!("pages/home.html");
const MEMBERS: &str = include_str!("pages/members.html");
const STYLE: &str = include_str!("pages/style.css");
const SCRIPT: &str = include_str!("pages/refresh.js");

/// Rows on one page of members.
const ROWS: u64 = 100;

/// Nothing is loaded from, or sent to, any other place. Swagger UI styles its elements in place, hence `unsafe-inline`,
/// and draws its pictures from `data:` addresses.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<House> {
    Router::new()
        .route("/", get(async || Html(home())))
        .route("/members", get(members))
        .route(
            "/_sandbox/style.css",
            get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route(
            "/_sandbox/refresh.js",
            get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)),
        )
}

/// Adds to every answer what a browser should know about it.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    response
}

/// What of the members is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct View {
    show: Show,
    /// As typed.
    id: String,
    /// As found in the address; the first page where it is no number.
    page: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Show {
    #[default]
    All,
    Changed,
    OptedOut,
}

async fn members(State(house): State<House>, Query(view): Query<View>) -> impl IntoResponse {
    Html(members_page(&house.state().org, house.clock, &view))
}

fn home() -> String {
    frame("Practice Org", HOME)
}

fn frame(title: &str, main: &str) -> String {
    fill(FRAME, &[("title", title), ("main", main)])
}

/// Puts values where a template has `{{name}}`, each value once and in its own place.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let value = values
            .iter()
            .find(|(known, _)| *known == name)
            .map_or("", |(_, value)| value);
        out.push_str(value);
        out.push_str(rest);
    }
    out
}

/// Text as it may stand between tags and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn members_page(org: &Org, clock: Clock, view: &View) -> String {
    let listing = Listing::of(org, view);
    let mut rows = String::new();
    for row in &listing.rows {
        rows.push_str(&table_row(row, clock));
    }
    if rows.is_empty() {
        let _ = write!(
            rows,
            "<tr><td class=none colspan=4>{}</td></tr>",
            Listing::nobody(view)
        );
    }
    let main = fill(
        MEMBERS,
        &[
            ("summary", &summary(org)),
            ("tabs", &tabs(view)),
            ("id", &escaped(&view.id)),
            ("rows", &rows),
            ("pages", &listing.links(view)),
        ],
    );
    frame("Members", &main)
}

fn summary(org: &Org) -> String {
    let (first, last) = org.range().into_inner();
    let (out, changed) = (org.opted_out().count(), org.changed().count());
    format!(
        "IDs {first} to {last} &middot; {} opted out &middot; {} changed",
        grouped(out as u64),
        grouped(changed as u64)
    )
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Member(Member),
    /// In the range, but has left the Org.
    Gone(u64),
}

/// One page of members.
struct Listing {
    rows: Vec<Row>,
    /// Counted from 1.
    page: u64,
    pages: u64,
}

impl Listing {
    fn of(org: &Org, view: &View) -> Self {
        let wanted = view.page.parse().unwrap_or(1);
        match (view.id.trim(), view.show) {
            ("", Show::All) => Self::all(org, wanted),
            ("", Show::Changed) => Self::some(org, wanted, org.changed()),
            ("", Show::OptedOut) => Self::some(org, wanted, org.opted_out()),
            (id, _) => {
                let range = org.range();
                let found = id
                    .parse()
                    .ok()
                    .filter(|id| range.contains(id))
                    .map(|id| row(org, id));
                Self {
                    rows: found.into_iter().collect(),
                    page: 1,
                    pages: 1,
                }
            }
        }
    }

    /// A page of the whole range, which may be longer than anything that could be counted through.
    fn all(org: &Org, wanted: u64) -> Self {
        let range = org.range();
        let pages = pages_for(length(&range));
        let page = wanted.clamp(1, pages);
        let first = range.start().saturating_add((page - 1) * ROWS);
        let last = first.saturating_add(ROWS - 1).min(*range.end());
        Self {
            rows: (first..=last).map(|id| row(org, id)).collect(),
            page,
            pages,
        }
    }

    /// A page of the members with these IDs.
    fn some(org: &Org, wanted: u64, ids: impl Iterator<Item = u64>) -> Self {
        let ids: Vec<_> = ids.collect();
        let pages = pages_for(ids.len() as u64);
        let page = wanted.clamp(1, pages);
        let on_page = ids
            .into_iter()
            .zip(0..)
            .filter(|(_, index)| index / ROWS + 1 == page);
        Self {
            rows: on_page.map(|(id, _)| row(org, id)).collect(),
            page,
            pages,
        }
    }

    /// What is said where there is no row.
    fn nobody(view: &View) -> &'static str {
        match (view.id.trim(), view.show) {
            ("", Show::Changed) => "Nobody has been changed yet.",
            ("", Show::OptedOut) => "Nobody is opted out.",
            ("", Show::All) => "This Org has no members.",
            _ => "There is no such ID in this Org.",
        }
    }

    /// The way to the pages before and after.
    fn links(&self, view: &View) -> String {
        if self.pages == 1 {
            return String::new();
        }
        let link = |page: u64, text: &str| {
            let is_there = page != self.page && (1..=self.pages).contains(&page);
            let href = format!("/members?show={}&amp;page={page}", view.show.name());
            if is_there {
                format!("<a href=\"{href}\">{text}</a>")
            } else {
                format!("<span>{text}</span>")
            }
        };
        format!(
            "{}{}<b>Page {} of {}</b>{}{}",
            link(1, "First"),
            link(self.page - 1, "Back"),
            grouped(self.page),
            grouped(self.pages),
            link(self.page.saturating_add(1), "Next"),
            link(self.pages, "Last")
        )
    }
}

fn row(org: &Org, id: u64) -> Row {
    org.member(id).map_or(Row::Gone(id), Row::Member)
}

fn length(range: &RangeInclusive<u64>) -> u64 {
    if range.is_empty() {
        0
    } else {
        (range.end() - range.start()).saturating_add(1)
    }
}

/// An empty list is one empty page.
fn pages_for(rows: u64) -> u64 {
    rows.div_ceil(ROWS).max(1)
}

impl Show {
    /// As it stands in an address.
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Changed => "changed",
            Self::OptedOut => "opted-out",
        }
    }
}

fn tabs(view: &View) -> String {
    let tab = |show: Show, text: &str| {
        let is_here = show == view.show && view.id.trim().is_empty();
        let current = if is_here { " aria-current=page" } else { "" };
        format!(
            "<a href=\"/members?show={}\"{current}>{text}</a>",
            show.name()
        )
    };
    [
        tab(Show::All, "All"),
        tab(Show::Changed, "Changed"),
        tab(Show::OptedOut, "Opted out"),
    ]
    .concat()
}

fn table_row(row: &Row, clock: Clock) -> String {
    match row {
        Row::Gone(id) => format!("<tr class=gone><td>{id}<td colspan=3>has left the Org</tr>\n"),
        Row::Member(member) => {
            let (class, state) = if member.mfa_opt_out {
                ("out", "Opted out")
            } else {
                ("in", "Required")
            };
            let changed = member
                .changed_at_ms
                .map(|ms| stamp(clock.unix(Duration::from_millis(ms))));
            format!(
                "<tr id=\"user-{id}\"><td>{id}<td>{first} {last}<small>{email}</small>\
                 <td><span class={class}>{state}</span><td>{changed}</tr>\n",
                id = member.id,
                first = escaped(&member.profile.first_name),
                last = escaped(&member.profile.last_name),
                email = escaped(&member.profile.email),
                changed = changed.unwrap_or_default(),
            )
        }
    }
}

/// A time since the Unix epoch as people read it.
fn stamp(unix: Duration) -> String {
    let second = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second)
        .map(|time| time.strftime("%F %T UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Options;

    fn org(members: RangeInclusive<u64>) -> Org {
        Org::new(Options {
            members,
            ..Options::default()
        })
    }

    fn change(org: &mut Org, id: u64, json: &str) {
        org.update(
            id,
            serde_json::from_str(json).unwrap(),
            Duration::from_secs(1),
        )
        .unwrap();
    }

    fn ids(listing: &Listing) -> Vec<u64> {
        let id = |row: &Row| match row {
            Row::Member(member) => member.id,
            Row::Gone(id) => *id,
        };
        listing.rows.iter().map(id).collect()
    }

    fn view(show: Show, id: &str, page: &str) -> View {
        View {
            show,
            id: id.to_owned(),
            page: page.to_owned(),
        }
    }

    #[test]
    fn every_member_is_on_exactly_one_page() {
        let org = org(7..=256);
        let pages = ["1", "2", "3"].map(|page| ids(&Listing::of(&org, &view(Show::All, "", page))));
        assert_eq!(pages.concat(), (7..=256).collect::<Vec<_>>());
        assert_eq!(pages[2].len(), 50);
    }

    #[test]
    fn the_largest_range_and_the_emptiest_have_pages_too() {
        let last = u64::MAX.to_string();
        let everybody = Listing::of(&org(0..=u64::MAX), &view(Show::All, "", &last));
        assert_eq!(ids(&everybody).last(), Some(&u64::MAX));
        #[expect(clippy::reversed_empty_ranges, reason = "an Org without members")]
        let nobody = Listing::of(&org(2..=1), &view(Show::All, "", "5"));
        assert_eq!((nobody.rows.len(), nobody.page, nobody.pages), (0, 1, 1));
    }

    #[test]
    fn those_who_were_changed_and_those_who_are_out_can_be_seen_alone() {
        let mut org = org(1..=20_000);
        change(&mut org, 5, r#"{"mfaOptOut": true}"#);
        change(&mut org, 9_000, r#"{"mfaOptOut": false}"#);
        org.note_put(6);
        assert_eq!(
            ids(&Listing::of(&org, &view(Show::Changed, "", ""))),
            [5, 9_000]
        );
        assert_eq!(
            ids(&Listing::of(&org, &view(Show::OptedOut, "", "-3"))),
            [5]
        );
        assert_eq!(
            ids(&Listing::of(&org, &view(Show::OptedOut, " 17 ", "2"))),
            [17]
        );
    }

    #[test]
    fn an_id_that_is_nobody_is_said_to_be_nobody() {
        let org = org(1..=500);
        assert_eq!(
            Listing::of(&org, &view(Show::All, "404", "")).rows,
            [Row::Gone(404)]
        );
        for id in ["0", "501", "ada", "<script>"] {
            let page = members_page(&org, Clock::start(), &view(Show::All, id, ""));
            assert!(page.contains("There is no such ID in this Org."), "{id}");
            assert!(!page.contains("<script>"), "{id}");
        }
    }

    #[test]
    fn names_cannot_become_elements_or_holes_in_the_template() {
        let mut org = org(1..=10);
        change(
            &mut org,
            1,
            r#"{"firstName": "<img src=x onerror='a'>", "lastName": "{{pages}}", "email": "\"&"}"#,
        );
        let page = members_page(&org, Clock::start(), &View::default());
        assert!(
            page.contains(
                "&lt;img src=x onerror=&#39;a&#39;&gt; {{pages}}<small>&quot;&amp;</small>"
            )
        );
    }

    #[test]
    fn templates_have_no_hole_that_stays_open() {
        let page = members_page(&org(1..=10), Clock::start(), &View::default());
        for text in [home(), page] {
            assert!(!text.contains("{{") && !text.contains("}}"));
        }
    }

    #[test]
    fn times_and_numbers_are_written_for_people() {
        assert_eq!(
            stamp(Duration::from_secs(1_790_000_000)),
            "2026-09-21 14:13:20 UTC"
        );
        assert_eq!(stamp(Duration::MAX), "");
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
