//! `plexusctl sources set`: changes what a source was configured with. Another target is another source to agents that were
//! granted it, so the grants on it are revoked; that is asked first.

use super::{
    add::{AddedSource, Field, connector_of, field_value, fields},
    granted::{ended_since, granted_on, is_asked, lost, open_on, suspended},
    test::{health_of, sentence},
    there,
};
use crate::{
    owner::{Desk, Owner},
    prompt::confirm,
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    kinds::{self, Form},
    sources::{Approval, ConfiguredSource, Reconfigure},
};
use plexus_protocol::{Provenance, SourceId};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// As it is typed: clap's own usage has the source behind what it is to change.
const USAGE: &str = "plexusctl sources set [OPTIONS] <SOURCE> <FIELD=VALUE|--clear <FIELD>|--label <LABEL>|--ask|--no-ask>...";

/// Changes to a source.
#[derive(Args)]
#[command(override_usage = USAGE)]
#[command(group(clap::ArgGroup::new("change").args(["fields", "cleared", "label", "ask", "no_ask"]).multiple(true).required(true)))]
pub(super) struct Set {
    /// Source
    source: SourceId,
    /// Field of its kind, with its new value; may be given again
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Field to leave empty again; may be given again
    #[arg(long = "clear", value_name = "FIELD")]
    cleared: Vec<String>,
    /// Label
    #[arg(long)]
    label: Option<String>,
    /// Ask before every call, reads included
    #[arg(long)]
    ask: bool,
    /// Follow the grants again, instead of asking before every call
    #[arg(long, conflicts_with = "ask")]
    no_ask: bool,
    /// Do not ask for confirmation, even if grants are revoked
    #[arg(long, short)]
    yes: bool,
}

impl Set {
    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let before = there(owner, &self.source).await?;
        let (provenance, before) = (before.provenance, before.source);
        let connectors = owner.call(&kinds::List {}).await?.connectors;
        let none = Form::default();
        let form = match provenance {
            Provenance::Extension => {
                self.check_installed(&before)?;
                &none
            }
            _ => &connector_of(&connectors, &before.kind)?.form,
        };
        let (route, changes) = self.route(&before, form)?;
        let asks = before.approval == Some(Approval::Ask);
        let turns = self.ask && !asks || self.no_ask && asks;
        let approval = self.ask.then(|| Approval::Ask.as_str().to_owned());
        let call = Reconfigure {
            id: self.source.to_string(),
            route: (!changes.is_empty()).then_some(Some(route)),
            label: self.label.clone().map(Some),
            approval: turns.then_some(approval),
            ..Reconfigure::default()
        };
        let open = open_on(owner, &self.source).await?;
        let granted = granted_on(owner, &self.source).await?;
        if !self.yes && (turns || !changes.is_empty()) {
            let pins: Vec<_> = fields(form).filter(Field::suspends).collect();
            let is_pin = |field: &str| pins.iter().any(|pin| pin.name == field);
            let suspends = !turns && self.label.is_none() && self.named().all(is_pin);
            let lost = match suspends {
                true => suspended(&self.source, granted, &open),
                false => lost(granted, &open).map(|lost| format!("{lost} on {}", self.source)),
            };
            let is_asked = is_asked(desk, granted, &open);
            if let Some(lost) = lost.filter(|_| is_asked) {
                confirm(desk, &question(&changes, &lost), "--yes")?;
            }
        }
        let added = owner.call(&call).await?;
        let ended = ended_since(owner, &self.source, Some(&open)).await;
        let left = granted_on(owner, &self.source).await.unwrap_or(granted);
        let revoked = match granted.saturating_sub(left) {
            0 => String::new(),
            revoked => format!("\ngrants revoked: {revoked}"),
        };
        let health = health_of(owner, &self.source).await?;
        let now = health.as_ref().map(sentence);
        let now = now.unwrap_or_else(|| format!("{} is disabled", self.source));
        let health = Some(health);
        desk.show(&AddedSource { added, health }, || {
            let lines = [changes.as_slice(), &[now]].concat().join("\n");
            format!("{lines}{revoked}{ended}")
        })
    }

    /// The fields that are to change.
    fn named(&self) -> impl Iterator<Item = &str> {
        let given = self.fields.iter().filter_map(|given| given.split_once('='));
        let cleared = self.cleared.iter().map(String::as_str);
        given.map(|(name, _)| name).chain(cleared)
    }

    /// Refuses fields of a source that the owner installed: they are agreed to with its manifest.
    fn check_installed(&self, source: &ConfiguredSource) -> Result<(), Stop> {
        if self.fields.is_empty() && self.cleared.is_empty() {
            return Ok(());
        }
        let id = &self.source;
        let next = match source.kind.starts_with("mcp-") {
            true => {
                // The fields of one sort are numbered: `host1`.
                let sorts = self
                    .named()
                    .map(|name| name.trim_end_matches(char::is_numeric));
                let sorts: BTreeSet<_> = sorts.collect();
                let others: Vec<_> = sorts.iter().map(|sort| format!("another {sort}")).collect();
                let others = others.join(" and ");
                format!("plexusctl mcp remove {id}; plexusctl mcp add {id} … with {others}")
            }
            false => "plexusctl extension add FILE --folder NAME=PATH".to_owned(),
        };
        let why = format!("{id} is installed: you agree to what it may reach with its manifest");
        Err(Stop::usage(why).next(next))
    }

    /// What it is to be configured with, and each change as a line.
    fn route(
        &self,
        before: &ConfiguredSource,
        form: &Form,
    ) -> Result<(Map<String, Value>, Vec<String>), Stop> {
        let mut route = before.route.clone().unwrap_or_default();
        let mut changes = Vec::new();
        let mut change = |name: &str, value: Option<Value>| {
            let old = match value.clone() {
                Some(value) => route.insert(name.to_owned(), value),
                None => route.remove(name),
            };
            if old != value {
                changes.push(line(name, old.as_ref(), value.as_ref()));
            }
        };
        for given in &self.fields {
            let (name, value) = field_value(&before.kind, form, given)?;
            change(name, Some(value.into()));
        }
        for name in &self.cleared {
            change(name, None);
        }
        Ok((route, changes))
    }
}

fn line(name: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| match value.and_then(Value::as_str) {
        Some(value) => text::line(value),
        None => "(empty)".to_owned(),
    };
    format!("{}: {} -> {}", text::line(name), shown(old), shown(new))
}

fn question(changes: &[String], lost: &str) -> String {
    let changes: String = changes.iter().map(|line| format!("{line}\n")).collect();
    format!("{changes}this {lost}; change it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changed_fields_are_merged_and_shown() {
        let form: Form = serde_json::from_value(json!({"properties": {
            "host": {}, "port": {}, "folder": {}, "token": {"writeOnly": true},
            "certificate": {"x-grants": "suspended"},
        }}))
        .unwrap();
        let before: ConfiguredSource = serde_json::from_value(json!({
            "id": "mail", "kind": "mail", "label": "Mail", "enabled": true, "transport": "egress",
            "route": {"host": "a\u{202e}", "port": "1", "folder": "in"},
        }))
        .unwrap();
        let set = |fields: &[&str], cleared: &[&str]| Set {
            source: SourceId::parse("mail").unwrap(),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            cleared: cleared.iter().map(|f| (*f).to_owned()).collect(),
            label: None,
            ask: false,
            no_ask: false,
            yes: false,
        };
        let (route, changes) = set(&["host=b", "port=1"], &["folder", "nothing"])
            .route(&before, &form)
            .unwrap();
        assert_eq!(Value::Object(route), json!({"host": "b", "port": "1"}));
        assert_eq!(changes, ["host: a\\u{202e} -> b", "folder: in -> (empty)"]);
        for (field, words) in [("token=x", "token is a secret"), ("other=x", "other")] {
            let why = set(&[field], &[]).route(&before, &form).unwrap_err().why;
            assert!(why.contains(words), "{why}");
        }

        let lent: ConfiguredSource = serde_json::from_value(json!({
            "id": "mail", "kind": "mcp-mail", "label": "Mail", "enabled": true, "transport": "mcp",
        }))
        .unwrap();
        let next = |fields: &[&str], cleared: &[&str]| {
            let refused = set(fields, cleared).check_installed(&lent);
            refused.unwrap_err().next
        };
        let again = "plexusctl mcp remove mail; plexusctl mcp add mail … with another";
        assert_eq!(next(&["host1=b", "host2=c"], &[]), format!("{again} host"));
        let both = format!("{again} folder and another host");
        assert_eq!(next(&["host1=b"], &["folder1"]), both);
    }
}
