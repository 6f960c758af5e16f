//! Rules of this code base that no lint checks: which module may use which, which file may name the
//! HTTP client, how long a file may be, and what must never be compiled in.
//!
//! The tests read the sources; they do not run anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules that it may use.
const ARROWS: [(&str, &[&str]); 19] = [
    ("domain", &["text"]),
    ("text", &[]),
    ("trusted_file", &["text"]),
    ("hardening", &[]),
    ("sandbox", &[]),
    ("error", &["domain"]),
    ("output", &["error", "text"]),
    ("policy", &["domain", "text"]),
    (
        "config",
        &["api", "domain", "error", "policy", "text", "trusted_file"],
    ),
    ("input", &["domain", "error", "text"]),
    (
        "plan",
        &["domain", "error", "input", "output", "register", "text"],
    ),
    ("api", &["domain", "error", "text", "trusted_file"]),
    ("journal", &["domain", "error", "output", "text"]),
    (
        "register",
        &["domain", "error", "journal", "output", "text"],
    ),
    ("report", &["domain", "error", "journal", "output", "text"]),
    ("ui", &["config", "domain", "error", "report", "text"]),
    (
        "engine",
        &["api", "domain", "error", "plan", "policy", "journal"],
    ),
    ("cli", &["config", "domain", "text"]),
    (
        "commands",
        &[
            "api",
            "cli",
            "config",
            "domain",
            "engine",
            "error",
            "input",
            "journal",
            "output",
            "plan",
            "policy",
            "register",
            "report",
            "sandbox",
            "text",
            "trusted_file",
            "ui",
        ],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
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
    assert!(files.len() > 50, "some sources were not found");
    files
}

/// Returns the top-level module of a file: its first folder, or its own name.
fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap();
    Path::new(first.as_os_str())
        .file_stem()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// Returns the lines of code, without comments and without the tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn modules_use_only_what_they_may() {
    for (path, text) in sources() {
        let module = module_of(&path);
        if ["main", "lib", "build"].contains(&module.as_str()) {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(known, _)| *known == module)
            .unwrap_or_else(|| panic!("unknown module: {module}"));
        for rest in code(&text).flat_map(|line| line.split("crate::").skip(1)) {
            let used = identifier(rest);
            let is_allowed = used == module || allowed.contains(&used);
            assert!(is_allowed, "{} uses {used}", path.display());
        }
    }
}

/// Returns the identifier at the start of a text.
fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn modules_do_not_use_each_other_in_a_circle() {
    let mut done = BTreeSet::new();
    while done.len() < ARROWS.len() {
        let next = ARROWS.iter().find(|(module, used)| {
            !done.contains(module) && used.iter().all(|used| done.contains(used))
        });
        let Some((module, _)) = next else {
            let left = ARROWS.iter().filter(|(module, _)| !done.contains(module));
            panic!("in a circle: {:?}", left.collect::<Vec<_>>());
        };
        done.insert(*module);
    }
}

#[test]
fn only_one_file_names_the_http_client() {
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

/// Only one file names the module `danger` of rustls: it sets a verifier that accepts pinned
/// certificates.
#[test]
fn tls_verification_is_never_disabled_and_nothing_is_unsafe() {
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
fn no_decompression_is_compiled_into_the_http_client() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"reqwest\""));
    assert!(
        !lock.contains("name = \"async-compression\""),
        "the HTTP client must not decompress bodies"
    );
}

#[test]
fn every_file_has_module_docs_and_at_most_700_lines() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{} has no module docs",
            path.display()
        );
        // The table of options grows with the options and is not divided.
        if !path.ends_with("config/table.rs") {
            assert!(code(&text).count() <= 700, "{} is too long", path.display());
        }
    }
}

#[test]
fn no_file_of_tests_is_left_out_as_a_whole_on_a_system() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let is_gated = text.lines().any(|line| line.starts_with("#![cfg("));
                let is_module = |line: &str| line.starts_with("mod ") && line.ends_with(';');
                let has_gated_module = text
                    .lines()
                    .zip(text.lines().skip(1))
                    .any(|(line, next)| line.starts_with("#[cfg(") && is_module(next));
                assert!(
                    !is_gated && !has_gated_module,
                    "{}: mark its tests one by one",
                    path.display()
                );
            }
        }
    }
}
