//! Made events, worked out by the worker and by another implementation: python-icalendar with recurring-ical-events. What one
//! lists and the other does not, or not so, is a difference, and each has to have an explanation in `differences`.
//!
//! 500 events in every run, 10,000 with `cargo xtask test --long`. `PLEXUS_SEED` chooses which. Each is asked of the worker for
//! the year 2026 and for three windows in it; the other implementation works out the year, and what of it lies in a window is
//! reckoned here.

mod differences;
mod made;

use crate::hostile::{multistatus, object, reader, serve};
use chrono::{
    DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _,
};
use differences::explanation;
use made::{Made, Numbers, made};
use plexus_conformance::served::{Worker, output};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

/// Events of one answer of the server: a call sorts 20,000 occurrences at most.
const AT_ONCE: usize = 25;
/// Windows that each event is asked for, the year among them.
const WINDOWS: usize = 4;

/// Start and end of each: times in UTC, days and floating times as they are.
type Times = BTreeSet<[String; 2]>;

/// What is asked for.
struct Window {
    from: DateTime<FixedOffset>,
    to: DateTime<FixedOffset>,
    /// As days, which begin in UTC.
    is_of_days: bool,
}

impl Window {
    fn year() -> Self {
        let day = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
        Self::days(day(2026), day(2027))
    }

    fn days(from: NaiveDate, to: NaiveDate) -> Self {
        let at = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc().fixed_offset();
        Self {
            from: at(from),
            to: at(to),
            is_of_days: true,
        }
    }

    /// Some hours near a change of a clock, a week or a month, in the year.
    fn made(numbers: &mut Numbers) -> Self {
        const CHANGES: [(u32, u32); 8] = [
            (3, 8),
            (3, 29),
            (4, 5),
            (5, 10),
            (9, 6),
            (10, 4),
            (10, 25),
            (11, 1),
        ];
        let day = |(month, day)| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
        let any = |numbers: &mut Numbers, month| day((month, 2 + numbers.below(26) as u32));
        match numbers.below(4) {
            0 => {
                let month = 2 + numbers.below(10) as u32;
                let first = any(numbers, month);
                Self::days(first, first + TimeDelta::days(7))
            }
            1 => {
                let month = 2 + numbers.below(9) as u32;
                Self::days(any(numbers, month), any(numbers, month + 1))
            }
            _ => {
                let hours = [0, 3_600, -4 * 3_600, 5 * 3_600 + 1_800, 13 * 3_600];
                let offset = FixedOffset::east_opt(hours[numbers.below(hours.len())]).unwrap();
                let first = day(CHANGES[numbers.below(CHANGES.len())]);
                let minutes = 30 * numbers.below(48) as i64 - 600;
                let from = first.and_time(NaiveTime::MIN) + TimeDelta::minutes(minutes);
                let from = offset.from_local_datetime(&from).unwrap();
                Self {
                    from,
                    to: from + TimeDelta::minutes(30 * (1 + numbers.below(60) as i64)),
                    is_of_days: false,
                }
            }
        }
    }

    fn typed(&self, bound: DateTime<FixedOffset>) -> String {
        match self.is_of_days {
            true => bound.date_naive().to_string(),
            false => bound.to_rfc3339(),
        }
    }

    /// What of `times` is in it, if only in part (RFC 4791, 9.9). What takes no time is in it at its moment.
    fn of(&self, times: &Times) -> Times {
        let inside = |[start, end]: &&[String; 2]| {
            let (from, to) = match start.ends_with('Z') {
                true => (self.from.naive_utc(), self.to.naive_utc()),
                false => (self.from.naive_local(), self.to.naive_local()),
            };
            let (start, end) = (moment(start), moment(end));
            start < to && (start >= from || end > from)
        };
        times.iter().filter(inside).cloned().collect()
    }
}

/// A time or a day, on the clock that it is on.
fn moment(text: &str) -> NaiveDateTime {
    match text.parse::<NaiveDate>() {
        Ok(day) => day.and_time(NaiveTime::MIN),
        Err(_) => text.trim_end_matches('Z').parse().unwrap(),
    }
}

fn in_utc(time: &str) -> String {
    match DateTime::parse_from_rfc3339(time) {
        Ok(time) => time.to_utc().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// What the worker lists of each in each of its windows.
async fn by_worker(all: &[Made], windows: &[[Window; WINDOWS]]) -> Vec<Vec<Times>> {
    let report = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::clone(&report);
    let port =
        serve(move |method, _| (method == "REPORT").then(|| answers.lock().unwrap().clone()));
    let mut worker = reader(port).await;
    let mut listed = Vec::new();
    for (some, windows) in all.chunks(AT_ONCE).zip(windows) {
        let objects = some.iter().enumerate();
        let objects = objects.map(|(at, made)| object(&format!("{at}.ics"), &made.text));
        *report.lock().unwrap() = multistatus(&objects.collect::<String>());
        let mut found = vec![Vec::new(); some.len()];
        for window in windows {
            let in_window = listed_in(&mut worker, window, some.len()).await;
            for (found, times) in found.iter_mut().zip(in_window) {
                found.push(times);
            }
        }
        listed.extend(found);
    }
    worker.stop().await;
    listed
}

async fn listed_in(worker: &mut Worker, window: &Window, many: usize) -> Vec<Times> {
    let mut found = vec![Times::new(); many];
    let mut next = Value::Null;
    loop {
        let (start, end) = (window.typed(window.from), window.typed(window.to));
        let mut input = json!({"start": start, "end": end, "limit": 2000});
        if !next.is_null() {
            input["next"] = next;
        }
        let page = output(&worker.read("events.list", input).await);
        assert_eq!(page["warnings"], Value::Null);
        for event in page["events"].as_array().unwrap() {
            let text = |name: &str| event[name].as_str().unwrap();
            let at: usize = text("id")[4..text("id").len() - 4].parse().unwrap();
            found[at].insert([in_utc(text("start")), in_utc(text("end"))]);
        }
        next = page["next"].clone();
        if next.is_null() {
            return found;
        }
    }
}

/// What the other implementation lists of each around the year, or why it does not.
fn by_python(all: &[Made]) -> Vec<Result<Times, String>> {
    const HOW: &str = "type: sudo apt-get install python3-icalendar python3-recurring-ical-events (`cargo xtask test` does where it may)";
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() {
        system
    } else {
        Path::new("python3")
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/occurrences.py");
    let mut child = Command::new(python)
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}; {HOW}"));
    let mut stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(at, made)| json!([at, made.text]).to_string())
        .collect();
    let writing = std::thread::spawn(move || {
        for line in lines {
            if writeln!(stdin, "{line}").is_err() {
                return;
            }
        }
    });
    let mut found = Vec::new();
    for line in stdout.lines() {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(answer[0], found.len());
        found.push(match answer[1].as_array() {
            Some(times) => Ok(times
                .iter()
                .map(|pair| [0, 1].map(|at| pair[at].as_str().unwrap().to_owned()))
                .collect()),
            None => Err(answer[2].as_str().unwrap().to_owned()),
        });
    }
    writing.join().unwrap();
    assert!(child.wait().unwrap().success(), "{HOW}");
    assert_eq!(found.len(), all.len(), "{HOW}");
    found
}

/// What came of the comparison.
#[derive(Default)]
struct Verdict {
    same: usize,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

impl Verdict {
    /// Holds one event against the other implementation: in the year, and in each window.
    fn hold(
        &mut self,
        made: &Made,
        windows: &[Window; WINDOWS],
        ours: &[Times],
        theirs: &Result<Times, String>,
    ) {
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(why) => return self.unexplained.push(format!("{}{why}", made.text)),
        };
        let [year, ..] = windows;
        let in_year = year.of(theirs);
        let mut differs = |window: &Window, ours: &Times, theirs: &Times| {
            self.unexplained.push(format!(
                "{}from {} to {}\nmore by us: {:?}\nmore by them: {:?}",
                made.text,
                window.from,
                window.to,
                ours.difference(theirs).take(3).collect::<Vec<_>>(),
                theirs.difference(ours).take(3).collect::<Vec<_>>()
            ));
        };
        // What is explained of the year is explained of its parts.
        let all = match in_year == ours[0] {
            true => theirs,
            false => match explanation(made, &ours[0], &in_year) {
                Some(why) => {
                    *self.explained.entry(why).or_insert(0) += 1;
                    &ours[0]
                }
                None => return differs(year, &ours[0], &in_year),
            },
        };
        let mut parts = windows.iter().zip(ours).skip(1);
        match parts.find(|(window, ours)| **ours != window.of(all)) {
            Some((window, ours)) => differs(window, ours, &window.of(all)),
            None => self.same += usize::from(in_year == ours[0]),
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "how many of them are the same is what it is for"
)]
#[tokio::test]
async fn made_events_are_worked_out_as_by_another_implementation() {
    let seed = std::env::var("PLEXUS_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let is_long = std::env::var("PLEXUS_TEST_LENGTH").is_ok_and(|length| length == "long");
    let mut numbers = Numbers(seed);
    let count: usize = if is_long { 10_000 } else { 500 };
    let all: Vec<Made> = (0..count).map(|_| made(&mut numbers)).collect();
    let batches = 0..count.div_ceil(AT_ONCE);
    let windows: Vec<[Window; WINDOWS]> = batches
        .map(|_| {
            let mut made = || Window::made(&mut numbers);
            [Window::year(), made(), made(), made()]
        })
        .collect();
    let (ours, theirs) = (by_worker(&all, &windows).await, by_python(&all));
    let mut verdict = Verdict::default();
    for (at, made) in all.iter().enumerate() {
        verdict.hold(made, &windows[at / AT_ONCE], &ours[at], &theirs[at]);
    }
    let occurrences: usize = ours.iter().flatten().map(Times::len).sum();
    let with_occurrences = |window: usize| {
        let listed = ours.iter().filter(|listed| !listed[window].is_empty());
        listed.count()
    };
    let Verdict {
        same,
        explained,
        mut unexplained,
    } = verdict;
    println!(
        "{count} events of seed {seed}, in {WINDOWS} windows each, {occurrences} occurrences: {same} the same, explained: {explained:?}, unexplained: {}",
        unexplained.len()
    );
    // Nothing is compared where nothing is listed.
    assert!(same * 10 > count * 8 && with_occurrences(0) * 2 > count);
    assert!((1..WINDOWS).all(|window| with_occurrences(window) * 10 > count));
    unexplained.truncate(5);
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}
