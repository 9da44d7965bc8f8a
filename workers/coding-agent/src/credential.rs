//! The credential of a run's way out: cut from all that leaves the worker, should a command have found it.

use plexus_ipc::worker::EGRESS_CREDENTIAL;

/// A text without credentials of an egress.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split(EGRESS_CREDENTIAL);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str("[credential]");
        kept.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_is_cut_out_whole_or_in_part() {
        let text = format!(
            "key={EGRESS_CREDENTIAL}{}, then {EGRESS_CREDENTIAL}0af",
            "a1".repeat(32)
        );
        assert_eq!(
            without_credentials(&text),
            "key=[credential], then [credential]"
        );
        assert_eq!(without_credentials("nothing"), "nothing");
    }
}
