//! The register as text: a CSV file with one line for each user, ordered by ID, that people can
//! read and compare.
//!
//! The first line says what the file is, which Org it belongs to and how many entries follow, so
//! that a file that was cut off is noticed. The second line names the columns:
//!
//! ```text
//! mfa-optout register,format=1,address=https://eu.core.resolver.com/,access=session,org=42,entries=1
//! user_id,mfa_opt_out,since,confirmed_at,opt_out_until,reason,name,lists,run
//! 1732,true,2026-11-28T03:00:04.120Z,2026-11-28T03:00:04.120Z,2026-12-31,sick leave,Ada,/srv/exceptions.csv,2026-11-28T03:00:00Z
//! ```
//!
//! Lists are separated by `|`; within a name, `|` and `%` are written as `%7C` and `%25`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Entry, Owner, Register, RegisteredFlag};
use crate::domain::UserId;
use crate::journal::Access;
use crate::journal::timestamp::{FormattedTimestamp, TimestampCache};
use crate::text::{one_line, push_csv_cells, without_formula};

const MAGIC: &str = "mfa-optout register";
const FORMAT: &str = "format=1";
const COLUMNS: [&str; 9] = [
    "user_id",
    "mfa_opt_out",
    "since",
    "confirmed_at",
    "opt_out_until",
    "reason",
    "name",
    "lists",
    "run",
];
/// The usual size of an entry in bytes.
const BYTES_PER_ENTRY: usize = 128;
/// The number of characters that are kept of a name or a reason.
const MAX_TEXT: usize = 200;

/// Why a register can't be used, and on which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The line, counted from 1.
    pub line: u64,
    /// The reason, which completes "line 3: ...".
    pub reason: String,
}

impl Damage {
    fn new(line: u64, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Returns a text from a table as the register keeps it: one line that a spreadsheet does not take
/// for a formula.
#[must_use]
pub fn kept_text(text: &str) -> Cow<'_, str> {
    // Most names are short and plain.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.()/'@_".contains(&byte);
    let is_word = |word: &[u8]| {
        let begins_plain = word.first().is_some_and(|first| !b"-@".contains(first));
        begins_plain && word.iter().all(|byte| is_plain(*byte))
    };
    let is_short = text.len() <= MAX_TEXT;
    if is_short && text.as_bytes().split(|byte| *byte == b' ').all(is_word) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(without_formula(&one_line(text, MAX_TEXT)))
}

impl Register {
    /// Returns the register as CSV.
    #[must_use]
    pub fn to_csv(&self) -> Vec<u8> {
        let mut first = vec![
            MAGIC.to_owned(),
            FORMAT.to_owned(),
            format!("address={}", self.owner.address),
        ];
        match &self.owner.access {
            Access::ApiKey { salt, digest } => {
                first.push("access=api_key".to_owned());
                first.push(format!("salt={salt}"));
                first.push(format!("digest={digest}"));
            }
            Access::Session { org, .. } => {
                first.push("access=session".to_owned());
                first.push(format!("org={org}"));
            }
        }
        first.push(format!("entries={}", self.entries.len()));
        let mut csv = Vec::with_capacity(BYTES_PER_ENTRY * self.entries.len());
        push_record(&mut csv, first.iter().map(String::as_str));
        push_record(&mut csv, COLUMNS);
        let mut formatter = EntryFormatter::default();
        for (user, entry) in &self.entries {
            formatter.push(&mut csv, *user, entry);
        }
        csv
    }

    /// Parses a register.
    ///
    /// # Errors
    /// The first line that is not as the tool writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        check_line_ends(bytes)?;
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = line_at(bytes, error.valid_up_to());
            Damage::new(line, "it is not UTF-8 text")
        })?;
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
        let mut cells = Vec::new();
        let Some((_, first)) = lines.next() else {
            return Err(Damage::new(1, "the file is empty"));
        };
        split(first, &mut cells);
        let (owner, announced) = parse_first_line(&cells)?;
        let columns = lines.next().map_or("", |(_, line)| line);
        split(columns, &mut cells);
        if cells != COLUMNS {
            return Err(Damage::new(2, "the names of the columns are missing"));
        }
        let mut entries = BTreeMap::new();
        let mut parser = EntryParser::default();
        for (line, text) in lines {
            split(text, &mut cells);
            let (user, entry) = parser
                .parse(&cells)
                .map_err(|reason| Damage::new(line, reason))?;
            if entries.insert(user, entry).is_some() {
                return Err(Damage::new(line, format!("user {user} is listed twice")));
            }
        }
        if entries.len() as u64 != announced {
            let reason = format!(
                "{announced} entries are expected and {} were found",
                entries.len()
            );
            return Err(Damage::new(1, reason));
        }
        Ok(Self { owner, entries })
    }
}

/// Checks that the file ends with a line feed and that no line ends were converted.
fn check_line_ends(bytes: &[u8]) -> Result<(), Damage> {
    if let Some(place) = memchr::memchr(b'\r', bytes) {
        let line = line_at(bytes, place);
        let reason = "its line end was converted by an editor, a spreadsheet or a file transfer";
        return Err(Damage::new(line, reason));
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        let line = line_at(bytes, bytes.len());
        return Err(Damage::new(line, "the line is cut off"));
    }
    Ok(())
}

/// Returns the line of a byte, from 1.
fn line_at(bytes: &[u8], place: usize) -> u64 {
    1 + memchr::memchr_iter(b'\n', &bytes[..place]).count() as u64
}

/// Splits a line of CSV into its cells, in which there are no line ends.
fn split<'a>(line: &'a str, cells: &mut Vec<Cow<'a, str>>) {
    cells.clear();
    let bytes = line.as_bytes();
    let mut start = 0;
    let mut is_quoted = false;
    for place in memchr::memchr2_iter(b'"', b',', bytes) {
        if bytes[place] == b'"' {
            is_quoted = !is_quoted;
        } else if !is_quoted {
            cells.push(unquoted(&line[start..place]));
            start = place + 1;
        }
    }
    cells.push(unquoted(&line[start..]));
}

fn unquoted(cell: &str) -> Cow<'_, str> {
    let inner = cell
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) => Cow::Owned(inner.replace("\"\"", "\"")),
        None => Cow::Borrowed(cell),
    }
}

/// Parses the first line into the Org and the number of entries.
fn parse_first_line(cells: &[Cow<'_, str>]) -> Result<(Owner, u64), Damage> {
    if cells.first().map(AsRef::as_ref) != Some(MAGIC) {
        return Err(Damage::new(1, "it is not a register of mfa-optout"));
    }
    if cells.get(1).map(AsRef::as_ref) != Some(FORMAT) {
        return Err(Damage::new(
            1,
            "it was written by another version of mfa-optout",
        ));
    }
    let first_line = FirstLine(cells);
    let access = match first_line.value("access")? {
        "api_key" => Access::ApiKey {
            salt: first_line.value("salt")?.to_owned(),
            digest: first_line.value("digest")?.to_owned(),
        },
        "session" => Access::Session {
            org: first_line.number("org")?,
            email: String::new(),
        },
        _ => return Err(Damage::new(1, "access must be api_key or session")),
    };
    let owner = Owner {
        address: first_line.value("address")?.to_owned(),
        access,
    };
    Ok((owner, first_line.number("entries")?))
}

/// The first line, a list of names and values.
struct FirstLine<'a>(&'a [Cow<'a, str>]);

impl<'a> FirstLine<'a> {
    fn value(&self, name: &str) -> Result<&'a str, Damage> {
        for cell in self.0 {
            if let Some(value) = cell.strip_prefix(name)
                && let Some(value) = value.strip_prefix('=')
            {
                return Ok(value);
            }
        }
        Err(Damage::new(1, format!("{name}= is missing")))
    }

    fn number(&self, name: &str) -> Result<u64, Damage> {
        let value = self.value(name)?;
        value
            .parse()
            .map_err(|_| Damage::new(1, format!("{name}= is not a number")))
    }
}

/// Appends a line of CSV.
fn push_record<'a>(out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'a str>) {
    push_csv_cells(out, cells);
    out.push(b'\n');
}

/// Formats entries. Work that is the same for successive entries is done once.
struct EntryFormatter {
    since: FormattedTimestamp,
    confirmed_at: FormattedTimestamp,
    /// The last lists, and their cell.
    lists: (Arc<BTreeSet<String>>, String),
}

impl Default for EntryFormatter {
    fn default() -> Self {
        Self {
            since: FormattedTimestamp::new(Timestamp::UNIX_EPOCH),
            confirmed_at: FormattedTimestamp::new(Timestamp::UNIX_EPOCH),
            lists: Default::default(),
        }
    }
}

impl EntryFormatter {
    /// Appends the line of an entry.
    fn push(&mut self, line: &mut Vec<u8>, user: UserId, entry: &Entry) {
        self.since.set(entry.since);
        let confirmed_at = match entry.confirmed_at {
            None => "",
            Some(at) if at == entry.since => self.since.as_str(),
            Some(at) => {
                self.confirmed_at.set(at);
                self.confirmed_at.as_str()
            }
        };
        let until = entry.until.map(|until| until.to_string());
        if !Arc::ptr_eq(&self.lists.0, &entry.lists) {
            let lists: Vec<String> = entry.lists.iter().map(|list| escaped(list)).collect();
            self.lists = (Arc::clone(&entry.lists), lists.join("|"));
        }
        let mut id = itoa::Buffer::new();
        let cells = [
            id.format(user.get()),
            entry.flag.as_str(),
            self.since.as_str(),
            confirmed_at,
            until.as_deref().unwrap_or_default(),
            &entry.reason,
            &entry.name,
            &self.lists.1,
            &entry.run,
        ];
        push_record(line, cells);
    }
}

/// Parses entries. Successive entries with the same text share it.
#[derive(Default)]
struct EntryParser {
    reason: Arc<str>,
    run: Arc<str>,
    since: TimestampCache,
    confirmed_at: TimestampCache,
    /// The last cell with lists, and what it says.
    lists: (String, Arc<BTreeSet<String>>),
}

impl EntryParser {
    fn parse(&mut self, cells: &[Cow<'_, str>]) -> Result<(UserId, Entry), String> {
        let [
            user,
            flag,
            since,
            confirmed_at,
            until,
            reason,
            name,
            lists,
            run,
        ] = cells
        else {
            return Err(format!(
                "it has {} cells instead of {}",
                cells.len(),
                COLUMNS.len()
            ));
        };
        let id = user.parse().ok().and_then(UserId::new);
        let id = id.ok_or_else(|| wrong_cell("user_id", user))?;
        let known_flag = RegisteredFlag::from_word(flag);
        let since_time = parse_time(&mut self.since, "since", since)?;
        let entry = Entry {
            flag: known_flag.ok_or_else(|| wrong_cell("mfa_opt_out", flag))?,
            since: since_time,
            confirmed_at: match confirmed_at.as_ref() {
                "" => None,
                cell if cell == since => Some(since_time),
                cell => Some(parse_time(&mut self.confirmed_at, "confirmed_at", cell)?),
            },
            until: match until.as_ref() {
                "" => None,
                cell => {
                    let date = cell.parse().ok();
                    Some(date.ok_or_else(|| wrong_cell("opt_out_until", cell))?)
                }
            },
            reason: share(&mut self.reason, reason),
            name: name.clone().into_owned(),
            lists: self.share_lists(lists),
            run: share(&mut self.run, run),
        };
        Ok((id, entry))
    }

    fn share_lists(&mut self, cell: &str) -> Arc<BTreeSet<String>> {
        if self.lists.0 != cell {
            self.lists = (cell.to_owned(), Arc::new(parse_lists(cell)));
        }
        Arc::clone(&self.lists.1)
    }
}

/// Returns `text`, which is the last text again if both are the same.
fn share(last: &mut Arc<str>, text: &str) -> Arc<str> {
    if **last != *text {
        *last = text.into();
    }
    Arc::clone(last)
}

fn parse_time(cache: &mut TimestampCache, column: &str, cell: &str) -> Result<Timestamp, String> {
    cache.parse(cell).ok_or_else(|| wrong_cell(column, cell))
}

fn wrong_cell(column: &str, cell: &str) -> String {
    format!("column {column} can't be \"{}\"", one_line(cell, 40))
}

fn parse_lists(cell: &str) -> BTreeSet<String> {
    let lists = cell.split('|').filter(|list| !list.is_empty());
    lists.map(unescaped).collect()
}

fn escaped(list: &str) -> String {
    list.replace('%', "%25")
        .replace('|', "%7C")
        .replace('\n', "%0A")
        .replace('\r', "%0D")
}

fn unescaped(list: &str) -> String {
    list.replace("%0D", "\r")
        .replace("%0A", "\n")
        .replace("%7C", "|")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Flag;

    fn register() -> Register {
        let owner = Owner {
            address: "https://eu.core.resolver.com/".to_owned(),
            access: Access::Session {
                org: 42,
                email: String::new(),
            },
        };
        let mut register = Register::new(owner);
        for id in 1..=3 {
            let at = Timestamp::from_millisecond(1_800_000_000_000 + id).unwrap();
            let entry = Entry {
                flag: RegisteredFlag::Known(Flag::OptOut),
                since: at,
                confirmed_at: Some(at),
                until: Some(jiff::civil::date(2026, 12, 31)),
                reason: "sick, with \"quotes\"".into(),
                name: "Bjørn Dahl".to_owned(),
                lists: Arc::new(["/srv/a|b%.csv".to_owned(), "HR".to_owned()].into()),
                run: "2026-11-28T03:00:00Z".into(),
            };
            register.set(UserId::new(id.cast_unsigned()).unwrap(), Some(entry));
        }
        register
    }

    #[test]
    fn a_written_register_reads_back_the_same() {
        let register = register();
        let csv = register.to_csv();
        assert_eq!(Register::parse(&csv).unwrap(), register);
        let text = String::from_utf8(csv).unwrap();
        let third = text.lines().nth(2).unwrap();
        assert_eq!(
            third,
            "1,true,2027-01-15T08:00:00.001Z,2027-01-15T08:00:00.001Z,2026-12-31,\"sick, with \"\"quotes\"\"\",\
             Bjørn Dahl,/srv/a%7Cb%25.csv|HR,2026-11-28T03:00:00Z"
        );
    }

    #[test]
    fn a_register_that_was_cut_anywhere_is_refused() {
        let csv = register().to_csv();
        for cut in 0..csv.len() {
            assert!(Register::parse(&csv[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn damage_is_named_with_line_and_reason() {
        let text = String::from_utf8(register().to_csv()).unwrap();
        let cases = [
            (
                "\n2,true",
                "\n2,yes",
                "line 4: column mfa_opt_out can't be \"yes\"",
            ),
            (
                "\n2,true",
                "\n0,true",
                "line 4: column user_id can't be \"0\"",
            ),
            ("\n2,true", "\n3,true", "line 5: user 3 is listed twice"),
            (
                "\n2,true,",
                "\n2,true,x",
                "line 4: column since can't be \"x2027",
            ),
            (
                "\n2,true",
                "\n2,true,",
                "line 4: it has 10 cells instead of 9",
            ),
            (
                "user_id,",
                "id,",
                "line 2: the names of the columns are missing",
            ),
            (
                "entries=3",
                "entries=4",
                "line 1: 4 entries are expected and 3 were found",
            ),
            (
                "format=1",
                "format=2",
                "line 1: it was written by another version",
            ),
            (
                "mfa-optout register",
                "a table",
                "line 1: it is not a register",
            ),
            ("org=42", "org=", "line 1: org= is not a number"),
            ("access=session", "access=none", "line 1: access must be"),
            ("\n2,", "\r\n2,", "line 3: its line end was converted"),
        ];
        for (was, is, expected) in cases {
            let damaged = text.replacen(was, is, 1);
            assert_ne!(damaged, text, "{was}");
            let damage = Register::parse(damaged.as_bytes()).unwrap_err().to_string();
            assert!(damage.starts_with(expected), "{damage}");
        }
    }

    #[test]
    fn names_and_reasons_are_kept_on_one_line_without_formulas() {
        for (text, kept) in [
            ("  =HYPERLINK(1)\n x ", "'=HYPERLINK(1) x"),
            ("Anne-Marie O'Neil (HR)", "Anne-Marie O'Neil (HR)"),
            ("jo@example.com", "jo@example.com"),
            ("@jo", "'@jo"),
            ("-jo", "'-jo"),
            ("jo  dahl", "jo dahl"),
            (" jo", "jo"),
            ("a,-b", "a,'-b"),
            ("", ""),
        ] {
            assert_eq!(kept_text(text), kept);
        }
    }

    proptest! {
        #[test]
        fn a_line_is_split_as_a_reader_of_csv_does(
            cells in prop::collection::vec("[a,\" é]{0,4}", 2..6),
        ) {
            let mut line = Vec::new();
            push_record(&mut line, cells.iter().map(String::as_str));
            let text = std::str::from_utf8(&line).unwrap().trim_end_matches('\n');
            let mut found = Vec::new();
            split(text, &mut found);
            prop_assert_eq!(&found, &cells);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.iter().collect::<Vec<_>>(), cells);
        }

        #[test]
        fn any_list_name_reads_back_the_same(names in prop::collection::btree_set(".{1,12}", 0..4)) {
            let cell = names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join("|");
            prop_assert_eq!(parse_lists(&cell), names);
        }
    }
}
