//! On which terms something is allowed: for how long, where, how often.

use clap::Args;
use plexus_client::{Stop, span, text};
use plexus_owner::pending::Ask;
use plexus_protocol::{Constraint, TrustWindow, constraint::PathPrefix, words::counted};

/// Terms as flags.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    /// How long: once, 1h, 1d, 7d, until-revoked, or a length such as 90m
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    pub(crate) window: Option<TrustWindow>,
    /// Only where this field of the input lies at or below a path; may be given again for the same field
    #[arg(long, value_name = "FIELD=PREFIX", value_parser = under)]
    under: Vec<(String, String)>,
    /// At most so many calls
    #[arg(long, value_name = "N")]
    max_calls: Option<u32>,
    /// Fewer turns and minutes than a conversation asks for; given where a request is approved.
    #[arg(skip)]
    pub(crate) fewer: [Option<u32>; 2],
    /// The window that was asked for, where another one was given.
    #[arg(skip)]
    asked_for: Option<TrustWindow>,
}

/// A window in words, one of the owner's own with its length.
pub(crate) fn window_in_words(window: TrustWindow) -> String {
    match window.kind() {
        "custom" => format!("for up to {}", span::length(window.length_ms())),
        _ => window.phrase().to_owned(),
    }
}

/// That less was given than was asked for, and by which setting, behind a sentence; nothing where it was not so.
pub(crate) fn cut(asked_for: TrustWindow, given: TrustWindow) -> String {
    let is_less = given.length_ms() < asked_for.length_ms();
    match (asked_for, given) {
        (TrustWindow::For { ms, .. }, TrustWindow::For { .. }) if is_less => format!(
            "; {} was asked for: your setting maxTrustWindowMs allows no more (plexusctl config)",
            span::length(ms)
        ),
        (TrustWindow::UntilRevoked, TrustWindow::For { .. }) => {
            "; until-revoked was asked for: your setting allowUntilRevoked is false (plexusctl config)"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// Reads a window.
pub(crate) fn window(text: &str) -> Result<TrustWindow, String> {
    TrustWindow::parse(text).ok_or_else(|| {
        "write once, 1h, 1d, 7d, until-revoked, or a length such as 90m, 12h, 3d".to_owned()
    })
}

fn under(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, prefix)) if !field.is_empty() => Ok((field.to_owned(), prefix.to_owned())),
        _ => Err("write FIELD=PREFIX, such as path=Projects".to_owned()),
    }
}

impl Terms {
    /// The same with fewer turns and minutes of a conversation.
    pub(crate) fn within(self, turns: Option<u32>, minutes: Option<u32>) -> Self {
        Self {
            fewer: [turns, minutes],
            ..self
        }
    }

    /// Whether they name a field that is limited.
    pub(crate) fn has_limit(&self) -> bool {
        !self.under.is_empty()
    }

    /// The same for another window, which was given in place of this one.
    pub(crate) fn over(self, window: TrustWindow) -> Self {
        Self {
            asked_for: self.window,
            window: Some(window),
            ..self
        }
    }

    /// Names the setting by which they were cut, behind a sentence; nothing where they were not.
    pub(crate) fn cut(&self) -> String {
        match (self.asked_for, self.window) {
            (Some(asked_for), Some(given)) => cut(asked_for, given),
            _ => String::new(),
        }
    }

    /// For how long, or how many of the turns and minutes that `asks` name, and within which limits, in words.
    pub(crate) fn phrase(&self, asks: &[Ask]) -> String {
        let limits = self.constraint().ok().flatten();
        let limits = limits.map_or_else(String::new, |limits| format!(", {}", limits.in_words()));
        // A call that waits is the first of the number.
        let lasts = self
            .window
            .is_some_and(|window| window != TrustWindow::Once);
        let waits = !asks.is_empty() && asks.iter().all(|ask| ask.input.is_some());
        let is_counted = self.max_calls.is_some() && lasts && waits;
        let first = if is_counted {
            ", this one included"
        } else {
            ""
        };
        text::line(&(self.length(asks) + &limits + first))
    }

    /// The same of a window that was not given.
    pub(crate) fn once(&self) -> Self {
        Self {
            fewer: self.fewer,
            ..Self::default()
        }
    }

    fn length(&self, asks: &[Ask]) -> String {
        let window = self.window.unwrap_or(TrustWindow::Once);
        let mut each = asks
            .iter()
            .map(|ask| match (&ask.conversation, &ask.children) {
                (Some(of), _) => Some((of.turns, of.minutes, "turn")),
                (None, Some(of)) => Some((of.runs, of.minutes, "run")),
                (None, None) => None,
            });
        let first = each.next().flatten();
        let bounds = first.filter(|_| each.all(|other| other == first));
        let (TrustWindow::Once, Some((count, minutes, of))) = (window, bounds) else {
            return window_in_words(window);
        };
        let [most, length] = self.fewer;
        let count = most.map_or(count, |most| most.min(count));
        let minutes = length.map_or(minutes, |length| length.min(minutes));
        format!("for {} within {minutes} min", counted(count, of))
    }

    /// Whether they are more turns, runs or minutes than one of `asks` names: an approval lowers them alone.
    pub(crate) fn raises(&self, asks: &[Ask]) -> bool {
        let [most, length] = self.fewer;
        let beyond = |(count, minutes)| {
            most.is_some_and(|most| most > count) || length.is_some_and(|length| length > minutes)
        };
        let talks = asks.iter().filter_map(|ask| ask.conversation.as_ref());
        let runs = asks.iter().filter_map(|ask| ask.children.as_ref());
        let talks = talks.map(|of| (of.turns, of.minutes));
        talks
            .chain(runs.map(|of| (of.runs, of.minutes)))
            .any(beyond)
    }

    /// Only a window, or the one that is used where none is given.
    pub(crate) fn lasting(window: Option<TrustWindow>) -> Self {
        Self {
            window,
            ..Self::default()
        }
    }

    /// A window, narrowed to what lies at or below a path, and to a number of calls.
    pub(crate) fn narrowed(
        window: TrustWindow,
        under: Option<(String, String)>,
        max_calls: Option<u32>,
    ) -> Self {
        Self {
            window: Some(window),
            under: under.into_iter().collect(),
            max_calls,
            ..Self::default()
        }
    }

    /// The narrowing, where one was given.
    pub(crate) fn constraint(&self) -> Result<Option<Constraint>, Stop> {
        let path_prefix = match self.under.first() {
            None => None,
            Some((field, _)) => {
                if let Some((other, _)) = self.under.iter().find(|(f, _)| f != field) {
                    let why = format!(
                        "--under names two fields, {field} and {other}; a grant is narrowed by one"
                    );
                    return Err(Stop::usage(why));
                }
                let allow = self
                    .under
                    .iter()
                    .map(|(_, prefix)| prefix.clone())
                    .collect();
                Some(PathPrefix {
                    field: field.clone(),
                    allow,
                })
            }
        };
        let constraint = Constraint {
            path_prefix,
            allow: None,
            rules: Vec::new(),
            max_calls: self.max_calls,
        };
        if constraint.is_empty() {
            return Ok(None);
        }
        constraint.check().map_err(Stop::usage)?;
        Ok(Some(constraint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::{Value, json};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    fn body(line: &[&str]) -> Result<Value, Stop> {
        let terms = Line::try_parse_from([&["x"], line].concat()).unwrap().terms;
        let mut body = json!({});
        if let Some(window) = terms.window {
            body["trustWindow"] = json!(window);
        }
        if let Some(constraint) = terms.constraint()? {
            body["constraint"] = json!(constraint);
        }
        Ok(body)
    }

    #[test]
    fn flags_become_terms() {
        assert_eq!(body(&[]), Ok(json!({})));
        assert_eq!(
            body(&["--window", "once"]),
            Ok(json!({"trustWindow": {"kind": "once"}}))
        );
        assert_eq!(
            body(&["--window", "90m"]),
            Ok(json!({"trustWindow": {"kind": "custom", "ms": 5_400_000}}))
        );
        assert_eq!(
            body(&[
                "--under",
                "path=A",
                "--under",
                "path=B/C",
                "--max-calls",
                "3"
            ]),
            Ok(
                json!({"constraint": {"pathPrefix": {"field": "path", "allow": ["A", "B/C"]}, "maxCalls": 3}})
            )
        );
        for (flag, value, words) in [
            ("--window", "forever", "write once, 1h"),
            ("--under", "Projects", "write FIELD=PREFIX"),
        ] {
            let refused = Line::try_parse_from(["x", flag, value]).err();
            let why = refused.expect("refused").to_string();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn turns_and_minutes_are_those_of_the_item() {
        let call = crate::approvals::fixture::grant()["asks"][0].clone();
        let conversation = |turns: u32| {
            let mut ask = call.clone();
            ask["conversation"] = json!({"turns": turns, "minutes": 60});
            serde_json::from_value(ask).unwrap()
        };
        let phrase = |turns, minutes, of: u32| {
            let terms = Terms::default().within(turns, minutes);
            terms.phrase(&[conversation(of)])
        };
        assert_eq!(phrase(None, None, 20), "for 20 turns within 60 min");
        assert_eq!(phrase(Some(3), Some(15), 20), "for 3 turns within 15 min");
        assert_eq!(phrase(Some(1), None, 20), "for 1 turn within 60 min");
        assert_eq!(phrase(None, Some(15), 1), "for 1 turn within 15 min");
        let raises = |turns, minutes| {
            let terms = Terms::default().within(turns, minutes);
            terms.raises(&[conversation(4)])
        };
        assert!(raises(Some(5), None) && raises(None, Some(61)));
        assert!(!raises(Some(4), Some(60)) && !raises(None, None));
        let one = serde_json::from_value(call).unwrap();
        let once = Terms::default().phrase(&[one]);
        assert_eq!(once, TrustWindow::Once.phrase());
    }

    #[test]
    fn window_that_was_cut_names_the_setting() {
        let window = |text| TrustWindow::parse(text).unwrap();
        let month = window("30d");
        assert_eq!(
            cut(window("40d"), month),
            "; 40 days was asked for: your setting maxTrustWindowMs allows no more (plexusctl config)"
        );
        assert!(cut(TrustWindow::UntilRevoked, TrustWindow::WEEK).contains("allowUntilRevoked"));
        for given in [window("24h"), TrustWindow::DAY, TrustWindow::Once] {
            assert_eq!(cut(TrustWindow::DAY, given), "");
        }
        let terms = Terms::lasting(Some(window("40d")));
        assert_eq!(terms.cut(), "");
        assert_eq!(terms.over(month).cut(), cut(window("40d"), month));
    }

    #[test]
    fn terms_that_say_two_things_or_nothing_are_refused() {
        for (line, words) in [
            (&["--under", "path=A", "--under", "to=B"][..], "two fields"),
            (&["--max-calls", "0"], "maxCalls is 0"),
            (&["--under", "path=../x"], "is no path inside of the source"),
        ] {
            let why = body(line).unwrap_err().why;
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_constraint_in_words() {
        for (constraint, words) in [
            (
                json!({"pathPrefix": {"field": "path", "allow": ["A", "B/C"]}, "maxCalls": 3}),
                "path at or below A or B/C, at most 3 calls",
            ),
            (
                json!({"pathPrefix": {"field": "path", "allow": [""]}}),
                "path anywhere",
            ),
            (json!({"allow": {"field": "list", "values": []}}), "no list"),
            (
                json!({"match": [{"field": "to", "op": "prefix", "value": "a@"},
                    {"field": "n", "op": "in", "values": [1, "b"]}]}),
                "to begins with a@, n is 1 or b",
            ),
        ] {
            let constraint: Constraint = serde_json::from_value(constraint).unwrap();
            assert_eq!(constraint.in_words(), words);
        }
    }
}
