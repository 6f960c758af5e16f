//! A practice Org in a process of its own, and what it says of its members and of the requests it
//! has seen.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::Cli;

/// The practice Org; it ends with the test.
pub struct TestOrg {
    process: Child,
    /// Kept open, so that the Org can go on printing.
    _output: BufReader<ChildStdout>,
    banner: String,
    address: String,
}

impl TestOrg {
    /// Starts one that is like these options say.
    pub fn start(cli: &Cli, options: &[&str]) -> Self {
        let mut command = cli.command(&["sandbox", "--port", "0"]);
        let mut process = command
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut banner = String::new();
        while !banner.ends_with("(Ctrl-C).\n") {
            let length = output.read_line(&mut banner).expect("it prints a banner");
            assert!(length > 0, "the banner has no end: {banner}");
        }
        let address = banner
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .expect("an address")
            .to_owned();
        Self {
            process,
            _output: output,
            banner,
            address,
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything that it printed when it started.
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Every member that was changed: whether it is opted out now, by ID.
    pub fn members(&self) -> HashMap<u64, bool> {
        let members = self.get("/_sandbox/members");
        let members = members.as_array().expect("a list of members").iter();
        let state = members.map(|member| {
            (
                member["id"].as_u64().expect("a member has an ID"),
                member["mfaOptOut"].as_bool().expect("and a state"),
            )
        });
        state.collect()
    }

    /// A figure of `/_sandbox/stats`.
    pub fn counted(&self, name: &str) -> u64 {
        self.get("/_sandbox/stats")[name]
            .as_u64()
            .unwrap_or_else(|| panic!("there is no figure {name}"))
    }

    fn get(&self, path: &str) -> Value {
        let body = self.file(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The content of a file that it offers. In HTTP/1.0 a body is not sent in chunks.
    pub fn file(&self, path: &str) -> String {
        let host = self.address.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).expect("the Org listens");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").expect("it can be asked");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("it answers in UTF-8");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        body.to_owned()
    }
}

impl Drop for TestOrg {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
