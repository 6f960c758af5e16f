//! The samples, checked as far as a machine without a scheduler can: settings load, tables plan,
//! units, tasks and jobs are well formed and say what the exit codes ask for.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::Cli;
use quick_xml::Reader;
use quick_xml::events::Event;
use saphyr::{LoadableYamlNode, Yaml};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(sample(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_settings_load_with_every_profile() {
    let cli = Cli::new();
    let path = sample("mfa-optout.toml");
    let of = |profile: &str| {
        let mut command = cli.command(&[
            "config",
            "--config",
            path.to_str().unwrap(),
            "--profile",
            profile,
        ]);
        let ran =
            crate::common::Ran::of(command.env_remove("MFA_OPTOUT_API_KEY").output().unwrap());
        ran.exits(0)
    };
    of("practice").says("http://127.0.0.1:8700");
    of("production")
        .says("https://eu.core.resolver.com")
        .says("require_reason");
    of("nightly").says("max_opt_outs").says("Europe/Berlin");
}

#[test]
fn the_tables_make_a_plan() {
    let cli = Cli::new();
    for (name, rows) in [("users.csv", "25"), ("users-10k.csv", "10,000")] {
        let path = sample(name);
        let ran = cli
            .run(&["apply", path.to_str().unwrap(), "--sandbox", "--dry-run"])
            .exits(0);
        let line = ran
            .stdout
            .lines()
            .find(|line| line.trim_start().starts_with("rows "))
            .unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(rows), "{name}");
    }
}

/// The words behind `mfa-optout` in a command line of a sample; none of them has white space in it.
fn arguments(command_line: &str) -> Vec<String> {
    let (_, arguments) = command_line.split_once("sync ").unwrap();
    let words = arguments
        .split(['\n', ' ', '\\'])
        .filter(|word| !word.is_empty());
    std::iter::once("sync")
        .chain(words)
        .map(str::to_owned)
        .collect()
}

/// Asserts that the binary understands a command line that a sample gives to a scheduler: it fails
/// for want of the register or the table, not because of an option.
#[track_caller]
fn is_understood(arguments: &[String], replacements: &[(&str, &str)]) {
    let cli = Cli::new();
    let settings = text("mfa-optout.toml").replace("/var/lib/mfa-optout/", "");
    cli.write("mfa-optout.toml", settings);
    for key in ["api-key", "production.key"] {
        cli.write(key, crate::common::KEY);
    }
    let arguments: Vec<String> = arguments
        .iter()
        .map(|word| {
            replacements
                .iter()
                .chain(&[("/var/lib/mfa-optout/", "")])
                .fold(word.clone(), |word, (from, to)| word.replace(from, to))
        })
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = cli
        .command(&words)
        .env_remove("MFA_OPTOUT_API_KEY")
        .output()
        .unwrap();
    let ran = crate::common::Ran::of(output).exits(2);
    let is_full = arguments.iter().any(|word| word == "--full");
    ran.says(if is_full {
        "can't read exceptions.csv"
    } else {
        "register.csv is not there"
    });
}

#[test]
fn the_service_starts_a_run_that_can_be_understood_and_restarts_what_can_go_on() {
    let service = text("mfa-optout.service");
    let (_, start) = service.split_once("\nExecStart=").unwrap();
    let (start, _) = start.split_once("\n\n").unwrap();
    let start = start.replace("/usr/bin/", "");
    is_understood(
        &arguments(&start),
        &[
            ("${CREDENTIALS_DIRECTORY}/settings", "mfa-optout.toml"),
            ("${CREDENTIALS_DIRECTORY}/", ""),
        ],
    );
    assert!(
        service.contains("\nRestart=on-failure\n")
            && service.contains("\nRestartPreventExitStatus=1 2 3 4\n")
    );
    assert!(service.contains("\nLoadCredential=api-key:"));
}

#[test]
fn the_service_pings_a_monitor_only_after_a_run_that_needs_nobody() {
    let service = text("mfa-optout.service");
    let (_, after_start) = service.split_once("\nExecStart=").unwrap();
    // systemd runs ExecStartPost= of a oneshot service only if ExecStart= has exited with 0.
    assert!(service.contains("\nType=oneshot\n") && !service.contains("SuccessExitStatus"));
    let (_, ping) = after_start.split_once("\nExecStartPost=").unwrap();
    let ping: Vec<&str> = ping.lines().next().unwrap().split(' ').collect();
    assert_eq!(ping[0], "-/usr/bin/curl", "a failed ping is ignored");
    assert!(ping.contains(&"--max-time"), "it ends by itself");
    assert!(ping.last().unwrap().starts_with("https://"));
}

/// Only where systemd is installed; the tool to be started is the one that was built.
#[cfg(target_os = "linux")] // systemd
#[test]
fn systemd_takes_the_units() {
    let cli = Cli::new();
    let service = text("mfa-optout.service")
        .replace("/usr/bin/mfa-optout", env!("CARGO_BIN_EXE_mfa-optout"))
        .replace("/usr/bin/curl", "/bin/true")
        .replace("Documentation=man:mfa-optout(1)\n", "");
    let service = cli.write("mfa-optout.service", service);
    let timer = cli.write("mfa-optout.timer", text("mfa-optout.timer"));
    match Command::new("systemd-analyze")
        .arg("verify")
        .args([service, timer])
        .output()
    {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // It looks at every unit of the machine; of the others nothing is asked here.
            assert!(!said.contains("mfa-optout."), "{said}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}

#[test]
fn every_line_for_cron_has_a_time_a_user_and_a_run_that_can_be_understood() {
    let cron = text("mfa-optout.cron");
    let jobs: Vec<&str> = cron
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        let words: Vec<&str> = job.split_whitespace().collect();
        assert!(
            words[..5]
                .iter()
                .all(|word| word.chars().all(|c| c.is_ascii_digit() || "*,".contains(c))),
            "{job}"
        );
        assert_eq!(words[5..8], ["mfa-optout", "mfa-optout", "sync"]);
        assert!(
            !job.contains(['%', '|', '&', ';']),
            "one plain command: {job}"
        );
        is_understood(&arguments(job), &[("/etc/mfa-optout/", "")]);
    }
}

#[test]
fn kubernetes_retries_what_can_go_on_and_nothing_else() {
    let documents = Yaml::load_from_str(&text("cronjob.yaml")).unwrap();
    let job = &documents[0];
    assert_eq!(
        (job["apiVersion"].as_str(), job["kind"].as_str()),
        (Some("batch/v1"), Some("CronJob"))
    );
    assert_eq!(job["spec"]["concurrencyPolicy"].as_str(), Some("Forbid"));
    let spec = &job["spec"]["jobTemplate"]["spec"];
    let pod = &spec["template"]["spec"];
    assert_eq!(
        pod["restartPolicy"].as_str(),
        Some("Never"),
        "without it there is no podFailurePolicy"
    );

    let container = &pod["containers"][0];
    let rules = spec["podFailurePolicy"]["rules"].as_sequence().unwrap();
    let codes = |action: &str| {
        let chosen = rules
            .iter()
            .filter(|rule| rule["action"].as_str() == Some(action));
        let conditions = chosen.filter_map(|rule| rule.as_mapping_get("onExitCodes"));
        conditions
            .flat_map(|on| {
                assert_eq!(on["containerName"].as_str(), container["name"].as_str());
                assert_eq!(on["operator"].as_str(), Some("In"));
                on["values"]
                    .as_sequence()
                    .unwrap()
                    .iter()
                    .map(|code| code.as_integer().unwrap())
            })
            .collect::<BTreeSet<i64>>()
    };
    assert_eq!(codes("FailJob"), BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(codes("Count"), BTreeSet::from([5, 129, 130, 143]));

    let arguments: Vec<String> = container["args"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    is_understood(
        &arguments,
        &[
            ("/etc/mfa-optout/", ""),
            ("/run/secrets/mfa-optout/", ""),
            ("/data/", ""),
        ],
    );
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
}

#[test]
fn the_image_is_made_of_what_is_there_and_has_what_a_run_reads_from_the_system() {
    let file = text("Containerfile");
    let instructions: Vec<&str> = file
        .lines()
        .filter(|line| !line.starts_with(['#', ' ']) && !line.is_empty())
        .collect();
    let of = |name: &str| {
        instructions
            .iter()
            .filter_map(|line| line.strip_prefix(name))
            .collect::<Vec<&str>>()
    };
    assert_eq!(of("FROM ").last(), Some(&"scratch"));
    let (user, group) = of("USER ")[0].split_once(':').unwrap();
    assert!(
        [user, group]
            .iter()
            .all(|number| number.parse::<u32>().unwrap() > 0),
        "Kubernetes must see that it is not root"
    );
    for copied in of("COPY ")
        .into_iter()
        .filter(|words| !words.starts_with("--from"))
    {
        let mut words: Vec<&str> = copied.split(' ').collect();
        words.pop();
        for name in words {
            assert!(
                PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                    .join(name)
                    .exists(),
                "{name}"
            );
        }
    }
    assert!(
        text("mfa-optout.toml").contains("timezone = "),
        "a zone is named that the image has to know"
    );
    assert!(
        file.contains("/usr/share/zoneinfo /out/usr/share/")
            && file.contains("ca-certificates.crt /out/etc/ssl/certs/")
    );
}

#[test]
fn the_task_for_windows_is_well_formed_and_its_run_can_be_understood() {
    let xml = text("task-scheduler.xml");
    let mut reader = Reader::from_str(&xml);
    let mut open = Vec::new();
    let mut command_line = String::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => open.push(start.name().as_ref().to_owned()),
            Event::End(end) => assert_eq!(open.pop().unwrap(), end.name().as_ref()),
            Event::Text(words) if open.last().is_some_and(|name| name == "Arguments") => {
                command_line.push_str(&words);
            }
            Event::GeneralRef(_) => command_line.push('&'),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} is never closed");
    is_understood(&arguments(&command_line), &[]);
}
