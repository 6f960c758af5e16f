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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use csv::StringRecord;
use jiff::Timestamp;

use super::{Entry, Owner, Register, RegisteredFlag};
use crate::domain::UserId;
use crate::journal::Access;
use crate::journal::timestamp::{FormattedTimestamp, TimestampCache};
use crate::text::{one_line, without_formula};

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
pub fn kept_text(text: &str) -> String {
    without_formula(&one_line(text, MAX_TEXT))
}

impl Register {
    /// Writes the register as CSV.
    ///
    /// # Errors
    /// If `out` can't be written to.
    pub fn write_csv(&self, out: impl Write) -> io::Result<()> {
        let mut csv = csv::WriterBuilder::new().flexible(true).from_writer(out);
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
        csv.write_record(&first)?;
        csv.write_record(COLUMNS)?;
        let mut writer = EntryWriter::new(csv);
        for (user, entry) in &self.entries {
            writer.write(*user, entry)?;
        }
        writer.csv.flush()
    }

    /// Returns the register as CSV.
    #[must_use]
    pub fn to_csv(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A vector takes every byte.
        let _ = self.write_csv(&mut bytes);
        bytes
    }

    /// Parses a register.
    ///
    /// # Errors
    /// The first line that is not as the tool writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        check_line_ends(bytes)?;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        let mut record = StringRecord::new();
        if !read(&mut reader, &mut record)? {
            return Err(Damage::new(1, "the file is empty"));
        }
        let (owner, announced) = parse_first_line(&record)?;
        if !read(&mut reader, &mut record)? || record != COLUMNS[..] {
            return Err(Damage::new(2, "the names of the columns are missing"));
        }
        let mut entries = BTreeMap::new();
        let mut parser = EntryParser::default();
        while read(&mut reader, &mut record)? {
            let line = record.position().map_or(0, csv::Position::line);
            let (user, entry) = parser
                .parse(&record)
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
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..place]).count() as u64;
        let reason = "its line end was converted by an editor, a spreadsheet or a file transfer";
        return Err(Damage::new(line, reason));
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        let line = 1 + memchr::memchr_iter(b'\n', bytes).count() as u64;
        return Err(Damage::new(line, "the line is cut off"));
    }
    Ok(())
}

fn read(reader: &mut csv::Reader<&[u8]>, record: &mut StringRecord) -> Result<bool, Damage> {
    reader.read_record(record).map_err(|error| {
        let line = error.position().map_or(0, csv::Position::line);
        Damage::new(line, "it is not UTF-8 text")
    })
}

/// Parses the first line into the Org and the number of entries.
fn parse_first_line(record: &StringRecord) -> Result<(Owner, u64), Damage> {
    if record.get(0) != Some(MAGIC) {
        return Err(Damage::new(1, "it is not a register of mfa-optout"));
    }
    if record.get(1) != Some(FORMAT) {
        return Err(Damage::new(
            1,
            "it was written by another version of mfa-optout",
        ));
    }
    let first_line = FirstLine(record);
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
struct FirstLine<'a>(&'a StringRecord);

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

/// Writes entries. Work that is the same for successive entries is done once.
struct EntryWriter<W: Write> {
    csv: csv::Writer<W>,
    since: FormattedTimestamp,
    confirmed_at: FormattedTimestamp,
    /// The last lists, and their cell.
    lists: (Arc<BTreeSet<String>>, String),
}

impl<W: Write> EntryWriter<W> {
    fn new(csv: csv::Writer<W>) -> Self {
        Self {
            csv,
            since: FormattedTimestamp::new(Timestamp::UNIX_EPOCH),
            confirmed_at: FormattedTimestamp::new(Timestamp::UNIX_EPOCH),
            lists: Default::default(),
        }
    }

    fn write(&mut self, user: UserId, entry: &Entry) -> io::Result<()> {
        self.since.set(entry.since);
        let confirmed_at = match entry.confirmed_at {
            Some(at) => {
                self.confirmed_at.set(at);
                self.confirmed_at.as_str()
            }
            None => "",
        };
        let until = entry.until.map(|until| until.to_string());
        if !Arc::ptr_eq(&self.lists.0, &entry.lists) {
            let lists: Vec<String> = entry.lists.iter().map(|list| escaped(list)).collect();
            self.lists = (Arc::clone(&entry.lists), lists.join("|"));
        }
        self.csv.write_record([
            user.to_string().as_str(),
            entry.flag.as_str(),
            self.since.as_str(),
            confirmed_at,
            until.unwrap_or_default().as_str(),
            &entry.reason,
            &entry.name,
            &self.lists.1,
            &entry.run,
        ])?;
        Ok(())
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
    fn parse(&mut self, record: &StringRecord) -> Result<(UserId, Entry), String> {
        if record.len() != COLUMNS.len() {
            return Err(format!(
                "it has {} cells instead of {}",
                record.len(),
                COLUMNS.len()
            ));
        }
        let user = record[0].parse().ok().and_then(UserId::new);
        let user = user.ok_or_else(|| wrong_cell("user_id", &record[0]))?;
        let flag = RegisteredFlag::from_word(&record[1]);
        let entry = Entry {
            flag: flag.ok_or_else(|| wrong_cell("mfa_opt_out", &record[1]))?,
            since: parse_time(&mut self.since, "since", &record[2])?,
            confirmed_at: match &record[3] {
                "" => None,
                cell => Some(parse_time(&mut self.confirmed_at, "confirmed_at", cell)?),
            },
            until: match &record[4] {
                "" => None,
                cell => {
                    let date = cell.parse().ok();
                    Some(date.ok_or_else(|| wrong_cell("opt_out_until", cell))?)
                }
            },
            reason: share(&mut self.reason, &record[5]),
            name: record[6].to_owned(),
            lists: self.share_lists(&record[7]),
            run: share(&mut self.run, &record[8]),
        };
        Ok((user, entry))
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
        assert_eq!(kept_text("  =HYPERLINK(1)\n x "), "'=HYPERLINK(1) x");
    }

    proptest! {
        #[test]
        fn any_list_name_reads_back_the_same(names in prop::collection::btree_set(".{1,12}", 0..4)) {
            let cell = names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join("|");
            prop_assert_eq!(parse_lists(&cell), names);
        }
    }
}
