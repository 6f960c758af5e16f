//! The tables that administrators have, held against the plan or the messages they give. Small
//! tables of text stand in the case files of `corpus/cases`, with their options and what comes of
//! them. Each other file of `corpus` has a snapshot; a file `NAME.options` beside one holds its
//! options, one `key=value` a line.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use jiff::civil::date;
use mfa_optout::testing::domain::{Flag, Outcome};
use mfa_optout::testing::error::{Kind, Result};
use mfa_optout::testing::input::{HeaderChoice, Input, Options as InputOptions, Source};
use mfa_optout::testing::plan::{Action, Options, Plan, Selection, check_problems_place};
use proptest::prelude::*;
use roaring::RoaringTreemap;

const CORPUS: &str = "tests/corpus";

fn read_options(path: &Path) -> Options {
    let mut options = Options::on(date(2026, 11, 24));
    let beside = PathBuf::from(format!("{}.options", path.display()));
    for line in fs::read_to_string(beside).unwrap_or_default().lines() {
        set_option(&mut options, line);
    }
    options
}

/// Applies an option that is written as `key=value`.
fn set_option(options: &mut Options, option: &str) {
    let (key, value) = option.split_once('=').unwrap_or((option, "true"));
    let input = &mut options.input;
    match key {
        "delimiter" => input.delimiter = Some(value.as_bytes()[0]),
        "encoding" => input.encoding = encoding_rs::Encoding::for_label(value.as_bytes()),
        "sheet" => input.sheet = Some(value.to_owned()),
        "id-column" => input.id_column = value.parse().ok(),
        "flag-column" => input.flag_column = value.parse().ok(),
        "until-column" => input.until_column = value.parse().unwrap(),
        "set" => input.set = Some(Flag::from_opt_out(value == "true")),
        "header" => {
            assert_eq!(value, "false");
            input.header = HeaderChoice::Absent;
        }
        "header-row" => input.header = HeaderChoice::At(value.parse().unwrap()),
        "visible-only" => input.visible_only = true,
        "keep-last-row" => options.keep_last_row = true,
        "host" => options.host = Some(value.to_owned()),
        "retry" => {
            let outcomes = value.split(' ').filter_map(Outcome::from_word);
            options.selection = Selection::Retry(outcomes.collect());
        }
        "undo" => options.selection = Selection::Undo,
        other => panic!("{other} is no option"),
    }
}

fn plan(path: &Path, options: &Options) -> Result<Plan> {
    Plan::check(
        Input::open(&Source::Path(path.to_owned()), &options.input)?,
        options.clone(),
    )
}

fn show(plan: &Plan) -> String {
    let mut text = String::new();
    let found = plan.input().found();
    let until = found
        .until_column
        .as_ref()
        .map(|until| format!(", until {until}"))
        .unwrap_or_default();
    let flag = found.flag_column.as_deref().unwrap_or("as set");
    writeln!(
        text,
        "{}; user {}, flag {flag}{until}",
        found.format, found.id_column
    )
    .unwrap();
    for note in &found.notes {
        writeln!(text, "note: {note}").unwrap();
    }
    writeln!(text, "{:?}", plan.counts()).unwrap();
    if let Some(at) = plan.latest_unknown_at() {
        writeln!(text, "latest unknown at {at}").unwrap();
    }
    writeln!(text, "{:?}", plan.header()).unwrap();
    for step in plan.changes(&RoaringTreemap::new()).unwrap().take(40) {
        let step = step.unwrap();
        let what = match step.action {
            Action::Send(change) => format!(
                "send {:?} for {} as row {} of line {}",
                change.flag,
                change.user,
                change.row,
                number_or_none(change.line)
            ),
            Action::Settled(record) => format!(
                "row {} of line {} is {}, wanted {:?}: {}",
                record.row,
                number_or_none(record.line),
                record.outcome,
                record.wanted,
                record.detail
            ),
            Action::Skipped => continue,
        };
        writeln!(
            text,
            "{:?} -> {what}",
            String::from_utf8(step.cells).unwrap()
        )
        .unwrap();
    }
    text
}

/// A case of a case file: a table, the options and what comes of them.
struct Case {
    name: String,
    options: Vec<String>,
    table: String,
    expected: Vec<String>,
}

/// Reads a case file. `#` begins a case, `$` holds options, `|` a line of the table, `/` a piece of
/// the table with escapes and without a line end, and `>` an expected line.
fn read_cases(file: &str) -> Vec<Case> {
    let text = fs::read_to_string(Path::new(CORPUS).join("cases").join(file)).unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        if mark == "# " {
            cases.push(Case {
                name: rest.to_owned(),
                options: Vec::new(),
                table: String::new(),
                expected: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        match mark {
            "$ " => case
                .options
                .extend(rest.split(" --").map(ToOwned::to_owned)),
            "| " | "|" => {
                case.table.push_str(rest);
                case.table.push('\n');
            }
            "/ " => case.table.push_str(&unescaped(rest)),
            "> " | ">" => case.expected.push(rest.to_owned()),
            "" => {}
            other => panic!("{other:?} begins no line of a case"),
        }
    }
    cases
}

/// Replaces `\n`, `\r`, `\t`, `\\` and `\u{fe}` by the characters that they stand for.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let (character, length) = match escape.as_bytes()[0] {
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'\\' => ('\\', 1),
            _ => {
                let (number, _) = escape[2..].split_once('}').unwrap();
                let code = u32::from_str_radix(number, 16).unwrap();
                (char::from_u32(code).unwrap(), 3 + number.len())
            }
        };
        plain.push(character);
        rest = &escape[length..];
    }
    plain.push_str(rest);
    plain
}

/// Writes the table of a case into a file, which lives as long as the folder, and returns the
/// file's path and the options.
fn laid_out(case: &Case) -> (tempfile::TempDir, PathBuf, Options) {
    let (folder, path) = file(case.table.as_bytes());
    let mut options = today();
    for option in &case.options {
        set_option(&mut options, option.trim_start_matches("--"));
    }
    (folder, path, options)
}

/// Returns what the path of a file in this folder begins with.
fn prefix(folder: &Path) -> String {
    format!("{}{MAIN_SEPARATOR}", folder.display())
}

/// Returns what is understood of a table, row by row, or the error.
fn understood(case: &Case) -> Vec<String> {
    let (folder, path, options) = laid_out(case);
    let text = outcome_of(&path, options).replace(&prefix(folder.path()), "");
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Returns the rows that are sent in one line, then the notes; or the error and its advice.
fn rows_sent(case: &Case) -> Vec<String> {
    let (_folder, path, options) = laid_out(case);
    let plan = match plan(&path, &options) {
        Ok(plan) => plan,
        Err(error) => {
            let folder = prefix(path.parent().unwrap());
            let message = error.message().replace(&folder, "");
            let advice = error.advice().unwrap_or_default();
            return format!("error: {message}\nhelp: {advice}")
                .lines()
                .map(ToOwned::to_owned)
                .collect();
        }
    };
    let nothing = RoaringTreemap::new();
    let mut sent = Vec::new();
    for step in plan.changes(&nothing).unwrap() {
        match step.unwrap().action {
            Action::Send(change) => {
                let word = if change.flag.is_opt_out() {
                    "out"
                } else {
                    "in"
                };
                sent.push(format!("{} {word}", change.user));
            }
            Action::Settled(record) => sent.push(record.outcome.to_string()),
            Action::Skipped => {}
        }
    }
    let mut lines = vec![sent.join(", ")];
    let notes = plan.input().found().notes.iter();
    lines.extend(notes.map(|note| format!("note: {note}")));
    lines
}

fn check_cases(file: &str, least: usize, result_of: fn(&Case) -> Vec<String>) {
    let cases = read_cases(file);
    assert!(cases.len() >= least, "{file} has {} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let result = result_of(case);
        if result != case.expected {
            writeln!(wrong, "# {}", case.name).unwrap();
            for line in &result {
                writeln!(wrong, "> {line}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "the results of {file} are:\n{wrong}");
}

#[test]
fn ordinary_tables_are_not_refused() {
    check_cases("ordinary.txt", 40, rows_sent);
}

#[test]
fn tables_that_could_be_misread_are_refused_with_the_next_step() {
    check_cases("refused.txt", 20, rows_sent);
}

#[test]
fn headers_are_understood_or_refused() {
    check_cases("header.txt", 32, understood);
}

#[test]
fn user_ids_are_understood_or_refused() {
    check_cases("ids.txt", 6, understood);
}

#[test]
fn the_line_that_names_the_delimiter_is_understood_or_refused() {
    check_cases("sep_line.txt", 12, understood);
}

#[test]
fn reports_are_read_back_for_retry_and_undo() {
    check_cases("reports.txt", 9, understood);
}

#[test]
fn texts_of_other_kinds_are_understood_or_refused() {
    check_cases("text.txt", 59, understood);
}

fn number_or_none(line: Option<u64>) -> String {
    line.map_or_else(|| "none".to_owned(), |line| line.to_string())
}

/// The plan, or what is refused and then what is left of it when invalid rows are skipped.
fn outcome_of(path: &Path, options: Options) -> String {
    let error = match plan(path, &options) {
        Ok(plan) => return show(&plan),
        Err(error) => error,
    };
    match plan(
        path,
        &Options {
            skip_invalid: true,
            ..options
        },
    ) {
        Ok(plan) => format!(
            "error: {error}\n--- with invalid rows skipped\n{}",
            show(&plan)
        ),
        Err(second) if second.to_string() == error.to_string() => format!("error: {error}\n"),
        Err(second) => format!("error: {error}\n--- with invalid rows skipped\nerror: {second}\n"),
    }
}

#[test]
fn files_of_other_encodings_and_formats_are_understood_or_refused() {
    let mut files: Vec<PathBuf> = fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension != "options")
    });
    files.sort();
    assert!(files.len() >= 100, "only {} files", files.len());
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../corpus/snapshots", omit_expression => true }, {
        for path in files {
            let name = path.file_name().unwrap().to_str().unwrap();
            // Windows separates the names in a path by backslashes.
            let result = outcome_of(&path, read_options(&path)).replace("corpus\\", "corpus/");
            insta::assert_snapshot!(name, result);
        }
    });
}

/// A table in a file of its own, which lives as long as the folder.
fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.csv");
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn today() -> Options {
    Options::on(date(2026, 11, 24))
}

fn refusal(path: &Path) -> String {
    plan(path, &today()).err().unwrap().to_string()
}

fn gzip(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    pieces
        .into_iter()
        .for_each(|piece| out.write_all(&piece).unwrap());
    out.finish().unwrap()
}

#[test]
fn a_gzip_that_inflates_out_of_all_proportion_is_refused_unless_it_is_allowed() {
    let rows = std::iter::once(b"user_id,opt_out\n5,true\n".to_vec())
        .chain((0..4).map(|_| b" \n".repeat(1 << 19)));
    let (_folder, path) = file(&gzip(rows));
    assert!(
        refusal(&path).contains("out of all proportion"),
        "{}",
        refusal(&path)
    );
    let mut options = today();
    options.input.max_input = Some(64 << 20);
    assert_eq!(plan(&path, &options).unwrap().counts().opt_out, 1);
}

#[test]
fn a_workbook_that_inflates_out_of_all_proportion_is_refused() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in ["xl/workbook.xml", "xl/sharedStrings.xml"] {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(&vec![b' '; 4 << 20]).unwrap();
    }
    let (_folder, path) = file(&zip.finish().unwrap().into_inner());
    assert!(
        refusal(&path).contains("out of all proportion"),
        "{}",
        refusal(&path)
    );
}

#[test]
fn an_endless_row_and_endless_columns_are_refused_with_the_limit() {
    let cell = [
        b"user_id,opt_out\n5,true\n6,true,".as_slice(),
        &vec![b'x'; 9 << 20],
    ]
    .concat();
    let (_folder, path) = file(&cell);
    assert!(
        refusal(&path).contains(":3: the row that begins here is longer than 8 MiB"),
        "{}",
        refusal(&path)
    );
    let header = format!("user_id,opt_out{}\n", ",c".repeat(100_000));
    let (_folder, path) = file(header.as_bytes());
    assert!(
        refusal(&path).contains("at most 16384 are read"),
        "{}",
        refusal(&path)
    );
}

#[test]
fn a_folder_and_a_missing_file_are_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("is a folder"));
    assert!(refusal(&folder.path().join("no\nfile.csv")).contains("no\\nfile.csv: "));
}

#[cfg(unix)] // pipes
#[test]
fn a_named_pipe_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::write(path, "user_id,opt_out\n5,true\n").unwrap()
    });
    let plan = plan(&path, &today()).unwrap();
    writer.join().unwrap();
    assert_eq!(plan.changes(&RoaringTreemap::new()).unwrap().count(), 1);
}

#[test]
fn nothing_is_handed_out_of_a_part_that_was_changed_after_the_check() {
    let mut content = b"user_id,opt_out\n".to_vec();
    for id in 1_000_000..1_060_000 {
        writeln!(content, "{id},true").unwrap();
    }
    for (at, allowed) in [(20, 0), (content.len() - 20, 60_000)] {
        let (_folder, path) = file(&content);
        let plan = plan(&path, &today()).unwrap();
        let mut other = content.clone();
        other[at] = b'9';
        fs::write(&path, &other).unwrap();
        let none = RoaringTreemap::new();
        let handed: Vec<_> = match plan.changes(&none) {
            Ok(changes) => changes.collect(),
            Err(error) => vec![Err(error)],
        };
        let error = handed.iter().find_map(|step| step.as_ref().err()).unwrap();
        assert_eq!(error.kind(), Kind::MidRun);
        assert!(
            error.to_string().contains("was changed during the run"),
            "{error}"
        );
        assert!(handed.iter().filter(|step| step.is_ok()).count() <= allowed);
        for (id, step) in (1_000_000..).zip(handed.into_iter().flatten()) {
            assert_eq!(step.cells, format!("{id},true").into_bytes());
        }
    }
}

#[test]
fn a_change_before_anything_is_sent_is_the_inputs_fault() {
    let (_folder, path) = file(b"user_id,opt_out\n5,true\n");
    let input = Input::open(&Source::Path(path.clone()), &InputOptions::default()).unwrap();
    fs::write(&path, b"user_id,opt_out\n6,true\n").unwrap();
    let error = Plan::check(input, today()).err().unwrap();
    assert_eq!(error.kind(), Kind::Input);
    assert!(
        error.to_string().contains("was changed during the run"),
        "{error}"
    );
}

/// Returns the line of every row of a plan.
fn lines_of(path: &Path, options: &Options) -> Vec<Option<u64>> {
    let plan = plan(path, options).unwrap();
    let nothing = RoaringTreemap::new();
    let lines = plan
        .changes(&nothing)
        .unwrap()
        .map(|step| match step.unwrap().action {
            Action::Send(change) => change.line,
            Action::Settled(record) => record.line,
            Action::Skipped => panic!("few rows are passed over"),
        });
    lines.collect()
}

#[test]
fn the_line_of_a_row_counts_every_physical_line_before_it() {
    let cases: [(&[u8], &[u64]); 5] = [
        (b"user_id,opt_out\n5,true\n6,true\n", &[2, 3]),
        (b"sep=;\nuser_id;opt_out\n5;true\n\n;\n6;true\n", &[3, 6]),
        (
            b"user_id,note,opt_out\r\n5,\"a\r\nb\nc\",true\r\n\r\n6,,true",
            &[2, 6],
        ),
        (
            b"user_id,note,opt_out\r5,\"a\rb\",true\r\r6,\"c\r\",true\r7,,true",
            &[2, 5, 7],
        ),
        // A cell that ends in CR beside one that begins with LF is two line ends.
        (
            b"user_id,note,more,opt_out\n5,\"a\r\",\"\nb\",true\n6,,,true\n",
            &[2, 5],
        ),
    ];
    for (text, lines) in cases {
        let lines: Vec<_> = lines.iter().copied().map(Some).collect();
        let (_folder, path) = file(text);
        assert_eq!(
            lines_of(&path, &today()),
            lines,
            "{}",
            String::from_utf8_lossy(text)
        );
        let utf_16 = encode(std::str::from_utf8(text).unwrap(), Writing::Utf16(false)).unwrap();
        let (_folder, path) = file(&utf_16);
        assert_eq!(lines_of(&path, &today()), lines);
    }
}

#[test]
fn the_line_of_a_row_beyond_the_first_piece_of_the_text_is_right() {
    let note = "x\ny".repeat(100);
    let table = (1..=5_000).fold("user_id,note,opt_out\n".to_owned(), |text, user| {
        text + &format!("{user},\"{note}\",true\n")
    });
    let (_folder, path) = file(table.as_bytes());
    let lines = lines_of(&path, &today());
    let wanted = (0..5_000).map(|row| Some(2 + row * 101));
    assert!(lines.into_iter().eq(wanted));
}

#[test]
fn the_line_of_a_row_in_a_sheet_is_its_row_there() {
    let options = Options {
        skip_invalid: true,
        ..today()
    };
    // The table begins in row 5 of the sheet, and two of its rows are blank.
    let lines = lines_of(&Path::new(CORPUS).join("xw_offset.xlsx"), &options);
    assert_eq!(lines, [6, 9, 10, 11, 12].map(Some));
}

#[test]
fn retry_and_undo_keep_the_lines_and_the_flags_of_the_earlier_report() {
    let report = "user_id,opt_out_until,line,outcome,wanted,http_status,attempts,elapsed_ms,finished_at,detail\n\
        5,,17,failed,true,404,1,1,2026-11-23T10:00:00.000Z,\n\
        6,2026-11-23,23,unknown,true,404,1,1,2026-11-23T10:00:00.000Z,\n\
        7,,,failed,false,404,1,1,2026-11-23T10:00:00.000Z,\n\
        8,2020-01-01,31,applied,false,204,1,1,2026-11-23T10:00:00.000Z,\n";
    let (_folder, path) = file(report.as_bytes());
    let asked = |selection: Selection| {
        let plan = plan(
            &path,
            &Options {
                selection,
                ..today()
            },
        )
        .unwrap();
        let nothing = RoaringTreemap::new();
        let steps = plan.changes(&nothing).unwrap().map(|step| {
            let Action::Send(change) = step.unwrap().action else {
                panic!("every row is sent")
            };
            (change.user.get(), change.line, change.flag)
        });
        steps.collect::<Vec<_>>()
    };
    assert_eq!(
        asked(Selection::Retry(vec![Outcome::Failed, Outcome::Unknown])),
        [
            (5, Some(17), Flag::OptOut),
            // Its end date has passed since.
            (6, Some(23), Flag::OptIn),
            (7, None, Flag::OptIn)
        ]
    );
    assert_eq!(
        asked(Selection::Undo),
        [(6, Some(23), Flag::OptIn), (8, Some(31), Flag::OptOut)]
    );
}

#[test]
fn a_line_of_an_earlier_report_that_is_no_number_is_refused() {
    let report = "user_id,opt_out,line,outcome,wanted,http_status,attempts,elapsed_ms,finished_at,detail\n\
        5,true,0,failed,true,404,1,1,2026-11-23T10:00:00.000Z,\n";
    let (_folder, path) = file(report.as_bytes());
    let options = Options {
        selection: Selection::Retry(vec![Outcome::Failed]),
        ..today()
    };
    let error = plan(&path, &options).err().unwrap().to_string();
    assert!(error.contains("is not the number of a line"), "{error}");
}

#[test]
fn rows_on_record_are_left_out_and_the_others_keep_their_numbers() {
    let (_folder, path) = file(b"user_id,opt_out\n5,true\n6,true\n5,true\n7,false\n");
    let plan = plan(&path, &today()).unwrap();
    let steps: Vec<_> = plan
        .changes(&RoaringTreemap::from([1, 2]))
        .unwrap()
        .map(|step| step.unwrap().action)
        .collect();
    assert!(
        matches!(&steps[0], Action::Settled(record) if record.row == 3 && record.detail == "same as line 2")
    );
    assert!(matches!(&steps[1], Action::Send(change) if change.row == 4 && change.user.get() == 7));
}

/// Returns the users whom a plan sends, and whether each is opted out.
fn sent(path: &Path, options: &Options) -> Vec<(u64, bool)> {
    let plan = plan(path, options).unwrap();
    let on_record = RoaringTreemap::new();
    let steps = plan.changes(&on_record).unwrap();
    let mut sent = Vec::new();
    for step in steps {
        if let Action::Send(change) = step.unwrap().action {
            sent.push((change.user.get(), change.flag.is_opt_out()));
        }
    }
    sent
}

#[test]
fn ids_and_flags_are_compared_by_value_and_not_by_spelling() {
    let spellings = "5,true\n 5 ,yes\n\u{a0}5\u{a0},1\n5,TRUE\n50,true\n";
    let (_folder, path) = file(format!("user_id,opt_out\n{spellings}").as_bytes());
    assert_eq!(sent(&path, &today()), [(5, true), (50, true)]);
    assert_eq!(plan(&path, &today()).unwrap().counts().duplicate, 3);

    let (_folder, path) = file(b"user_id,opt_out\n5,true\n6,true\n 5 ,no\n");
    let text = refusal(&path);
    let both = "line 2 opts user 5 out, line 4 opts the same user back in";
    assert!(text.contains(both), "{text}");
}

#[test]
fn the_last_row_is_read_whether_or_not_a_line_end_follows() {
    for line_end in ["\n", "\r\n", "\r"] {
        for last in ["7,false", "7,\"false\"", "\"7\",false"] {
            for end in ["", line_end] {
                let rows = ["user_id,opt_out", "5,true", last].join(line_end);
                let (_folder, path) = file(format!("{rows}{end}").as_bytes());
                let sent = sent(&path, &today());
                assert_eq!(sent, [(5, true), (7, false)], "{rows:?} and {end:?}");
            }
        }
    }
    let one_row = workbook(&[Vec::new(), Vec::new(), Vec::new()]);
    let (_folder, path) = file(&one_row);
    let sent = sent(&path, &today());
    assert_eq!(sent, [(1, true), (2, true), (3, true)]);
}

#[test]
fn a_number_of_a_workbook_with_more_than_15_digits_is_no_id() {
    let table_with = |id: Option<f64>| {
        let mut book = rust_xlsxwriter::Workbook::new();
        let sheet = book.add_worksheet();
        sheet.write_row(0, 0, ["user_id", "opt_out"]).unwrap();
        match id {
            Some(number) => sheet.write_number(1, 0, number).unwrap(),
            None => sheet.write_string(1, 0, "1000000000000001").unwrap(),
        };
        sheet.write_boolean(1, 1, true).unwrap();
        file(&book.save_to_buffer().unwrap())
    };
    let (_folder, path) = table_with(Some(999_999_999_999_999.0));
    assert_eq!(sent(&path, &today()), [(999_999_999_999_999, true)]);
    // A text has all its digits.
    let (_folder, path) = table_with(None);
    assert_eq!(sent(&path, &today()), [(1_000_000_000_000_001, true)]);
    for number in [1e15, 1_000_000_000_000_001.0, 9_007_199_254_740_993.0, 1e18] {
        let (_folder, path) = table_with(Some(number));
        let text = refusal(&path);
        assert!(text.contains("more than 15 digits"), "{number}: {text}");
    }
}

/// An earlier report with one row for each of these users, flags and outcomes.
fn earlier_report(rows: &[(u64, bool, Outcome)]) -> String {
    let mut text = format!(
        "user_id,mfa_opt_out,{}\n",
        mfa_optout::testing::domain::REPORT_COLUMNS.join(",")
    );
    for ((user, flag, outcome), number) in rows.iter().zip(1..) {
        write!(text, "{user},{flag}").unwrap();
        for column in mfa_optout::testing::domain::REPORT_COLUMNS {
            let cell = match column {
                "line" => format!("{number}"),
                "outcome" => outcome.to_string(),
                "wanted" => flag.to_string(),
                "attempts" => "1".to_owned(),
                "elapsed_ms" => "12".to_owned(),
                "finished_at" => "2026-11-23T10:00:00.000Z".to_owned(),
                _ => String::new(),
            };
            write!(text, ",{cell}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn unknown_rows_are_retried_and_of_them_only_opt_outs_are_undone() {
    let rows = [
        (1, true, Outcome::Unknown),
        (2, false, Outcome::Unknown),
        (3, true, Outcome::Failed),
        (4, true, Outcome::Applied),
        (5, false, Outcome::Applied),
    ];
    let (_folder, path) = file(earlier_report(&rows).as_bytes());
    let retry = |outcomes: &[Outcome]| Options {
        selection: Selection::Retry(outcomes.to_vec()),
        ..today()
    };
    assert_eq!(
        sent(&path, &retry(&[Outcome::Failed, Outcome::Unknown])),
        [(1, true), (2, false), (3, true)]
    );
    assert_eq!(
        sent(&path, &retry(&[Outcome::Unknown])),
        [(1, true), (2, false)]
    );
    assert_eq!(sent(&path, &retry(&[Outcome::Failed])), [(3, true)]);
    let undo = Options {
        selection: Selection::Undo,
        ..today()
    };
    assert_eq!(sent(&path, &undo), [(1, false), (4, false), (5, true)]);
}

#[test]
fn control_returns_to_the_caller_while_many_rows_are_skipped() {
    let table = (1..=20_000).fold("user_id,opt_out\n".to_owned(), |text, user| {
        text + &format!("{user},true\n")
    });
    let (_folder, path) = file(table.as_bytes());
    let plan = plan(&path, &today()).unwrap();
    let on_record: RoaringTreemap = (1..20_000).collect();
    let steps: Vec<_> = plan
        .changes(&on_record)
        .unwrap()
        .map(|step| step.unwrap().action)
        .collect();
    let (last, before) = steps.split_last().unwrap();
    assert!(matches!(last, Action::Send(change) if change.row == 20_000));
    assert!(
        before.len() >= 4 && before.iter().all(|what| *what == Action::Skipped),
        "{} steps",
        steps.len()
    );
}

#[test]
fn all_problems_are_written_where_that_is_wanted() {
    let rows = "nobody,true\n".repeat(31);
    let (folder, path) = file(format!("user_id,mfa_opt_out\n{rows}").as_bytes());
    let problems = folder.path().join("problems.csv");
    let options = Options {
        problems: Some(check_problems_place(&problems).unwrap()),
        ..today()
    };
    assert!(plan(&path, &options).is_err());
    let written = fs::read_to_string(problems).unwrap();
    assert_eq!(written.lines().count(), 32);
    assert!(
        written.starts_with("file,place,column,kind,problem,cell\n"),
        "{written}"
    );
}

#[derive(Clone, Copy, Debug)]
enum Writing {
    Utf8,
    Utf8Bom,
    Utf16(bool),
    Windows1252,
}

fn encode(text: &str, writing: Writing) -> Option<Vec<u8>> {
    let wide = |big: bool| {
        move |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        }
    };
    Some(match writing {
        Writing::Utf8 => text.as_bytes().to_vec(),
        Writing::Utf8Bom => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        Writing::Utf16(big) => "\u{feff}"
            .encode_utf16()
            .chain(text.encode_utf16())
            .flat_map(wide(big))
            .collect(),
        Writing::Windows1252 => {
            let (bytes, _, lossy) = encoding_rs::WINDOWS_1252.encode(text);
            (!lossy).then(|| bytes.into_owned())?
        }
    })
}

fn table(
    rows: &[Vec<String>],
    delimiter: u8,
    terminator: csv::Terminator,
    style: csv::QuoteStyle,
) -> String {
    let mut out = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(terminator)
        .quote_style(style)
        .from_writer(Vec::new());
    let width = rows.first().map_or(0, Vec::len);
    let names = ["user_id".to_owned(), "opt_out".to_owned()]
        .into_iter()
        .chain((0..width).map(|n| format!("c{n}")));
    out.write_record(names).unwrap();
    for (number, cells) in rows.iter().enumerate() {
        let asked = [(number + 1).to_string(), "true".to_owned()];
        out.write_record(asked.iter().chain(cells)).unwrap();
    }
    String::from_utf8(out.into_inner().unwrap()).unwrap()
}

fn any_writing() -> impl Strategy<Value = Writing> {
    prop_oneof![
        Just(Writing::Utf8),
        Just(Writing::Utf8Bom),
        any::<bool>().prop_map(Writing::Utf16),
        Just(Writing::Windows1252)
    ]
}

fn any_cells() -> impl Strategy<Value = Vec<Vec<String>>> {
    let cell = prop_oneof![
        "[ -~]{0,8}",
        "[a\"\r\n,;|\t]{0,6}",
        "[a-zäöüß€é]{0,5}",
        "\\PC{0,4}"
    ];
    (0..4_usize).prop_flat_map(move |width| {
        prop::collection::vec(prop::collection::vec(cell.clone(), width), 0..12)
    })
}

/// A cell of a workbook.
#[derive(Clone, Debug)]
enum Cell {
    Text(String),
    Number(i64),
}

/// Any text that XML may hold (XML 1.0, 2.2), and such as looks like a character that is written in
/// other ways.
fn any_cell() -> impl Strategy<Value = Cell> {
    let may_be_held = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let character = prop_oneof!["[ -~]", "[\t\r\n ]", "_x00[04][019AD]_", "&[a-z]{2,4};"]
        .prop_map(String::from);
    let other = any::<char>()
        .prop_filter("held by no XML", may_be_held)
        .prop_map(String::from);
    let text = prop::collection::vec(prop_oneof![character, other], 0..6)
        .prop_map(|pieces| pieces.concat());
    prop_oneof![
        text.prop_map(Cell::Text),
        (1 - 10_i64.pow(15)..10_i64.pow(15)).prop_map(Cell::Number)
    ]
}

fn any_workbook() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    (0..4_usize).prop_flat_map(|width| {
        prop::collection::vec(prop::collection::vec(any_cell(), width), 0..12)
    })
}

#[expect(clippy::cast_precision_loss, reason = "numbers of 15 digits are kept")]
fn workbook(rows: &[Vec<Cell>]) -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet
        .write_row(0, 0, ["user_id", "opt_out", "c0", "c1", "c2", "c3"])
        .unwrap();
    for (row, cells) in (1..).zip(rows) {
        sheet
            .write_number(row, 0, row)
            .unwrap()
            .write_boolean(row, 1, true)
            .unwrap();
        for (column, cell) in (2..).zip(cells) {
            match cell {
                Cell::Text(text) => sheet.write_string(row, column, text).unwrap(),
                Cell::Number(number) => sheet.write_number(row, column, *number as f64).unwrap(),
            };
        }
    }
    book.save_to_buffer().unwrap()
}

proptest! {
    #[test]
    fn every_workbook_is_read_back_equal(rows in any_workbook()) {
        let (_folder, path) = file(&workbook(&rows));
        let plan = plan(&path, &today()).unwrap();
        let none = RoaringTreemap::new();
        prop_assert_eq!(plan.counts().rows, rows.len() as u64);
        for (step, cells) in plan.changes(&none).unwrap().zip(&rows) {
            let step = step.unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(step.cells.as_slice());
            let record = reader.records().next().unwrap().unwrap();
            let text = |cell: &Cell| match cell {
                Cell::Text(text) => text.clone(),
                Cell::Number(number) => number.to_string(),
            };
            let mut expected: Vec<String> = cells.iter().map(text).collect();
            expected.resize(4, String::new());
            prop_assert_eq!(record.iter().skip(2).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn every_table_is_read_back_equal(
        cells in any_cells(),
        delimiter in prop::sample::select(b",;\t|".to_vec()),
        terminator in prop::sample::select(vec![csv::Terminator::CRLF, csv::Terminator::Any(b'\n'), csv::Terminator::Any(b'\r')]),
        style in prop::sample::select(vec![csv::QuoteStyle::Always, csv::QuoteStyle::Necessary]),
        writing in any_writing(),
        compressed: bool,
    ) {
        let text = table(&cells, delimiter, terminator, style);
        let Some(bytes) = encode(&text, writing) else { return Ok(()) };
        let (_folder, path) = file(&if compressed { gzip([bytes]) } else { bytes });
        let mut options = today();
        options.input.encoding = matches!(writing, Writing::Windows1252).then_some(encoding_rs::WINDOWS_1252);
        let plan = plan(&path, &options).unwrap();
        let none = RoaringTreemap::new();
        let mut numbers = 0;
        for (step, expected) in plan.changes(&none).unwrap().zip(&cells) {
            numbers += 1;
            let step = step.unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(step.cells.as_slice());
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.iter().skip(2).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
            let before = table(&cells[..usize::try_from(numbers - 1).unwrap()], delimiter, terminator, style);
            let line = 1 + before.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64;
            prop_assert!(matches!(step.action, Action::Send(change) if change.row == numbers && change.user.get() == numbers && change.line == Some(line)));
        }
        prop_assert_eq!(plan.counts().rows, cells.len() as u64);
        prop_assert_eq!(plan.changes(&none).unwrap().count(), cells.len());
    }

    #[test]
    fn no_bytes_make_it_panic_or_send_what_does_not_stand_there(
        start in prop::sample::select(vec![&b""[..], b"user_id,opt_out\n", b"sep=;\nid;opt_out\n", b"\xef\xbb\xbfid\topt_out\r\n", b"\xff\xfe", b"\xfe\xff", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xd0\xcf\x11\xe0"]),
        rest in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), "[0-9true,;\t\"\r\n]{0,80}".prop_map(String::into_bytes)],
    ) {
        let (_folder, path) = file(&[start, &rest].concat());
        if let Ok(plan) = plan(&path, &Options { skip_invalid: true, ..today() }) {
            let none = RoaringTreemap::new();
            for step in plan.changes(&none).unwrap() {
                let step = step.unwrap();
                if let Action::Send(change) = step.action {
                    prop_assert!(String::from_utf8_lossy(&step.cells).contains(&change.user.to_string()));
                }
            }
        }
    }
}

#[test]
fn the_end_of_a_utf16_text_is_read_in_either_byte_order() {
    // The last byte of the first is that of Ctrl-Z, which ends a text of single bytes; so is the
    // one of the second.
    for (last, big_endian) in [('\u{11a}', true), ('\u{1a41}', false)] {
        let text = format!("\u{feff}user_id,mfa_opt_out,name\n1,true,Jo\n2,true,{last}");
        let mut bytes = Vec::new();
        for unit in text.encode_utf16() {
            if big_endian {
                bytes.extend(unit.to_be_bytes());
            } else {
                bytes.extend(unit.to_le_bytes());
            }
        }
        assert_eq!(bytes.last(), Some(&0x1a));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let plan = plan(file.path(), &Options::on(date(2026, 11, 24))).unwrap();
        let mut rows = plan.input().rows().unwrap();
        let mut row = mfa_optout::testing::input::Row::default();
        let mut names = Vec::new();
        while rows.read(&mut row).unwrap() {
            names.push(String::from_utf8(row.cells.get(2).unwrap().to_vec()).unwrap());
        }
        assert_eq!(names, ["Jo".to_owned(), last.to_string()]);
        assert_eq!(plan.counts().opt_out, 2);
    }
}
