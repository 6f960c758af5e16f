//! Settings as a person would meet them: which place counts, what is refused, what `config` shows.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use secrecy::ExposeSecret;

use super::file::File;
use super::*;
use crate::domain::Credentials;
use crate::domain::Flag;

/// A command line, an environment and a file, put together by hand.
#[derive(Default)]
struct Case {
    given: CliOverrides,
    variables: Vec<(&'static str, &'static str)>,
    file: &'static str,
}

impl Case {
    fn flag(mut self, key: Key, text: &str) -> Self {
        self.given.insert(key, text);
        self
    }

    fn variable(mut self, name: &'static str, text: &'static str) -> Self {
        self.variables.push((name, text));
        self
    }

    fn file(mut self, text: &'static str) -> Self {
        self.file = text;
        self
    }

    fn with<T>(&self, then: impl FnOnce(Sources<'_>) -> Result<T>) -> Result<T> {
        let environment = |name: &str| {
            let found = self
                .variables
                .iter()
                .find(|(variable, _)| *variable == name);
            found.map(|(_, text)| OsString::from(text))
        };
        let file = File::parse(Path::new("conf/mfa-optout.toml"), self.file)?;
        let chosen = file.choose(None)?;
        then(Sources {
            given: &self.given,
            environment: &environment,
            file: Some((&file, chosen)),
        })
    }

    fn settings(&self) -> Result<Settings> {
        self.with(|sources| Settings::resolve(sources, Vec::new()))
    }

    fn complaint(&self) -> String {
        self.settings().unwrap_err().to_string()
    }
}

fn case() -> Case {
    Case::default()
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let rules = case().settings().unwrap().rules(7);
    let expected = Rules {
        confirmed_before: false,
        max_in_flight: usize::MAX,
        rate: Rate::Limited {
            requests: 10,
            per: Duration::from_secs(1),
        },
        concurrency: None,
        max_attempts: 5,
        max_wait: Duration::from_mins(5),
        outage_patience: Duration::from_mins(10),
        max_failures: Threshold::Count(100),
        max_duration: None,
        session: false,
        seed: 7,
    };
    assert_eq!(rules, expected);
}

#[test]
fn the_command_line_counts_before_the_environment_before_the_file() {
    let file = "concurrency = 2\nmax_attempts = 2\nmax_wait = '2s'\n";
    let case = case()
        .file(file)
        .variable("MFA_OPTOUT_CONCURRENCY", "3")
        .variable("MFA_OPTOUT_MAX_ATTEMPTS", "3")
        .flag(Key::Concurrency, "4");
    let sending = case.settings().unwrap().sending;
    assert_eq!((sending.concurrency, sending.max_attempts), (Some(4), 3));
    assert_eq!(sending.max_wait, Duration::from_secs(2));
}

#[test]
fn an_error_says_where_the_value_stands() {
    insta::assert_snapshot!(case().variable("MFA_OPTOUT_RATE", "fast\u{1b}").complaint(), @r#"
    MFA_OPTOUT_RATE: "fast\u{1b}" can't be used as rate
      help: a rate needs its unit; write 10/s, 600/m, 36000/h, unlimited, auto or auto:50
    "#);
    insta::assert_snapshot!(case().file("\nmax_wait = 30").complaint(), @r#"
    conf/mfa-optout.toml:2: "30" can't be used as max_wait
      help: write a time with its unit, such as 30s, 5m or 2h 30m; for seconds 30s
    "#);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let sending = case()
        .variable("MFA_OPTOUT_CONCURRENCY", "")
        .settings()
        .unwrap()
        .sending;
    assert_eq!(sending.concurrency, None);
}

#[test]
fn paths_in_the_file_are_meant_from_its_folder() {
    let settings = case()
        .file("api_key_file = 'key'\nca_cert = '/etc/ca.pem'")
        .settings()
        .unwrap();
    assert_eq!(
        settings.connection.ca_cert.as_deref(),
        Some(Path::new("/etc/ca.pem"))
    );
    assert_eq!(
        settings.connection.sign_in.unwrap().in_words(),
        format!("API key from {}", Path::new("conf").join("key").display())
    );
    let settings = case().flag(Key::ApiKeyFile, "key").settings().unwrap();
    assert_eq!(
        settings.connection.sign_in.unwrap().in_words(),
        "API key from key"
    );
}

#[test]
fn the_stronger_way_to_sign_in_counts() {
    let file = "email = 'jo@example.com'\norg = 42\npassword_file = 'pw'";
    let by_file = case().file(file).settings().unwrap();
    assert!(by_file.rules(0).session);
    assert_eq!(
        by_file.connection.sign_in.unwrap().in_words(),
        format!(
            "session of jo@example.com in Org 42, password from {}",
            Path::new("conf").join("pw").display()
        )
    );
    let by_variable = case()
        .file(file)
        .variable("MFA_OPTOUT_API_KEY", "k3y")
        .settings()
        .unwrap();
    let (credentials, warning) = by_variable
        .connection
        .sign_in
        .unwrap()
        .read(std::io::empty(), &|name| panic!("asked for the {name}"))
        .unwrap();
    assert!(matches!(credentials, Credentials::Key(key) if key.expose_secret() == "k3y"));
    assert_eq!(warning, None);
    let by_flag = case()
        .variable("MFA_OPTOUT_API_KEY", "k3y")
        .flag(Key::ApiKeyFile, "-")
        .settings()
        .unwrap();
    assert!(by_flag.connection.sign_in.unwrap().reads_standard_input());
}

#[test]
fn two_ways_to_sign_in_at_once_are_refused() {
    let both = case()
        .variable("MFA_OPTOUT_API_KEY", "hush")
        .variable("MFA_OPTOUT_API_KEY_FILE", "key");
    insta::assert_snapshot!(both.complaint(), @r"
    MFA_OPTOUT_API_KEY and MFA_OPTOUT_API_KEY_FILE are two ways to sign in
      help: keep one of them
    ");
    let mixed = case()
        .variable("MFA_OPTOUT_API_KEY", "hush")
        .variable("MFA_OPTOUT_EMAIL", "jo@example.com");
    insta::assert_snapshot!(mixed.complaint(), @r"
    MFA_OPTOUT_API_KEY and MFA_OPTOUT_EMAIL are two ways to sign in
      help: keep one of them
    ");
}

#[test]
fn an_incomplete_session_says_what_is_missing() {
    insta::assert_snapshot!(case().flag(Key::Email, "jo@example.com").complaint(), @r"
    a session needs an email address, a password and the number of the Org
      help: still missing: MFA_OPTOUT_PASSWORD or --password-file; MFA_OPTOUT_ORG or --org
    ");
    let without_password = case()
        .flag(Key::Email, "jo@example.com")
        .flag(Key::Org, "42")
        .settings()
        .unwrap();
    assert_eq!(
        without_password.connection.sign_in.unwrap().in_words(),
        "session of jo@example.com in Org 42, password from the terminal"
    );
}

#[test]
fn a_required_reason_is_demanded() {
    let file = "require_reason = true";
    assert!(case().file(file).complaint().contains("--reason"));
    let given = case()
        .file(file)
        .variable("MFA_OPTOUT_REASON", "moving to SSO")
        .settings()
        .unwrap();
    assert_eq!(given.guards.reason.as_deref(), Some("moving to SSO"));
}

#[test]
fn a_dry_run_stays_a_dry_run_with_every_other_option() {
    let settings = case()
        .flag(Key::Yes, "true")
        .flag(Key::DryRun, "true")
        .settings()
        .unwrap();
    assert_eq!(settings.guards.consent(), Consent::DryRun);
    let settings = case()
        .variable("MFA_OPTOUT_YES", "true")
        .settings()
        .unwrap();
    assert_eq!(
        settings.guards.consent(),
        Consent::Ask,
        "consent is not left lying in an environment"
    );
}

#[test]
fn config_shows_values_and_origins_but_no_secret() {
    let case = case()
        .file(
            "default_profile = 'eu'\nconcurrency = 4\n[profile.eu]\naddress = \
            'https://eu.core.resolver.com'\n",
        )
        .variable("MFA_OPTOUT_API_KEY", "hush-hush")
        .variable("MFA_OPTOUT_RATE", "5/s")
        .flag(Key::MaxOptOuts, "5%");
    let text = case
        .with(|sources| Ok(config_text(sources, &["a note".to_owned()])))
        .unwrap();
    assert!(!text.contains("hush"), "{text}");
    insta::assert_snapshot!(text);
}

/// Returns a value that each kind of option accepts and that is no default.
fn sample(setting: &Setting) -> &'static str {
    match setting.form {
        Form::Switch => "true",
        Form::OneOf(_, words) => words[words.len() - 1],
        Form::Path(_) => "some folder/it's",
        Form::Text(name) => match name {
            "RATE" | "N/s" => "7/s",
            "TIME" => "7s",
            "LIMIT" | "PERCENT" => "7%",
            "N" | "NUMBER" | "COLUMN" => "7",
            "ZONE" => "UTC",
            "SIZE" => "7GiB",
            "CHARACTER" => ";",
            "NAME" => "utf-8",
            "FLAG" => "yes",
            "FROM..TO" => "1s..7s",
            "ADDRESS" | "KEY" | "PASSWORD" | "TEXT" => "https://org.example",
            other => panic!("write a sample for {other}"),
        },
    }
}

/// Returns where an option's value comes from when `case` is all that is given.
fn origin(case: &Case, key: Key) -> Option<String> {
    case.with(|sources| Ok(sources.find(key).map(|found| found.origin.to_string())))
        .unwrap()
}

/// Returns the settings that one option alone makes.
fn alone(case: &Case, key: Key) -> String {
    let settings = case.with(|sources| sources.only(key)).unwrap();
    format!("{settings:?}")
}

#[test]
fn every_option_counts_exactly_where_its_scope_says_and_changes_its_field() {
    for setting in TABLE
        .iter()
        .filter(|setting| setting.scope != Scope::Secret)
    {
        let key = setting.key;
        let text = sample(setting);
        let by_flag = case().flag(key, text);
        assert_ne!(
            alone(&by_flag, key),
            alone(&case(), key),
            "{}",
            setting.name
        );

        let name = format!("MFA_OPTOUT_{}", setting.file_key().to_uppercase());
        let by_variable = case().variable(name.clone().leak(), text);
        let counts = matches!(setting.scope, Scope::Everywhere | Scope::Run);
        let expected = if counts {
            Some(name)
        } else {
            setting.default().map(|_| "default".to_owned())
        };
        assert_eq!(origin(&by_variable, key), expected, "{}", setting.name);

        let value = if setting.form == Form::Switch {
            text.to_owned()
        } else {
            format!("\"{text}\"")
        };
        let line = format!("{} = {value}", setting.file_key());
        let by_file = case().file(line.leak());
        if matches!(setting.scope, Scope::Everywhere | Scope::File) {
            assert_eq!(
                origin(&by_file, key).as_deref(),
                Some("conf/mfa-optout.toml:1")
            );
            assert_ne!(
                alone(&by_file, key),
                alone(&case(), key),
                "{}",
                setting.name
            );
        } else {
            // `profile` is the name of the tables that profiles stand in.
            let words = match key {
                Key::Profile => "\"profile\" must be a table",
                _ => "there is no setting",
            };
            let complaint = by_file.complaint();
            assert!(complaint.contains(words), "{complaint}");
        }
    }
}

#[test]
fn every_option_that_is_in_effect_is_recorded_and_no_secret_is() {
    for setting in TABLE {
        let options = |case: Case| {
            case.with(|sources| Ok(show::in_effect(sources)))
                .unwrap()
                .get(&setting.label())
                .cloned()
        };
        let text = sample(setting);
        let name = format!("MFA_OPTOUT_{}", setting.file_key().to_uppercase());
        let recorded = match setting.scope {
            Scope::File => options(case().file("require_reason = true")),
            Scope::Secret => options(case().variable(name.leak(), text)),
            Scope::Everywhere | Scope::Run | Scope::Flag => options(case().flag(setting.key, text)),
        };
        let expected = (setting.scope != Scope::Secret).then(|| text.to_owned());
        assert_eq!(recorded, expected, "{}", setting.name);
        let unless_given = if setting.form == Form::Switch {
            None
        } else {
            setting.default
        };
        assert_eq!(options(case()).as_deref(), unless_given, "{}", setting.name);
    }
}

#[test]
fn an_address_with_a_password_is_not_recorded() {
    let case = case().variable("MFA_OPTOUT_ADDRESS", "https://jo:hush@org.example");
    let options = case.with(|sources| Ok(show::in_effect(sources))).unwrap();
    assert!(!format!("{options:?}").contains("hush"), "{options:?}");
}

#[test]
fn an_option_that_belongs_elsewhere_says_where() {
    for (line, advice) in [
        ("yes = true", "--yes can only be given on the command line"),
        (
            "reason = 'x'",
            "give it with --reason or the variable MFA_OPTOUT_REASON",
        ),
        (
            "password = 'x'",
            "name the file that holds it with password_file",
        ),
    ] {
        let complaint = case().file(line).complaint();
        assert!(complaint.contains(advice), "{complaint}");
    }
}

#[test]
fn config_names_every_value_that_can_not_be_used() {
    let wrong_values = case()
        .file("rate = 'ten'\nmax_wait = 30\n")
        .variable("MFA_OPTOUT_ADDRESS", "ftp://org.example")
        .flag(Key::Timezone, "Europe/Atlantis");
    let faults = wrong_values.with(|sources| Ok(faults(sources))).unwrap();
    let messages: Vec<&str> = faults.iter().map(Error::message).collect();
    assert_eq!(
        messages[..3],
        [
            "--timezone: \"Europe/Atlantis\" can't be used as timezone",
            "conf/mfa-optout.toml:1: \"ten\" can't be used as rate",
            "conf/mfa-optout.toml:2: \"30\" can't be used as max_wait",
        ]
    );
    assert_eq!(faults.len(), 4, "{messages:?}");

    let two_ways = case()
        .variable("MFA_OPTOUT_API_KEY", "hush")
        .variable("MFA_OPTOUT_EMAIL", "jo@example.com");
    let faults = two_ways.with(|sources| Ok(super::faults(sources))).unwrap();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message().contains("two ways to sign in"));
    let right = case().with(|sources| Ok(super::faults(sources))).unwrap();
    assert!(right.is_empty(), "{right:?}");
}

#[test]
fn a_flag_for_all_rows_takes_the_words_of_a_cell() {
    for word in Flag::OPT_OUT_WORDS {
        let set = case().flag(Key::Set, word).settings().unwrap().reading.set;
        assert_eq!(set, Some(Flag::OptOut), "{word}");
    }
    let set = case()
        .flag(Key::Set, "Falsch")
        .settings()
        .unwrap()
        .reading
        .set;
    assert_eq!(set, Some(Flag::OptIn));
    assert!(
        case()
            .flag(Key::Set, "maybe")
            .complaint()
            .contains("write true or yes")
    );
}

/// A working directory and a user's folder on disk, each with a file of settings.
fn loaded(terminal: bool, asked: Option<&str>) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let user = folder.path().join("user").join("mfa-optout");
    fs::create_dir_all(&user).unwrap();
    for (place, concurrency) in [(folder.path(), 2), (&user, 3)] {
        fs::write(
            place.join("mfa-optout.toml"),
            format!("concurrency = {concurrency}"),
        )
        .unwrap();
    }
    fs::write(folder.path().join("asked.toml"), "concurrency = 4").unwrap();
    let home = folder.path().join("user");
    let environment = |name: &str| {
        ["XDG_CONFIG_HOME", "APPDATA"]
            .contains(&name)
            .then(|| home.clone().into_os_string())
    };
    let mut given = CliOverrides::default();
    if let Some(name) = asked {
        given.insert(Key::Config, folder.path().join(name));
    }
    let facts = ProcessEnv {
        terminal,
        working_folder: folder.path().to_owned(),
        variables: Vec::new(),
    };
    Settings::load(&given, &environment, &facts).unwrap()
}

#[test]
fn at_a_terminal_the_file_in_the_working_directory_counts_and_is_named() {
    let settings = loaded(true, None);
    assert_eq!(settings.sending.concurrency, Some(2));
    assert!(
        settings.notes[0].contains("found in the working directory"),
        "{:?}",
        settings.notes
    );
}

#[test]
fn without_a_terminal_it_does_not_count_and_that_is_said() {
    let settings = loaded(false, None);
    assert_eq!(settings.sending.concurrency, Some(3));
    assert!(
        settings.notes[0].contains("is ignored without a terminal"),
        "{:?}",
        settings.notes
    );
}

#[test]
fn a_file_that_was_asked_for_counts_everywhere() {
    let settings = loaded(false, Some("asked.toml"));
    assert_eq!(
        (settings.sending.concurrency, settings.notes.len()),
        (Some(4), 0)
    );
}

#[test]
fn a_profile_needs_a_file() {
    let mut given = CliOverrides::default();
    given.insert(Key::Profile, "eu");
    let facts = ProcessEnv {
        terminal: true,
        working_folder: tempfile::tempdir().unwrap().path().to_owned(),
        variables: Vec::new(),
    };
    let complaint = Settings::load(&given, &|_| None, &facts)
        .unwrap_err()
        .to_string();
    assert!(complaint.contains("no config file"), "{complaint}");
}

/// Loads the settings where `plant` has put something in the place of the working directory's
/// config file, and in the place of the user's.
#[cfg(unix)]
fn planted(terminal: bool, plant: fn(&Path)) -> Result<Settings> {
    let folder = tempfile::tempdir().unwrap();
    let user = folder.path().join("user").join("mfa-optout");
    fs::create_dir_all(&user).unwrap();
    for place in [folder.path(), &user] {
        plant(&place.join("mfa-optout.toml"));
    }
    let home = folder.path().join("user");
    let facts = ProcessEnv {
        terminal,
        working_folder: folder.path().to_owned(),
        variables: Vec::new(),
    };
    let environment =
        |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.clone().into_os_string());
    Settings::load(&CliOverrides::default(), &environment, &facts)
}

#[cfg(unix)]
fn plant_pipe(at: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[cfg(unix)]
#[test]
fn a_config_file_that_nobody_named_and_that_can_not_be_read_is_a_note() {
    use std::os::unix::fs::symlink;

    type Plant = fn(&Path);

    let plants: [(Plant, &str); 4] = [
        (plant_pipe, "it is not a regular file"),
        (
            |at| symlink("/dev/zero", at).unwrap(),
            "it is not a regular file",
        ),
        (|at| fs::create_dir(at).unwrap(), "it is not a regular file"),
        (|at| symlink(at, at).unwrap(), "it can't be read"),
    ];
    for (plant, reason) in plants {
        let notes = planted(true, plant).unwrap().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
        for note in notes {
            assert!(
                note.contains("is ignored") && note.contains(reason),
                "{note}"
            );
        }
        // Without a terminal the one in the working directory is not even opened.
        let notes = planted(false, plant).unwrap().notes;
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("without a terminal"), "{notes:?}");
        assert!(notes[1].contains(reason), "{notes:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_config_file_that_was_named_and_can_not_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.toml");
    plant_pipe(&path);
    let mut given = CliOverrides::default();
    given.insert(Key::Config, &path);
    let facts = ProcessEnv {
        terminal: true,
        working_folder: folder.path().to_owned(),
        variables: Vec::new(),
    };
    let complaint = Settings::load(&given, &|_| None, &facts)
        .unwrap_err()
        .to_string();
    assert!(
        complaint.contains("it is not a regular file"),
        "{complaint}"
    );
}

#[cfg(unix)]
#[test]
fn a_config_file_above_the_size_limit_is_an_error_only_where_it_counts() {
    let plant = |at: &Path| fs::write(at, "# long\n".repeat(200_000)).unwrap();
    let complaint = planted(true, plant).unwrap_err().to_string();
    assert!(complaint.contains("larger than 1024 KiB"), "{complaint}");
    let not_mine = |at: &Path| {
        if !at.to_string_lossy().contains("user") {
            fs::write(at, "# long\n".repeat(200_000)).unwrap();
        }
    };
    let notes = planted(false, not_mine).unwrap().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
}
