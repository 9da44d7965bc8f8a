//! Denials in the text of macOS's log.

/// What was refused to the process `pid`, in order and each once: in the log's words, and the rule that would allow it. A line reads
/// `… Sandbox: NAME(PID) deny(1) OPERATION PATH`.
pub(super) fn refused(log: &str, pid: u32) -> Vec<(String, String)> {
    let mark = format!("({pid}) deny(");
    let mut seen = Vec::new();
    for line in log.lines() {
        let said = line.split_once(&mark).map_or("", |(_, said)| said);
        let Some((_, said)) = said.split_once(") ") else {
            continue;
        };
        let rule = match said.split_once(' ') {
            Some((operation, path)) => format!("(allow {operation} (literal \"{path}\"))"),
            None => format!("(allow {said})"),
        };
        let refused = (said.to_owned(), rule);
        if !seen.contains(&refused) {
            seen.push(refused);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_of_the_process_are_read_once_each() {
        let line = |pid: u32, what: &str| {
            format!("2026-11-28 kernel (Sandbox) Sandbox: plexus-worker-x({pid}) {what}\n")
        };
        let log = [
            "Timestamp Ty Process[PID:TID]\n".to_owned(),
            line(71, "deny(1) file-read-data /Users/me/a b (c) d"),
            line(7, "deny(1) mach-lookup com.apple.tccd"),
            line(71, "deny(1) file-read-data /Users/me/a b (c) d"),
            line(71, "allow file-read-data /x"),
            line(71, "deny(1) process-fork"),
        ]
        .concat();
        let expected = [
            (
                "file-read-data /Users/me/a b (c) d",
                "(allow file-read-data (literal \"/Users/me/a b (c) d\"))",
            ),
            ("process-fork", "(allow process-fork)"),
        ];
        let expected = expected.map(|(said, rule)| (said.to_owned(), rule.to_owned()));
        assert_eq!(refused(&log, 71), expected);
        assert_eq!(refused(&log, 1), []);
    }
}
