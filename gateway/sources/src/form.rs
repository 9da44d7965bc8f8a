//! What the owner fills in for a source of a kind, as one JSON Schema: the command and the console ask from it.
//!
//! | member of a property | says |
//! |---|---|
//! | `title`, `description`, `examples`, `default` | the field's name, one sentence, an example, what an empty one holds |
//! | `writeOnly` | it is a secret: it goes into the secret store and is never shown |
//! | `format` | `uri`, or `absolute-path` for a path on this machine |
//! | `x-unless` | the property with which this secret is not needed |
//! | `x-find` | where a program may be installed: `command` in PATH, `npm` below its `node_modules`, `home` |
//! | `x-file` | it names a file on this machine |
//! | `x-root`, `x-writable` | the folder that the source opens; workers may write in it |
//! | `x-grants` | what another value does to the grants on the source: `ended` or `suspended` |
//!
//! Must not know: who asks, what a value is checked against beyond its form.

use plexus_ipc::manifest::{FieldKind, FieldTarget, Manifest};
use serde_json::{Map, Value, json};

/// The form of a kind. Its properties are in the manifest's order.
#[must_use]
pub fn schema(manifest: &Manifest) -> Value {
    let fields = || {
        let fields = manifest.fields.iter();
        fields.filter(|field| field.target != FieldTarget::Label)
    };
    let property = |field: &plexus_ipc::manifest::Field| {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        put("type", json!("string"));
        put("title", json!(field.label));
        if let Some(help) = &field.help {
            put("description", json!(help));
        }
        if let Some(default) = &field.default {
            put("default", json!(default));
        }
        if let Some(example) = &field.placeholder {
            put("examples", json!([example]));
        }
        match field.kind {
            FieldKind::Url => drop(put("format", json!("uri"))),
            FieldKind::Path => drop(put("format", json!("absolute-path"))),
            FieldKind::Text | FieldKind::Password => {}
        }
        if field.target == FieldTarget::Secret {
            put("writeOnly", json!(true));
        }
        if let Some(by) = &field.unless {
            put("x-unless", json!(by));
        }
        if let Some(find) = &field.find {
            put("x-find", json!(find));
        }
        let mut hosts = manifest.hosts();
        if hosts.any(|host| host.ca.as_ref() == Some(&field.name)) {
            put("x-file", json!(true));
        }
        if manifest.root.as_ref() == Some(&field.name) {
            put("x-root", json!(true));
        }
        if field.writable {
            put("x-writable", json!(true));
        }
        let pinned = manifest.pins().any(|pin| pin == field.name);
        put(
            "x-grants",
            json!(if pinned { "suspended" } else { "ended" }),
        );
        Value::Object(out)
    };
    let properties: Map<String, Value> = fields()
        .map(|field| (field.name.clone(), property(field)))
        .collect();
    // One that has a value when it is left empty is not asked for.
    let required = fields().filter(|field| field.required && field.default.is_none());
    let required: Vec<_> = required.map(|field| &field.name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "title": manifest.label,
        "description": manifest.blurb,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped::SHIPPED;

    #[test]
    fn form_of_each_kind_is_a_schema_with_every_field() {
        for connector in SHIPPED {
            let manifest = Manifest::parse(connector.manifest).unwrap();
            let form = schema(&manifest);
            jsonschema::validator_for(&form).unwrap();
            let fields = manifest.fields.iter();
            let fields = fields.filter(|field| field.target != FieldTarget::Label);
            let properties = form["properties"].as_object().unwrap();
            assert_eq!(fields.count(), properties.len(), "{}", connector.name);
            for (name, property) in properties {
                let is_secret = manifest.secrets().any(|field| field.name == *name);
                assert_eq!(property["writeOnly"] == true, is_secret, "{name}");
            }
        }
        for (connector, files) in [
            ("caldav", &["ca"][..]),
            ("codex-peer", &["relayCa", "ca"]),
            ("workspace", &[]),
        ] {
            let shipped = SHIPPED.iter().find(|one| one.name == connector).unwrap();
            let form = schema(&Manifest::parse(shipped.manifest).unwrap());
            let named = form["properties"].as_object().unwrap().iter();
            let named = named.filter(|(_, property)| property["x-file"] == true);
            let named: Vec<_> = named.map(|(name, _)| name).collect();
            assert_eq!(named, files, "{connector}");
        }
        let rest = SHIPPED.iter().find(|one| one.name == "obsidian-rest");
        let form = schema(&Manifest::parse(rest.unwrap().manifest).unwrap());
        assert_eq!(form["required"], json!(["apiKey"]));
        assert_eq!(form["properties"]["certificate"]["x-grants"], "suspended");
        assert_eq!(form["properties"]["baseUrl"]["x-grants"], "ended");
        let names: Vec<_> = form["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["baseUrl", "certificate", "apiKey"]);
    }
}
