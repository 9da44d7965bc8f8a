//! `plexusctl config`: the owner's settings (`/v1/config`); they apply at once.

use crate::{owner::Desk, table::table};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span};
use plexus_owner::settings::{LEAST_KEPT, LEAST_WINDOW_MS, MOST, TOKEN_MS};
use plexus_protocol::{Reach, TrustWindow, json};
use serde_json::{Map, Value};

/// A setting and its form: a wrong value is refused here, where the wire would take another one.
struct Setting {
    name: &'static str,
    form: Form,
    /// As it is typed.
    example: &'static str,
}

/// The values that a setting may have.
enum Form {
    /// A length of time from one number of milliseconds to another.
    Length(u64, u64),
    /// A number from this one on.
    Count(u64),
    Switch,
    Reach,
    Windows,
}

#[rustfmt::skip]
const SETTINGS: [Setting; 7] = [
    Setting { name: "tokenLifetimeMs", form: Form::Length(TOKEN_MS.0, TOKEN_MS.1), example: "tokenLifetimeMs=15m" },
    Setting { name: "maxTrustWindowMs", form: Form::Length(LEAST_WINDOW_MS, MOST), example: "maxTrustWindowMs=30d" },
    Setting { name: "allowUntilRevoked", form: Form::Switch, example: "allowUntilRevoked=false" },
    Setting { name: "defaultTrustWindows", form: Form::Windows, example: "defaultTrustWindows.managed:write=1h" },
    Setting { name: "defaultReach", form: Form::Reach, example: "defaultReach=selected" },
    Setting { name: "autoAllowReads", form: Form::Switch, example: "autoAllowReads=true" },
    Setting { name: "auditKeepEvents", form: Form::Count(LEAST_KEPT), example: "auditKeepEvents=100000" },
];

/// Classes with a trust window of their own where none is named.
const CLASSES: [&str; 5] = [
    "first-party:read",
    "first-party:write",
    "managed:read",
    "managed:write",
    "extension:read",
];

/// Always `once`: it may be given back as it is shown.
const FIXED: &str = "extension:write";

/// Settings.
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show all settings
    Show,
    /// Change settings
    #[command(after_help = help())]
    Set {
        /// Setting and its value
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        pairs: Vec<(String, Value)>,
    },
}

fn pair(text: &str) -> Result<(String, Value), String> {
    let (name, typed) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write KEY=VALUE")?;
    let (name, class) = match name.split_once('.') {
        Some((name, class)) => (name, Some(class)),
        None => (name, None),
    };
    let names = SETTINGS.map(|setting| setting.name).join(", ");
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let setting =
        setting.ok_or_else(|| format!("there is no setting {name:?}; there are: {names}"))?;
    let value = json::parse(typed.as_bytes()).unwrap_or_else(|_| typed.into());
    let value = match class {
        Some(class) => Map::from_iter([(class.to_owned(), value)]).into(),
        None => value,
    };
    let value = setting.form.taken(value);
    let value = value.ok_or_else(|| {
        let Setting { form, example, .. } = setting;
        format!("write {}, such as {example}", form.in_words())
    })?;
    Ok((name.to_owned(), value))
}

/// All settings for the help.
fn help() -> String {
    let lines = SETTINGS.iter().map(|setting| {
        let Setting { form, example, .. } = setting;
        format!("\n  {example}\n          {}", form.in_words())
    });
    format!(
        "Settings, each with an example:{}",
        lines.collect::<String>()
    )
}

impl Form {
    /// The value as it is sent; none where it cannot be.
    fn taken(&self, value: Value) -> Option<Value> {
        let number = |least: u64, most: u64, number: Option<u64>| {
            let number = number.filter(|number| (least..=most).contains(number));
            number.map(Value::from)
        };
        match self {
            Self::Length(least, most) => {
                let length = value.as_str().and_then(|text| span::parse(text).ok());
                number(*least, *most, value.as_u64().or(length))
            }
            Self::Count(least) => number(*least, MOST, value.as_u64()),
            Self::Switch => value.is_boolean().then_some(value),
            Self::Reach => {
                let word = value.as_str()?;
                let is_reach = [Reach::Exposed, Reach::Selected].map(Reach::as_str);
                is_reach.contains(&word).then_some(value)
            }
            Self::Windows => {
                let is_window = |window: &Value| {
                    let named = window.as_str().and_then(TrustWindow::parse);
                    named.is_some_and(|named| window == named.kind())
                };
                let mut windows = value.as_object()?.iter();
                let all = windows.all(|(class, window)| {
                    let is_fixed = class == FIXED && window == "once";
                    is_fixed || CLASSES.contains(&&**class) && is_window(window)
                });
                all.then_some(value)
            }
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Length(least, MOST) => {
                format!("a length of {} or more", span::length(*least))
            }
            Self::Length(least, most) => format!(
                "a length from {} to {}",
                span::length(*least),
                span::length(*most)
            ),
            Self::Count(least) => format!("a number, {least} or more"),
            Self::Switch => "true or false".to_owned(),
            Self::Reach => {
                let [all, some] = [Reach::Exposed, Reach::Selected].map(Reach::as_str);
                format!("{all} or {some}")
            }
            Self::Windows => format!(
                "once, 1h, 1d, 7d or until-revoked for some of {}",
                CLASSES.join(", ")
            ),
        }
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, config: Config) -> Result<Exit, Stop> {
    match config.act.unwrap_or(Act::Show) {
        Act::Show => {
            let reply = desk.open().await?.get("/v1/config").await?;
            desk.show(&reply, || as_text(&reply))
        }
        Act::Set { pairs } => {
            desk.widen("changing settings")?;
            let mut owner = desk.open().await?;
            let asked = Value::Object(together(pairs));
            let reply = owner.put("/v1/config", &asked).await?;
            desk.show(&reply, || {
                let config = &reply["config"];
                let mut named = config.clone();
                keep(&mut named, &asked);
                format!("{}{}", as_text(&named), not_as_asked(&asked, config))
            })
        }
    }
}

/// The settings, each once: windows may be named one by one.
fn together(pairs: Vec<(String, Value)>) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in pairs {
        match (all.get_mut(&name), value) {
            (Some(Value::Object(held)), Value::Object(more)) => held.extend(more),
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
    all
}

/// Leaves of the settings those that were asked for.
fn keep(config: &mut Value, asked: &Value) {
    if let (Value::Object(config), Value::Object(asked)) = (config, asked) {
        config.retain(|name, _| asked.contains_key(name));
        for (name, value) in config {
            keep(value, &asked[name]);
        }
    }
}

/// A line for each setting that is another one than was asked for: the wire takes the nearest value, or leaves what it was.
fn not_as_asked(asked: &Value, config: &Value) -> String {
    let settings = asked.as_object().into_iter().flatten();
    let other = settings.filter(|(name, value)| !has(&config[name], value));
    other
        .map(|(name, value)| format!("\nnote: {name} cannot be {value}; it is {}", config[name]))
        .collect()
}

/// Whether a setting has a value, or all members of one.
fn has(is: &Value, asked: &Value) -> bool {
    match asked {
        Value::Object(members) => members.iter().all(|(name, value)| is[name] == *value),
        _ => is == asked,
    }
}

fn as_text(config: &Value) -> String {
    let mut rows = Vec::new();
    for (name, value) in config.as_object().into_iter().flatten() {
        match value {
            Value::Object(members) => rows.extend(
                members
                    .iter()
                    .map(|(member, value)| [format!("{name}.{member}"), shown(name, value)]),
            ),
            value => rows.push([name.clone(), shown(name, value)]),
        }
    }
    table(["setting", "value"], rows, "no settings")
}

fn shown(name: &str, value: &Value) -> String {
    let shown = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match value.as_u64().filter(|_| name.ends_with("Ms")) {
        Some(ms) => format!("{shown} ({})", span::length(ms)),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let taken = |text: &str| pair(text).unwrap().1;
        assert_eq!(taken("autoAllowReads=true"), true);
        assert_eq!(taken("defaultReach=exposed"), "exposed");
        for quarter in ["15m", "900000", "900s"] {
            assert_eq!(taken(&format!("tokenLifetimeMs={quarter}")), 900_000);
        }
        for Setting { example, .. } in SETTINGS {
            taken(example);
        }
        let windows = ["managed:read=1h", "managed:write=once"];
        let windows = windows.map(|one| pair(&format!("defaultTrustWindows.{one}")).unwrap());
        let both = serde_json::json!({"managed:read": "1h", "managed:write": "once"});
        assert_eq!(together(windows.into())["defaultTrustWindows"], both);
        for bad in ["a", "=1"] {
            assert_eq!(pair(bad), Err("write KEY=VALUE".to_owned()));
        }
    }

    #[test]
    fn wrong_value_is_refused_with_what_is_allowed() {
        #[rustfmt::skip]
        let rows = [
            ("tokenLifetimeMs=5", "write a length from 1 min to 60 min, such as tokenLifetimeMs=15m"),
            ("tokenLifetimeMs=2h", "a length from"),
            ("maxTrustWindowMs=-1", "write a length of 24 h or more, such as maxTrustWindowMs=30d"),
            ("maxTrustWindowMs=null", "a length of"),
            ("auditKeepEvents=1", "write a number, 1000 or more, such as auditKeepEvents=100000"),
            ("allowUntilRevoked=1", "write true or false, such as"),
            ("defaultReach=all", "write exposed or selected, such as defaultReach=selected"),
            ("defaultTrustWindows=1h", "for some of first-party:read"),
            (r#"defaultTrustWindows={"managed:read":"90m"}"#, "write once, 1h, 1d, 7d or until-revoked"),
            (r#"defaultTrustWindows={"bogus":"1h"}"#, "for some of"),
            ("defaultTrustWindows.bogus=1h", "such as defaultTrustWindows.managed:write=1h"),
            ("autoAllowReads.x=true", "write true or false"),
            ("tokenLifetimeBounds=1", "there is no setting \"tokenLifetimeBounds\"; there are: tokenLifetimeMs, max"),
        ];
        for (bad, why) in rows {
            let said = pair(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
        assert!(help().contains("\n  auditKeepEvents=100000\n          a number, 1000 or more"));
    }

    #[test]
    fn value_that_was_not_taken_is_told() {
        let config = serde_json::json!({"tokenLifetimeMs": 60_000, "defaultTrustWindows": {"a:read": "7d", "b:read": "1d"}});
        let told = |asked: Value| not_as_asked(&asked, &config);
        let asked = serde_json::json!({"tokenLifetimeMs": 5});
        assert_eq!(
            told(asked),
            "\nnote: tokenLifetimeMs cannot be 5; it is 60000"
        );
        let windows = |read: &str| serde_json::json!({"defaultTrustWindows": {"a:read": read}});
        assert!(told(windows("5y")).contains("cannot be {\"a:read\":\"5y\"}"));
        assert_eq!(told(windows("7d")), "");
        assert_eq!(told(serde_json::json!({"tokenLifetimeMs": 60_000})), "");
    }

    #[test]
    fn what_was_asked_for_is_shown() {
        let windows = serde_json::json!({"a:read": "7d", "b:read": "1d"});
        let mut config =
            serde_json::json!({"autoAllowReads": true, "defaultTrustWindows": windows});
        let asked = serde_json::json!({"defaultTrustWindows": {"b:read": "1d"}});
        keep(&mut config, &asked);
        assert_eq!(
            as_text(&config),
            "SETTING                     VALUE\ndefaultTrustWindows.b:read  1d"
        );
    }

    #[test]
    fn lengths_are_readable() {
        let config = serde_json::json!({"tokenLifetimeMs": 900_000, "defaultReach": "exposed"});
        assert_eq!(
            as_text(&config),
            "SETTING          VALUE\ntokenLifetimeMs  900000 (15 min)\ndefaultReach     exposed"
        );
    }
}
