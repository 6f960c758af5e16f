//! The command `sandbox`: what it prints, and its key.

use crate::common::Cli;
use crate::common::practice::TestOrg;
use crate::common::table;

#[test]
fn banner_names_the_ids_the_key_and_the_files() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &["--members", "50", "--key", "another-key"]);
    let address = org.address();
    let banner = org.banner();
    for words in [
        "1 to 50, except those that end in 404",
        "another-key",
        &format!("{address}/members.csv"),
        &format!("{address}/members.json"),
    ] {
        assert!(banner.contains(words), "{words:?} is not in {banner}");
    }
}

#[test]
fn key_option_replaces_the_default_key() {
    let cli = Cli::new();
    let org = TestOrg::start(&cli, &["--key", "another-key"]);
    cli.write("users.csv", table(3));
    cli.write("default.key", "sandbox-key");
    cli.write("another.key", "another-key");
    let apply = |key: &str| {
        let words = [
            "apply",
            "users.csv",
            "--yes",
            "--address",
            org.address(),
            "--api-key-file",
            key,
        ];
        let mut command = cli.command(&words);
        command.env_remove("MFA_OPTOUT_API_KEY");
        crate::common::Ran::of(command.output().unwrap())
    };
    apply("default.key").exits(3);
    assert!(org.members().values().all(|opted_out| !opted_out));
    apply("another.key").exits(0);
    assert_eq!(org.members().len(), 3);
}

#[test]
fn key_that_cannot_be_a_header_is_refused() {
    let cli = Cli::new();
    for key in ["", "two words", "clé", "line\nbreak"] {
        cli.run(&["sandbox", "--port", "0", "--key", key]).exits(2);
    }
}
