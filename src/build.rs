//! Adds the commit to the text of `--version`, if there is a git repository or `MFA_OPTOUT_COMMIT`
//! is set.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=MFA_OPTOUT_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let version = match given_commit().or_else(current_commit) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    // Cargo also sets this variable for `cargo run`, where the tool refuses unknown names with its
    // own prefix.
    println!("cargo::rustc-env=VERSION_AND_COMMIT={version}");
}

fn given_commit() -> Option<String> {
    let commit = std::env::var("MFA_OPTOUT_COMMIT").ok()?;
    if commit.is_empty() {
        None
    } else {
        Some(commit)
    }
}

fn current_commit() -> Option<String> {
    // Only existing files are watched: one that does not exist would make every build start over.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    if output.status.success() && !text.is_empty() {
        Some(text.to_owned())
    } else {
        None
    }
}
