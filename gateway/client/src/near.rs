//! Which of several names was meant by one that is none of them.
//!
//! Must not know: what is named.

/// How many characters of a name may be mistyped so that it is still recognised.
const MISTYPED: usize = 3;
/// Fewest characters that stand for the one name which begins with them.
const BEGINNING: usize = 3;

/// The name that was meant: the one that begins so, or else the nearest that a slip of the fingers leads to.
pub fn near<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names: Vec<&str> = names.into_iter().collect();
    let mut begins = names.iter().filter(|name| name.starts_with(typed));
    if let (true, Some(one), None) = (typed.len() >= BEGINNING, begins.next(), begins.next()) {
        return Some(one);
    }
    let steps = |name: &&str| strsim::damerau_levenshtein(name, typed);
    let nearest = names.into_iter().min_by_key(steps)?;
    (steps(&nearest) <= MISTYPED).then_some(nearest)
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
            ("wo", None),
            ("calendar.read", None),
        ] {
            assert_eq!(near(typed, names), meant, "{typed}");
        }
        assert_eq!(near("a", []), None);
    }
}
