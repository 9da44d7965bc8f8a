//! `help COMMAND`, as people type it who know git or cargo.

use std::ffi::OsString;

/// A line of `help COMMAND` as `COMMAND --help`; any other as it is.
pub fn read_help(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line: Vec<OsString> = line.into_iter().collect();
    if line.get(1).is_some_and(|word| word == "help") {
        line.remove(1);
        line.retain(|word| word != "help");
        line.push("--help".into());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_stands_behind_the_command() {
        let of = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            let read = read_help(words).into_iter().map(OsString::into_string);
            read.collect::<Result<Vec<_>, _>>().unwrap().join(" ")
        };
        assert_eq!(of("p help"), "p --help");
        assert_eq!(of("p help help"), "p --help");
        assert_eq!(of("p help sources add"), "p sources add --help");
        assert_eq!(of("p call help"), "p call help");
    }
}
