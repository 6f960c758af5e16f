//! Finds rows of the settings table by the names that people write, and checks the order of the
//! rows when the tool is built.

use crate::config::setting::Setting;
use crate::config::table::{Key, TABLE};

/// Stops the build when the rows are not in the order of [`Key`].
const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(
            TABLE[index].key as usize == index,
            "a row of the table is not at its key's place"
        );
        index += 1;
    }
    assert!(
        TABLE.len() == Key::TokenLife as usize + 1,
        "a key has no row"
    );
};

/// Returns the row with this name in the config file, whether or not the config file may have it.
pub(super) fn named(file_key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.file_key() == file_key)
}

/// Returns the name that `word` was probably meant to be: one that differs in at most a third of
/// its letters.
pub(super) fn nearest(word: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let (distance, name) = names
        .map(|name| (strsim::damerau_levenshtein(word, &name), name))
        .min()?;
    (distance * 3 <= name.len()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_close_to_the_word() {
        let names = || TABLE.iter().map(Setting::file_key);
        assert_eq!(nearest("adress", names()).as_deref(), Some("address"));
        assert_eq!(
            nearest("max_opt_out", names()).as_deref(),
            Some("max_opt_outs")
        );
        assert_eq!(nearest("flavour", names()), None);
        let without_yes = names().filter(|name| name != "yes");
        assert_eq!(nearest("yes", without_yes), None, "and not org");
    }
}
