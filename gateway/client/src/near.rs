//! Which of several names was meant by one that is none of them.
//!
//! Must not know: what is named.

/// Most characters of a name that may be mistyped so that it is still recognised: a third of what was typed, and no more.
const MISTYPED: usize = 3;
/// Fewest characters that stand for the one name which begins with them.
const BEGINNING: usize = 3;

/// The name that was meant: the one that begins so, or else the nearest that a slip of the fingers leads to. None where several
/// begin so.
pub fn near<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names: Vec<&str> = names.into_iter().collect();
    let begins = names.iter().filter(|name| name.starts_with(typed));
    let begins: Vec<_> = begins.take(2).copied().collect();
    match begins[..] {
        [one] if typed.len() >= BEGINNING => return Some(one),
        [_, _] => return None,
        _ => {}
    }
    let steps = |name: &&str| strsim::damerau_levenshtein(name, typed);
    let nearest = names.into_iter().min_by_key(steps)?;
    (steps(&nearest) <= MISTYPED.min(typed.len() / 3)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_beginnings_are_recognised_and_nothing_else() {
        let names = ["notes.read", "notes.write", "work.read"];
        for (typed, meant) in [
            ("notes.raed", Some("notes.read")),
            ("note.read", Some("notes.read")),
            ("work", Some("work.read")),
            ("notes", None),
            ("notes.", None),
            ("wo", None),
            ("abc.read", None),
            ("calendar.read", None),
        ] {
            assert_eq!(near(typed, names), meant, "{typed}");
        }
        assert_eq!(near("a", []), None);
        assert_eq!(near("xyz", ["abc"]), None);
    }
}
