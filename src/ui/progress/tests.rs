//! A run as it is seen: played through by hand, on made-up time.

use super::*;
use crate::domain::{
    Change, Ending, Flag, Outcome, Record, Reply, SendResult, Tally, UserId, Wait,
};

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn change(row: u64) -> Change {
    Change {
        row,
        line: Some(row + 1),
        user: UserId::new(row).unwrap(),
        flag: Flag::OptOut,
        in_doubt: false,
    }
}

fn record(row: u64, outcome: Outcome) -> Record {
    let (http_status, detail) = match outcome {
        Outcome::Applied => (Some(204), String::new()),
        Outcome::Failed => (Some(404), "User \"not\" found\u{1b}[2J".to_owned()),
        _ => (None, "connection reset".to_owned()),
    };
    Record {
        row,
        line: Some(row + 1),
        outcome,
        wanted: Some(Flag::OptOut),
        http_status,
        attempts: 1,
        elapsed: at(0.25),
        detail,
    }
}

fn new(style: Style, volume: Volume) -> Progress {
    let mut progress = Progress::new(style, volume, 3000, "2026-03-01T02:00:00Z".parse().unwrap());
    progress.out = Out::Kept(Vec::new());
    progress
}

fn lines(progress: Progress) -> Vec<String> {
    match progress.out {
        Out::Kept(lines) => lines,
        Out::StandardError { .. } => unreachable!(),
    }
}

/// Sends a row and, unless it has to wait for another try, records it.
fn play(progress: &mut Progress, now: f64, row: u64, outcome: Option<Outcome>) {
    let answer = SendResult::Reply(Reply {
        status: 204,
        ..Reply::default()
    });
    progress.on(
        at(now),
        &Event::Sent {
            change: change(row),
            attempt: 1,
        },
    );
    progress.on(
        at(now),
        &Event::Answered {
            change: change(row),
            answer: &answer,
            latency: at(0.1),
        },
    );
    if let Some(outcome) = outcome {
        progress.on(at(now), &Event::Recorded(&record(row, outcome)));
    }
}

/// Ten rows a second for twelve seconds; one of them failed, one waits for another try.
fn played(style: Style, volume: Volume) -> Progress {
    let mut progress = new(style, volume);
    progress.on(
        at(0.0),
        &Event::Planned {
            rows: 3000,
            on_record: &Tally::default(),
        },
    );
    for row in 0..120_u32 {
        let outcome = match row {
            17 => Some(Outcome::Failed),
            18 => None,
            _ => Some(Outcome::Applied),
        };
        play(
            &mut progress,
            f64::from(row) / 10.0,
            u64::from(row) + 1,
            outcome,
        );
    }
    progress
}

#[test]
fn a_plain_line_says_it_all() {
    let progress = played(Style::Silent, Volume::Normal);
    assert_eq!(
        line(progress.state(), at(12.0)),
        "119 of 3,000 rows, 10.0 requests/s, 118 applied, 1 failed, 1 waiting for another try, about 5 min left"
    );
}

#[test]
fn nothing_yet_is_no_reason_to_divide_by_zero() {
    let empty = State::default();
    assert_eq!(
        line(&empty, Duration::ZERO),
        "0 of 0 rows, 0.0 requests/s, 0 applied"
    );
    assert_eq!(bar(&empty, Duration::ZERO, 80, false).lines().count(), 2);
}

#[test]
fn speed_forgets_what_is_long_ago() {
    let progress = played(Style::Silent, Volume::Normal);
    assert!((progress.state().speed(at(12.0)) - 10.0).abs() < 0.6);
    assert!(progress.state().speed(at(60.0)) < f64::EPSILON);
    assert_eq!(progress.state().time_left(at(60.0)), None);
}

#[test]
fn the_bar_fits_its_terminal() {
    let mut progress = played(Style::Silent, Volume::Normal);
    insta::assert_snapshot!(bar(progress.state(), at(12.0), 80, false), @r"
    ━───────────────────────────────────────  119/3,000  10.0/s  about 5 min left
    118 applied  1 failed  1 waiting for another try
    ");
    insta::assert_snapshot!(bar(progress.state(), at(12.0), 20, false), @r"
    119/3,000  10.0/s
    118 applied
    ");
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(24.0),
        },
    );
    for width in 1..200 {
        for line in bar(progress.state(), at(12.0), width, true).lines() {
            assert!(
                console::measure_text_width(line) <= width,
                "{width}: {line}"
            );
        }
    }
}

#[test]
fn what_it_waits_for_is_said_in_whole_words_on_the_narrowest_terminal() {
    let waits = [
        Event::Waiting {
            why: Wait::Throttled,
            until: at(311.0),
        },
        Event::Waiting {
            why: Wait::Retry,
            until: at(311.0),
        },
        Event::Waiting {
            why: Wait::LogIn,
            until: at(311.0),
        },
        Event::Waiting {
            why: Wait::Drain,
            until: at(22.0),
        },
        Event::OutageBegan,
        Event::Waiting {
            why: Wait::Probe,
            until: at(311.0),
        },
    ];
    let mut told = String::new();
    for width in [99, 39, 19] {
        for event in &waits {
            let mut progress = played(Style::Silent, Volume::Normal);
            if matches!(
                event,
                Event::Waiting {
                    why: Wait::Probe,
                    ..
                }
            ) {
                progress.on(at(12.0), &Event::OutageBegan);
            }
            progress.on(at(12.0), event);
            let shown = bar(progress.state(), at(12.0), width, false);
            told += [
                &format!("{width:>2}: "),
                shown.lines().nth(1).unwrap(),
                "\n",
            ]
            .concat()
            .as_str();
        }
    }
    assert!(!told.contains('…'), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn colour_is_only_there_when_it_is_wanted() {
    let progress = played(Style::Silent, Volume::Normal);
    assert!(!bar(progress.state(), at(12.0), 80, false).contains('\u{1b}'));
    assert!(bar(progress.state(), at(12.0), 80, true).contains('\u{1b}'));
}

#[test]
fn while_held_back_it_counts_down() {
    let mut progress = played(Style::Silent, Volume::Normal);
    let waiting = |progress: &Progress, now| words::waiting(progress.state(), at(now));
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(24.0),
        },
    );
    assert_eq!(
        waiting(&progress, 12.0).unwrap(),
        "throttled by the Org: next request in 12 s"
    );
    assert_eq!(
        waiting(&progress, 23.5).unwrap(),
        "throttled by the Org: next request in 1 s"
    );
    let left = progress.state().time_left(at(12.0));
    let line = line(progress.state(), at(12.0));
    assert!(line.contains(" applied, "), "the counts stay: {line}");
    assert!(line.contains("throttled by the Org"), "{line}");
    assert!(left.is_some() && line.ends_with(" left"), "{line}");
    let shown = bar(progress.state(), at(12.0), 100, false);
    assert!(shown.contains(" applied "), "the counts stay: {shown}");
    assert!(shown.contains("throttled by the Org"), "{shown}");
    assert!(shown.contains(" left"), "{shown}");
    play(&mut progress, 24.0, 200, Some(Outcome::Applied));
    assert_eq!(waiting(&progress, 24.0), None);
}

#[test]
fn an_outage_is_told_until_it_is_over() {
    let mut progress = played(Style::Silent, Volume::Normal);
    let waiting = |progress: &Progress, now| words::waiting(progress.state(), at(now));
    progress.on(at(12.0), &Event::OutageBegan);
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Probe,
            until: at(16.0),
        },
    );
    assert_eq!(
        waiting(&progress, 12.0).unwrap(),
        "the Org stopped answering; next probe in 4 s"
    );
    progress.on(
        at(16.0),
        &Event::Sent {
            change: change(200),
            attempt: 2,
        },
    );
    assert_eq!(
        waiting(&progress, 17.0).unwrap(),
        "the Org stopped answering 5 s ago; asking again"
    );
    progress.on(at(17.0), &Event::OutageOver { lasted: at(5.0) });
    assert_eq!(waiting(&progress, 17.0), None);
}

#[test]
fn the_same_pause_is_told_once() {
    let mut progress = new(Style::Lines, Volume::Normal);
    for _ in 0..3 {
        progress.on(
            at(1.0),
            &Event::Waiting {
                why: Wait::Throttled,
                until: at(5.0),
            },
        );
    }
    progress.on(
        at(4.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(9.0),
        },
    );
    let told = [
        "throttled by the Org: next request in 4 s",
        "throttled by the Org: next request in 5 s",
    ];
    assert_eq!(lines(progress), told);
}

#[test]
fn the_pace_is_no_news() {
    let mut progress = played(Style::Lines, Volume::Normal);
    let before = lines(played(Style::Lines, Volume::Normal)).len();
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Pace,
            until: at(12.1),
        },
    );
    assert_eq!(lines(progress).len(), before);
}

#[test]
fn rows_on_record_count_as_done() {
    let mut progress = new(Style::Silent, Volume::Normal);
    let mut on_record = Tally::default();
    (0..50).for_each(|_| on_record.add(Outcome::Applied));
    progress.on(
        at(0.0),
        &Event::Planned {
            rows: 100,
            on_record: &on_record,
        },
    );
    assert!(line(progress.state(), at(0.0)).starts_with("50 of 100 rows"));
}

#[test]
fn without_a_terminal_there_is_a_line_every_ten_seconds() {
    let mut progress = played(Style::Lines, Volume::Normal);
    progress.tick(at(19.0));
    progress.tick(at(20.0));
    progress.on(at(21.0), &Event::OutageBegan);
    progress.on(at(31.0), &Event::OutageOver { lasted: at(10.0) });
    progress.on(at(32.0), &Event::Ended(&Ending::Complete));
    insta::assert_snapshot!(lines(progress).join("\n"));
}

#[test]
fn verbose_names_every_row_and_defuses_what_the_server_said() {
    let told = lines(played(Style::Lines, Volume::Verbose));
    assert!(told.contains(&"line 2: applied (204, 1 attempt)".to_owned()));
    assert!(
        told.contains(&"line 19: failed (404, 1 attempt): User \"not\" found\\u{1b}[2J".to_owned())
    );
}

#[test]
fn json_lines_are_json_whatever_happens() {
    let mut progress = played(Style::Json, Volume::Normal);
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(13.5),
        },
    );
    progress.on(at(14.0), &Event::OutageBegan);
    progress.on(at(20.0), &Event::OutageOver { lasted: at(6.0) });
    progress.on(at(21.0), &Event::Ended(&Ending::Complete));
    let told = lines(progress);
    for line in &told {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            value["event"].is_string() && value["at"].is_string() && !line.contains('\n'),
            "{line}"
        );
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn quiet_is_quiet() {
    let mut progress = played(Style::Silent, Volume::Quiet);
    progress.on(at(20.0), &Event::Ended(&Ending::Complete));
    assert_eq!(lines(progress), Vec::<String>::new());
}

#[test]
fn the_form_follows_the_wishes_and_the_screen() {
    let choose = |volume, format, terminal, term, no_color| {
        Style::choose(
            Logging { format, volume },
            Screen {
                terminal,
                term,
                no_color,
            },
        )
    };
    let (normal, text) = (Volume::Normal, LogFormat::Text);
    assert_eq!(
        choose(normal, text, true, Some("xterm"), None),
        Style::Bar { colour: true }
    );
    assert_eq!(
        choose(normal, text, true, Some("xterm"), Some("")),
        Style::Bar { colour: true }
    );
    assert_eq!(
        choose(normal, text, true, None, Some("1")),
        Style::Bar { colour: false }
    );
    assert_eq!(choose(normal, text, true, Some("dumb"), None), Style::Lines);
    assert_eq!(
        choose(normal, text, false, Some("xterm"), None),
        Style::Lines
    );
    assert_eq!(
        choose(normal, LogFormat::Json, true, None, None),
        Style::Json
    );
    assert_eq!(
        choose(Volume::Quiet, LogFormat::Json, true, None, None),
        Style::Silent
    );
}
