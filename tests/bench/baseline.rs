//! What the tool is held against: the barest loops that do the same work at all. They keep no
//! journal, check nothing, hold no pace and try nothing again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use futures::{StreamExt, stream};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, Url, redirect, retry};

/// What takes the place of the table's `csv` in the name of the report.
pub const REPORT: &str = "baseline.csv";

/// Sends a PUT for each row of a table and writes ID and status, as fast as one thread can with
/// this HTTP client: headers and address are made once, nothing is followed or repeated, an empty
/// answer is not read.
pub fn send(table: &Path, address: &str, concurrency: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(send_all(table, address, concurrency));
}

async fn send_all(table: &Path, address: &str, concurrency: usize) {
    // The client wants a provider for TLS, although none of it is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .tls_certs_only([])
        .pool_max_idle_per_host(concurrency)
        .tcp_nodelay(true)
        .build()
        .expect("a plain client can be made");
    let base = Url::parse(address).expect("the server has an address");
    let headers = headers();
    let mut rows = csv::Reader::from_path(table).expect("the table is there");
    let requests = rows.byte_records().map(|row| {
        let row = row.expect("the table is good");
        let id: u64 = std::str::from_utf8(&row[0])
            .expect("digits")
            .parse()
            .expect("digits");
        let body = if &row[1] == b"true" {
            r#"{"mfaOptOut": true}"#
        } else {
            r#"{"mfaOptOut": false}"#
        };
        let mut url = base.clone();
        url.set_path(&format!("/user/users/{id}/membership"));
        let mut request = Request::new(Method::PUT, url);
        *request.body_mut() = Some(body.into());
        *request.headers_mut() = headers.clone();
        let client = &client;
        async move {
            (
                id,
                client
                    .execute(request)
                    .await
                    .expect("the server answers")
                    .status(),
            )
        }
    });
    let mut answers = stream::iter(requests).buffer_unordered(concurrency);
    let mut report =
        BufWriter::new(File::create(table.with_extension(REPORT)).expect("a file can be made"));
    while let Some((id, status)) = answers.next().await {
        writeln!(report, "{id},{}", status.as_u16()).expect("the disk takes it");
    }
    report.flush().expect("the disk takes it");
}

fn headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]);
    headers.insert("x-api-key", HeaderValue::from_static(super::KEY));
    headers
}

/// Reads a table and looks at nothing.
pub fn check(table: &Path) {
    let mut rows = csv::Reader::from_path(table).expect("the table is there");
    let mut row = csv::ByteRecord::new();
    let mut cells = 0;
    while rows.read_byte_record(&mut row).expect("the table is good") {
        cells += row.len();
    }
    println!("{cells} cells");
}
