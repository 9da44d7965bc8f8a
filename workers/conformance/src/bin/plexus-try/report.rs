//! What is printed.

use crate::{call::Tried, denial::Advice};
use serde_json::{Value, json};

/// Prints what came of it: for people, or as one JSON object.
pub(crate) fn show(tried: &Tried, as_json: bool) {
    if as_json {
        println!("{:#}", value(tried));
    } else {
        print!("{}", text(tried));
    }
}

fn value(tried: &Tried) -> Value {
    let mut denied = Vec::new();
    let mut blind = Vec::new();
    for (role, seen, places) in &tried.seen {
        for denial in &seen.denials {
            let (rule, note) = match denial.advice(places) {
                Advice::Rule(rule) => (Some(rule), None),
                Advice::Without(note) => (None, Some(note)),
            };
            denied.push(json!({"role": role, "what": denial.words(), "rule": rule, "note": note}));
        }
        blind.extend(seen.blind.clone());
    }
    let mut value = json!({
        "capability": tried.capability,
        "ok": tried.came.is_ok(),
        "milliseconds": u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
        "denied": denied,
    });
    match &tried.came {
        Ok(answer) => {
            value["summary"] = json!(answer.summary);
            value["touched"] = json!(answer.touched);
            if let Some(output) = &answer.output {
                value["output"] = output.clone();
            }
            if let Some(plan) = &answer.plan {
                value["plan"] = json!(plan);
            }
        }
        Err(error) => value["error"] = json!(error),
    }
    if let Some(changed) = &tried.changed {
        value["changed"] = json!(changed);
    }
    if !blind.is_empty() {
        value["notWatched"] = json!(blind);
    }
    value
}

fn text(tried: &Tried) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&shown(&text));
        out.push('\n');
    };
    match &tried.came {
        Ok(answer) => {
            line(format!(
                "{}: {} ({} ms, caged)",
                tried.capability,
                answer.summary,
                tried.took.as_millis()
            ));
            if let Some(plan) = &answer.plan {
                line(format!("plan: {}", &*plan.headline));
                for fact in &plan.facts {
                    line(format!("  {}: {}", &*fact.name, &*fact.value));
                }
                if let Some(diff) = &plan.diff {
                    line(diff.to_string());
                }
            }
            if let Some(output) = &answer.output {
                line(format!("{output:#}"));
            }
            for t in &answer.touched {
                line(format!("touched: {} {} ({:?})", &*t.kind, &*t.id, t.access));
            }
        }
        Err(error) => line(format!("{} fails: {error}", tried.capability)),
    }
    if let Some(changed) = &tried.changed {
        line(format!(
            "changed in a copy of the folder, which is gone: {}",
            changed.join(", ")
        ));
    }
    for (role, seen, places) in &tried.seen {
        if let Some(why) = &seen.blind {
            line(format!(
                "what the cage of the {role} refused could not be watched: {why}"
            ));
        } else if seen.denials.is_empty() {
            line(format!("the cage of the {role} refused nothing"));
        } else {
            line(format!("the cage of the {role} refused:"));
        }
        for denial in &seen.denials {
            line(format!("  {}", denial.words()));
            match denial.advice(places) {
                Advice::Rule(rule) => line(format!("    {rule}")),
                Advice::Without(note) => line(format!("    {note}")),
            }
        }
    }
    out
}

/// What a source or a path says moves no cursor.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
