//! What the input schemas of one manifest may take together: bytes, patterns, and the memory of the compiled patterns.
//!
//! Invariants: no pattern is compiled before bytes and patterns are within their bounds; the largest pattern is bounded by
//! itself, so that judging a manifest takes little more memory than the manifest may.
//!
//! Must not know: whose manifest it is.

use regex_automata::meta::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most bytes of all schemas of a manifest.
const MAX_BYTES: usize = 1 << 20;
/// Most patterns in all of them; a reference counts as [`REFERENCE`].
const MAX_PATTERNS: usize = 512;
/// Most memory of all compiled patterns, in bytes. A pattern that a person writes takes 5 to 100 KiB.
const MAX_COMPILED: usize = 16 << 20;
/// Largest automaton of one pattern, in bytes; compiled it takes twice that, since it is matched in both directions.
pub(crate) const MAX_PATTERN: usize = 2 << 20;
/// Most bytes of one schema, and most patterns in it.
const MAX_SCHEMA: usize = 65_536;
const MAX_PATTERNS_OF_ONE: usize = 32;
/// How many patterns a reference counts as.
const REFERENCE: usize = 2;

/// What schemas have taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SchemaBudget {
    bytes: usize,
    patterns: usize,
    compiled: usize,
}

impl SchemaBudget {
    /// Judges all schemas of a manifest.
    ///
    /// # Errors
    /// Which bound they are over, and by how much.
    pub(crate) fn check<'v>(
        schemas: impl Iterator<Item = &'v Value> + Clone,
    ) -> Result<(), String> {
        let mut all = Self::default();
        schemas.clone().for_each(|schema| all.add(schema));
        all.is_within()?;
        schemas.into_iter().try_for_each(|schema| all.size(schema))
    }

    /// Takes one more schema; one that does not fit takes nothing.
    ///
    /// # Errors
    /// Which bound all would be over, and by how much.
    pub(crate) fn take(&mut self, schema: &Value) -> Result<(), String> {
        let mut all = *self;
        all.add(schema);
        all.is_within()?;
        all.size(schema)?;
        *self = all;
        Ok(())
    }

    fn add(&mut self, schema: &Value) {
        self.bytes += schema.to_string().len();
        self.patterns += patterns(schema);
    }

    fn is_within(&self) -> Result<(), String> {
        let over = |have: usize, what: &str, most: usize| {
            let more = have.saturating_sub(most);
            (more > 0).then(|| format!("all input schemas of a manifest together have at most {most} {what}, and these have {have} {what}, {more} too many: shorten them, or make two sources of it"))
        };
        let bytes = over(self.bytes, "bytes", MAX_BYTES);
        let patterns = || over(self.patterns, "patterns", MAX_PATTERNS);
        bytes.or_else(patterns).map_or(Ok(()), Err)
    }

    /// Compiles the patterns of a schema one by one, for their size alone.
    fn size(&mut self, schema: &Value) -> Result<(), String> {
        let mut all = BTreeSet::new();
        collect(schema, &mut all);
        for pattern in all {
            let large = || {
                format!(
                    "the pattern {:?} takes more than {} MiB compiled: bound its repetitions lower",
                    shown(pattern),
                    MAX_PATTERN >> 20
                )
            };
            // What is no pattern is judged where the schema is compiled (`PatternHolder`).
            let Ok(translated) = jsonschema_regex::to_rust_regex(pattern) else {
                continue;
            };
            match compiled(&translated) {
                Some(Ok(size)) => self.compiled += size,
                Some(Err(TooLarge)) => return Err(large()),
                None => {}
            }
            if self.compiled > MAX_COMPILED {
                let (have, most) = (mib(self.compiled), MAX_COMPILED >> 20);
                return Err(format!(
                    "all patterns of a manifest together take at most {most} MiB compiled, and these take {have} MiB compiled at {:?}: shorten them, or make two sources of it",
                    shown(pattern)
                ));
            }
        }
        Ok(())
    }
}

/// Why one schema alone has too much: a call pays for the references of its own schema.
pub(crate) fn refused(schema: &Value) -> Option<&'static str> {
    let is_over = schema.to_string().len() > MAX_SCHEMA || patterns(schema) > MAX_PATTERNS_OF_ONE;
    is_over.then_some("more than 64 KiB, or more than 32 patterns; a reference counts as two")
}

/// A pattern takes more than [`MAX_PATTERN`].
struct TooLarge;

/// The memory of one pattern as a schema compiles it, in bytes; none of what is no pattern.
fn compiled(pattern: &str) -> Option<Result<usize, TooLarge>> {
    let config = Regex::config().nfa_size_limit(Some(MAX_PATTERN));
    let mut builder = Regex::builder();
    match builder.configure(config).build(pattern) {
        Ok(regex) => Some(Ok(regex.memory_usage())),
        Err(error) => error.size_limit().map(|_| Err(TooLarge)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown")]
fn mib(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn shown(pattern: &str) -> String {
    plexus_protocol::words::cut(pattern, 60)
}

fn members(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = schema.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}

fn below(schema: &Value) -> impl Iterator<Item = &Value> {
    let items = schema.as_array().into_iter().flatten();
    items.chain(members(schema).map(|(_, value)| value))
}

/// How much work a schema makes beside its length: each regular expression is compiled, and each reference may double what a
/// call costs.
fn patterns(schema: &Value) -> usize {
    let own = members(schema).map(|(name, value)| match (name, value) {
        ("pattern", Value::String(_)) => 1,
        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(_)) => REFERENCE,
        ("patternProperties", Value::Object(all)) => all.len(),
        _ => 0,
    });
    own.sum::<usize>() + below(schema).map(patterns).sum::<usize>()
}

/// The regular expressions of a schema, each once: that is how it keeps them.
fn collect<'v>(schema: &'v Value, into: &mut BTreeSet<&'v str>) {
    for (name, value) in members(schema) {
        match (name, value) {
            ("pattern", Value::String(pattern)) => _ = into.insert(pattern),
            ("patternProperties", Value::Object(all)) => {
                into.extend(all.keys().map(String::as_str));
            }
            _ => {}
        }
    }
    below(schema).for_each(|part| collect(part, into));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(patterns: impl Iterator<Item = String>) -> Value {
        let fields = patterns.enumerate();
        let fields = fields.map(|(at, pattern)| (format!("f{at}"), json!({"pattern": pattern})));
        json!({"type": "object", "properties": fields.collect::<serde_json::Map<_, _>>()})
    }

    #[test]
    fn each_bound_is_named_with_its_excess() {
        let honest = with((1..=60).map(|n| format!("^[A-Za-z0-9_-]{{1,{n}}}$")));
        SchemaBudget::check([&honest].into_iter()).expect("the control");
        let long = json!({"description": "x".repeat(MAX_BYTES)});
        let why = SchemaBudget::check([&long, &honest].into_iter()).unwrap_err();
        assert!(why.contains("at most 1048576 bytes"), "{why}");
        let many = with((0..300).map(|n| format!("^{n}$")));
        let why = SchemaBudget::check([&many, &many].into_iter()).unwrap_err();
        assert!(why.contains("600 patterns, 88 too many"), "{why}");
        let large = with((0..20).map(|n| format!("[^a]{{{}}}", 1_000 + n)));
        let why = SchemaBudget::check([&large].into_iter()).unwrap_err();
        assert!(why.contains("at most 16 MiB compiled"), "{why}");
        let one = with(std::iter::once("[^a]{50000}".to_owned()));
        let why = SchemaBudget::check([&one].into_iter()).unwrap_err();
        assert!(why.contains("takes more than 2 MiB compiled"), "{why}");
    }

    #[test]
    fn schema_that_does_not_fit_takes_nothing() {
        let (half, rest) = (
            with((0..400).map(|n| format!("^{n}$"))),
            with((0..112).map(|n| format!("^{n}$"))),
        );
        let mut budget = SchemaBudget::default();
        budget.take(&half).unwrap();
        let why = budget.take(&half).unwrap_err();
        assert!(why.contains("800 patterns, 288 too many"), "{why}");
        budget.take(&rest).unwrap();
        let one = with(std::iter::once("a".to_owned()));
        let why = budget.take(&one).unwrap_err();
        assert!(why.contains("513 patterns, 1 too many"), "{why}");
    }
}
