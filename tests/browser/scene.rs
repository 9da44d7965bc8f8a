//! A gateway, an agent that asks, and a browser at the console.

use plexus_tests::browser::Browser;
use plexus_tests::waiting::until;
use plexus_tests::{
    Agent, Builder, Clock, Folder, Gateway, Owner, coding_agents, vault, workspace,
};
use serde_json::{Value, json};

pub(crate) const READS: &[&str] = &["obsidian.vault.read", "workspace.list", "workspace.read"];
/// What approves once, past the grace.
pub(crate) const ONCE: &str = "form:not([data-fresh]) [value=once]";
pub(crate) const WRITE: &str = "workspace.write";

/// Dark or light, width, height, and what that is called.
pub(crate) const LOOKS: [(bool, u32, u32, &str); 5] = [
    (false, 390, 844, "narrow-light"),
    (true, 390, 844, "narrow-dark"),
    (false, 820, 1180, "middle-light"),
    (false, 1440, 900, "wide-light"),
    (true, 1440, 900, "wide-dark"),
];

pub(crate) struct Scene {
    // The browser goes before the gateway.
    pub(crate) browser: Lazy,
    pub(crate) gateway: Gateway,
    pub(crate) workspace: Folder,
    /// Where the fixture writes, in a [`Scene::workshop`].
    pub(crate) fixture: Folder,
    _vault: Folder,
    tower: Folder,
}

impl Scene {
    /// A gateway with a vault and a workspace, and a browser that has opened nothing yet.
    pub(crate) fn open() -> Self {
        Self::with(Some(Browser::start()), |builder| builder)
    }
    /// The same for stories that move the gateway's clock.
    pub(crate) fn timed(clock: &Clock) -> Self {
        Self::with(Some(Browser::start()), |builder| builder.clock(clock))
    }
    /// The same for stories that speak HTTP.
    pub(crate) fn without_browser() -> Self {
        Self::with(None, |builder| builder)
    }
    fn with(browser: Option<Browser>, describe: impl FnOnce(Builder) -> Builder) -> Self {
        let (vault, workspace) = (vault(), workspace());
        let builder = Gateway::builder()
            .vault(&vault.path())
            .workspace(&workspace.path());
        Self {
            browser: Lazy(browser),
            gateway: describe(builder).start(),
            workspace,
            fixture: Folder::empty(),
            _vault: vault,
            tower: Folder::empty(),
        }
    }
    /// The same, signed in by a link.
    pub(crate) fn signed_in() -> Self {
        let scene = Self::open();
        scene.sign_in();
        scene
    }
    /// Signed in, with an agent whose reads stand.
    pub(crate) fn with_agent(id: &str) -> (Self, Agent) {
        let scene = Self::signed_in();
        let agent = scene.agent(id);
        (scene, agent)
    }
    /// Signed in where the sources `fixture` and `beacon` are beside the others.
    pub(crate) fn workshop() -> Self {
        let scene = Self::with(Some(Browser::start()), Builder::fixture);
        scene.fixture.write("state", "0");
        for (id, kind, folder) in [
            ("fixture", "fixture-dir", &scene.fixture),
            ("beacon", "beacon-dir", &scene.tower),
        ] {
            let source =
                json!({"id": id, "kind": kind, "label": id, "route": {"path": folder.path()}});
            scene.owner().post("/admin/api/sources", source).expect_ok();
        }
        scene.sign_in();
        scene
    }
    /// Signed in where fakes of Apple's apps are beside the others.
    pub(crate) fn apple() -> Self {
        let fakes = |builder: Builder| builder.env("PLEXUS_FAKE_APPLE", "1");
        let scene = Self::with(Some(Browser::start()), fakes);
        scene.sign_in();
        scene
    }
    fn sign_in(&self) {
        self.browser.go(&self.link());
        self.browser.see("#approvals").click();
        let _ = self.browser.see("#queue h1");
    }
    pub(crate) fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    pub(crate) fn agent(&self, id: &str) -> Agent {
        self.gateway.agent_with(id, READS)
    }
    /// An agent of which these stand, those that change something too.
    pub(crate) fn trusted(&self, id: &str, capabilities: &[&str]) -> Agent {
        self.gateway.agent_as(
            json!({"agentId": id, "capabilities": capabilities, "standing": capabilities}),
        )
    }
    pub(crate) fn page(&self) -> String {
        format!("http://localhost:{}/admin", self.gateway.port())
    }
    /// What `plexusctl console` prints.
    pub(crate) fn link(&self) -> String {
        let said = self.gateway.cli(["console"]);
        assert_eq!(said.status, 0, "{said:?}");
        said.stdout.trim().to_owned()
    }
    /// A second browser, signed in.
    pub(crate) fn another_browser(&self) -> Browser {
        let browser = Browser::start();
        browser.go(&self.link());
        browser.see("#approvals").click();
        let _ = browser.see("#queue h1");
        browser
    }
    /// Counts what the page posts from now on, as `window.sent`.
    pub(crate) fn count_posts(&self) {
        self.browser.run(
            "window.sent = 0;
             const real = window.fetch.bind(window);
             window.fetch = (path, how) => { if (how?.method === 'POST') window.sent += 1; return real(path, how); };",
        );
    }
    /// Where an item stands, as its agent is told.
    pub(crate) fn state_of(&self, agent: &Agent, item: &str) -> Value {
        agent.status(item).at("/state")
    }
    /// Waits for an item's card. The page opens one itself when nothing is open, and may do so
    /// while the pointer is on its way to the list: that is as good.
    pub(crate) fn open_card(&self, item: &str) {
        let card = format!("article[data-id='{item}']:not([data-making])");
        let ticket = format!(".ticket[data-id='{item}']");
        until("the card, or the request in the list", || {
            self.browser.sees(&card).map(drop).or_else(|| {
                let _ = self.browser.sees(&ticket)?.pressed();
                None
            })
        });
    }
    /// Keeps a picture of the whole page, as [`keep`] does.
    pub(crate) fn picture(&self, name: &str) {
        keep(name, || {
            self.browser.loses("[data-fresh]");
            // A picture is of no machine of ours.
            let program = coding_agents::codex().display().to_string();
            self.browser.run(&format!(
                "const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
                 while (all.nextNode()) all.currentNode.data = all.currentNode.data\
                 .replaceAll({program:?}, '/opt/codex/bin/codex')\
                 .replaceAll(/\\/tmp\\/\\.tmp\\w+/g, '/home/you/heron');"
            ));
            self.browser.whole_picture()
        });
    }
    /// Holds in each look that the page fits, and keeps a picture of it.
    #[track_caller]
    pub(crate) fn pictures(&self, name: &str) {
        for (dark, width, height, look) in LOOKS {
            self.browser.dark(dark);
            self.browser.size(width, height);
            self.fits();
            self.picture(&format!("{name}-{look}"));
        }
    }
    /// Holds that the page logged errors, each that the gateway answered with this status.
    pub(crate) fn was_refused(&self, status: &str) {
        let mut log = self.browser.log();
        log.retain(|entry| entry["level"] == "SEVERE");
        let is_of = |entry: &Value| {
            entry["message"]
                .to_string()
                .contains(&format!(" {status} "))
        };
        assert!(!log.is_empty() && log.iter().all(is_of), "{log:#?}");
    }
    /// Holds that the page did not log an error, that nothing was refused by its policy, and that it fits its width.
    pub(crate) fn all_is_well(&self) {
        let log = self.browser.log();
        let errors: Vec<_> = log
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        self.fits();
    }
    #[track_caller]
    pub(crate) fn fits(&self) {
        let wide = self.browser.run(
            "const e = document.documentElement; return [e.scrollWidth, window.innerWidth, \
             [...document.querySelectorAll('*')].filter(x => x.checkVisibility() && x.getBoundingClientRect().right > window.innerWidth + 1 && !x.closest('.scroll, .unseen')).map(x => x.outerHTML.slice(0, 80)).slice(0, 4)]",
        );
        assert!(
            wide[0].as_i64() <= wide[1].as_i64() && wide[2] == json!([]),
            "{wide}"
        );
    }
}

/// Keeps a picture where `PLEXUS_PICTURES` says.
pub(crate) fn keep(name: &str, picture: impl FnOnce() -> Vec<u8>) {
    if let Some(folder) = std::env::var_os("PLEXUS_PICTURES") {
        let path = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, picture()).expect("the folder is there");
    }
}

/// The pages of the console below `/admin`, each with the addresses at which a story looks at it.
pub(crate) fn addresses(instances: &[(&str, Vec<String>)]) -> Vec<String> {
    let all = plexus_tests::console::addresses(instances).into_iter();
    all.map(|(_, at)| at).collect()
}

pub(crate) fn note(path: &str, content: &str) -> Value {
    json!({"path": path, "content": content})
}

/// The browser of a story that has one.
pub(crate) struct Lazy(Option<Browser>);

impl std::ops::Deref for Lazy {
    type Target = Browser;
    #[track_caller]
    fn deref(&self) -> &Browser {
        self.0.as_ref().expect("this story has no browser")
    }
}
