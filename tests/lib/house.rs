//! The house rules that no lint knows: which room may use which, who may name the HTTP client, how long a file may be, and
//! what must never be compiled in. Reads the sources; runs nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may use. Whatever is not said here is a wrong turn.
const ARROWS: [(&str, &[&str]); 19] = [
    ("domain", &["text"]),
    ("text", &[]),
    ("trusted_file", &[]),
    ("hardening", &[]),
    ("sandbox", &[]),
    ("error", &["domain"]),
    ("output", &["error", "text"]),
    ("policy", &["domain", "text"]),
    (
        "settings",
        &["api", "domain", "error", "policy", "text", "trusted_file"],
    ),
    ("input", &["domain", "error", "text"]),
    ("plan", &["domain", "error", "input", "output", "text"]),
    ("api", &["domain", "error", "text", "trusted_file"]),
    ("report", &["domain", "error", "output", "text"]),
    ("progress", &["domain", "settings", "text"]),
    ("register", &["domain", "error", "output", "report", "text"]),
    ("screen", &["domain", "report", "text"]),
    (
        "engine",
        &["api", "domain", "error", "plan", "policy", "report"],
    ),
    ("cli", &["domain", "settings", "text"]),
    (
        "commands",
        &[
            "api",
            "cli",
            "domain",
            "engine",
            "error",
            "input",
            "output",
            "plan",
            "policy",
            "progress",
            "report",
            "sandbox",
            "screen",
            "settings",
            "text",
            "trusted_file",
        ],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 50, "the sources are found");
    files
}

/// The first folder, or the file's own name.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap();
    Path::new(first.as_os_str())
        .file_stem()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// Without comments, which may name anything, and without the tests at a file's end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn rooms_use_each_other_one_way() {
    for (path, text) in sources() {
        let room = room(&path);
        if ["main", "lib", "build"].contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(known, _)| *known == room)
            .unwrap_or_else(|| panic!("new room: {room}"));
        let used = code(&text)
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            });
        let wrong: BTreeSet<_> = used
            .filter(|name| *name != room && !allowed.contains(&name.as_str()))
            .collect();
        assert!(wrong.is_empty(), "{} uses {wrong:?}", path.display());
    }
}

#[test]
fn one_file_names_the_http_client() {
    for (path, text) in sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("api/http.rs"))
    {
        assert!(
            !code(&text).any(|line| line.contains("reqwest::")),
            "{}",
            path.display()
        );
    }
}

/// One file sets a verifier of its own, for certificates that are pinned: rustls has it behind that word.
#[test]
fn tls_checks_can_not_be_turned_off_and_no_line_is_unsafe() {
    let mut own_verifiers = 0;
    for (path, text) in sources() {
        for word in ["danger", "unsafe ", "connection_verbose"] {
            let found = code(&text).filter(|line| line.contains(word)).count();
            if word == "danger" && path.ends_with("api/trust.rs") {
                own_verifiers += found;
            } else {
                assert_eq!(found, 0, "{word} in {}", path.display());
            }
        }
    }
    assert_eq!(
        own_verifiers, 2,
        "the import of the trait, and the one call"
    );
}

#[test]
fn the_client_can_not_decompress() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"reqwest\""));
    assert!(
        !lock.contains("name = \"async-compression\""),
        "without it the client has nothing to decompress with"
    );
}

#[test]
fn every_file_has_a_header_and_is_short() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{} says what it is",
            path.display()
        );
        assert!(code(&text).count() <= 700, "{} is too long", path.display());
    }
}
