//! Any bytes as a table: opened, checked and planned twice. It may be refused, but nothing may
//! panic, take much memory or long, and both passes must be alike. From the top folder:
//!
//! ```text
//! mkdir -p tests/fuzz/corpus/table
//! TMPDIR=/dev/shm cargo +nightly fuzz run --fuzz-dir tests/fuzz -s none table \
//!     tests/fuzz/corpus/table tests/corpus tests/fuzz/seeds/table -- -rss_limit_mb=400 -timeout=10 -max_total_time=300
//! ```
//!
//! The first byte says what the others are, so that a change of one byte reaches what lies behind
//! checksums: 1 is a text to be compressed, 2 the worksheet of an Excel workbook and, behind a zero
//! byte, its table of texts, 3 the content of an OpenDocument spreadsheet. All else is a file as it
//! is, such as those of the corpus.

#![no_main]

use std::io::{Cursor, Write};

use jiff::civil::date;
use libfuzzer_sys::fuzz_target;
use mfa_optout::testing::input::{Input, Source};
use mfa_optout::testing::plan::{Options, Plan, Action};
use roaring::RoaringTreemap;
use zip::CompressionMethod::Stored;

fuzz_target!(|bytes: &[u8]| {
    let file = match bytes {
        [1, text @ ..] => gzip(text),
        [2, parts @ ..] => excel(parts),
        [3, content @ ..] => open_document(content),
        _ => bytes.to_vec(),
    };
    let mut place = tempfile::NamedTempFile::new().expect("the temporary folder can be written to");
    place.write_all(&file).expect("the temporary folder can be written to");
    check(&Source::Path(place.path().to_owned()));
});

/// Plans the table, first as a whole and then without the rows that are not understood.
fn check(source: &Source) {
    for skip_invalid in [false, true] {
        let options = Options { skip_invalid, ..Options::on(date(2026, 11, 24)) };
        let Ok(input) = Input::open(source, &options.input) else { return };
        let Ok(plan) = Plan::check(input, options) else { continue };
        let none = RoaringTreemap::new();
        let mut sent = 0;
        let mut rows = 0;
        for step in plan.changes(&none).expect("what was checked can be read again") {
            let step = step.expect("what was checked can be read again");
            rows += 1;
            sent += u64::from(matches!(step.action, Action::Send(_)));
            let mut cells = csv::ReaderBuilder::new().has_headers(false).from_reader(step.cells.as_slice());
            let record = cells.records().next().expect("the cells are a row").expect("the cells are text");
            assert_eq!(record.len(), plan.header().len());
            assert!(cells.records().next().is_none(), "the cells are one row");
        }
        assert_eq!((sent, rows), (plan.counts().to_send(), plan.counts().rows));
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text).expect("memory takes everything");
    out.finish().expect("memory takes everything")
}

fn zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        let plain = zip::write::SimpleFileOptions::default().compression_method(Stored);
        zip.start_file(*name, plain).expect("memory takes everything");
        zip.write_all(content).expect("memory takes everything");
    }
    zip.finish().expect("memory takes everything").into_inner()
}

fn excel(parts: &[u8]) -> Vec<u8> {
    let (sheet, texts) = parts.split_at(parts.iter().position(|byte| *byte == 0).unwrap_or(parts.len()));
    zip(&[
        ("_rels/.rels", br#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#),
        ("xl/workbook.xml", br#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>"#),
        ("xl/_rels/workbook.xml.rels", br#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/a.xml"/></Relationships>"#),
        ("xl/styles.xml", br#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/></cellXfs></styleSheet>"#),
        ("xl/worksheets/a.xml", sheet),
        ("xl/sharedStrings.xml", texts.get(1..).unwrap_or_default()),
    ])
}

fn open_document(content: &[u8]) -> Vec<u8> {
    zip(&[("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", content)])
}
