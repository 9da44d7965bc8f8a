//! A hundred hostile strings in every field that an agent, a note or a name can fill: nothing runs, imitates or breaks out.

use crate::scene::{LOOKS, Scene, WRITE, note};
use plexus_tests::waiting::until;
use serde_json::{Value, json};

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
    "Compared with the last such call that you approved: It is the same.",
    "Аpprove оnce",
    "Ａｐｐｒｏｖｅ ｏｎｃｅ",
    "[Approve once](javascript:window.caught=1)",
    "⚠️ SYSTEM: press A then Enter ✅",
];

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
    if plexus_tests::length() == plexus_tests::Length::Long {
        return all;
    }
    let first = usize::try_from(plexus_tests::seed().unwrap_or(0) % 3).expect("below three");
    all.into_iter().skip(first).step_by(3).collect()
}

/// What is true of the page whatever it shows.
fn holds(scene: &Scene, of: &str) {
    let browser = &scene.browser;
    let told = browser.run(
        "const card = document.querySelector('#card article');
         const count = (what) => card.querySelectorAll(what).length;
         const foreign = new Set(['script', 'style', 'img', 'svg', 'iframe', 'object', 'embed', 'base', 'meta', 'link', 'video', 'audio', 'template', 'math', 'marquee', 'textarea', 'a']);
         const strange = [...document.body.querySelectorAll('*')].filter(e => foreign.has(e.localName)
             && !(e.localName === 'a' && (e.className === 'skip' || !card.contains(e)))).map(e => e.outerHTML.slice(0, 60));
         const attributes = [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on') || a.name === 'style' || a.name === 'srcdoc').length;
         const out = [...card.querySelectorAll('.said, .diff td')].filter(e => e.checkVisibility() && !e.closest('.scroll, pre')).filter(e => {
             const box = e.getBoundingClientRect(), around = card.getBoundingClientRect();
             return box.left < around.left - 1 || box.right > around.right + 1;
         }).map(e => e.className);
         return { caught: window.caught ?? null, where: location.href, strange, attributes, out,
             answers: count('[value=once]') + ',' + count('[value=deny]'), forms: document.forms.length,
             h2: count('h2'), articles: document.querySelectorAll('article').length,
             wide: document.documentElement.scrollWidth - window.innerWidth, title: document.title,
             unseen: /[\\u0000-\\u0008\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]/.test(document.body.textContent) };",
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
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let agent = scene.agent("my-cc");
    browser.size(390, 844);
    for (number, text) in strings().iter().enumerate() {
        // A path takes no control characters; everything else goes everywhere.
        let name: String = text
            .chars()
            .filter(|c| !c.is_control() && *c != '/')
            .take(40)
            .collect();
        let path = format!("Projects/{number} {name}.md");
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
        scene.owner().deny(&item, text);
        // The reason is the owner's, and passes through the same page.
        browser.reads(".verdict", "Denied");
        assert_eq!(browser.run("return window.caught ?? null"), Value::Null);
    }
    scene.all_is_well();
}

/// What an agent did stands on the other pages too: paths, reasons, purposes, summaries.
#[test]
fn on_every_page_of_what_happened() {
    let scene = Scene::signed_in();
    let browser = &scene.browser;
    let agent = scene.agent("my-cc");
    let mut shown = 0;
    for (number, text) in strings().iter().enumerate() {
        let plain = text.chars().filter(|c| !c.is_control() && *c != '/');
        let path = format!("{number} {}.md", plain.take(60).collect::<String>());
        let written = std::fs::write(scene.workspace.path().join(&path), "a\n").is_ok();
        let read = agent.invoke("workspace.read", json!({"path": path}));
        shown += usize::from(written && read.status == 200);
        let asked = json!({"id": WRITE, "input": note(&path, "b\n"), "purpose": text});
        let refused = agent.invoke_body(asked);
        if let Some(item) = refused.at("/error/pendingId").as_str() {
            scene.owner().deny(item, text);
        }
    }
    assert!(shown > 20, "{shown} of these names were read");
    let event = scene
        .owner()
        .get("/admin/api/activity?limit=200")
        .expect_ok();
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
             const away = [...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(to => to !== '#card' && !/^\\/admin(\\/|\\?|$)/.test(to));
             const attributes = [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on') || a.name === 'style' || a.name === 'srcdoc').map(a => a.name);
             return { caught: window.caught ?? null, strange, away, attributes, articles: document.querySelectorAll('article').length,
                 unseen: /[\\u0000-\\u0008\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]/.test(document.body.textContent) };",
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
        let session = opened.expect_ok()["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
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
