//! Links and tags in a note's body, found outside code, mathematics and HTML.

use std::{borrow::Cow, ops::Range};

use plexus_rooted_files::{RelPath, names::fold};
use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeWithOffset};

/// One thing found in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `#name/nested`, without the `#`.
    Tag {
        /// The tag.
        name: String,
        /// Where the `#` stands, in bytes of the body.
        offset: usize,
    },
    /// A link or embed that leads into the vault, or nowhere.
    Link {
        /// The link as written.
        raw: String,
        /// Where it leads.
        to: Reference,
        /// Whether it shows the other note or file in place (`![[…]]`).
        is_embed: bool,
    },
}

/// The parts of a link's target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// Note or file; empty for the note the link stands in.
    pub path: String,
    /// The heading, or a path of headings, after `#`.
    pub heading: Option<String>,
    /// The block id after `#^`.
    pub block: Option<String>,
}

impl Reference {
    /// Reads `Note#Heading`, `folder/Note#^block`, and the like.
    #[must_use]
    pub fn parse(target: &str) -> Self {
        let (path, part) = match target.split_once('#') {
            Some((path, part)) => (path, Some(part.trim())),
            None => (target, None),
        };
        let block = part.and_then(|part| part.strip_prefix('^'));
        let heading = part.filter(|part| block.is_none() && !part.is_empty());
        Self {
            path: path.trim().to_owned(),
            heading: heading.map(str::to_owned),
            block: block.map(str::to_owned),
        }
    }

    /// Reads a wikilink with its brackets: `[[Note|shown]]`, `![[file.png|300]]`. `None` if it is no such thing.
    #[must_use]
    pub fn parse_wikilink(text: &str) -> Option<Self> {
        let inner = text
            .strip_prefix('!')
            .unwrap_or(text)
            .strip_prefix("[[")?
            .strip_suffix("]]")?;
        // In a table the bar is written `\|`.
        let target = inner.split('|').next().unwrap_or_default();
        Some(Self::parse(target.strip_suffix('\\').unwrap_or(target)))
    }
}

/// Whether a parse could find a link: `[[wiki]]`, `[text](path)`, or `[label]: path` for all that refer to it. Autolinks
/// lead out. Says yes too often, never no.
#[must_use]
pub(crate) fn may_have_links(body: &str) -> bool {
    let body = body.as_bytes();
    memchr::memchr_iter(b']', body).any(|at| matches!(body.get(at + 1), Some(b']' | b'(' | b':')))
}

/// Whether a parse could find the tag, or one nested below it; `wanted` is folded. Says yes too often, never no: a parse
/// takes for a tag what follows a `#`, or the beginning of that where `_` is a mark of its own.
#[must_use]
pub(crate) fn may_have_tag(body: &str, wanted: &str) -> bool {
    memchr::memchr_iter(b'#', body.as_bytes()).any(|at| {
        let named = tag_chars(&body[at + 1..]);
        if named.is_ascii() {
            named
                .as_bytes()
                .get(..wanted.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(wanted.as_bytes()))
        } else {
            // Folded whatever `wanted` is: `ſ`, `ß` and the Kelvin sign fold to ASCII.
            fold(named).starts_with(wanted)
        }
    })
}

/// Finds all links and tags of a body (front matter cut off), in the order they stand.
#[must_use]
pub fn scan(body: &str) -> Vec<Mark> {
    let options = Options::ENABLE_WIKILINKS
        | Options::ENABLE_TABLES
        | Options::ENABLE_MATH
        | Options::ENABLE_FOOTNOTES;
    let events = TextMergeWithOffset::new(Parser::new_ext(body, options).into_offset_iter());
    let mut marks = Vec::new();
    // Inside a code block or a link, text is no place for tags.
    let mut quiet = 0_usize;
    let mut word = Word::default();
    for (event, range) in events {
        match event {
            Event::Start(Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::MetadataBlock(_)) => quiet += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::HtmlBlock | TagEnd::MetadataBlock(_)) => {
                quiet = quiet.saturating_sub(1);
            }
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                ..
            }) => {
                quiet += 1;
                marks.extend(link(body, &range, link_type, &dest_url, false));
            }
            Event::Start(Tag::Image {
                link_type,
                dest_url,
                ..
            }) => {
                quiet += 1;
                marks.extend(link(body, &range, link_type, &dest_url, true));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => quiet = quiet.saturating_sub(1),
            Event::Text(_) if quiet == 0 => tags_in(body, range, &mut word, &mut marks),
            _ => {}
        }
    }
    marks
}

fn link(
    body: &str,
    range: &Range<usize>,
    kind: LinkType,
    url: &str,
    is_embed: bool,
) -> Option<Mark> {
    let raw = body.get(range.clone())?;
    let to = match kind {
        LinkType::WikiLink { .. } => Reference::parse_wikilink(raw)?,
        _ if leads_out(url) => return None,
        _ => Reference::parse(&percent_decoded(url)),
    };
    Some(Mark::Link {
        raw: raw.to_owned(),
        to,
        is_embed,
    })
}

/// Whether a Markdown link has a scheme (`https:`, `mailto:`, `obsidian:`), so is no path in the vault.
fn leads_out(url: &str) -> bool {
    url.starts_with("//")
        || url.split_once(':').is_some_and(|(scheme, _)| {
            scheme.len() > 1
                && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        })
}

fn percent_decoded(url: &str) -> Cow<'_, str> {
    if !url.contains('%') {
        return Cow::Borrowed(url);
    }
    let bytes = url.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| url.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).map_or(Cow::Borrowed(url), Cow::Owned)
}

/// Whether the word that is being read holds `://`. Kept while going forward, so that a note costs its length once.
#[derive(Default)]
struct Word {
    read: usize,
    is_url: bool,
}

impl Word {
    /// Reads on to `offset`.
    fn is_url_at(&mut self, body: &str, offset: usize) -> bool {
        for (at, c) in body
            .get(self.read..offset)
            .unwrap_or_default()
            .char_indices()
        {
            self.is_url =
                !c.is_whitespace() && (self.is_url || body[self.read + at..].starts_with("://"));
        }
        self.read = offset;
        self.is_url
    }
}

/// Tags in one run of plain text. The source is looked at, not the event's text, so that offsets are those of the body.
fn tags_in(body: &str, range: Range<usize>, word: &mut Word, marks: &mut Vec<Mark>) {
    let Some(text) = body.get(range.clone()) else {
        return;
    };
    for at in memchr::memchr_iter(b'#', text.as_bytes()) {
        let offset = range.start + at;
        let name = tag_chars(&text[at + 1..]).trim_end_matches('/');
        let is_named = name.chars().any(|c| !c.is_ascii_digit() && c != '/');
        if is_named && starts_a_tag(&body[..offset]) && !word.is_url_at(body, offset) {
            marks.push(Mark::Tag {
                name: name.to_owned(),
                offset,
            });
        }
    }
}

/// What of `rest`, the text after a `#`, could belong to a tag.
fn tag_chars(rest: &str) -> &str {
    let end = rest.find(|c| !is_tag_char(c)).unwrap_or(rest.len());
    &rest[..end]
}

/// A tag begins a word: not inside one, not after another `#`, not escaped.
fn starts_a_tag(before: &str) -> bool {
    let glued = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                '#' | '/' | '&' | '\\' | '_' | '-' | '=' | '?' | '.' | '~' | '%'
            )
    };
    !before.chars().next_back().is_some_and(glued)
}

pub(crate) fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c, '_' | '-' | '/')
        || (!c.is_ascii()
            && !c.is_whitespace()
            && !c.is_control()
            // General, CJK and full-width punctuation end a tag; emoji and marks do not.
            && !matches!(c, '\u{a1}'..='\u{bf}' | '\u{2010}'..='\u{205e}' | '\u{3001}'..='\u{303f}' | '\u{ff00}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}'))
}

/// The path a relative link (`./x`, `../x`) names, seen from `folder`; `None` if it leads out of the vault.
pub(crate) fn relative_to(folder: &RelPath, target: &str) -> Option<String> {
    let mut components: Vec<&str> = folder.components().collect();
    for component in target.split('/') {
        match component {
            "." => {}
            ".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    Some(components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(body: &str) -> Vec<String> {
        let name = |mark| match mark {
            Mark::Tag { name, .. } => Some(name),
            Mark::Link { .. } => None,
        };
        scan(body).into_iter().filter_map(name).collect()
    }

    type Parts = (String, String, Option<String>, Option<String>, bool);

    fn links(body: &str) -> Vec<Parts> {
        let parts = |mark| match mark {
            Mark::Link { raw, to, is_embed } => {
                Some((raw, to.path, to.heading, to.block, is_embed))
            }
            Mark::Tag { .. } => None,
        };
        scan(body).into_iter().filter_map(parts).collect()
    }

    #[test]
    fn tags_where_they_count() {
        assert_eq!(
            tags("#one text #two/three, (#four) *#five* \"#six\""),
            ["one", "two/three", "four", "five", "six"]
        );
        assert_eq!(
            tags("# Heading\n#not-a-heading\n## Sub #in-heading"),
            ["not-a-heading", "in-heading"]
        );
        assert_eq!(
            tags("- #item\n> #quote\n\n| #cell | b |\n|--|--|\n| #c2 | |"),
            ["item", "quote", "cell", "c2"]
        );
        assert_eq!(
            tags("#Über #日本語 #a_b-c #y1984 #🚀x"),
            ["Über", "日本語", "a_b-c", "y1984", "🚀x"]
        );
        assert_eq!(tags("#foo_bar_ #a*b*"), ["foo_bar_", "a"]);
    }

    #[test]
    fn tags_where_they_do_not() {
        for body in [
            "`#code`",
            "```\n#block\n```",
            "~~~sh\n#block\n~~~",
            "\n    #indented\n",
            "[[Note#Heading]] [[#Top]]",
            "[text #shown](x.md)",
            "https://example.org/#frag <https://example.org/#frag>",
            "see https://example.org/a#frag.",
            "$#math$",
            "<span style=\"color:#fff\">",
            "<div>\n#html\n</div>",
            "#1984 #12/3 # #/ ## a#b &#35; \\#escaped C#",
        ] {
            assert_eq!(tags(body), [""; 0], "{body}");
        }
        assert_eq!(tags("`#code` #real"), ["real"], "control");
    }

    #[test]
    fn links_of_every_form() {
        let some = |text: &str| Some(text.to_owned());
        let link = |raw: &str, path: &str, heading, block, embed| {
            (raw.to_owned(), path.to_owned(), heading, block, embed)
        };
        assert_eq!(
            links("[[Note]]"),
            [link("[[Note]]", "Note", None, None, false)]
        );
        assert_eq!(
            links("a [[folder/Note#H1#H2|shown]] b ![[img.png|300]] [[Note#^id-1]] [[#Top]]"),
            [
                link(
                    "[[folder/Note#H1#H2|shown]]",
                    "folder/Note",
                    some("H1#H2"),
                    None,
                    false
                ),
                link("![[img.png|300]]", "img.png", None, None, true),
                link("[[Note#^id-1]]", "Note", None, some("id-1"), false),
                link("[[#Top]]", "", some("Top"), None, false),
            ]
        );
        assert_eq!(
            links(
                "[x](Other%20Note.md#A%20b) ![i](./a.png) [u](https://x.org) <mailto:a@b.c> [v](obsidian://x)"
            ),
            [
                link(
                    "[x](Other%20Note.md#A%20b)",
                    "Other Note.md",
                    some("A b"),
                    None,
                    false
                ),
                link("![i](./a.png)", "./a.png", None, None, true),
            ]
        );
        assert_eq!(links("`[[code]]`\n\n```\n[[block]]\n```"), []);
        assert_eq!(
            links("| [[a\\|b]] |\n|--|\n"),
            [link("[[a\\|b]]", "a", None, None, false)]
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]
        /// From pieces that make links often.
        #[test]
        fn no_link_is_overlooked_unparsed(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "[", "]", "[[", "]]", "](", "(", ")", "]:", ":", "!", "a", " ", "\n", "\\", "<", ">", "`", "\u{200b}",
                ]),
                0..24,
            ),
        ) {
            let body = pieces.concat();
            proptest::prop_assert!(may_have_links(&body) || links(&body).is_empty(), "{body:?}");
        }
    }

    #[test]
    fn a_parse_is_spared_where_there_is_no_link() {
        for body in [
            "",
            "- [ ] task\n- [x] done",
            "array[0] <https://example.org> #tag",
        ] {
            assert!(!may_have_links(body), "{body}");
        }
        for body in ["[[a]]", "[a](b)", "[a]\n\n[a]: b", "![i](j)"] {
            assert!(
                may_have_links(body) && links(body).len() == 1,
                "control: {body}"
            );
        }
    }

    #[test]
    fn relative_targets_stay_in_the_vault() {
        let folder = RelPath::parse("a/b").unwrap();
        assert_eq!(relative_to(&folder, "../x.md").as_deref(), Some("a/x.md"));
        assert_eq!(relative_to(&folder, "./x.md").as_deref(), Some("a/b/x.md"));
        assert_eq!(relative_to(&folder, "../../../x.md"), None);
    }
}
