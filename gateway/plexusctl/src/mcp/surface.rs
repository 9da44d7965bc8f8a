//! What an MCP server is, may reach and says: all that the owner is to know before an approval.

use crate::sheet;
use plexus_client::text;
use plexus_owner::extensions::{LentServer, OfferedTool, ServerFacts, ServerPreview};
use plexus_protocol::Verb;
use serde_json::Value;

/// What a server is given and may reach, one fact a line; `resolved` is the program that it is.
fn given(server: &ServerFacts, resolved: Option<&str>) -> Vec<String> {
    fn texts<'t>(all: impl IntoIterator<Item = &'t String>) -> String {
        let all: Vec<_> = all.into_iter().map(|one| text::line(one)).collect();
        match all.is_empty() {
            true => "none".to_owned(),
            false => all.join(", "),
        }
    }
    let mut lines = vec![
        format!("MCP server   {}", server.name),
        match &server.url {
            Some(url) => format!("URL          {}", text::line(url)),
            None => format!("program      {}", text::line(&server.program)),
        },
    ];
    lines.extend(resolved.map(|resolved| {
        let resolved = resolved.trim_start_matches("program reader ");
        format!("  which is   {}", text::line(resolved))
    }));
    lines.extend(server.ca.as_ref().map(|ca| {
        let ca = text::line(ca);
        format!("CA           {ca}, beside the authorities that Plexus knows")
    }));
    match server.url {
        Some(_) => lines.extend([
            match &server.sign_in {
                Some(tokens) => format!(
                    "sign-in      yours, kept and renewed here; tokens from {}",
                    text::line(tokens)
                ),
                None => format!("secret       {}", texts(&server.secrets)),
            },
            "sandbox      none: it runs elsewhere, and may do with a call what it likes".to_owned(),
        ]),
        None => lines.extend([
            format!("arguments    {}", texts(&server.arguments)),
            format!("environment  {}", texts(&server.environment)),
            format!("secrets      {}", texts(&server.secrets)),
            format!("reads        {}", texts(&server.code)),
            format!(
                "  and changes, when you approve a call: {}",
                texts(&server.folders)
            ),
            match server.hosts.is_empty() {
                true => "network      none".to_owned(),
                false => format!(
                    "network      {}, and nothing else\n  can send there: {}",
                    texts(&server.hosts),
                    text::line(&server.within_reach())
                ),
            },
        ]),
    }
    lines
}

/// A tool, as it is shown.
struct ToolView<'t> {
    name: &'t str,
    description: &'t str,
    is_read: bool,
    refused: Option<&'t str>,
    claims: Option<&'t Value>,
    input: &'t Value,
}

impl<'t> ToolView<'t> {
    fn offered(tool: &'t OfferedTool) -> Self {
        Self {
            name: &tool.name,
            description: &tool.description,
            is_read: tool.verbs == [Verb::Read],
            refused: tool.refused.as_deref(),
            claims: Some(&tool.claims).filter(|claims| claims.is_object()),
            input: &tool.input,
        }
    }

    fn lines(&self, is_elsewhere: bool) -> Vec<String> {
        let treated = match (self.refused, self.is_read) {
            (Some(why), _) => format!("not lent: {}", text::line(why)),
            (None, true) if is_elsewhere => {
                "a read by this server's word; nothing holds it".to_owned()
            }
            (None, true) => "a read: runs where it can change nothing".to_owned(),
            (None, false) => "asks you each time".to_owned(),
        };
        let mut lines = vec![
            format!("\ntool {}: {treated}", text::line(self.name)),
            indented("described as", self.description),
        ];
        lines.extend(self.claims.map(|claims| {
            let claims = text::line(&claims.to_string());
            format!("  the server claims {claims}")
        }));
        lines.push(format!("  input {}", text::line(&self.input.to_string())));
        lines
    }
}

/// The whole surface of one that was looked at, one fact a line.
pub(crate) fn previewed(seen: &ServerPreview) -> String {
    let mut lines = given(&seen.server, seen.resolved.as_deref());
    for files in &seen.pinned {
        let (_, files) = files.split_once(' ').unwrap_or_default();
        lines.push(format!("every file   {}", text::line(files)));
    }
    for code in &seen.changeable {
        let code = code.trim_start_matches("changeable ");
        lines.push(format!(
            "AGENTS CAN CHANGE THIS CODE: {}; each change stops it until you agree again",
            text::line(code)
        ));
    }
    let claims = seen.claims();
    let version = claims.version.as_deref().unwrap_or_default();
    lines.push(match &claims.name {
        Some(name) => format!(
            "it says that it is {} {}",
            text::line(name),
            text::line(version)
        ),
        None => "it says that it is nothing".to_owned(),
    });
    lines.extend(
        seen.instructions
            .iter()
            .map(|words| indented("it instructs", words)),
    );
    let is_elsewhere = seen.server.url.is_some();
    let tools = seen.tools.iter().map(ToolView::offered);
    lines.extend(tools.flat_map(|tool| tool.lines(is_elsewhere)));
    lines.extend(seen.changes.as_ref().map(|changes| {
        let painted = sheet::blocks(&[plexus_sheet::server_changes(changes)]);
        format!("\n{}", painted.trim_end())
    }));
    lines.join("\n")
}

/// The tools that cannot be lent, each on a line of its own with the reason.
pub(super) fn unlent(seen: &ServerPreview) -> String {
    let refused = |tool: &OfferedTool| {
        let (name, why) = (text::line(&tool.name), text::line(tool.refused.as_ref()?));
        Some(format!("\ntool {name}: not lent: {why}"))
    };
    seen.tools.iter().filter_map(refused).collect()
}

/// What the owner agreed to.
pub(super) fn lent(server: &LentServer) -> String {
    let mut lines = given(&server.server, None);
    let unusable = server.unusable.iter();
    lines.extend(unusable.map(|why| format!("state        {}", text::line(why))));
    if let n @ 1.. = server.hidden.len() {
        lines.push(format!(
            "hidden       {n} hidden until you decide (plexusctl approvals): {}",
            text::listed(&server.hidden, ", ")
        ));
    }
    if let n @ 1.. = server.withheld.len() {
        let reasons = format!("plexusctl mcp refresh {} says why", server.server.name);
        lines.push(format!(
            "not lent     {n} ({reasons}): {}",
            text::listed(&server.withheld, ", ")
        ));
    }
    let none = Value::Null;
    let tools = server.tools.iter().map(|tool| ToolView {
        name: &tool.name,
        description: &tool.description,
        is_read: tool.verbs.is_read(),
        refused: None,
        claims: None,
        input: tool.input.as_ref().unwrap_or(&none),
    });
    let is_elsewhere = server.server.url.is_some();
    lines.extend(tools.flat_map(|tool| tool.lines(is_elsewhere)));
    lines.join("\n")
}

fn indented(what: &str, words: &str) -> String {
    let lines: Vec<_> = words
        .lines()
        .map(|line| format!("    {}", text::line(line)))
        .collect();
    format!("  {what}:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use crate::sheet;
    use plexus_owner::extensions::ServerChanges;

    #[test]
    fn changed_files_are_named_and_the_rest_is_not_nothing() {
        let mut changes = ServerChanges {
            new: Vec::new(),
            gone: Vec::new(),
            changed: Vec::new(),
            instructions: false,
            files: Vec::new(),
            unchanged: false,
        };
        let painted =
            |changes: &ServerChanges| sheet::blocks(&[plexus_sheet::server_changes(changes)]);
        assert!(painted(&changes).contains("its settings or its folders"));
        changes.unchanged = true;
        assert_eq!(painted(&changes), "since you agreed to it:\n  nothing\n");
        changes.unchanged = false;
        changes.files = vec!["of the files in /s: changed \"a.js\"".to_owned()];
        assert_eq!(
            painted(&changes),
            "since you agreed to it:\n  what it runs\n    of the files in /s: changed \"a.js\"\n"
        );
    }
}
