//! Progress of a run that is played by hand in virtual time.

use super::*;
use crate::config::ColorChoice;
use crate::domain::{
    Change, Ending, Flag, Outcome, Record, Reply, SendResult, Tally, UserId, Wait,
};

const COLORED: Look = Look {
    color: true,
    width: None,
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
        cause: "",
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
    let mut progress = Progress::new(
        style,
        volume,
        "2026-03-01T02:00:00Z".parse().unwrap(),
        ProgressState::of(3000, at(600.0)),
        RowLabels::new(Some(1), ["Name", "User ID"]),
    );
    progress.output = ProgressOutput::Captured(Vec::new());
    progress
}

fn lines(progress: Progress) -> Vec<String> {
    match progress.output {
        ProgressOutput::Captured(lines) => lines,
        ProgressOutput::StandardError { .. } => unreachable!(),
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
        let cells = format!("Ada {row},{row}");
        let event = Event::Recorded {
            record: &record(row, outcome),
            cells: cells.as_bytes(),
        };
        progress.on(at(now), &event);
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
fn plain_line_has_all_figures() {
    let progress = played(Style::Silent, Volume::Normal);
    assert_eq!(
        line(&progress.state, at(12.0)),
        "119 of 3,000 rows, 10.0 requests/s, 118 applied, 1 failed, 1 to retry, about 5 min left"
    );
}

#[test]
fn empty_run_shows_zeros() {
    let empty = ProgressState::default();
    assert_eq!(
        line(&empty, Duration::ZERO),
        "0 of 0 rows, 0.0 requests/s, 0 applied"
    );
    assert_eq!(
        bar(&empty, Duration::ZERO, 80, Look::PLAIN).lines().count(),
        2
    );
}

#[test]
fn speed_counts_only_the_last_seconds() {
    let progress = played(Style::Silent, Volume::Normal);
    assert!((progress.state.speed(at(12.0)) - 10.0).abs() < 0.6);
    assert!(progress.state.speed(at(60.0)) < f64::EPSILON);
    assert_eq!(progress.state.time_left(at(60.0)), None);
}

#[test]
fn the_bar_fits_its_terminal() {
    let mut progress = played(Style::Silent, Volume::Normal);
    insta::assert_snapshot!(bar(&progress.state, at(12.0), 80, Look::PLAIN), @r"
    ━───────────────────────────  119/3,000
    118 applied  1 failed  1 to retry
    10.0 requests/s  about 5 min left
    ");
    insta::assert_snapshot!(bar(&progress.state, at(12.0), 20, Look::PLAIN), @r"
    119/3,000
    118 applied
    1 failed  1 to retry
    10.0 requests/s
    about 5 min left
    ");
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(24.0),
        },
    );
    for width in 1..200 {
        for line in bar(&progress.state, at(12.0), width, COLORED).lines() {
            assert!(
                console::measure_text_width(line) <= width.min(words::MAX_WIDTH),
                "{width}: {line}"
            );
        }
    }
}

#[test]
fn status_is_not_cut_on_a_narrow_terminal() {
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
    let mut told = Vec::new();
    for width in [99, 19] {
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
            let shown = bar(&progress.state, at(12.0), width, Look::PLAIN);
            told.push(format!("-- {width} columns\n{shown}"));
        }
    }
    let told = told.join("\n");
    assert!(!told.contains('…'), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn bar_has_colour_only_if_wanted() {
    let progress = played(Style::Silent, Volume::Normal);
    assert!(!bar(&progress.state, at(12.0), 80, Look::PLAIN).contains('\u{1b}'));
    assert!(bar(&progress.state, at(12.0), 80, COLORED).contains('\u{1b}'));
}

#[test]
fn throttled_run_counts_down_and_keeps_counts_and_time_left() {
    let mut progress = played(Style::Silent, Volume::Normal);
    let waiting = |progress: &Progress, now| words::waiting(&progress.state, at(now));
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Throttled,
            until: at(24.0),
        },
    );
    assert_eq!(
        waiting(&progress, 12.0).unwrap(),
        "throttled by the Org; next request in 12 s"
    );
    assert_eq!(
        waiting(&progress, 23.5).unwrap(),
        "throttled by the Org; next request in 1 s"
    );
    let left = progress.state.time_left(at(12.0));
    let line = line(&progress.state, at(12.0));
    assert!(line.contains(" applied, "), "the counts stay: {line}");
    assert!(line.contains("throttled by the Org"), "{line}");
    assert!(left.is_some() && line.ends_with(" left"), "{line}");
    let shown = bar(&progress.state, at(12.0), 100, Look::PLAIN);
    assert!(shown.contains(" applied "), "the counts stay: {shown}");
    assert!(shown.contains("throttled by the Org"), "{shown}");
    assert!(shown.contains(" left"), "{shown}");
    play(&mut progress, 24.0, 200, Some(Outcome::Applied));
    assert_eq!(waiting(&progress, 24.0), None);
}

#[test]
fn outage_is_shown_until_it_is_over() {
    let mut progress = played(Style::Silent, Volume::Normal);
    let waiting = |progress: &Progress, now| words::waiting(&progress.state, at(now));
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
        "no response from the Org for 0 s; next probe in 4 s; stopping in 10 min"
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
        "no response from the Org for 5 s; probing; stopping in 9 min 55 s"
    );
    progress.on(at(17.0), &Event::OutageOver { lasted: at(5.0) });
    assert_eq!(waiting(&progress, 17.0), None);
}

#[test]
fn repeated_pause_is_reported_once() {
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
        "throttled by the Org; next request in 4 s",
        "throttled by the Org; next request in 5 s",
    ];
    assert_eq!(lines(progress), told);
}

#[test]
fn pause_of_the_rate_is_not_reported() {
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
    assert!(line(&progress.state, at(0.0)).starts_with("50 of 100 rows"));
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
fn verbose_names_every_row_and_escapes_the_message() {
    let told = lines(played(Style::Lines, Volume::Verbose));
    assert!(told.contains(&"line 2: 1 Ada 1: applied (204, 1 attempt)".to_owned()));
    assert!(told.contains(
        &"line 19: 18 Ada 18: failed (404, 1 attempt): User \"not\" found\\u{1b}[2J".to_owned()
    ));
}

#[test]
fn json_lines_are_valid_json() {
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
fn quiet_prints_nothing() {
    let mut progress = played(Style::Silent, Volume::Quiet);
    progress.on(at(20.0), &Event::Ended(&Ending::Complete));
    assert_eq!(lines(progress), Vec::<String>::new());
}

#[test]
fn form_follows_options_and_screen() {
    let choose = |volume, format, terminal, term, no_color| {
        Style::choose(
            Logging {
                format,
                volume,
                ..Logging::default()
            },
            Screen {
                terminal,
                has_escapes: true,
                term,
                no_color,
                color: ColorChoice::Auto,
            },
        )
    };
    let normal = Volume::Normal;
    let text = LogFormat::Text;
    assert_eq!(
        choose(normal, text, true, Some("xterm"), None),
        Style::Bar { color: true }
    );
    assert_eq!(
        choose(normal, text, true, Some("xterm"), Some("")),
        Style::Bar { color: true }
    );
    assert_eq!(
        choose(normal, text, true, None, Some("1")),
        Style::Bar { color: false }
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

/// Sends the first row and answers it.
fn play_first(progress: &mut Progress, now: f64, attempt: u32, status: Option<u16>) {
    let change = change(1);
    progress.on(at(now), &Event::Sent { change, attempt });
    let Some(status) = status else {
        return;
    };
    let answer = SendResult::Reply(Reply {
        status,
        ..Reply::default()
    });
    progress.on(
        at(now),
        &Event::Answered {
            change,
            answer: &answer,
            latency: at(0.1),
        },
    );
}

#[test]
fn before_the_first_success_the_attempt_and_its_status_are_shown() {
    let mut progress = new(Style::Silent, Volume::Normal);
    let shown = |progress: &Progress, now| bar(&progress.state, at(now), 80, Look::PLAIN);
    assert!(!shown(&progress, 0.0).contains("first answer"));
    play_first(&mut progress, 0.0, 1, None);
    let text = shown(&progress, 3.0);
    assert!(
        text.ends_with("\nwaiting for the first answer\n(attempt 1)"),
        "{text}"
    );
    assert!(!text.contains("requests/s"), "{text}");
    play_first(&mut progress, 4.0, 2, Some(503));
    progress.on(
        at(4.0),
        &Event::Waiting {
            why: Wait::Retry,
            until: at(6.0),
        },
    );
    let text = shown(&progress, 4.0);
    assert!(text.ends_with("(attempt 2: 503)  next in 2 s"), "{text}");
    let line = line(&progress.state, at(4.0));
    assert!(
        line.contains("(attempt 2: 503)") && !line.contains("requests/s"),
        "{line}"
    );
    play_first(&mut progress, 6.0, 3, Some(204));
    let text = shown(&progress, 6.0);
    assert!(
        !text.contains("first answer") && text.contains("requests/s"),
        "{text}"
    );
}

#[test]
fn stopping_run_shows_what_is_not_sent_and_that_ctrl_c_stops_at_once() {
    let mut progress = played(Style::Silent, Volume::Normal);
    progress.on(
        at(12.0),
        &Event::Waiting {
            why: Wait::Drain,
            until: at(22.0),
        },
    );
    assert_eq!(
        words::waiting(&progress.state, at(12.0)).unwrap(),
        "stopping: 2,880 rows not sent yet; up to 10 s for the last answers; Ctrl-C again stops at \
         once"
    );
}
