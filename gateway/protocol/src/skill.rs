//! What an agent is told before its first call: one text for commands and one for tools, and where they are put.
//!
//! Invariants: it names one command or server and no credential, URL or file; it fits in 400 tokens, so that it can stand in every
//! conversation of an agent (a test holds it to [`BOUND`] bytes); between the markers of an `AGENTS.md` block stands
//! nothing of the person's.

/// Bytes that the text may have: 400 tokens of at least 3.5 bytes each. English prose with some commands in it takes
/// four and more bytes a token in the tokenizers of the agents that we know; 3.5 leaves room for a worse one.
pub const BOUND: usize = 1_400;

/// First line of the block in an `AGENTS.md`.
pub const BEGIN: &str = "<!-- BEGIN PLEXUS -->";
/// Last line of it.
pub const END: &str = "<!-- END PLEXUS -->";

/// The name of our MCP server in an agent's configuration.
pub const SERVER: &str = "plexus";

/// The name of the skill inside a plugin.
pub const NAME: &str = "use-plexus";
/// When an agent should think of it: always in its sight, so it is short.
pub const DESCRIPTION: &str =
    "Read and change the notes, files and apps that the owner shares through Plexus";

/// How to use Plexus with `command`, the name or path under which the agent finds its own `plexus`.
#[must_use]
pub fn text(command: &str) -> String {
    include_str!("skill.md").replace("{plexus}", command)
}

/// The text as a `SKILL.md`.
#[must_use]
pub fn skill_file(command: &str) -> String {
    format!(
        "---\nname: {NAME}\ndescription: {DESCRIPTION}\n---\n\n{}",
        text(command)
    )
}

/// The text as a block of an `AGENTS.md`, markers and last line break included.
#[must_use]
pub fn block(command: &str) -> String {
    format!("{BEGIN}\n{}{END}\n", text(command))
}

/// The same for an agent that has tools and no command: how to use those of [`SERVER`].
#[must_use]
pub fn tools_block() -> String {
    format!("{BEGIN}\n{}{END}\n", include_str!("tools.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_in_four_hundred_tokens() {
        let long = format!("plexus-{}", "x".repeat(24));
        for command in ["plexus", "plexus-claude-code", &long] {
            let bytes = text(command).len();
            assert!(bytes <= BOUND, "{bytes} bytes with {command}");
        }
        assert!(tools_block().len() <= BOUND);
        assert!(!text("plexus-a").contains('{'), "every place is filled");
        assert!(text("plexus-a").ends_with('\n'));
    }
}
