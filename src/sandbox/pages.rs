//! The pages of the practice Org for people, and its members as files. The templates are in
//! `templates/sandbox`.

use std::ops::RangeInclusive;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::org::PracticeOrg;
use super::{Member, SandboxClock, SandboxOptions, SharedState};

const STYLE: &str = include_str!("../../templates/sandbox/style.css");
const SCRIPT: &str = include_str!("../../templates/sandbox/refresh.js");

/// Number of rows on one page of members.
const ROWS_PER_PAGE: u64 = 100;

/// Number of members in one piece of a list of all members.
const MEMBERS_PER_CHUNK: usize = 1_000;

/// The policy that allows a page to load from and send to the sandbox only.
///
/// Swagger UI needs `unsafe-inline` because it styles its elements in place, and draws its pictures
/// from `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn router(options: &SandboxOptions) -> Router<SharedState> {
    let home = HomePage::of(options);
    Router::new()
        .route("/", get(async move || html(&home)))
        .route("/members", get(members))
        .route("/members.csv", get(members_csv))
        .route("/members.json", get(members_json))
        .route(
            "/_sandbox/style.css",
            get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)),
        )
        .route(
            "/_sandbox/refresh.js",
            get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)),
        )
}

/// Adds the security headers to a response.
pub(super) async fn add_security_headers(request: Request, next: Next) -> Response {
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

fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The start page.
#[derive(Clone, Template)]
#[template(path = "sandbox/home.html")]
struct HomePage {
    first: u64,
    last: u64,
    api_key: String,
}

impl HomePage {
    fn of(options: &SandboxOptions) -> Self {
        let (first, last) = options.members.clone().into_inner();
        Self {
            first,
            last,
            api_key: options.api_key.clone(),
        }
    }
}

/// A member in the files `members.csv` and `members.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryEntry {
    id: u64,
    first_name: String,
    last_name: String,
    email: String,
    role: String,
    mfa_opt_out: bool,
}

impl DirectoryEntry {
    fn of(member: Member) -> Self {
        let profile = member.profile;
        Self {
            id: member.id,
            first_name: profile.first_name,
            last_name: profile.last_name,
            email: profile.email,
            role: profile.role,
            mfa_opt_out: member.mfa_opt_out,
        }
    }
}

/// Returns all members, a chunk at a time, because there may be very many.
fn directory(state: SharedState) -> impl Stream<Item = Vec<DirectoryEntry>> {
    let range = state.lock().org.range();
    let last = *range.end();
    stream::iter(range.step_by(MEMBERS_PER_CHUNK)).map(move |first| {
        let end = last.min(first.saturating_add(MEMBERS_PER_CHUNK as u64 - 1));
        let org = &state.lock().org;
        let members = (first..=end).filter_map(|id| org.member(id));
        members.map(DirectoryEntry::of).collect()
    })
}

/// Lists all members, as the Swagger page of an Org does.
async fn members_json(State(state): State<SharedState>) -> Response {
    let start = stream::iter([Ok("[".to_owned())]);
    let mut separator = "\n";
    let entries = directory(state).map(move |members| {
        let mut text = String::new();
        for member in members {
            text.push_str(separator);
            text.push_str(&serde_json::to_string(&member)?);
            separator = ",\n";
        }
        Ok(text)
    });
    let end = stream::iter([Ok::<_, serde_json::Error>("\n]\n".to_owned())]);
    let body = Body::from_stream(start.chain(entries).chain(end));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn members_csv(State(state): State<SharedState>) -> Response {
    let header = stream::iter([Ok("user_id,name,email,role,mfa_opt_out\n".into())]);
    let rows = directory(state).map(|members| {
        let mut table = csv::Writer::from_writer(Vec::new());
        for member in members {
            table.write_record([
                member.id.to_string(),
                format!("{} {}", member.first_name, member.last_name),
                member.email,
                member.role,
                member.mfa_opt_out.to_string(),
            ])?;
        }
        table
            .into_inner()
            .map_err(|error| error.into_error().into())
    });
    let body = Body::from_stream(header.chain(rows.map(|chunk: csv::Result<Vec<u8>>| chunk)));
    ([(CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response()
}

/// The query of the members page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct MembersQuery {
    show: MemberFilter,
    /// ID to look for, as entered.
    id: String,
    /// Number of the page; anything but a number means the first.
    page: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MemberFilter {
    #[default]
    All,
    Changed,
    OptedOut,
}

impl MemberFilter {
    const ALL: &[Self] = &[Self::All, Self::Changed, Self::OptedOut];

    /// Returns its name in a URL.
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Changed => "changed",
            Self::OptedOut => "opted-out",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Changed => "Changed",
            Self::OptedOut => "Opted out",
        }
    }
}

impl MembersQuery {
    /// Checks whether this tab is the one that is shown.
    fn is_tab(&self, filter: MemberFilter) -> bool {
        filter == self.show && self.id.trim().is_empty()
    }

    /// Returns the text that takes the place of the rows if there are none.
    fn nobody(&self) -> &'static str {
        match (self.id.trim(), self.show) {
            ("", MemberFilter::Changed) => "Nobody has been changed yet.",
            ("", MemberFilter::OptedOut) => "Nobody is opted out.",
            ("", MemberFilter::All) => "This Org has no members.",
            _ => "There is no such ID in this Org.",
        }
    }
}

async fn members(
    State(state): State<SharedState>,
    query: Result<Query<MembersQuery>, QueryRejection>,
) -> Response {
    let query = query.map_or_else(|_| MembersQuery::default(), |Query(query)| query);
    let page = MembersPage::of(&state.lock().org, state.clock, query);
    html(&page)
}

/// The members page.
#[derive(Template)]
#[template(path = "sandbox/members.html")]
struct MembersPage {
    query: MembersQuery,
    first: u64,
    last: u64,
    opted_out: String,
    changed: String,
    listing: MemberListing,
    clock: SandboxClock,
}

impl MembersPage {
    fn of(org: &PracticeOrg, clock: SandboxClock, query: MembersQuery) -> Self {
        let (first, last) = org.range().into_inner();
        Self {
            first,
            last,
            opted_out: grouped(org.opted_out().count() as u64),
            changed: grouped(org.changed().count() as u64),
            listing: MemberListing::of(org, &query),
            query,
            clock,
        }
    }

    fn last_change(&self, member: &Member) -> String {
        match member.changed_at_ms {
            Some(ms) => format_time(self.clock.unix(Duration::from_millis(ms))),
            None => String::new(),
        }
    }
}

/// Formats a number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One row of the members page.
#[derive(Debug, PartialEq, Eq)]
enum MemberRow {
    Present(Member),
    /// An ID in the range whose user has left the Org.
    Gone(u64),
}

impl MemberRow {
    fn of(org: &PracticeOrg, id: u64) -> Self {
        org.member(id).map_or(Self::Gone(id), Self::Present)
    }
}

/// One page of the list of members.
struct MemberListing {
    rows: Vec<MemberRow>,
    /// Number of the page, from 1.
    page: u64,
    pages: u64,
}

/// A link to another page of the list.
struct PageLink {
    text: &'static str,
    /// `None` if there is no such page.
    page: Option<u64>,
}

impl MemberListing {
    fn of(org: &PracticeOrg, query: &MembersQuery) -> Self {
        let wanted = query.page.parse().unwrap_or(1);
        let id = query.id.trim();
        if !id.is_empty() {
            return Self::one(org, id);
        }
        match query.show {
            MemberFilter::All => Self::all(org, wanted),
            MemberFilter::Changed => Self::some(org, wanted, org.changed()),
            MemberFilter::OptedOut => Self::some(org, wanted, org.opted_out()),
        }
    }

    /// Returns the member with this ID, if there is one.
    fn one(org: &PracticeOrg, id: &str) -> Self {
        let mut rows = Vec::new();
        if let Ok(id) = id.parse()
            && org.range().contains(&id)
        {
            rows.push(MemberRow::of(org, id));
        }
        Self {
            rows,
            page: 1,
            pages: 1,
        }
    }

    /// Returns a page of the whole range, which may be too long to iterate over.
    fn all(org: &PracticeOrg, wanted: u64) -> Self {
        let range = org.range();
        let pages = pages_for(length(&range));
        let page = wanted.clamp(1, pages);
        let first = range.start().saturating_add((page - 1) * ROWS_PER_PAGE);
        let last = first.saturating_add(ROWS_PER_PAGE - 1).min(*range.end());
        Self {
            rows: (first..=last).map(|id| MemberRow::of(org, id)).collect(),
            page,
            pages,
        }
    }

    /// Returns a page of the members with these IDs.
    fn some(org: &PracticeOrg, wanted: u64, ids: impl Iterator<Item = u64>) -> Self {
        let ids: Vec<_> = ids.collect();
        let pages = pages_for(ids.len() as u64);
        let page = wanted.clamp(1, pages);
        let on_page = ids
            .into_iter()
            .zip(0..)
            .filter(|(_, index)| index / ROWS_PER_PAGE + 1 == page);
        Self {
            rows: on_page.map(|(id, _)| MemberRow::of(org, id)).collect(),
            page,
            pages,
        }
    }

    fn position(&self) -> String {
        format!("Page {} of {}", grouped(self.page), grouped(self.pages))
    }

    fn links(&self) -> [PageLink; 4] {
        [
            self.link("First", 1),
            self.link("Back", self.page - 1),
            self.link("Next", self.page.saturating_add(1)),
            self.link("Last", self.pages),
        ]
    }

    fn link(&self, text: &'static str, page: u64) -> PageLink {
        let exists = page != self.page && (1..=self.pages).contains(&page);
        PageLink {
            text,
            page: if exists { Some(page) } else { None },
        }
    }
}

fn length(range: &RangeInclusive<u64>) -> u64 {
    if range.is_empty() {
        0
    } else {
        (range.end() - range.start()).saturating_add(1)
    }
}

/// Returns the number of pages for this number of rows, at least 1.
fn pages_for(rows: u64) -> u64 {
    rows.div_ceil(ROWS_PER_PAGE).max(1)
}

/// Formats a time since the Unix epoch for people.
fn format_time(unix: Duration) -> String {
    let second = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second)
        .map(|time| time.strftime("%F %T UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(members: RangeInclusive<u64>) -> PracticeOrg {
        PracticeOrg::new(SandboxOptions {
            members,
            ..SandboxOptions::default()
        })
    }

    fn change(org: &mut PracticeOrg, id: u64, json: &str) {
        let update = serde_json::from_str(json).unwrap();
        org.update(id, update, Duration::from_secs(1)).unwrap();
    }

    fn ids(listing: &MemberListing) -> Vec<u64> {
        let id = |row: &MemberRow| match row {
            MemberRow::Present(member) => member.id,
            MemberRow::Gone(id) => *id,
        };
        listing.rows.iter().map(id).collect()
    }

    fn query(show: MemberFilter, id: &str, page: &str) -> MembersQuery {
        MembersQuery {
            show,
            id: id.to_owned(),
            page: page.to_owned(),
        }
    }

    fn list(org: &PracticeOrg, show: MemberFilter, id: &str, page: &str) -> MemberListing {
        MemberListing::of(org, &query(show, id, page))
    }

    fn page(org: &PracticeOrg, query: MembersQuery) -> String {
        MembersPage::of(org, SandboxClock::start(), query)
            .render()
            .unwrap()
    }

    #[test]
    fn every_member_is_on_exactly_one_page() {
        let org = org(7..=256);
        let pages = ["1", "2", "3"].map(|page| ids(&list(&org, MemberFilter::All, "", page)));
        assert_eq!(pages.concat(), (7..=256).collect::<Vec<_>>());
        assert_eq!(pages[2].len(), 50);
    }

    #[test]
    fn largest_and_empty_ranges_have_pages() {
        let last = u64::MAX.to_string();
        let everybody = list(&org(0..=u64::MAX), MemberFilter::All, "", &last);
        assert_eq!(ids(&everybody).last(), Some(&u64::MAX));
        #[expect(clippy::reversed_empty_ranges, reason = "an Org without members")]
        let nobody = list(&org(2..=1), MemberFilter::All, "", "5");
        assert_eq!((nobody.rows.len(), nobody.page, nobody.pages), (0, 1, 1));
    }

    #[test]
    fn filters_show_the_changed_and_the_opted_out_members() {
        let mut org = org(1..=20_000);
        change(&mut org, 5, r#"{"mfaOptOut": true}"#);
        change(&mut org, 9_000, r#"{"mfaOptOut": false}"#);
        org.note_put(6);
        let shown = |show, id, page| ids(&list(&org, show, id, page));
        assert_eq!(shown(MemberFilter::Changed, "", ""), [5, 9_000]);
        assert_eq!(shown(MemberFilter::OptedOut, "", "-3"), [5]);
        assert_eq!(shown(MemberFilter::OptedOut, " 17 ", "2"), [17]);
    }

    #[test]
    fn page_says_when_an_id_does_not_exist() {
        let org = org(1..=500);
        let gone = list(&org, MemberFilter::All, "404", "");
        assert_eq!(gone.rows, [MemberRow::Gone(404)]);
        for id in ["0", "501", "ada", "<script>"] {
            let page = page(&org, query(MemberFilter::All, id, ""));
            assert!(page.contains("There is no such ID in this Org."), "{id}");
            assert!(!page.contains("<script>"), "{id}");
        }
    }

    #[test]
    fn page_escapes_names() {
        let mut org = org(1..=10);
        let names =
            r#"{"firstName": "<img src=x onerror='a'>", "lastName": "{{pages}}", "email": "\"&"}"#;
        change(&mut org, 1, names);
        let page = page(&org, MembersQuery::default());
        assert!(
            !page.contains("<img") && !page.contains("onerror='"),
            "{page}"
        );
        assert!(
            page.contains("{{pages}}") && !page.contains("\"&<"),
            "{page}"
        );
    }

    #[test]
    fn page_links_to_the_pages_before_and_after() {
        let org = org(1..=300);
        let links = list(&org, MemberFilter::All, "", "2").links();
        assert_eq!(
            links.map(|link| link.page),
            [Some(1), Some(1), Some(3), Some(3)]
        );
        let links = list(&org, MemberFilter::All, "", "3").links();
        assert_eq!(links.map(|link| link.page), [Some(1), Some(2), None, None]);
        let page = page(&org, query(MemberFilter::All, "", "3"));
        assert!(
            page.contains(r#"<a href="/members?show=all&amp;page=2">Back</a>"#),
            "{page}"
        );
        assert!(page.contains("<b>Page 3 of 3</b>"), "{page}");
    }

    #[test]
    fn formats_times_and_numbers_for_people() {
        let noted = Duration::from_secs(1_790_000_000);
        assert_eq!(format_time(noted), "2026-09-21 14:13:20 UTC");
        assert_eq!(format_time(Duration::MAX), "");
        let numbers = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }
}
