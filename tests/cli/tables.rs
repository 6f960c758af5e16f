//! Tables that are odd as files, on the built binary: names, pipes, folders, sizes, and bombs.
//! Nothing is sent of what is refused, and refusing takes little memory.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek, Write};
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::hostile::{Hostile, Reply};
use crate::common::ledger::{Signal, stop};
use crate::common::practice::TestOrg;
use crate::common::{Cli, Ran, outcomes, report, table};

fn org() -> Hostile {
    Hostile::start(|_| Reply::new(204))
}

/// `apply` on a table of any name.
fn apply(cli: &Cli, org: &Hostile, input: &OsStr) -> Command {
    let mut command = cli.command(&["apply", "--yes", "--address", &org.url(), "--"]);
    command.arg(input);
    command
}

fn run(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// The most memory that may be mapped while something is refused, and how much of it for data, in
/// KiB. What is held at a time is therefore less than 150 MB, the pages of the binary itself
/// included.
const REFUSAL: [u32; 2] = [180_000, 130_000];

/// `apply` within that memory; with more it would not come to its words.
#[cfg(unix)]
fn bounded(cli: &Cli, org: &Hostile, name: &str) -> Ran {
    let bounded = format!(
        "ulimit -v {} && ulimit -d {} && exec \"$@\"",
        REFUSAL[0], REFUSAL[1]
    );
    let direct = apply(cli, org, OsStr::new(name));
    let mut command = Command::new("sh");
    command
        .args(["-c", &bounded, "sh"])
        .arg(direct.get_program())
        .args(direct.get_args());
    command
        .current_dir(cli.folder())
        .env_clear()
        .env("HOME", cli.folder())
        .env("MFA_OPTOUT_API_KEY", crate::common::KEY);
    run(command)
}

/// `apply` without a limit, which Windows has none of.
#[cfg(windows)]
fn bounded(cli: &Cli, org: &Hostile, name: &str) -> Ran {
    run(apply(cli, org, OsStr::new(name)))
}

/// Has the table refused, and says with which words. Nothing is sent.
fn refused(cli: &Cli, name: &str) -> String {
    let org = org();
    let ran = bounded(cli, &org, name).exits(2);
    assert!(org.requests().is_empty());
    ran.stderr
}

#[cfg(unix)] // names that are not UTF-8
#[test]
fn a_file_may_have_any_name() {
    let names: [(&[u8], &[u8]); 9] = [
        (b"with spaces.csv", b"with spaces.report.csv"),
        (b"new\nline.csv", b"new\nline.report.csv"),
        (b"-leading.csv", b"-leading.report.csv"),
        (b"--yes", b"--yes.report.csv"),
        (b"\xff\xfe.csv", b"\xff\xfe.report.csv"),
        (b"trailing.", b"trailing.report.csv"),
        (b".hidden", b".hidden.report.csv"),
        (b"deep/../up.csv", b"up.report.csv"),
        (
            "\u{1b}[2J\u{202e}.csv".as_bytes(),
            "\u{1b}[2J\u{202e}.report.csv".as_bytes(),
        ),
    ];
    let cli = Cli::new();
    fs::create_dir(cli.path("deep")).unwrap();
    for (name, report_name) in names {
        let org = org();
        let input = OsStr::from_bytes(name);
        let there = cli.folder().join(OsStr::from_bytes(report_name));
        fs::write(cli.folder().join(input), table(2)).unwrap();
        let ran = run(apply(&cli, &org, input)).exits(0);
        assert_eq!(outcomes(&report(&there), "applied"), 2, "{}", ran.text());
        assert!(
            !ran.text().contains(['\u{1b}', '\u{202e}']) && !ran.text().contains("new\nline"),
            "{}",
            ran.text()
        );

        fs::write(
            cli.folder().join(input),
            "user_id,mfa_opt_out\nzoe@example.org,true\n",
        )
        .unwrap();
        let mut again = cli.command(&[
            "apply",
            "--yes",
            "--overwrite",
            "--address",
            &org.url(),
            "--",
        ]);
        again.arg(input);
        let ran = run(again).exits(2);
        assert_eq!(
            ran.stderr.lines().count(),
            3,
            "one problem is one line:\n{}",
            ran.stderr
        );
        assert_eq!(org.requests().len(), 2);
    }
}

#[test]
fn a_name_that_leaves_no_room_for_the_reports_is_refused_before_anything_is_sent() {
    let cli = Cli::new();
    let org = org();
    let name = format!("{}.csv", "n".repeat(246));
    cli.write(&name, table(2));
    run(apply(&cli, &org, OsStr::new(&name))).exits(2);
    assert!(org.requests().is_empty());
    run({
        let mut command = cli.command(&[
            "apply",
            "--yes",
            "--report",
            "short.csv",
            "--address",
            &org.url(),
        ]);
        command.arg(&name);
        command
    })
    .exits(0);
    assert_eq!(org.requests().len(), 2);
}

#[test]
fn what_can_not_be_read_is_named_with_the_reason() {
    let cli = Cli::new();
    fs::create_dir(cli.path("folder.csv")).unwrap();
    assert!(refused(&cli, "folder.csv").contains("is a folder"));
    cli.write("file", "");
    for missing in ["missing.csv", "file/inside.csv"] {
        let org = org();
        let said = run(apply(&cli, &org, OsStr::new(missing))).exits(2).stderr;
        assert!(
            said.starts_with(&format!("error: can't read {missing}: ")),
            "{said}"
        );
        assert!(org.requests().is_empty());
    }
}

#[cfg(unix)] // file modes, owners
#[test]
fn a_file_that_others_may_not_read_is_refused() {
    /// Nobody; root may read everything, so that it has to step down.
    const NOBODY: u32 = 65_534;
    let cli = Cli::new();
    let org = org();
    fs::set_permissions(cli.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(
        cli.write("users.csv", table(2)),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    // A copy in a place that everybody can get at.
    let binary = cli.path("mfa-optout");
    fs::copy(env!("CARGO_BIN_EXE_mfa-optout"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command
        .args(["apply", "users.csv", "--yes", "--address", &org.url()])
        .current_dir(cli.folder());
    command
        .env_clear()
        .env("MFA_OPTOUT_API_KEY", crate::common::KEY)
        .stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    run(command)
        .exits(2)
        .says("can't read users.csv: Permission denied");
    assert!(org.requests().is_empty());
    fs::set_permissions(cli.path("users.csv"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(unix)] // pipes, signals
#[test]
fn a_pipe_that_never_says_anything_can_be_left() {
    let cli = Cli::new();
    let org = org();
    assert!(
        Command::new("mkfifo")
            .arg(cli.path("users.csv"))
            .status()
            .unwrap()
            .success()
    );
    let url = org.url();
    let words = [
        "apply",
        "users.csv",
        "--yes",
        "--report",
        "r.csv",
        "--address",
        &url,
    ];
    let child = cli
        .command(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opens when the other end does.
    let writer = fs::File::options()
        .write(true)
        .open(cli.path("users.csv"))
        .unwrap();
    let ended = stop(child, Signal::INT).status;
    assert!(
        ended.signal() == Some(Signal::INT.as_raw()) || ended.code() == Some(130),
        "{ended}"
    );
    drop(writer);
    assert!(org.requests().is_empty());
    fs::remove_file(cli.path("users.csv")).unwrap();
}

#[test]
fn standard_input_is_read_twice_and_leaves_nothing_behind() {
    let cli = Cli::new();
    let org = org();
    let temporary = cli.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = apply(&cli, &org, OsStr::new("-"));
    command
        .env("TMPDIR", &temporary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(table(3).as_bytes())
        .unwrap();
    Ran::of(child.wait_with_output().unwrap()).exits(0);
    assert_eq!(
        outcomes(&report(&cli.path("stdin.report.csv")), "applied"),
        3
    );
    assert_eq!(org.requests().len(), 3);
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn standard_input_without_an_end_is_refused_at_the_limit() {
    let cli = Cli::new();
    let org = org();
    cli.write("people.csv", "email,mfa_opt_out\njo@example.com,yes\n");
    let url = org.url();
    for words in [
        ["apply", "-"].as_slice(),
        &["apply", "people.csv", "--ids", "-"],
    ] {
        let more = ["--yes", "--max-input", "1MiB", "--address", &url];
        let mut command = cli.command(&[words, &more].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || io::copy(&mut io::repeat(b'x'), &mut stdin));
        Ran::of(child.wait_with_output().unwrap())
            .exits(2)
            .says("standard input does not end after 1048576 bytes")
            .says("--max-input");
        assert!(writer.join().unwrap().is_err(), "{words:?}");
    }
    assert!(org.requests().is_empty());
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let cli = Cli::new();
    let cell = vec![b'x'; 64 << 20];
    cli.write(
        "cell.csv",
        [b"user_id,mfa_opt_out\n5,".as_slice(), &cell, b"\n6,true\n"].concat(),
    );
    assert!(
        refused(&cli, "cell.csv")
            .contains("cell.csv:2: the row that begins here is longer than 8 MiB")
    );
    let columns = format!(
        "user_id,mfa_opt_out{}\n5,true{}\n",
        ",c".repeat(100_000),
        ",".repeat(100_000)
    );
    cli.write("columns.csv", columns);
    assert!(refused(&cli, "columns.csv").contains("has 100002 columns; at most 16384 are read"));
    for (name, row) in [
        ("commas.csv", ""),
        ("first_row.csv", "user_id,mfa_opt_out\n"),
    ] {
        cli.write(
            name,
            [row.as_bytes(), &vec![b','; 20 << 20], b"\n5,true\n"].concat(),
        );
        let said = refused(&cli, name);
        assert!(
            said.contains("the row that begins here has more than 1048576 delimiters"),
            "{said}"
        );
    }
    cli.write("many_commas.csv", ",,,,\n".repeat(4 << 20));
    assert!(refused(&cli, "many_commas.csv").contains("has no rows"));
}

/// The parts of a workbook with this sheet.
fn workbook(sheet: &str) -> Vec<(&'static str, Vec<u8>)> {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    vec![
        (
            "_rels/.rels",
            format!(
                "<Relationships xmlns=\"{package}\"><Relationship Id=\"r1\" \
                Type=\"{relation}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/workbook.xml",
            format!(
                "<workbook xmlns=\"{main}\" xmlns:r=\"{relation}\"><sheets><sheet name=\"a\" \
                sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                "<Relationships xmlns=\"{package}\"><Relationship Id=\"r1\" \
                Type=\"{relation}/worksheet\" Target=\"worksheets/a.xml\"/></Relationships>"
            ),
        ),
        (
            "xl/worksheets/a.xml",
            format!("<worksheet xmlns=\"{main}\"><sheetData>{sheet}</sheetData></worksheet>"),
        ),
    ]
    .into_iter()
    .map(|(name, text)| (name, text.into_bytes()))
    .collect()
}

fn zip(to: &Path, parts: &[(&str, Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(to).unwrap());
    let fast = zip::write::SimpleFileOptions::default().compression_level(Some(1));
    for (name, content) in parts {
        zip.start_file(*name, fast).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

const HEADER: &str = "<row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>user_id</t></is></c><c \
    r=\"B1\" t=\"inlineStr\"><is><t>opt_out</t></is></c></row>";

#[test]
fn a_cell_in_the_far_corner_is_a_row_like_others() {
    let cli = Cli::new();
    let corner = format!("{HEADER}<row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>");
    zip(&cli.path("corner.xlsx"), &workbook(&corner));
    assert!(
        refused(&cli, "corner.xlsx")
            .contains("corner.xlsx:XFD1048576: the cell \"1\" is outside the table")
    );
}

#[test]
fn a_workbook_that_inflates_out_of_all_proportion_is_refused() {
    let cli = Cli::new();
    let mut zip = zip::ZipWriter::new(fs::File::create(cli.path("bomb.xlsx")).unwrap());
    let small = zip::write::SimpleFileOptions::default().compression_level(Some(9));
    let part = "<row/>".repeat(1 << 20);
    for (name, content) in workbook(HEADER) {
        zip.start_file(name, small).unwrap();
        zip.write_all(&content).unwrap();
    }
    for number in 0..10 {
        zip.start_file(format!("xl/worksheets/{number}.xml"), small)
            .unwrap();
        zip.write_all(part.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    assert!(refused(&cli, "bomb.xlsx").contains("out of all proportion"));
}

#[test]
fn a_gzip_that_inflates_to_gigabytes_is_refused() {
    let cli = Cli::new();
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(&b"5,true\n".repeat(4 << 20)).unwrap();
    let member = member.finish().unwrap();
    cli.write("bomb.csv.gz", member.repeat(100));
    assert!(refused(&cli, "bomb.csv.gz").contains("out of all proportion"));
}

#[test]
fn texts_of_a_workbook_that_would_fill_the_memory_are_refused() {
    let cli = Cli::new();
    for (text, repeated) in [
        ("<si/>", 6 << 20),
        ("<si><t>abcdefghijklmnopqrstuvwxyz</t></si>", 2 << 20),
    ] {
        let mut parts = workbook(HEADER);
        parts.push((
            "xl/sharedStrings.xml",
            format!("<sst>{}</sst>", text.repeat(repeated)).into_bytes(),
        ));
        padded(&cli.path("texts.xlsx"), &parts);
        assert!(refused(&cli, "texts.xlsx").contains("more than 112 MiB of memory"));
    }
}

#[test]
fn a_workbook_with_very_many_parts_is_refused() {
    let cli = Cli::new();
    let org = org();
    for (parts, is_read) in [(2_000, true), (100_000, false)] {
        let mut workbook = workbook(&format!("{HEADER}{TRUE_FOR_5}"));
        let names: Vec<String> = (0..parts)
            .map(|number| format!("xl/media/{number}"))
            .collect();
        workbook.extend(names.iter().map(|name| (name.as_str(), Vec::new())));
        zip(&cli.path("parts.xlsx"), &workbook);
        if is_read {
            bounded(&cli, &org, "parts.xlsx").exits(0);
        } else {
            let said = refused(&cli, "parts.xlsx");
            assert!(
                said.contains("list of parts takes more than 4 MiB"),
                "{said}"
            );
        }
    }
}

const TRUE_FOR_5: &str =
    "<row r=\"2\"><c r=\"A2\"><v>5</v></c><c r=\"B2\" t=\"b\"><v>1</v></c></row>";

#[test]
fn as_many_texts_as_fit_into_the_memory_are_read() {
    let cli = Cli::new();
    let org = org();
    let mut parts = workbook(&format!("{HEADER}{TRUE_FOR_5}"));
    parts.push((
        "xl/sharedStrings.xml",
        format!("<sst>{}</sst>", "<si><t>ab</t></si>".repeat(2_000_000)).into_bytes(),
    ));
    padded(&cli.path("texts.xlsx"), &parts);
    bounded(&cli, &org, "texts.xlsx").exits(0);
    assert_eq!(org.requests().len(), 1);
}

#[test]
fn a_workbook_is_not_believed_how_many_texts_it_has() {
    let cli = Cli::new();
    let org = org();
    for (start, read) in [
        ("<sst count=\"9999999\" uniqueCount=\"1\">".to_owned(), true),
        (
            "<sst uniqueCount=\"99999999999999999999\">".to_owned(),
            false,
        ),
        (
            "<x:sst xmlns:x=\"x\" uniqueCount = '0099999999'>".to_owned(),
            false,
        ),
        (
            "<sst a=\"<>\" uniqueCount=\"99999999999999999\">".to_owned(),
            false,
        ),
        (
            format!(
                "<sst a=\">{}\" uniqueCount=\"99999999999999999\">",
                " ".repeat(2000)
            ),
            false,
        ),
        (
            "text<sst uniqueCount=\"99999999999999999\">".to_owned(),
            false,
        ),
    ] {
        let mut parts = workbook(&format!("{HEADER}{TRUE_FOR_5}"));
        parts.push((
            "xl/sharedStrings.xml",
            format!("{start}<si><t>a</t></si></sst>").into_bytes(),
        ));
        zip(&cli.path("texts.xlsx"), &parts);
        if read {
            bounded(&cli, &org, "texts.xlsx").exits(0);
        } else {
            assert!(
                refused(&cli, "texts.xlsx").contains("more than 112 MiB of memory"),
                "{start}"
            );
        }
    }
}

/// With a part that can't be compressed, so that the proportion is no reason to refuse it.
fn padded(to: &Path, parts: &[(&str, Vec<u8>)]) {
    zip(to, parts);
    let mut zip =
        zip::ZipWriter::new_append(fs::File::options().read(true).write(true).open(to).unwrap())
            .unwrap();
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("xl/media/picture.png", stored).unwrap();
    zip.write_all(&vec![0; 2 << 20]).unwrap();
    zip.finish().unwrap().rewind().unwrap();
}

#[test]
fn endless_texts_and_rows_of_a_workbook_are_refused() {
    let cli = Cli::new();
    let long = "x".repeat(9 << 20);
    let cell = |inside: &str| {
        format!("{HEADER}<row r=\"2\"><c r=\"A2\" t=\"inlineStr\"><is>{inside}</is></c></row>")
    };
    let pieces = format!("<r><t>{}</t></r>", "x".repeat(1 << 20)).repeat(64);
    for sheet in [
        cell(&format!("<t>{long}</t>")),
        cell(&pieces),
        format!("<row a=\"{long}\"/>"),
    ] {
        padded(&cli.path("long.xlsx"), &workbook(&sheet));
        assert!(refused(&cli, "long.xlsx").contains("a cell with more than 8 MiB of text"));
    }
    let mut parts = workbook(&format!(
        "{HEADER}<row r=\"2\">{}</row>",
        "<c t=\"s\"><v>0</v></c>".repeat(64)
    ));
    parts.push((
        "xl/sharedStrings.xml",
        format!("<sst><si><t>{}</t></si></sst>", "x".repeat(1 << 20)).into_bytes(),
    ));
    padded(&cli.path("long.xlsx"), &parts);
    assert!(refused(&cli, "long.xlsx").contains("row 2 of the sheet is longer than 8 MiB"));
}

#[test]
fn a_spreadsheet_that_repeats_its_cells_for_ever_is_refused() {
    let cli = Cli::new();
    let cell = |times: u64| {
        format!(
            "<table:table-cell office:value-type=\"float\" office:value=\"5\" \
             table:number-columns-repeated=\"{times}\"/>"
        )
    };
    for (rows, columns, words) in [
        (1_048_576_u64, 16_384, "out of all proportion"),
        (4_294_967_295, 2, "out of all proportion"),
        (1, 4_294_967_295, "more than 16384 columns"),
    ] {
        let row = format!(
            "<table:table-row table:number-rows-repeated=\"{rows}\">{}</table:table-row>",
            cell(columns)
        );
        let content = format!(
            "<office:document-content><office:body><office:spreadsheet><table:table \
             table:name=\"a\">{row}</table:table></office:spreadsheet></office:body></office:document-content>"
        );
        let kind = b"application/vnd.oasis.opendocument.spreadsheet".to_vec();
        zip(
            &cli.path("repeats.ods"),
            &[("mimetype", kind), ("content.xml", content.into_bytes())],
        );
        let said = refused(&cli, "repeats.ods");
        assert!(said.contains(words), "{said}");
    }
}

/// A spreadsheet with this content, padded so that the proportion is no reason to refuse it.
fn open_document(to: &Path, content: &str) {
    let kind = b"application/vnd.oasis.opendocument.spreadsheet".to_vec();
    let content = format!("<office:document-content>{content}</office:document-content>");
    padded(
        to,
        &[("mimetype", kind), ("content.xml", content.into_bytes())],
    );
}

fn spreadsheet(sheets: &str) -> String {
    format!("<office:body><office:spreadsheet>{sheets}</office:spreadsheet></office:body>")
}

#[test]
fn spaces_that_a_spreadsheet_writes_as_a_number_do_not_fill_the_memory() {
    let cli = Cli::new();
    let spaces = "<text:s text:c=\"1024\"/>".repeat(900_000);
    let sheet = format!(
        "<table:table table:name=\"a\"><table:table-row>\
         <table:table-cell office:value-type=\"string\"><text:p>{spaces}</text:p></table:table-cell>\
         </table:table-row></table:table>"
    );
    open_document(&cli.path("spaces.ods"), &spreadsheet(&sheet));
    let said = refused(&cli, "spaces.ods");
    assert!(
        said.contains("a cell has more than 8 MiB of text"),
        "{said}"
    );
}

#[test]
fn long_names_of_sheets_and_styles_do_not_fill_the_memory() {
    let cli = Cli::new();
    let long = "x".repeat(1 << 20);
    let sheet = |name: &str| format!("<table:table table:name=\"{name}\"/>");
    let style = format!(
        "<style:style style:name=\"{long}\"><style:table-properties \
         table:display=\"false\"/></style:style>"
    );
    let contents = [
        spreadsheet(&sheet(&long).repeat(160)),
        style.repeat(160) + &spreadsheet(&sheet("a")),
    ];
    for content in contents {
        open_document(&cli.path("names.ods"), &content);
        let said = refused(&cli, "names.ods");
        assert!(said.contains("a name longer than 1024 bytes"), "{said}");
    }
    let mut parts = workbook(HEADER);
    for (name, part) in &mut parts {
        if *name == "xl/workbook.xml" {
            let text = String::from_utf8(part.clone()).unwrap();
            *part = text
                .replacen("name=\"", &format!("name=\"{long}"), 1)
                .into_bytes();
        }
    }
    padded(&cli.path("names.xlsx"), &parts);
    let said = refused(&cli, "names.xlsx");
    assert!(said.contains("a name longer than 1024 bytes"), "{said}");
}

#[test]
fn a_sheet_that_is_not_there_is_answered_with_the_first_names_only() {
    let cli = Cli::new();
    let org = org();
    let name = "x".repeat(1000);
    let sheets: Vec<String> = (0..5000)
        .map(|number| format!("<table:table table:name=\"{number}{name}\"/>"))
        .collect();
    let sheets = sheets.concat();
    open_document(&cli.path("names.ods"), &spreadsheet(&sheets));
    let ran = cli
        .run(&[
            "apply",
            "names.ods",
            "--yes",
            "--sheet",
            "none",
            "--address",
            &org.url(),
        ])
        .exits(2)
        .says("and 4980 more");
    assert!(ran.stderr.len() < 4000, "{}", ran.stderr.len());
}

/// Cells that a report might bend: quotation marks, line breaks, what a spreadsheet takes for a
/// formula, blanks.
const ODD: [&str; 16] = [
    "a \"b\"",
    "\"",
    "two\nlines",
    "two\r\nlines",
    "a,b;c|d\te",
    "=1+1",
    "+49 89 1234",
    "-",
    "@SUM(A1)",
    " blanks ",
    " ",
    "",
    "'",
    "Zo\u{eb} \u{20ac}",
    "007",
    "1e5",
];

fn odd_table(delimiter: u8) -> String {
    let mut out = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(Vec::new());
    out.write_record(["user_id", "mfa_opt_out", "note", "name"])
        .unwrap();
    for (number, cell) in ODD.iter().enumerate() {
        out.write_record([
            (number + 1).to_string().as_str(),
            "true",
            cell,
            format!("{cell}{cell}").as_str(),
        ])
        .unwrap();
    }
    String::from_utf8(out.into_inner().unwrap()).unwrap()
}

fn odd_workbook() -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet
        .write_row(0, 0, ["note", "user_id", "mfa_opt_out", "name"])
        .unwrap();
    for (row, cell) in (1..).zip(ODD) {
        sheet
            .write_string(row, 0, cell)
            .unwrap()
            .write_number(row, 1, row)
            .unwrap();
        sheet.write_boolean(row, 2, true).unwrap();
        // Its writer takes a result for a number where it can, and an empty one for 0.
        let name = format!("{cell}{cell}");
        if name.is_empty() || name.parse::<f64>().is_ok() {
            sheet.write_string(row, 3, name).unwrap();
        } else {
            sheet
                .write_formula(
                    row,
                    3,
                    rust_xlsxwriter::Formula::new("A2&A2").set_result(name),
                )
                .unwrap();
        }
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn the_report_has_every_cell_as_it_was() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &[]);
    let wide: Vec<u8> = format!("\u{feff}{}", odd_table(b'\t'))
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let western = encoding_rs::WINDOWS_1252
        .encode(&odd_table(b';'))
        .0
        .into_owned();
    let tables: [(&str, Vec<u8>, &[&str]); 4] = [
        ("utf8.csv", odd_table(b',').into_bytes(), &[]),
        ("western.csv", western, &["--encoding", "windows-1252"]),
        ("wide.txt", wide, &[]),
        ("book.xlsx", odd_workbook(), &[]),
    ];
    for (name, content, options) in tables {
        cli.write(name, content);
        let arguments = [
            "apply",
            name,
            "--yes",
            "--rate",
            "unlimited",
            "--address",
            org.address(),
        ];
        let mut command = cli.command(&arguments);
        command
            .args(options)
            .env("MFA_OPTOUT_API_KEY", "sandbox-key");
        run(command).exits(0);
        let ending = if name == "book.xlsx" { "xlsx" } else { "csv" };
        let place = cli.path(name);
        let rows = report(&place.with_extension(format!("report.{ending}")));
        assert_eq!(outcomes(&rows, "applied"), ODD.len());
        for ((row, cell), number) in rows.iter().zip(ODD).zip(1..) {
            assert_eq!(
                (row["note"].as_str(), row["name"].as_str()),
                (cell, format!("{cell}{cell}").as_str()),
                "{name}"
            );
            assert_eq!(row["user_id"], number.to_string());
        }
    }
}

#[test]
fn the_options_for_tables_reach_the_reading_of_the_table() {
    let cli = Cli::new();
    let plan = |table: &str, more: &[&str]| {
        cli.write("t.csv", table);
        let words = [
            "apply",
            "t.csv",
            "--dry-run",
            "--address",
            "http://127.0.0.1:9",
        ];
        cli.run(&[&words[..], more].concat())
    };
    let until = "user_id,mfa_opt_out,ends\n1701,yes,2020-01-31\n";
    plan(until, &["--until-column", "ends"])
        .exits(0)
        .says("end dates in column 3 \"ends\"");
    plan(
        &until.replace("ends", "opt_out_untill"),
        &["--until-column", "none"],
    )
    .exits(0);
    plan(
        "user_id,mfa_opt_out\nuser_id,mfa_opt_out\n1701,yes\n",
        &["--header-row", "2"],
    )
    .exits(0)
    .says("the header is in line 2");
    plan("user_id,name\n5,Jo\n7,Al\n12,Total\n", &["--set", "yes"])
        .exits(2)
        .says("--keep-last-row");
    plan(
        "user_id,name\n5,Jo\n7,Al\n12,Total\n",
        &["--set", "yes", "--keep-last-row"],
    )
    .exits(0);
    plan("5,yes\n", &["--header-row", "2", "--no-header"]).exits(2);
}

#[cfg(unix)] // bash, `/dev/fd`
#[test]
fn a_table_that_is_a_pipe_needs_a_place_for_its_report() {
    let cli = Cli::new();
    let org = org();
    let url = org.url();
    cli.write("users.csv", table(2));
    let words = ["--yes", "--address", &url, "<(cat users.csv)"];
    let script = |more: &str| {
        let binary = env!("CARGO_BIN_EXE_mfa-optout");
        let mut bash = Command::new("bash");
        let line = format!("{binary} apply {} {more}", words.join(" "));
        bash.args(["-c", &line])
            .current_dir(cli.folder())
            .env("MFA_OPTOUT_API_KEY", crate::common::KEY);
        Ran::of(bash.output().unwrap())
    };
    let said = script("")
        .exits(2)
        .says("no report can be put beside /dev/fd/");
    said.says("give the report a place with --report");
    let redirected = format!("/dev/stdin {} < users.csv", words[..3].join(" "));
    let binary = env!("CARGO_BIN_EXE_mfa-optout");
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{binary} apply {redirected}")])
        .current_dir(cli.folder())
        .env("MFA_OPTOUT_API_KEY", crate::common::KEY);
    Ran::of(bash.output().unwrap())
        .exits(2)
        .says("give the report a place with --report");
    assert!(org.requests().is_empty());
    script("--report users.report.csv").exits(0);
    assert_eq!(outcomes(&cli.report(), "applied"), 2);
}

#[test]
fn no_output_is_taken_for_standard_output() {
    let cli = Cli::new();
    let org = org();
    cli.write("users.csv", table(1));
    for (option, what) in [
        ("--report", "the report"),
        ("--html", "--html"),
        ("--metrics", "--metrics"),
        ("--problems", "--problems"),
        ("--register", "the register"),
    ] {
        let text = format!("{what} can't be written to standard output");
        cli.apply(&org.url(), &[option, "-"]).exits(2).says(&text);
        let dry_run = [option, "-", "--dry-run"];
        cli.apply(&org.url(), &dry_run).exits(2).says(&text);
    }
    cli.write("mfa-optout.toml", "metrics = \"-\"\n");
    cli.apply(&org.url(), &["--config", "mfa-optout.toml"])
        .exits(2)
        .says("--metrics can't be written to standard output");
    assert!(org.requests().is_empty());
    for entry in fs::read_dir(cli.folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with('-'), "{name:?}");
    }
}

#[test]
fn the_command_for_the_corrected_table_keeps_the_report_of_the_first_run() {
    let cli = Cli::new();
    let org = org();
    cli.write("users.csv", "user_id,mfa_opt_out\n1,yes\nx,yes\n3,yes\n");
    let ran = cli
        .apply(&org.url(), &["--skip-invalid", "--html", "page.html"])
        .exits(1);
    let said = ran.text();
    let next = said.lines().find_map(|line| line.strip_prefix("Next:   "));
    let next = next.unwrap_or_else(|| panic!("{said}"));
    assert!(
        next.ends_with("--report users.2.report.csv --html page.2.html"),
        "{next}"
    );
    let first = cli.read("users.report.csv");
    cli.write("users.csv", "user_id,mfa_opt_out\n1,yes\n2,yes\n3,yes\n");
    let words = shlex::split(next).unwrap();
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    cli.run(&words).exits(0);
    assert_eq!(cli.read("users.report.csv"), first);
    let rows = report(&cli.path("users.2.report.csv"));
    assert_eq!(outcomes(&rows, "applied"), 3);
    assert!(cli.path("page.2.html").exists());
}

#[test]
fn retry_and_undo_know_the_column_of_end_dates() {
    let cli = Cli::new();
    let org = Hostile::start(|seen| {
        let is_refused = seen.user() == Some(2) && seen.flag() == Some(true);
        Reply::new(if is_refused { 404 } else { 204 })
    });
    let rows = "1,yes,2099-01-31\n2,yes,2099-01-31\n";
    let url = org.url();
    let follow = |command: &str, table: &str| {
        let table = format!("{table}.report.csv");
        let words = [command, &table, "--yes", "--address", &url];
        cli.run(&words)
    };
    cli.write(
        "users.csv",
        format!("user_id,mfa_opt_out,opt_out_untill\n{rows}"),
    );
    cli.apply(&url, &["--until-column", "none"]).exits(1);
    follow("retry", "users").exits(1);
    follow("undo", "users").exits(0);
    cli.write("users.csv", format!("user_id,mfa_opt_out,ends\n{rows}"));
    let options = ["--until-column", "ends", "--report", "b.report.csv"];
    cli.apply(&url, &options).exits(1);
    follow("retry", "b")
        .exits(1)
        .says("end dates in column 3 \"ends\"");
    follow("undo", "b")
        .exits(0)
        .says("end dates in column 3 \"ends\"");
}
