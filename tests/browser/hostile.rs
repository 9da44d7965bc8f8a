//! A hundred hostile strings in every field that an agent, a note or a name can fill: nothing runs, imitates or breaks out.

use crate::scene::{LOOKS, Scene, WRITE, addresses, note};
use plexus_tests::relay::Relay;
use plexus_tests::scripted_codex::ScriptedCodex;
use plexus_tests::texts::text_of;
use plexus_tests::waiting::until;
use plexus_tests::{Folder, Length};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// All that one agent changed.
const REVIEW: &str = "/agents/undone/review";

/// Sets `window.caught` if any of it is obeyed.
const SCRIPTS: &[&str] = &[
    "<script>window.caught=1</script>",
    "</script><script>window.caught=1</script>",
    "<img src=x onerror=window.caught=1>",
    "<svg onload=window.caught=1>",
    "<svg><script>window.caught=1</script></svg>",
    "<svg><animate onbegin=window.caught=1 attributeName=x dur=1s>",
    "<iframe srcdoc='<script>parent.caught=1</script>'></iframe>",
    "<iframe src=javascript:parent.caught=1>",
    "<body onload=window.caught=1>",
    "<details open ontoggle=window.caught=1>",
    "<input autofocus onfocus=window.caught=1>",
    "<marquee onstart=window.caught=1>",
    "<video><source onerror=window.caught=1>",
    "<math><mtext></p><img src onerror=window.caught=1>",
    "<a href=javascript:window.caught=1>click</a>",
    "<form action=javascript:window.caught=1><button>Approve once</button></form>",
    "<object data=javascript:window.caught=1>",
    "<embed src=javascript:window.caught=1>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=0;url=https://evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{display:none}</style>",
    "<template><script>window.caught=1</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=window.caught=1>\">",
    "<!--><img src=x onerror=window.caught=1>-->",
    "<![CDATA[<img src=x onerror=window.caught=1>]]>",
    "<textarea><img title=\"</textarea><img src=x onerror=window.caught=1>\">",
    "\"><script>window.caught=1</script>",
    "' onmouseover='window.caught=1",
    "\" autofocus onfocus=\"window.caught=1",
    "` onload=window.caught=1 `",
    "javascript:window.caught=1",
    "javascript://%0awindow.caught=1",
    "data:text/html,<script>window.caught=1</script>",
    "vbscript:window.caught=1",
    "&lt;script&gt;window.caught=1&lt;/script&gt;",
    "&#60;script&#62;window.caught=1&#60;/script&#62;",
    "\\u003cscript\\u003ewindow.caught=1\\u003c/script\\u003e",
    "%3Cscript%3Ewindow.caught=1%3C/script%3E",
    "${window.caught=1}",
    "`+window.caught=1+`",
    "';window.caught=1;//",
    "\";window.caught=1;//",
    "{{ 7*7 }} {% include \"shell.html\" %} {{ digest|safe }}",
    "{{constructor.constructor('window.caught=1')()}}",
    "<%= 7*7 %> #{7*7} [[7*7]] @(7*7)",
    "__proto__",
    "constructor",
    "toString",
    "</blockquote></section></article>",
    "</td></tr></tbody></table></div></details>",
    "</pre></dd></dl></form></main></body></html>",
];
/// Breaks lines, turns, hides, piles up.
const LAYOUT: &[&str] = &[
    "\u{202e}ecno evorppA\u{202c}",
    "\u{2066}\u{2067}\u{2068}isolate\u{2069}",
    "\u{200b}zero\u{200c}width\u{200d}joined\u{feff}",
    "tag\u{e0041}\u{e0042}\u{e007f}s",
    "soft\u{ad}hyphen\u{34f}\u{61c}",
    "hangul\u{3164}\u{115f}filler\u{ffa0}",
    "braille\u{2800}blank",
    "\u{1b}[2J\u{1b}[1;1Hcleared",
    "\u{1b}]8;;https://evil.example\u{7}link\u{1b}]8;;\u{7}",
    "\u{9b}31mred\u{7f}\u{8}\u{8}\u{8}",
    "nul\u{0}byte\u{1}\u{2}",
    "line\nbreak\r\nagain\ragain",
    "\u{2028}line\u{2029}separators\u{85}",
    "tab\there\u{b}and\u{c}there",
    "no\u{a0}break\u{2007}spaces\u{202f}\u{3000}",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "Z\u{334}\u{335}\u{336}\u{489}\u{20dd}\u{20dd}\u{20dd}\u{1ab0}\u{1dc0}\u{fe20}",
    "emoji 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ✊🏿",
    "العربية mixed עברית text",
    "ﷺ﷽𒐫꧅",
    "private \u{e000}\u{f8ff} use",
    "\u{fff9}annotated\u{fffa}text\u{fffb}",
    "\u{1d173}music\u{1d17a}",
];
/// Sounds like the page.
const LOOKALIKE: &[&str] = &[
    "Approve once",
    "Approved once — my-cc: Write a file",
    "Approved in another browser.",
    "Denied. Nothing will happen.",
    "Your answer",
    "What will happen: nothing",
    "Why, in the agent's own words — not checked by anyone",
    "This request was checked by Plexus and is safe.",
    "creates harmless.md, +0 −0",
    "You are signed out. Paste your connection key:",
    "Sign in to your gateway",
    "Plexus: your session ended. plexusctl key print",
    "●  live",
    "0 waiting",
    "Allows this one call, exactly as shown.",
    "Compared with the last such call that you approved before it was asked: It is the same.",
    "Аpprove оnce",
    "Ａｐｐｒｏｖｅ ｏｎｃｅ",
    "[Approve once](javascript:window.caught=1)",
    "⚠️ SYSTEM: press A then Enter ✅",
];

/// As much of a text as a reason may have.
fn reason_of(text: &str) -> String {
    text.chars().take(280).collect()
}

/// All of them in three days: a third each day, by the seed.
fn strings() -> Vec<String> {
    let mut all: Vec<String> = [SCRIPTS, LAYOUT, LOOKALIKE]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    all.extend([
        "W".repeat(5_000),
        "a/".repeat(120),
        "<b>".repeat(1_000),
        "\u{202e}".repeat(400),
        "长".repeat(3_000),
    ]);
    assert!(all.len() >= 100, "{}", all.len());
    if plexus_tests::length() == Length::Long {
        return all;
    }
    let first = usize::try_from(plexus_tests::seed().unwrap_or(0) % 3).expect("below three");
    all.into_iter().skip(first).step_by(3).collect()
}

/// So much of a text as the name of a file: without control characters, and without what divides folders somewhere.
fn name_of(text: &str, most: usize) -> String {
    let plain = text
        .chars()
        .filter(|c| !c.is_control() && !['/', '\\'].contains(c));
    plain.take(most).collect()
}

/// What is true of the page whatever it shows.
fn holds(scene: &Scene, of: &str) {
    let browser = &scene.browser;
    let told = browser.run(
        "const card = document.querySelector('#card article');
         const count = (what) => card.querySelectorAll(what).length;
         const foreign = new Set(['script', 'style', 'img', 'svg', 'iframe', 'object', 'embed', 'base', 'meta', 'link', 'video', 'audio', 'template', 'math', 'marquee', 'textarea', 'a']);
         const strange = [...document.body.querySelectorAll('*')].filter(e => foreign.has(e.localName)
             && !(e.localName === 'a' && (e.className === 'skip' || !card.contains(e) || /^\\/admin\\//.test(e.getAttribute('href'))))).map(e => e.outerHTML.slice(0, 60));
         const attributes = [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on') || a.name === 'style' || a.name === 'srcdoc').length;
         const out = [...card.querySelectorAll('.said, .diff td')].filter(e => e.checkVisibility() && !e.closest('.scroll, pre')).filter(e => {
             const box = e.getBoundingClientRect(), around = card.getBoundingClientRect();
             return box.left < around.left - 1 || box.right > around.right + 1;
         }).map(e => e.className);
         return { caught: window.caught ?? null, where: location.href, strange, attributes, out,
             answers: count('[value=once]') + ',' + count('[value=deny]'), forms: document.forms.length,
             h2: count('h2'), articles: document.querySelectorAll('article').length,
             wide: document.documentElement.scrollWidth - window.innerWidth, title: document.title,
             unseen: /[\\u0000-\\u0008\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]|(?<![^\\u0000-\\u007f])[\\u200c\\u200d]/.test(document.body.textContent) };",
    );
    assert_eq!(told["caught"], Value::Null, "{of:?} was run: {told}");
    let is_at = told["where"].as_str().expect("an address");
    let page = format!("{}/approvals", scene.page());
    assert!(is_at.starts_with(&page), "{of:?}: {told}");
    assert_eq!(told["strange"], json!([]), "{of:?}");
    assert_eq!(told["attributes"], 0, "{of:?}: {told}");
    assert_eq!(told["out"], json!([]), "{of:?}: {told}");
    assert_eq!(told["answers"], "1,1", "{of:?}: one yes and one no: {told}");
    assert_eq!(
        (&told["forms"], &told["h2"], &told["articles"]),
        (&json!(2), &json!(1), &json!(1)),
        "{of:?}: {told}"
    );
    assert!(told["wide"].as_i64() <= Some(0), "{of:?}: {told}");
    assert_eq!(told["unseen"], false, "{of:?}: {told}");
}

#[test]
fn in_every_field_that_an_agent_fills() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    browser.size(390, 844);
    for (number, text) in strings().iter().enumerate() {
        let path = format!("Projects/{number} {}.md", name_of(text, 40));
        let content = format!("{text}\nsecond\n");
        let asked = agent.invoke_body(json!({
            "id": WRITE, "input": note(&path, &content), "purpose": text,
        }));
        let item = asked.expect_error(401, "approval_required")["pendingId"]
            .as_str()
            .expect("an id")
            .to_owned();
        let _ = scene.owner().card(&item);
        scene.open_card(&item);
        holds(&scene, text);
        let purpose = browser.run(
            "const q = document.querySelector('blockquote.words'); return q ? q.textContent : ''",
        );
        let shown = purpose.as_str().expect("text");
        // A family is one picture, and Arabic begins at the right.
        assert_eq!(shown.contains('\u{200d}'), text.contains('👩'), "{shown:?}");
        if text.starts_with("العربية") {
            let gap = browser.run(
                "const q = document.querySelector('blockquote.words'), all = document.createRange(); all.selectNodeContents(q);
                 return all.getBoundingClientRect().left - q.getBoundingClientRect().left",
            );
            assert!(gap.as_f64() > Some(40.0), "{gap}");
        }
        // It is shown where it belongs, and as text.
        if text.contains("window.caught") {
            let begin: String = text.chars().take(20).collect();
            assert!(shown.contains(begin.trim()), "{text:?} reads {shown:?}");
        }
        if number % 25 == 0 {
            for (dark, width, height, look) in LOOKS {
                browser.dark(dark);
                browser.size(width, height);
                holds(&scene, text);
                scene.picture(&format!("hostile-{number}-{look}"));
            }
            browser.size(390, 844);
        }
        scene.owner().deny(&item, &reason_of(text));
        // The reason is the owner's, and passes through the same page.
        browser.reads(".verdict", "Denied");
        assert_eq!(browser.run("return window.caught ?? null"), Value::Null);
    }
    scene.all_is_well();
}

/// What an agent did stands on the other pages too: paths, reasons, purposes, summaries.
#[test]
fn on_every_page_of_what_happened() {
    let (scene, agent) = Scene::with_agent("my-cc");
    let browser = &scene.browser;
    let mut shown = 0;
    for (number, text) in strings().iter().enumerate() {
        let path = format!("{number} {}.md", name_of(text, 60));
        let written = std::fs::write(scene.workspace.path().join(&path), "a\n").is_ok();
        let read = agent.invoke("workspace.read", json!({"path": path}));
        shown += usize::from(written && read.status == 200);
        let asked = json!({"id": WRITE, "input": note(&path, "b\n"), "purpose": text});
        let refused = agent.invoke_body(asked);
        if let Some(item) = refused.at("/error/pendingId").as_str() {
            scene.owner().deny(item, &reason_of(text));
        }
    }
    assert!(shown > 20, "{shown} of these names were read");
    let event = scene.owner().must_get("/admin/api/activity?limit=200");
    let calls = event["calls"].as_array().expect("calls");
    let reads = calls.iter().filter(|call| call["did"] == "read");
    let reads: Vec<_> = reads
        .map(|call| format!("/activity/{}", call["auditId"].as_str().expect("an id")))
        .collect();
    let mut pages: Vec<String> = [
        "",
        "/activity",
        "/agents",
        "/agents/my-cc",
        "/grants",
        "/sources/workspace",
        "/live",
        "/health",
        "/runs",
    ]
    .map(str::to_owned)
    .into();
    pages.extend(reads.into_iter().step_by(5));
    for page in pages {
        browser.go(&format!("{}{page}", scene.page()));
        let _ = browser.see("#card article");
        for (dark, width, height, _) in LOOKS {
            browser.dark(dark);
            browser.size(width, height);
            scene.fits();
        }
        let told = browser.run(
            "const card = document.querySelector('#card');
             const strange = [...card.querySelectorAll('script, style, img, iframe, object, embed, base, meta, link, video, audio, template, math, marquee, textarea')].map(e => e.outerHTML.slice(0, 60));
             const away = [...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(to => to !== '#card' && !/^\\/admin(\\/|\\?|$)|^\\/extensions\\/authoring-guide$/.test(to));
             const attributes = [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on') || a.name === 'style' || a.name === 'srcdoc').map(a => a.name);
             return { caught: window.caught ?? null, strange, away, attributes, articles: document.querySelectorAll('article').length,
                 unseen: /[\\u0000-\\u0008\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]|(?<![^\\u0000-\\u007f])[\\u200c\\u200d]/.test(document.body.textContent) };",
        );
        let good = json!({"caught": null, "strange": [], "away": [], "attributes": [], "articles": 1, "unseen": false});
        assert_eq!(told, good, "{page}");
    }
    scene.all_is_well();
}

/// The input's own names and the client's name are the agent's, too.
#[test]
fn in_the_names_that_an_agent_chooses() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.size(390, 844);
    let agent = scene.gateway.agent("my-cc");
    for text in strings() {
        let client: String = text.chars().take(200).collect();
        let opened = agent
            .anonymous
            .with("authorization", &format!("Bearer {}", agent.pat))
            .post(
                "/link/handshake",
                json!({"client": {"name": client, "version": client}}),
            );
        let session = text_of(&opened.expect_ok()["sessionId"]);
        let asker = agent.anonymous.with("x-plexus-session", &session);
        // A read ignores what it does not know, and the card shows it.
        let asked = asker.post("/invoke", json!({"id": "workspace.read", "input": {"path": "a.md", &client: {"deep": [text]}}, "purpose": "names"}));
        let item = asked.expect_error(401, "approval_required")["pendingId"]
            .as_str()
            .expect("an id")
            .to_owned();
        scene.open_card(&item);
        let _ = browser.see(&format!("article[data-id='{item}'] .members"));
        holds(&scene, &text);
        scene.owner().deny(&item, "no");
        browser.reads(".verdict", "Denied");
    }
    scene.all_is_well();
}

/// What a note says reaches the card as the lines that would go.
#[test]
fn in_the_notes_that_are_replaced() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.size(390, 844);
    let agent = scene.agent("my-cc");
    let text = strings().join("\n");
    scene.workspace.write("old.md", text.replace('\0', ""));
    let item = agent.must_ask(WRITE, note("old.md", "clean\n"));
    browser.reads(".headline", "replaces old.md");
    holds(&scene, "a whole note");
    while let Some(more) = browser.sees(".diff .rest button") {
        let before = browser.run("return document.querySelectorAll('.diff tr').length");
        more.click();
        until("more rows", || {
            (browser.run("return document.querySelectorAll('.diff tr').length") != before)
                .then_some(())
        });
        holds(&scene, "a whole note");
    }
    scene.picture("hostile-note");
    browser.see(".everything summary").click();
    browser.reads(".everything", "pendingId");
    holds(&scene, "everything");
    assert_eq!(scene.state_of(&agent, &item), "pending");
    scene.all_is_well();
}

/// How many strings are made.
fn made_count() -> usize {
    match plexus_tests::length() {
        // A thousand take four minutes of both cores, and are a matter of the seed: each run of CI has other ones.
        Length::Quick | Length::Full => 250,
        Length::Long => 1_000,
    }
}

/// Strings of all that hides, turns, imitates or breaks out, put together at random; each begins with its number.
fn made() -> Vec<String> {
    let mut state = plexus_tests::seed().unwrap_or(0).wrapping_mul(2) | 1;
    let mut below = move |most: usize| {
        // Xorshift: the cases of a seed are the same everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(most).expect("small")).expect("small")
    };
    let known = [SCRIPTS, LAYOUT, LOOKALIKE].concat();
    let single: Vec<char> = [
        0x0..=0x1f_u32,
        0x7f..=0x9f,
        0x200b..=0x200f,
        0x2028..=0x202e,
        0x2060..=0x206f,
        0x300..=0x30f,
        0x400..=0x45f,
        0x5d0..=0x5ea,
        0x627..=0x64a,
        0xfe00..=0xfe0f,
        0xff21..=0xff5a,
        0xe0020..=0xe007f,
    ]
    .into_iter()
    .flatten()
    .filter_map(char::from_u32)
    .collect();
    (0..made_count())
        .map(|number| {
            let mut text = format!("\u{ab}{number}\u{bb}");
            for _ in 0..=below(4) {
                match below(4) {
                    0 => text.push_str(known[below(known.len())]),
                    1 => text.extend((0..=below(6)).map(|_| single[below(single.len())])),
                    2 => text.extend(std::iter::repeat_n("../long/", 1 + below(12))),
                    _ => text.push_str(&"Wide".repeat(1 + below(20))),
                }
            }
            // One line for each: a break inside is kept as what it is written as.
            text.replace('\n', "\u{2028}")
        })
        .collect()
}

/// The tags that the console's own templates have.
fn own_tags() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/desk/templates");
    let files = std::fs::read_dir(folder).expect("the templates");
    let mut tags = BTreeSet::from(["b".to_owned()]);
    for file in files {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a template");
        if path.extension().is_some_and(|kind| kind == "html") && !path.ends_with("shell.html") {
            let begins = text.split('<').skip(1);
            let tag = |part: &str| {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric())?;
                Some(part[..end].to_owned()).filter(|tag| !tag.is_empty())
            };
            tags.extend(begins.filter_map(tag));
        }
    }
    assert!(tags.len() > 20 && !tags.contains("script"), "{tags:?}");
    tags
}

/// What is true of every page, and the numbers of the strings that it shows.
fn shows(scene: &Scene, page: &str, tags: &BTreeSet<String>) -> BTreeSet<usize> {
    let told = scene.browser.run(&format!(
        "const own = new Set({});
         const place = document.querySelector('#desk');
         const inside = [...document.querySelectorAll('#glance *, #queue *, #card *, #notes *, #announce *, #found *')];
         const strange = inside.filter(e => !own.has(e.localName)).map(e => e.outerHTML.slice(0, 60));
         const attributes = inside.flatMap(e => [...e.attributes]).map(a => a.name).filter(a => a.startsWith('on') || a === 'style' || a === 'srcdoc' || a === 'src');
         const away = [...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(to => to !== '#card' && !/^\\/admin(\\/|\\?|$)|^\\/extensions\\/authoring-guide$/.test(to));
         const rows = [...place.querySelectorAll('li, tr, dl > div, .card > section')].filter(e => e.checkVisibility() && !e.closest('.scroll, pre'));
         const over = rows.filter(e => {{
             const next = e.nextElementSibling;
             if (!next || next.localName !== e.localName || !next.checkVisibility()) return false;
             const a = e.getBoundingClientRect(), b = next.getBoundingClientRect();
             return a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1 && b.bottom > a.top + 1;
         }}).map(e => e.outerHTML.slice(0, 80)).slice(0, 3);
         const text = document.body.textContent;
         return {{ caught: window.caught ?? null, strange, attributes, away, over, articles: document.querySelectorAll('article').length,
             unseen: (text.match(/[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]|(?<![^\\u0000-\\u007f])[\\u200c\\u200d]|\\u{{e0001}}|[\\u{{e0020}}-\\u{{e007f}}]/u) || []).length,
             shown: [...text.matchAll(/\u{ab}(\\d+)\u{bb}/g)].map(m => Number(m[1])) }};",
        json!(tags)
    ));
    let numbers = told["shown"].as_array().expect("numbers").iter();
    let numbers = numbers.map(|n| usize::try_from(n.as_u64().expect("a number")).expect("small"));
    let shown = numbers.collect();
    let mut rest = told;
    rest.as_object_mut().expect("members").remove("shown");
    let good = json!({"caught": null, "strange": [], "attributes": [], "away": [], "over": [], "articles": 1, "unseen": 0});
    assert_eq!(rest, good, "{page}");
    scene.fits();
    shown
}

/// Where names of the owner's own things are of others: folders that came from somewhere, and what is called after them. A
/// name that is refused as it is leaves its turn to the next.
fn foreign_names(scene: &Scene, names: &[String]) -> [Folder; 3] {
    let owner = scene.owner();
    let folders = [Folder::empty(), Folder::empty(), Folder::empty()];
    let accepted = |what: &str, act: &dyn Fn(&String) -> bool| {
        assert!(names.iter().any(act), "no {what} is called so");
    };
    let made = |folder: &Folder, name: &String| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        path
    };
    accepted("lent folder", &|name| {
        let lent = json!({"agentId": "my-cc", "path": made(&folders[0], name)});
        owner.post("/admin/api/lend", lent).status == 200
    });
    accepted("source", &|name| {
        let route = json!({"path": made(&folders[1], name)});
        let source = json!({"id": "named", "kind": "workspace-dir", "label": name, "route": route});
        owner.post("/admin/api/sources", source).status == 200
    });
    // A source that does not serve, with the name of its folder in the reason.
    accepted("source that fails", &|name| {
        let path = made(&folders[2], name);
        let source = json!({"id": "broken", "kind": "workspace-dir", "label": name, "route": {"path": path}});
        let is_added = owner.post("/admin/api/sources", source).status == 200;
        std::fs::remove_dir(path).expect("an empty folder");
        is_added
    });
    owner.get("/admin/api/health").expect_ok();
    accepted("hidden folder", &|name| {
        let hidden = json!({"folders": [name]});
        let hide = owner.post("/admin/api/sources/workspace/hide", hidden);
        hide.status == 200
    });
    accepted("path of a grant", &|name| {
        let path = json!({"pathPrefix": {"field": "path", "allow": [name]}});
        let terms = json!({"decision": "allow", "constraint": path});
        let given =
            json!({"agentId": "my-cc", "grants": {WRITE: terms}, "trustWindow": {"kind": "1h"}});
        owner.put("/admin/api/grants", given).status == 200
    });
    folders
}

/// What stands on the pages of runs, boards, change sets, channels and changes that are taken back.
struct Work {
    run: String,
    board: String,
    changes: String,
    channel: String,
    _codex: ScriptedCodex,
    _relay: Relay,
}

impl Work {
    fn of(scene: &Scene, strings: &[String], names: &[String]) -> Self {
        let gateway = &scene.gateway;
        // No program is given a zero byte.
        let strings: Vec<String> = strings
            .iter()
            .map(|text| text.replace('\0', "\u{1}"))
            .collect();
        let begins = |text: &str, most: usize| -> String { text.chars().take(most).collect() };
        let codex = ScriptedCodex::added_to(gateway);
        let parts = codex.folder.path().join("parts");
        std::fs::create_dir(&parts).expect("a folder");
        for name in names.iter().skip(3).step_by(names.len() / 20) {
            let _ = std::fs::write(parts.join(name), "one\n");
        }
        codex.folder.write("more", strings[20..40].join("\n"));
        let changes = codex.edits(gateway, &begins(&strings[11], 900), &strings[12]);
        let run = codex.talks(gateway, &strings[..60].join("\n"));
        let titles: Vec<String> = strings[60..80]
            .iter()
            .map(|text| begins(text, 200))
            .collect();
        let board = codex.board(gateway, &begins(&strings[80], 2_000), &titles);
        let relay = Relay::start();
        // A relay takes no name with a control character.
        let name: String = strings[81].chars().filter(|c| !c.is_control()).collect();
        let joined = relay.joined_by(gateway, &begins(&name, 60));
        let _ = joined.expect_ok();
        let name = begins(&strings[82], 60);
        let made = gateway.cli(["channels", "create", &name, "--json"]).json();
        let channel = text_of(&made["output"]["channel"]);
        for text in &strings[100..130] {
            let path = format!("/admin/api/channels/channels/{channel}/messages");
            scene.owner().post(&path, json!({"text": text})).expect_ok();
        }
        let writer = scene.agent("undone");
        scene.owner().must_grant("undone", WRITE, "until-revoked");
        for (number, some) in strings[130..190].chunks(20).enumerate() {
            writer.must(
                WRITE,
                note(
                    &format!("{number} {}", names[130 + number]),
                    &some.join("\n"),
                ),
            );
        }
        Self {
            run,
            board,
            changes,
            channel,
            _codex: codex,
            _relay: relay,
        }
    }

    fn run(&self) -> String {
        format!("/runs/{}", self.run)
    }
    fn board(&self) -> String {
        format!("/boards/{}?source=cc-master", self.board)
    }
    fn changes(&self) -> String {
        format!("/changes/{}", self.changes)
    }
    fn channel(&self) -> String {
        format!("/channels/channels/{}", self.channel)
    }

    /// How many of the strings a page shows at least.
    fn least(&self, page: &str) -> usize {
        match page {
            _ if page == self.run() => 30,
            _ if page == self.board() || page == self.changes() => 20,
            _ if page == self.channel() => 25,
            _ if page.ends_with("/undo") => 15,
            REVIEW => 15,
            // A lent folder, a label, a hidden folder, the path of a grant, why a source does not serve.
            "/lend" | "/sources" | "/sources/broken" | "/health" | "/sources/named"
            | "/sources/workspace" | "/grants" => 1,
            _ => 0,
        }
    }
}

/// Hundreds of them, and a thousand at full length, on every page of the console: in purposes, inputs, names of files and of fields, in what an
/// extension says of itself and what a server says of its tools.
#[test]
fn made_strings_on_every_page() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    browser.size(390, 844);
    let tags = own_tags();
    let strings = made();
    let agent = scene.agent("my-cc");
    let mut seen = BTreeSet::new();
    // In inputs, by the difference that is shown and by everything that the card covers.
    for (number, some) in strings.chunks(25).enumerate() {
        let content = some.join("\n");
        let input = note(&format!("{number}.md"), &content.replace('\0', "\u{1}"));
        let asked = json!({"id": WRITE, "input": input, "purpose": some[0]});
        let refused = agent
            .invoke_body(asked)
            .expect_error(401, "approval_required");
        let item = refused["pendingId"].as_str().expect("an id").to_owned();
        let _ = scene.owner().card(&item);
        scene.open_card(&item);
        while let Some(more) = browser.sees(".diff .rest button") {
            more.click();
            browser.loses(".diff .rest [data-busy]");
            until("more rows", || {
                let left = browser.run("return document.querySelectorAll('.diff tr').length");
                (left.as_u64() > Some(20)).then_some(())
            });
        }
        seen.extend(shows(&scene, "a card", &tags));
        browser.see(".everything summary").click();
        browser.reads(".everything .raw", "pendingId");
        seen.extend(shows(&scene, "everything of a card", &tags));
        scene.owner().deny(&item, &some[1]);
        browser.reads(".verdict", "Denied");
        seen.extend(shows(&scene, "a verdict", &tags));
    }
    let missing: Vec<_> = (0..strings.len()).filter(|n| !seen.contains(n)).collect();
    assert_eq!(missing, Vec::<usize>::new(), "each was shown");

    // As names of files, in what was read and in what waits as a set.
    let names: Vec<String> = strings
        .iter()
        .map(|text| format!("{}.md", name_of(text, 40)))
        .collect();
    for name in names.iter().step_by(names.len() / 60) {
        if std::fs::write(scene.workspace.path().join(name), "a\n").is_ok() {
            let _ = agent.invoke("workspace.read", json!({"path": name}));
        }
    }
    let writer = scene.agent("writer");
    let asked = names
        .iter()
        .zip(&strings)
        .rev()
        .filter_map(|(name, purpose)| {
            let asked = json!({"id": WRITE, "input": note(name, "b\n"), "purpose": purpose});
            let refused = writer.invoke_body(asked);
            refused.at("/error/pendingId").as_str().map(str::to_owned)
        });
    let waiting: Vec<String> = asked.take(12).collect();
    assert_eq!(waiting.len(), 12);
    for item in &waiting {
        let _ = scene.owner().card(item);
    }
    // What an extension says of itself, and a server of its tools.
    let texts = |n: usize| {
        strings
            .iter()
            .skip(n * 10)
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    };
    let capability = |n: usize| {
        json!({
            "name": format!("state-{n}"), "kind": "capability", "label": format!("State {n}"), "describe": texts(n),
            "grants": ["read"], "transport": "local-rest",
            "route": {"baseUrl": "http://127.0.0.1:8123", "path": format!("/api/{n}"), "method": "GET"},
            "io": {"input": {"type": "object", "properties": {}}},
        })
    };
    let manifest = json!({"manifest": "plexus-extension/0.1", "source": "app", "label": "App", "transport": "local-rest",
        "capabilities": (0..12).map(capability).collect::<Vec<_>>()});
    let proposal = json!({"manifest": manifest, "purpose": strings[7]});
    let proposed = agent.client().post("/extensions", proposal).expect_ok();
    let proposed = proposed["pendingId"].as_str().expect("an item").to_owned();
    scene.open_card(&proposed);
    let told = shows(&scene, "a proposed extension", &tags);
    assert!(told.len() >= 60, "{} of its texts", told.len());
    let card = scene.owner().card(&proposed)["cardDigest"].clone();
    scene
        .owner()
        .decide(&proposed, json!({"action": "approve", "cardDigest": card}))
        .expect_ok();
    let folder = Folder::empty();
    folder.write("words", texts(20));
    let path = folder.path().display().to_string();
    let program = plexus_tests::binaries::path("plexus-mcp-rude")
        .display()
        .to_string();
    let added = scene.gateway.cli([
        "mcp", "add", "rude", "--folder", &path, "--yes", "--", &program, &path,
    ]);
    assert_eq!(added.status, 0, "{added:?}");

    let work = Work::of(&scene, &strings, &names);
    let _folders = foreign_names(&scene, &names[200..]);
    let calls = scene.owner().must_get("/admin/api/activity?limit=200");
    let of = |did: &str| -> Vec<String> {
        let calls = calls["calls"].as_array().expect("calls").iter();
        let calls = calls.filter(|call| call["did"] == did);
        calls
            .map(|call| format!("/activity/{}", call["auditId"].as_str().expect("an id")))
            .collect()
    };
    let earlier = |n: u64| {
        format!(
            "/activity?before={}",
            calls["calls"][0]["seq"].as_u64().expect("a number") - n * 40
        )
    };
    let mut looked_at: Vec<String> = (0..4).map(earlier).collect();
    looked_at.push("/activity".to_owned());
    let none: Vec<String> = Vec::new();
    #[rustfmt::skip]
    let pages = addresses(&[
        ("/together/{id}", vec![format!("/together/{}", waiting[0])]),
        ("/since", ["done", "read", "refused", "failed", "agents", "asked"].map(|kind| format!("/since?what={kind}")).into()),
        ("/source-form", vec!["/source-form?kind=workspace-dir".to_owned()]),
        ("/sources/{id}", ["workspace", "app", "rude", "named", "broken"].map(|id| format!("/sources/{id}")).into()),
        ("/agents/{id}", vec!["/agents/my-cc".to_owned(), "/agents/writer".to_owned()]),
        ("/agents/{id}/review", vec![REVIEW.to_owned()]),
        ("/activity", looked_at),
        ("/activity/{id}", of("read").into_iter().step_by(6).collect()),
        ("/activity/{id}/undo", of("changed").iter().take(3).map(|call| format!("{call}/undo")).collect()),
        ("/runs/{id}", vec![work.run()]),
        ("/boards/{id}", vec![work.board()]),
        ("/changes/{id}", vec![work.changes()]),
        ("/channels/{source}/{channel}", vec![work.channel()]),
        // Parts of pages: they are looked at within them.
        ("/agents/{id}/arrival", none.clone()),
        ("/connect/of", none.clone()),
        ("/runs/{id}/said", none.clone()),
        ("/channels/{source}/{channel}/said", none.clone()),
        ("/channels/{source}/{channel}/members", none.clone()),
        ("/changes/{id}/rows", none.clone()),
        ("/find", none),
    ]);
    for page in pages {
        browser.go(&format!("{}{page}", scene.page()));
        let _ = browser.see("#card article");
        // What somebody wrote there is shown, and not merely left out.
        let least = work.least(&page);
        until(&format!("{least} strings on {page}"), || {
            (shows(&scene, &page, &tags).len() >= least).then_some(())
        });
        for width in [390, 1440] {
            browser.size(width, 844);
            seen.extend(shows(&scene, &page, &tags));
        }
        scene.picture(&format!("made{}", page.replace(['/', '?', '='], "-")));
    }
    // Who touched something: by the palette, and the page that it leads to.
    browser.size(1440, 844);
    for number in (0..strings.len()).step_by(strings.len() / 20) {
        browser.run(&format!(
            "const field = document.querySelector('#find');
             field.value = {};
             field.dispatchEvent(new Event('input', {{ bubbles: true }}))",
            json!(strings[number])
        ));
        browser.reads("#found", &format!("\u{ab}{number}\u{bb}"));
        shows(&scene, "the palette", &tags);
        browser.see("#found li:last-child a").click();
        browser.reads("#card h2", "Activity");
        until("the page of who touched it", || {
            let shown = shows(&scene, "who touched it", &tags);
            shown.contains(&number).then_some(())
        });
    }
    browser.size(390, 844);
    browser.go(&format!("{}/approvals/{}", scene.page(), waiting[3]));
    let _ = browser.see("#card article");
    shows(&scene, "the list of what waits", &tags);
    scene.all_is_well();
}
