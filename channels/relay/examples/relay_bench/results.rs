//! Results by name, and the targets that they are held against.
//!
//! A name is `<what>/<store or state>/<row>/<quantity>`; times are in ms, sizes in MB of 1,000,000 bytes, unless the name says
//! another unit.

use crate::Sizes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// What a target says of a value.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    Least(f64),
    Most(f64),
}

struct Target {
    what: String,
    value: Option<f64>,
    bound: Bound,
    unit: &'static str,
}

/// What a run came to.
pub(crate) struct Results {
    about: BTreeMap<&'static str, String>,
    figures: BTreeMap<String, f64>,
    targets: Vec<Target>,
}

impl Results {
    pub(crate) fn new(sizes: &Sizes) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut results = Self {
            about: BTreeMap::new(),
            figures: BTreeMap::new(),
            targets: Vec::new(),
        };
        results.about("processors", processors.to_string());
        results.about("other work at the beginning", busy());
        results.about(
            "load",
            format!(
                "{} interleaved rounds of {:.1} s for each row, the best counts; clients share the processors",
                sizes.rounds,
                sizes.round.as_secs_f64()
            ),
        );
        results
    }

    /// What belongs to the end of a run.
    pub(crate) fn end(&mut self) {
        self.about("other work at the end, the bench's own included", busy());
    }

    pub(crate) fn about(&mut self, what: &'static str, value: String) {
        self.about.insert(what, value);
    }

    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Takes the times of requests down, in a row of this name.
    pub(crate) fn times(&mut self, row: &str, times: &mut [Duration]) {
        times.sort_unstable();
        for (quantity, share) in [("p50", 0.5), ("p99", 0.99)] {
            let at = (times.len().saturating_sub(1) as f64 * share) as usize;
            let ms = times
                .get(at)
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
            self.set(&format!("{row}/{quantity}"), ms);
        }
    }

    /// Holds a figure against its target.
    pub(crate) fn target(&mut self, what: String, figure: &str, bound: Bound, unit: &'static str) {
        self.targets.push(Target {
            what,
            value: self.get(figure),
            bound,
            unit,
        });
    }

    /// Holds a figure in units of another one against its target.
    pub(crate) fn ratio(&mut self, what: String, (of, to): (&str, &str), bound: Bound) {
        let to = self.get(to).filter(|to| *to > 0.0);
        self.targets.push(Target {
            what,
            value: self.get(of).zip(to).map(|(of, to)| of / to),
            bound,
            unit: "×",
        });
    }

    /// The targets that are missed, a line each.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.targets.iter().filter(|target| !target.is_met());
        let line = |target: &Target| {
            format!(
                "{}: {} ({})",
                target.what,
                target.measured(),
                target.wanted()
            )
        };
        missed.map(line).collect()
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        let targets = self.targets.iter().map(|target| {
            json!({
                "what": target.what,
                "bound": target.wanted(),
                "value": target.measured(),
                "met": target.is_met(),
            })
        });
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        json!({"about": self.about, "figures": figures, "targets": targets.collect::<Vec<_>>()})
    }

    /// Tables in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (what, value) in &self.about {
            let _ = writeln!(text, "- {what}: {value}");
        }
        let _ = writeln!(text, "\n| target | bound | measured | |\n|---|---|---|---|");
        for target in &self.targets {
            let word = if target.is_met() { "met" } else { "**missed**" };
            let (what, wanted, measured) = (&target.what, target.wanted(), target.measured());
            let _ = writeln!(text, "| {what} | {wanted} | {measured} | {word} |");
        }
        let _ = writeln!(text, "\n| figure | |\n|---|---|");
        for (name, value) in &self.figures {
            let _ = writeln!(text, "| {name} | {} |", written(*value));
        }
        text
    }
}

impl Target {
    /// One without a value is missed.
    fn is_met(&self) -> bool {
        self.value.is_some_and(|value| match self.bound {
            Bound::Least(bound) => value >= bound,
            Bound::Most(bound) => value <= bound,
        })
    }

    fn measured(&self) -> String {
        let value = |value| format!("{} {}", written(value), self.unit);
        self.value.map_or("not measured".to_owned(), value)
    }

    fn wanted(&self) -> String {
        let (sign, bound) = match self.bound {
            Bound::Least(bound) => ("≥", bound),
            Bound::Most(bound) => ("≤", bound),
        };
        format!("{sign} {} {}", written(bound), self.unit)
    }
}

/// Three digits, or a whole number.
fn written(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Processes that are ready to run, on average over a minute.
fn busy() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{load} processes ready to run, on average over a minute")
}
