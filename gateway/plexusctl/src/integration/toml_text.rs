//! Setting keys in somebody else's TOML file, and taking them out again. Comments and order stay.

use super::json_text::Unfit;
use toml_edit::{DocumentMut, Item, Table, Value};

/// The text with `value` at `path`, and how many members of the path had to be made. `None` where something else stands
/// there: what the person chose is not replaced.
pub(super) fn set(
    text: &str,
    path: &[String],
    value: &str,
) -> Result<Option<(String, usize)>, Unfit> {
    let mut document = parse(text)?;
    let value: Value = value
        .parse()
        .map_err(|e: toml_edit::TomlError| Unfit::NotJson(e.message().to_owned()))?;
    let Some((last, tables)) = path.split_last() else {
        return Ok(None);
    };
    let mut made = 0;
    let mut at = document.as_table_mut();
    for (depth, name) in tables.iter().enumerate() {
        if !at.contains_key(name) {
            made += 1;
            let mut table = Table::new();
            // A table of tables only needs no line of its own.
            table.set_implicit(depth + 1 < tables.len());
            at.insert(name, Item::Table(table));
        }
        at = at
            .get_mut(name)
            .and_then(Item::as_table_mut)
            .ok_or_else(|| Unfit::OtherForm(tables[..=depth].join(".")))?;
        if depth + 1 == tables.len() {
            at.set_implicit(false);
        }
    }
    match at.get(last) {
        Some(known) if same(known, &value) => Ok(Some((text.to_owned(), 0))),
        Some(_) => Ok(None),
        None => {
            at.insert(last, Item::Value(value));
            Ok(Some((document.to_string(), made + 1)))
        }
    }
}

/// The text without the key at `path`, where it still has `value`; the innermost `made` members go where they are empty.
pub(super) fn unset(
    text: &str,
    path: &[String],
    value: &str,
    made: usize,
) -> Result<Option<String>, Unfit> {
    if !has(text, path, value) {
        return Ok(None);
    }
    let mut document = parse(text)?;
    for length in (path.len().saturating_sub(made.max(1)) + 1..=path.len()).rev() {
        let Some((last, tables)) = path[..length].split_last() else {
            break;
        };
        let holder = tables.iter().try_fold(document.as_table_mut(), |at, name| {
            at.get_mut(name).and_then(Item::as_table_mut)
        });
        let Some(holder) = holder else {
            break;
        };
        let empty = holder
            .get(last)
            .and_then(Item::as_table)
            .is_none_or(Table::is_empty);
        if !empty {
            break;
        }
        holder.remove(last);
    }
    Ok(Some(document.to_string()))
}

/// Whether `value` stands at `path`.
pub(super) fn has(text: &str, path: &[String], value: &str) -> bool {
    let (Ok(document), Ok(value)) = (parse(text), value.parse::<Value>()) else {
        return false;
    };
    at(&document, path).is_some_and(|item| same(item, &value))
}

/// Whether anything stands at `path`.
pub(super) fn is_there(text: &str, path: &[String]) -> bool {
    parse(text).is_ok_and(|document| at(&document, path).is_some())
}

fn at<'d>(document: &'d DocumentMut, path: &[String]) -> Option<&'d Item> {
    path.iter()
        .try_fold(document.as_item(), |at, name| at.get(name))
}

/// Whether anything stands at a key of the top level.
pub(super) fn chosen(text: &str, key: &str) -> Result<bool, Unfit> {
    Ok(parse(text)?.contains_key(key))
}

fn same(item: &Item, value: &Value) -> bool {
    let plain = |value: &Value| {
        let mut value = value.clone();
        value.decor_mut().clear();
        value.to_string()
    };
    item.as_value()
        .is_some_and(|known| plain(known) == plain(value))
}

fn parse(text: &str) -> Result<DocumentMut, Unfit> {
    text.parse()
        .map_err(|e: toml_edit::TomlError| Unfit::NotJson(e.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_set_can_be_taken_out_to_the_byte() {
        for before in [
            "",
            "# mine\nmodel = \"x\" # here\n\n[features]\n# why\nplugins = false\n",
            "[permissions.other]\nextends = \":workspace\"\n",
        ] {
            let mut text = before.to_owned();
            let keys = [
                (path(&["default_permissions"]), "\"p\""),
                (path(&["features", "network_proxy"]), "true"),
                (path(&["permissions", "p", "extends"]), "\":workspace\""),
                (
                    path(&["permissions", "p", "filesystem", "/a b/[!c]*"]),
                    "\"deny\"",
                ),
            ];
            let mut made = Vec::new();
            for (path, value) in &keys {
                let (next, new) = set(&text, path, value).unwrap().unwrap();
                assert!(has(&next, path, value), "{next}");
                made.push(new);
                text = next;
            }
            for ((path, value), new) in keys.iter().zip(made).rev() {
                text = unset(&text, path, value, new).unwrap().unwrap();
            }
            assert_eq!(text, before);
        }
    }

    /// Two readers could take two different ones: such a file is nobody's to edit.
    #[test]
    fn a_key_given_twice_is_refused_in_every_spelling() {
        let key = path(&["permissions", "p", "extends"]);
        let twice = [
            "a = 1\na = 2\n",
            "a = 1\n\"a\" = 2\n",
            "[t]\na = 1\n[t]\nb = 2\n",
            "t.a = 1\n[t]\nb = 2\n",
            "[t]\na = 1\n\"\\u0061\" = 2\n",
            "t = {a = 1, a = 2}\n",
            "a = 1\n[a.b]\n",
        ];
        for text in twice {
            for read in [set(text, &key, "1").map(drop), chosen(text, "a").map(drop)] {
                let Err(Unfit::NotJson(why)) = read else {
                    panic!("{text}: {read:?}");
                };
                let is_twice = why == "duplicate key" || why.starts_with("cannot extend value");
                assert!(is_twice, "{text}: {why}");
            }
            assert!(
                unset(text, &key, "1", 1).is_ok_and(|none| none.is_none()),
                "{text}"
            );
            assert!(!has(text, &path(&["a"]), "1"), "{text}");
        }
        for once in ["a = 1\nb = 2\n", "[t]\na = 1\n[u]\na = 2\n"] {
            assert!(set(once, &key, "1").unwrap().is_some(), "{once}");
        }
    }

    #[test]
    fn what_the_person_chose_stays() {
        let text = "default_permissions = \":read-only\"\n";
        let key = path(&["default_permissions"]);
        assert_eq!(set(text, &key, "\"p\"").unwrap(), None);
        assert_eq!(unset(text, &key, "\"p\"", 1).unwrap(), None);
        assert!(chosen(text, "default_permissions").unwrap());
        assert!(!chosen(text, "sandbox_mode").unwrap());
        let open = set("a = [", &key, "1").unwrap_err();
        assert!(matches!(open, Unfit::NotJson(_)), "{open}");
    }
}
