//! Events that nobody wrote: the same ones from the same seed, of every kind that calendars hold and the other implementation
//! takes.

use chrono::{Days, NaiveDate, NaiveDateTime};
use std::fmt::Write as _;

/// Definitions of clocks that no zone of the world has: twice a year by rules, by single dates, and never.
const OWN: [(&str, &str); 3] = [
    (
        "Own Place",
        "BEGIN:STANDARD\nDTSTART:19701101T030000\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU\nTZOFFSETFROM:+0430\nTZOFFSETTO:+0330\nEND:STANDARD\n\
         BEGIN:DAYLIGHT\nDTSTART:19700405T020000\nRRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU\nTZOFFSETFROM:+0330\nTZOFFSETTO:+0430\nEND:DAYLIGHT\n",
    ),
    (
        "Own Dates",
        "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:-0230\nTZOFFSETTO:-0230\nEND:STANDARD\n\
         BEGIN:DAYLIGHT\nDTSTART:20260510T020000\nTZOFFSETFROM:-0230\nTZOFFSETTO:-0130\nEND:DAYLIGHT\n\
         BEGIN:STANDARD\nDTSTART:20260906T020000\nTZOFFSETFROM:-0130\nTZOFFSETTO:-0230\nEND:STANDARD\n",
    ),
    (
        "Own Fixed",
        "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0545\nTZOFFSETTO:+0545\nEND:STANDARD\n",
    ),
];

const ZONES: [&str; 11] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Own Place",
    "Own Dates",
    "Own Fixed",
    "UTC",
    "",
    "DATE",
    "W. Europe Standard Time",
];

/// Days from 2016-01-01, of which days are counted, to 2025-11-01.
const TO_2025: usize = 3_592;

/// Steps of SplitMix64: the same numbers from the same seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % most
    }
    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
    pub(crate) fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One made event: its lines, and what of it the explanations ask.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) zone: &'static str,
    /// When it starts, as if in UTC.
    pub(crate) start: i64,
    /// The last day of its rule, where that is a day and the event has times.
    pub(crate) last_day: Option<NaiveDate>,
}

/// An event that is being made.
struct Draft {
    zone: &'static str,
    day: usize,
    /// Its time of day.
    clock: String,
    lines: String,
    /// Days from one occurrence to the next, roughly.
    step: usize,
    is_of_days: bool,
    last_day: Option<NaiveDate>,
}

/// Day `day` of a calendar that counts from 2016-01-01.
fn on(day: usize) -> NaiveDate {
    let first = NaiveDate::from_ymd_opt(2016, 1, 1).unwrap();
    first + Days::new(day as u64)
}

fn date(day: usize) -> String {
    on(day).format("%Y%m%d").to_string()
}

pub(crate) fn made(numbers: &mut Numbers) -> Made {
    let mut draft = Draft::begin(numbers);
    draft.end(numbers);
    if numbers.is(75) {
        draft.rule(numbers);
    }
    draft.dates(numbers);
    let mut changes = String::new();
    // Versions before 3 know a change by its day alone.
    if draft.lines.contains("RRULE") && draft.is_of_days {
        for _ in 0..[0, 0, 0, 1, 1, 2][numbers.below(6)] {
            changes += &draft.change(numbers);
        }
    }
    draft.finish(&changes)
}

impl Draft {
    fn begin(numbers: &mut Numbers) -> Self {
        let zone = ZONES[numbers.below(ZONES.len())];
        let day = match numbers.below(20) {
            // A leap day, and years before what is compared.
            0 => 1_520,
            1 | 2 => numbers.below(TO_2025),
            _ => TO_2025 + numbers.below(400),
        };
        let clock = match numbers.is(30) {
            // Where clocks change.
            true => format!("0{}{}00", 1 + numbers.below(3), numbers.one(&["00", "30"])),
            false => format!(
                "{:02}{}",
                numbers.below(24),
                numbers.one(&["0000", "1500", "4500", "5959"])
            ),
        };
        let mut draft = Self {
            zone,
            day,
            clock,
            lines: String::new(),
            step: 1,
            is_of_days: true,
            last_day: None,
        };
        draft.lines = draft.time("DTSTART", &date(day), &draft.clock);
        draft
    }

    /// A property with a time on the clock of the event.
    fn time(&self, name: &str, date: &str, clock: &str) -> String {
        self.times(name, &[date.to_owned()], clock)
    }

    fn times(&self, name: &str, dates: &[String], clock: &str) -> String {
        let (parameter, behind) = match self.zone {
            "DATE" => (";VALUE=DATE".to_owned(), String::new()),
            "UTC" => (String::new(), format!("T{clock}Z")),
            "" => (String::new(), format!("T{clock}")),
            zone => (format!(";TZID={zone}"), format!("T{clock}")),
        };
        let values: Vec<String> = dates.iter().map(|date| format!("{date}{behind}")).collect();
        format!("{name}{parameter}:{}\n", values.join(","))
    }

    fn end(&mut self, numbers: &mut Numbers) {
        let (day, clock) = (self.day, self.clock.clone());
        let line = match (numbers.below(5), self.zone) {
            (0, _) => String::new(),
            (1, "DATE") => format!("DURATION:P{}\n", numbers.one(&["1D", "2D", "9D", "1W"])),
            (1, _) => {
                let lengths = [
                    "PT15M", "PT1H", "PT90M", "PT0S", "PT36H", "P1D", "P1DT2H", "P1W",
                ];
                format!("DURATION:{}\n", numbers.one(&lengths))
            }
            (_, "DATE") => self.time("DTEND", &date(day + 1 + numbers.below(4)), ""),
            (2, _) => self.time("DTEND", &date(day), "235959"),
            // A flight; no two zones are two days apart.
            (3, zone) if !zone.is_empty() && zone != "UTC" => {
                let zone = numbers.one(&["America/New_York", "Asia/Kolkata"]);
                format!("DTEND;TZID={zone}:{}T{clock}\n", date(day + 2))
            }
            _ => self.time("DTEND", &date(day + 1), &clock),
        };
        self.lines += &line;
    }

    fn rule(&mut self, numbers: &mut Numbers) {
        let is_day = self.zone == "DATE";
        let frequency = match numbers.below(9) {
            0 if !is_day => numbers.one(&["HOURLY", "MINUTELY"]),
            1..=3 => "DAILY",
            4 | 5 => "WEEKLY",
            6 | 7 => "MONTHLY",
            _ => "YEARLY",
        };
        let interval = match frequency {
            "HOURLY" => [5, 6, 12, 36][numbers.below(4)],
            "MINUTELY" => [300, 720, 1_441][numbers.below(3)],
            _ => 1 + numbers.below(3),
        };
        self.is_of_days = !matches!(frequency, "HOURLY" | "MINUTELY");
        _ = write!(self.lines, "RRULE:FREQ={frequency}");
        if interval > 1 {
            _ = write!(self.lines, ";INTERVAL={interval}");
        }
        self.lines += parts(frequency, numbers);
        if frequency == "DAILY" && !is_day && numbers.is(15) {
            self.lines += numbers.one(&[
                ";BYHOUR=9,17",
                ";BYHOUR=2;BYMINUTE=0,30",
                ";BYHOUR=23;BYSECOND=0,30",
            ]);
            self.is_of_days = false;
        }
        // After its start, which versions before 3 drop otherwise.
        let after = match self.day < TO_2025 {
            true => TO_2025 + 60,
            false => self.day,
        };
        let last = after + 1 + numbers.below(300);
        let (until, clock) = (date(last), self.clock.clone());
        match (numbers.below(7), self.zone) {
            (0 | 1, _) => {
                let most = if self.day < TO_2025 { 900 } else { 40 };
                _ = write!(self.lines, ";COUNT={}", 1 + numbers.below(most));
            }
            (2 | 3, "DATE") => _ = write!(self.lines, ";UNTIL={until}"),
            (2 | 3, "") => _ = write!(self.lines, ";UNTIL={until}T{clock}"),
            (2 | 3, _) => _ = write!(self.lines, ";UNTIL={until}T{clock}Z"),
            // A day as the end of times, as some programs write it.
            (4, zone) if zone != "DATE" => {
                _ = write!(self.lines, ";UNTIL={until}");
                self.last_day = Some(on(last));
            }
            _ => {}
        }
        self.lines.push('\n');
        self.step = interval * if frequency == "WEEKLY" { 7 } else { 1 };
        if !self.is_of_days {
            self.step = 1;
        }
    }

    /// A day on which an occurrence may be; of an old series within what is compared.
    fn far(&self, numbers: &mut Numbers) -> String {
        let steps = match self.day < TO_2025 {
            true => (TO_2025 + 60 - self.day) / self.step,
            false => 0,
        };
        date(self.day + self.step * (steps + 1 + numbers.below(20)))
    }

    /// What does not take place, and what does besides.
    fn dates(&mut self, numbers: &mut Numbers) {
        for _ in 0..numbers.below(3) {
            let dates: Vec<String> = (0..=numbers.below(2)).map(|_| self.far(numbers)).collect();
            self.lines += &self.times("EXDATE", &dates, &self.clock);
        }
        if numbers.is(15) {
            let dates: Vec<String> = (0..=numbers.below(2)).map(|_| self.far(numbers)).collect();
            let clock = match numbers.is(50) && self.is_of_days {
                true => self.clock.as_str(),
                false => "201500",
            };
            self.lines += &self.times("RDATE", &dates, clock);
        }
    }

    /// An occurrence that is another one; of a day that no other line names.
    fn change(&mut self, numbers: &mut Numbers) -> String {
        // Within the range: versions before 3 look for changes nowhere else.
        let (mut old, new) = (self.far(numbers), date(TO_2025 + 70 + numbers.below(340)));
        // What becomes of a change of an occurrence that does not take place, nobody says.
        let mut tries = 0;
        while self.lines.contains(&old) {
            old = self.far(numbers);
            tries += 1;
            if tries > 50 {
                return String::new();
            }
        }
        // No second change of the same.
        _ = writeln!(self.lines, "X-CHANGED:{old}");
        format!(
            "BEGIN:VEVENT\nUID:a\nDTSTAMP:20260101T000000Z\n{}{}DURATION:{}\nEND:VEVENT\n",
            self.time("RECURRENCE-ID", &old, &self.clock),
            self.time("DTSTART", &new, "171500"),
            if self.zone == "DATE" { "P1D" } else { "PT45M" },
        )
    }

    fn finish(self, changes: &str) -> Made {
        let own = OWN.iter().find(|(name, _)| *name == self.zone);
        let own = own.map_or(String::new(), |(name, parts)| {
            format!("BEGIN:VTIMEZONE\nTZID:{name}\n{parts}END:VTIMEZONE\n")
        });
        let text = format!(
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//made//EN\n{own}BEGIN:VEVENT\nUID:a\nDTSTAMP:20260101T000000Z\n{}END:VEVENT\n{changes}END:VCALENDAR\n",
            self.lines
        );
        let start = format!("{}{}", date(self.day), self.clock);
        let start = NaiveDateTime::parse_from_str(&start, "%Y%m%d%H%M%S");
        Made {
            text: text.replace('\n', "\r\n"),
            zone: self.zone,
            start: start.unwrap().and_utc().timestamp(),
            last_day: self.last_day,
        }
    }
}

/// What narrows or widens a rule of this frequency.
fn parts(frequency: &str, numbers: &mut Numbers) -> &'static str {
    match frequency {
        "HOURLY" | "MINUTELY" => numbers.one(&["", "", ";BYDAY=SA,SU", ";BYMONTH=3,10"]),
        "DAILY" => numbers.one(&[
            "",
            "",
            ";BYDAY=MO,TU,WE,TH,FR",
            ";BYMONTH=1,3,12",
            ";BYMONTHDAY=1,15,-1",
        ]),
        "WEEKLY" => numbers.one(&[
            "",
            "",
            ";BYDAY=MO,WE,FR",
            ";BYDAY=TU,SU;WKST=SU",
            ";BYDAY=TU,SU;WKST=MO",
            ";BYDAY=SA",
            ";BYDAY=MO,TU,SU;BYMONTH=2,3",
        ]),
        "MONTHLY" => numbers.one(&[
            "",
            ";BYMONTHDAY=31",
            ";BYMONTHDAY=-1",
            ";BYMONTHDAY=1,15,-2",
            ";BYDAY=2TU",
            ";BYDAY=-1FR",
            ";BYDAY=1MO,3MO",
            ";BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            ";BYDAY=SA,SU;BYSETPOS=1,2",
            ";BYMONTHDAY=13;BYDAY=FR",
        ]),
        _ => numbers.one(&[
            "",
            ";BYMONTH=3;BYDAY=-1SU",
            ";BYMONTH=11;BYDAY=4TH",
            ";BYMONTH=2;BYMONTHDAY=28",
            ";BYWEEKNO=20;BYDAY=MO",
            ";BYYEARDAY=1,100,-1",
            ";BYDAY=20MO",
            ";BYMONTH=1,6;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        ]),
    }
}
