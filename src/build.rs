//! Tells the build which commit it is made from, for `--version`. Without git, or outside a repository, there is none.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=MFA_OPTOUT_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let commit = std::env::var("MFA_OPTOUT_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(commit);
    let version = commit.map_or_else(
        || version.to_owned(),
        |commit| format!("{version} ({commit})"),
    );
    println!("cargo::rustc-env=MFA_OPTOUT_VERSION={version}");
}

fn commit() -> Option<String> {
    // A file that does not exist would make every build start over, so only what is there is watched.
    for line in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", line])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(words)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
