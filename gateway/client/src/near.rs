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
    let slips = names.into_iter().filter(|name| is_slip(typed, name));
    slips.min_by_key(|name| steps(typed, name))
}

/// Whether a slip of the fingers leads from a name to what was typed. Each part behind a dot has its own measure: a long and
/// right beginning does not make up for another end.
fn is_slip(typed: &str, name: &str) -> bool {
    let is_near = |typed: &str, name: &str| steps(typed, name) <= MISTYPED.min(typed.len() / 3);
    let mut ends = typed.split('.').zip(name.split('.')).skip(1);
    let alike = typed.split('.').count() == name.split('.').count();
    is_near(typed, name) && (!alike || ends.all(|(typed, name)| is_near(typed, name)))
}

fn steps(typed: &str, name: &str) -> usize {
    strsim::damerau_levenshtein(name, typed)
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
            ("work.raed", Some("work.read")),
            ("work.blah", None),
            ("notes.head", Some("notes.read")),
            ("notes.wrong", None),
        ] {
            assert_eq!(near(typed, names), meant, "{typed}");
        }
        assert_eq!(near("a", []), None);
        assert_eq!(near("xyz", ["abc"]), None);
    }
}
