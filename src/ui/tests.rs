//! The texts of plan, question and closing summary.

use std::time::Duration;

use super::*;
use crate::domain::{Ending, Outcome, PaceFound, Rate, Signal, Stop, Tally, TransportErrorKind};
use crate::report::{Group, RowExample};

fn plan() -> PlanView {
    PlanView {
        address: "https://eu.core.resolver.com".into(),
        sign_in: "API key from MFA_OPTOUT_API_KEY".into(),
        input: "users.csv".into(),
        found_out: vec!["UTF-8, comma, IDs in \"User ID\", flags in \"MFA opt-out\"".into()],
        rows: 3000,
        opt_out: 1287,
        opt_in: 9,
        duplicates: 2,
        invalid: 1,
        unchanged: 1200,
        on_record: 501,
        rate: Rate::Limited {
            requests: 10,
            per: Duration::from_secs(1),
        },
        expected: Some(Duration::from_secs(130)),
        reason: Some("moving to SSO".into()),
        report: "users.report.csv".into(),
        notes: vec!["settings come from mfa-optout.toml, found in the working directory".into()],
        warnings: vec!["3 cells begin like a spreadsheet formula".into()],
        dry_run: true,
    }
}

#[test]
fn a_full_plan() {
    insta::assert_snapshot!(plan_text(&plan(), Look::PLAIN));
}

#[test]
fn a_small_plan_says_only_what_there_is() {
    let small = PlanView {
        found_out: Vec::new(),
        rows: 3,
        opt_out: 3,
        opt_in: 0,
        duplicates: 0,
        invalid: 0,
        unchanged: 0,
        on_record: 0,
        rate: Rate::Auto { ceiling: 50 },
        expected: None,
        reason: None,
        notes: Vec::new(),
        warnings: Vec::new(),
        dry_run: false,
        ..plan()
    };
    insta::assert_snapshot!(plan_text(&small, Look::PLAIN));
}

#[test]
fn nothing_in_a_plan_moves_a_cursor() {
    let hostile = PlanView {
        input: "\u{1b}[2J.csv".into(),
        reason: Some("a\nb\u{202e}".into()),
        ..plan()
    };
    let text = plan_text(&hostile, Look::PLAIN);
    assert!(
        !text.contains(['\u{1b}', '\u{202e}']) && text.contains("a\\nb"),
        "{text}"
    );
}

fn tally(counts: &[(Outcome, u64)]) -> Tally {
    let mut tally = Tally::default();
    for (outcome, count) in counts {
        (0..*count).for_each(|_| tally.add(*outcome));
    }
    tally
}

fn closing(ending: &Ending, tally: &Tally, groups: &[Group], next: Option<&str>) -> String {
    closing_text(
        &ClosingView {
            ending,
            is_recorded: true,
            rows_in_doubt: 0,
            not_sent_yet: 0,
            tally,
            requests: 1312,
            retries: 12,
            elapsed: Duration::from_secs(131),
            throttled: Duration::from_secs(4),
            outages: vec![Duration::from_secs(42)],
            rate: Rate::Limited {
                requests: 10,
                per: Duration::from_secs(1),
            },
            concurrency: None,
            pace: PaceFound::default(),
            groups,
            next: next.map(str::to_owned),
            report: "users.report.csv".into(),
        },
        Look::PLAIN,
    )
}

#[test]
fn rows_that_need_attention_are_grouped_by_reason() {
    let tally = tally(&[
        (Outcome::Applied, 1290),
        (Outcome::Failed, 8),
        (Outcome::Unknown, 1),
        (Outcome::Duplicate, 2),
    ]);
    let gone = Group {
        outcome: Outcome::Failed,
        http_status: Some(404),
        reason: "User not found".into(),
        count: 8,
        examples: [17, 20, 31, 44, 58]
            .map(|line| RowExample {
                line: Some(line),
                user: format!("{} Ada", 1000 + line),
            })
            .into(),
        meaning: "the Org does not know these users",
        next: "check the IDs",
    };
    let lost = Group {
        outcome: Outcome::Unknown,
        http_status: None,
        reason: "connection reset".into(),
        count: 1,
        examples: vec![RowExample {
            line: Some(99),
            user: "1099".to_owned(),
        }],
        meaning: "no answer came back",
        next: "retry this report",
    };
    let next = Some("mfa-optout retry users.report.csv");
    insta::assert_snapshot!(closing(&Ending::Complete, &tally, &[gone, lost], next));
}

#[test]
fn a_good_end_is_short() {
    let tally = tally(&[(Outcome::Applied, 298), (Outcome::Duplicate, 2)]);
    insta::assert_snapshot!(closing(&Ending::Complete, &tally, &[], None));
}

/// Every reason for a run to stop early.
fn stops() -> Vec<Stop> {
    let message = || "Invalid key\u{1b}[31m".to_owned();
    vec![
        Stop::CredentialsRefused {
            status: 401,
            message: message(),
            accepted: 0,
        },
        Stop::CredentialsRefused {
            status: 403,
            message: String::new(),
            accepted: 7,
        },
        Stop::LogInRefused {
            status: Some(404),
            message: message(),
        },
        Stop::LogInRefused {
            status: None,
            message: "\"expiresAt\" is not a number".into(),
        },
        Stop::Redirected {
            status: 302,
            to: "https://login.example.com/".into(),
            after_success: false,
        },
        Stop::Unusable {
            cause: TransportErrorKind::HostNotFound,
            message: "the host eu.example could not be found".into(),
        },
        Stop::Unusable {
            cause: TransportErrorKind::Tls,
            message: "the certificate of eu.example has expired".into(),
        },
        Stop::Unusable {
            cause: TransportErrorKind::Proxy,
            message: "the proxy answered 407".into(),
        },
        Stop::Intercepted {
            status: 511,
            message: String::new(),
        },
        Stop::WebPage {
            status: 200,
            title: "Sign in to Example".into(),
        },
        Stop::Contradicted {
            status: 200,
            message: "not really".into(),
        },
        Stop::NeverAnswered {
            status: Some(503),
            message: message(),
        },
        Stop::NeverAnswered {
            status: None,
            message: "connection refused".into(),
        },
        Stop::AllRefused {
            status: 400,
            message: message(),
            rows: 10,
        },
        Stop::AllRefused {
            status: 404,
            message: message(),
            rows: 10,
        },
        Stop::TooManyFailures {
            reached: "100 rows in a row failed".into(),
        },
        Stop::RetryAfterTooLong {
            asked: Duration::from_hours(2),
            max_wait: Duration::from_mins(5),
        },
        Stop::Outage {
            lasted: Duration::from_mins(10),
        },
        Stop::MaxDurationReached,
    ]
}

#[test]
fn every_early_end_says_what_happened_and_what_to_do() {
    let endings = stops().into_iter().map(Ending::Stopped);
    let endings = endings
        .chain([Signal::HangUp, Signal::Interrupt, Signal::Terminate].map(Ending::Interrupted));
    let told = endings.map(|ending| {
        let (words, help) = ending_text(&ending, &Tally::default());
        format!("{words}\n  {}\n", help.unwrap_or("-"))
    });
    // On Windows, other events have the meaning of SIGTERM.
    let all = told
        .collect::<String>()
        .replace("Ctrl-Break or the system", "SIGTERM");
    assert!(!all.contains('\u{1b}'), "{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn more_than_fifty_opt_outs_need_their_number() {
    assert_eq!(Question::for_opt_outs(50), Question::YesOrNo);
    assert_eq!(Question::for_opt_outs(51), Question::TypeNumber(51));
    let many = Question::for_opt_outs(1287);
    assert_eq!(
        many.text(Look::PLAIN),
        "1,287 people will sign in without a second factor. Type 1287 to continue: "
    );
    for (answer, meaning) in [
        ("1287\n", Answer::Yes),
        ("1,287", Answer::Yes),
        ("no", Answer::No),
        ("yes", Answer::Wrong),
        ("1286", Answer::Wrong),
        ("\n", Answer::Wrong),
    ] {
        assert_eq!(many.judge(answer), meaning, "{answer:?}");
    }
}

#[test]
fn yes_or_no_takes_an_empty_line_for_a_no() {
    let question = Question::YesOrNo;
    for (answer, meaning) in [
        ("Yes\r\n", Answer::Yes),
        ("y", Answer::Yes),
        ("\n", Answer::No),
        (" \r\n", Answer::No),
        ("N", Answer::No),
        ("yep", Answer::Wrong),
        ("1", Answer::Wrong),
    ] {
        assert_eq!(question.judge(answer), meaning, "{answer:?}");
    }
}

fn closing_of_pace(rate: Rate, concurrency: Option<usize>, pace: PaceFound) -> String {
    let tally = tally(&[(Outcome::Applied, 10)]);
    closing_text(
        &ClosingView {
            ending: &Ending::Complete,
            is_recorded: true,
            rows_in_doubt: 0,
            not_sent_yet: 0,
            tally: &tally,
            requests: 10,
            retries: 0,
            elapsed: Duration::from_secs(10),
            throttled: Duration::ZERO,
            outages: Vec::new(),
            rate,
            concurrency,
            pace,
            groups: &[],
            next: None,
            report: "users.report.csv".into(),
        },
        Look::PLAIN,
    )
}

const TEN_A_SECOND: Rate = Rate::Limited {
    requests: 10,
    per: Duration::from_secs(1),
};

#[test]
fn rate_that_was_found_is_shown() {
    let auto = Rate::Auto { ceiling: 50 };
    let refused = PaceFound {
        rate: Some(20.25),
        limit: Some(20.25),
        ..PaceFound::default()
    };
    let text = closing_of_pace(auto, None, refused);
    assert!(
        text.contains("rate found: 20.2 requests a second; the Org refuses more"),
        "{text}"
    );
    let free = PaceFound {
        rate: Some(50.0),
        ..PaceFound::default()
    };
    let text = closing_of_pace(auto, None, free);
    assert!(
        text.contains("rate reached: 50.0 requests a second; the Org refused nothing"),
        "{text}"
    );
}

#[test]
fn a_fixed_rate_above_the_limit_is_advised_to_be_lower() {
    let found = |limit| PaceFound {
        limit: Some(limit),
        ..PaceFound::default()
    };
    let text = closing_of_pace(TEN_A_SECOND, None, found(6.0));
    assert!(
        text.contains("seems to accept about 6.0 requests a second"),
        "{text}"
    );
    assert!(text.contains("use --rate auto or --rate 5/s"), "{text}");
    let text = closing_of_pace(TEN_A_SECOND, None, found(0.5));
    assert!(text.contains("use --rate auto or --rate 28/m"), "{text}");
    let text = closing_of_pace(TEN_A_SECOND, None, found(9.8));
    assert!(!text.contains("--rate"), "{text}");
}

#[test]
fn a_given_concurrency_that_bounded_the_pace_is_named() {
    let bound = PaceFound {
        bound_by_concurrency: Some(26.4),
        ..PaceFound::default()
    };
    let text = closing_of_pace(TEN_A_SECOND, Some(8), bound);
    assert!(
        text.contains("--concurrency 8 limited the rate to 26/s"),
        "{text}"
    );
}

#[test]
fn auto_takes_at_least_its_expected_time() {
    let auto = PlanView {
        rate: Rate::Auto { ceiling: 50 },
        ..plan()
    };
    let text = plan_text(&auto, Look::PLAIN);
    assert!(
        text.contains("at most 50 requests a second: at least 130 s")
            || text.contains("at least 2 min"),
        "{text}"
    );
}

const COLORED: Look = Look {
    color: true,
    width: None,
};

#[test]
fn number_of_opt_outs_is_bold_and_failures_are_red() {
    let text = plan_text(&plan(), COLORED);
    assert!(
        text.contains("\u{1b}[1m1,287\u{1b}[0m to opt out"),
        "{text:?}"
    );
    assert_eq!(
        console::strip_ansi_codes(&text),
        plan_text(&plan(), Look::PLAIN)
    );
    let narrow = Look {
        color: false,
        width: Some(40),
    };
    assert_eq!(
        Question::for_opt_outs(1287).text(narrow),
        "1,287 people will sign in without a\nsecond factor. Type 1287 to continue: "
    );
    let question = Question::for_opt_outs(1287).text(COLORED);
    assert!(
        question.starts_with("\u{1b}[1m1,287\u{1b}[0m people"),
        "{question:?}"
    );
    let tally = tally(&[(Outcome::Applied, 1), (Outcome::Failed, 2)]);
    let view = view_of_doubt(&tally);
    let text = closing_text(&view, COLORED);
    assert!(
        text.contains("\u{1b}[31m  failed    2\u{1b}[0m"),
        "{text:?}"
    );
    assert!(text.contains("  applied   1\n"), "{text:?}");
}

fn view_of_doubt(tally: &Tally) -> ClosingView<'_> {
    ClosingView {
        ending: &Ending::Interrupted(Signal::Interrupt),
        is_recorded: true,
        rows_in_doubt: 3,
        not_sent_yet: 453,
        tally,
        requests: 10,
        retries: 0,
        elapsed: Duration::from_secs(10),
        throttled: Duration::ZERO,
        outages: Vec::new(),
        rate: TEN_A_SECOND,
        concurrency: None,
        pace: PaceFound::default(),
        groups: &[],
        next: None,
        report: "users.report.csv.partial".into(),
    }
}

#[test]
fn rows_in_doubt_and_rows_not_sent_are_named_after_an_interruption() {
    let tally = tally(&[(Outcome::Applied, 7)]);
    let text = closing_text(&view_of_doubt(&tally), Look::PLAIN);
    for note in [
        "note: 3 rows may or may not have been changed; the same command sends them again\n",
        "note: 453 rows have not been sent yet\n",
    ] {
        assert!(text.contains(note), "{text}");
        assert!(closing_in_brief(&view_of_doubt(&tally)).contains(note));
    }
}

#[test]
fn summary_and_plan_wrap_between_words_but_commands_and_paths_do_not() {
    let narrow = Look {
        color: false,
        width: Some(40),
    };
    let tally = tally(&[(Outcome::Applied, 7)]);
    let long = "mfa-optout retry a-long-name-of-a-table.report.csv --rate 10/s".to_owned();
    let view = ClosingView {
        next: Some(long.clone()),
        ..view_of_doubt(&tally)
    };
    let text = closing_text(&view, narrow);
    assert!(text.contains(&format!("Next:   {long}\n")), "{text}");
    let text = text.replace(&long, "") + &plan_text(&plan(), narrow);
    for line in text.lines() {
        assert!(line.chars().count() <= 40, "{line}");
    }
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        (closing_text(&view, Look::PLAIN).replace(&long, "") + &plan_text(&plan(), Look::PLAIN))
            .split_whitespace()
            .collect::<Vec<_>>()
    );
}
