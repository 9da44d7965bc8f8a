//! `plexusctl config`: the owner's settings (`/v1/config`); they apply at once.

use crate::{owner::Desk, table::table};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span};
use plexus_protocol::json;
use serde_json::{Map, Value};

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
    Set {
        /// Setting and its value: a JSON literal, or a word
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
        pairs: Vec<(String, Value)>,
    },
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((
            key.to_owned(),
            json::parse(value.as_bytes()).unwrap_or_else(|_| value.into()),
        )),
        _ => Err("write KEY=VALUE".to_owned()),
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
            // Unknown settings are ignored on the wire; a typing error must not look like success.
            let known = owner.get("/v1/config").await?;
            if let Some((name, _)) = pairs
                .iter()
                .find(|(name, _)| known.get(name.as_str()).is_none())
            {
                return Err(Stop::usage(format!("there is no setting {name:?}"))
                    .next("plexusctl config show"));
            }
            let body: Map<_, _> = pairs.into_iter().collect();
            let asked = Value::Object(body);
            let reply = owner.put("/v1/config", &asked).await?;
            desk.show(&reply, || {
                let config = &reply["config"];
                format!("{}{}", as_text(config), not_as_asked(&asked, config))
            })
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
    let rows = config
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let shown = match value.as_u64().filter(|_| name.ends_with("Ms")) {
                Some(ms) => format!("{shown} ({})", span::length(ms)),
                None => shown,
            };
            [name.clone(), shown]
        });
    table(["setting", "value"], rows.collect(), "no settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert_eq!(pair("a=true"), Ok(("a".to_owned(), Value::Bool(true))));
        assert_eq!(pair("a=exposed"), Ok(("a".to_owned(), "exposed".into())));
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".into())));
        for bad in ["a", "=1"] {
            assert_eq!(pair(bad), Err("write KEY=VALUE".to_owned()));
        }
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
    fn lengths_are_readable() {
        let config = serde_json::json!({"tokenLifetimeMs": 900_000, "defaultReach": "exposed"});
        assert_eq!(
            as_text(&config),
            "SETTING          VALUE\ntokenLifetimeMs  900000 (15 min)\ndefaultReach     exposed"
        );
    }
}
