//! Absolute paths by which files are known from run to run.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder_of;

/// Returns the absolute path of a file, which need not be there. Links in the path of its folder
/// are resolved, a link in its own place is not. Where case is ignored, the name has the case that
/// the file has.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    match (canonical(folder_of(path)), path.file_name()) {
        (Ok(folder), Some(name)) => {
            folder.join(name_as_created(path).unwrap_or_else(|| name.to_owned()))
        }
        _ => path.to_owned(),
    }
}

/// Returns the absolute path of a file or folder that is there, with all links resolved.
///
/// # Errors
/// Errors of the operating system, for example if there is no such file.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    let found = fs::canonicalize(path)?;
    let plain = found.to_str().and_then(without_verbatim_prefix);
    Ok(plain.map_or(found, PathBuf::from))
}

/// Returns the name of a file as it was created, unless there is a link or no file.
fn name_as_created(path: &Path) -> Option<OsString> {
    if fs::symlink_metadata(path).ok()?.is_symlink() {
        return None;
    }
    Some(fs::canonicalize(path).ok()?.file_name()?.to_owned())
}

/// Returns a path of Windows without the prefix `\\?\`, with which the system returns absolute
/// paths. Returns `None` if the path has none, or would mean something else or be too long without
/// it.
fn without_verbatim_prefix(path: &str) -> Option<String> {
    const MAX_LENGTH: usize = 259;

    let rest = path.strip_prefix(r"\\?\")?;
    let plain = match rest.strip_prefix(r"UNC\") {
        Some(share) => format!(r"\\{share}"),
        None => rest.to_owned(),
    };
    let has_root = plain.starts_with(r"\\") || plain.get(1..3) == Some(r":\");
    let means_the_same = plain.split('\\').all(|name| !is_changed(name));
    if has_root && means_the_same && plain.encode_utf16().count() <= MAX_LENGTH {
        Some(plain)
    } else {
        None
    }
}

/// Checks whether Windows takes a name for another one: final dots and blanks are dropped, and
/// names of devices are devices in every folder
/// (<https://learn.microsoft.com/windows/win32/fileio/naming-a-file>).
fn is_changed(name: &str) -> bool {
    const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let stem = stem.to_ascii_uppercase();
    let is_port = (stem.starts_with("COM") || stem.starts_with("LPT")) && stem.chars().count() == 4;
    name.ends_with(['.', ' ']) || name.contains('/') || is_port || DEVICES.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbatim_path_is_shortened_only_if_it_means_the_same() {
        for (path, plain) in [
            (r"\\?\C:\reports\users.csv", Some(r"C:\reports\users.csv")),
            (r"\\?\C:\", Some(r"C:\")),
            (
                r"\\?\UNC\server\share\users.csv",
                Some(r"\\server\share\users.csv"),
            ),
            (r"\\?\C:\Bjørn\users.csv", Some(r"C:\Bjørn\users.csv")),
            (r"\\?\C:\reports.\users.csv", None),
            (r"\\?\C:\reports\users.csv ", None),
            (r"\\?\C:\reports\nul.csv", None),
            (r"\\?\C:\com1\users.csv", None),
            (r"\\?\Volume{1}\users.csv", None),
            ("/reports/users.csv", None),
            (r"C:\reports\users.csv", None),
        ] {
            assert_eq!(without_verbatim_prefix(path).as_deref(), plain, "{path}");
        }
        let long = format!(r"\\?\C:\{}", "n".repeat(260));
        assert_eq!(without_verbatim_prefix(&long), None);
    }

    #[test]
    fn other_spellings_of_a_path_have_the_same_absolute_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Users.csv");
        fs::write(&path, "").unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let expected = canonical(folder.path()).unwrap().join("Users.csv");
        assert_eq!(absolute(&path), expected);
        assert_eq!(
            absolute(&folder.path().join("inner/../Users.csv")),
            expected
        );
        let missing = folder.path().join("none.csv");
        assert_eq!(absolute(&missing), expected.with_file_name("none.csv"));
    }

    #[cfg(windows)]
    #[test]
    fn the_case_of_a_name_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Users.csv"), "").unwrap();
        let found = absolute(&folder.path().join("USERS.CSV"));
        assert_eq!(found.file_name().unwrap(), "Users.csv");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_keeps_its_name_and_a_folder_that_is_one_is_resolved() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("lists")).unwrap();
        fs::write(at("lists/2026.csv"), "").unwrap();
        symlink(at("lists/2026.csv"), at("lists/current.csv")).unwrap();
        symlink(at("lists"), at("link")).unwrap();
        let expected = canonical(&at("lists")).unwrap().join("current.csv");
        assert_eq!(absolute(&at("link/current.csv")), expected);
    }
}
