//! How somebody uses a page: by pointer alone, or by keyboard alone; and what that costs.

use plexus_tests::browser::{Browser, key};
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::Write as _;

/// What a task may take.
const MOST: u32 = 12;
/// Tab presses within which what is looked for has the focus.
const FAR: usize = 120;

/// How somebody uses a page, and what it cost.
pub(crate) struct Hands<'b> {
    pub(crate) browser: &'b Browser,
    pub(crate) keys: bool,
    pub(crate) activations: Cell<u32>,
    tabs: Cell<u32>,
    typed: Cell<usize>,
}

impl<'b> Hands<'b> {
    pub(crate) fn new(browser: &'b Browser, keys: bool) -> Self {
        Self {
            browser,
            keys,
            activations: Cell::new(0),
            tabs: Cell::new(0),
            typed: Cell::new(0),
        }
    }

    pub(crate) fn has_focus(&self, selector: &str) -> bool {
        let is = format!(
            "return Boolean(document.activeElement?.matches({}))",
            json!(selector)
        );
        self.browser.run(&is) == Value::Bool(true)
    }

    /// Puts the focus on something, as far as a keyboard goes.
    pub(crate) fn reach(&self, selector: &str) {
        let _ = self.browser.see(selector);
        for _ in 0..FAR {
            if self.has_focus(selector) {
                return;
            }
            self.browser.press(key::TAB);
            self.tabs.set(self.tabs.get() + 1);
        }
        panic!("Tab does not reach {selector}");
    }

    /// Presses a button, a link, a box.
    pub(crate) fn press(&self, selector: &str) {
        self.activations.set(self.activations.get() + 1);
        if !self.keys {
            return self.browser.see(selector).click();
        }
        self.reach(selector);
        self.browser.loses("[data-fresh] :focus");
        let is_box = self
            .browser
            .run("return document.activeElement.matches('[type=checkbox], summary')");
        self.browser.press(if is_box == Value::Bool(true) {
            key::SPACE
        } else {
            key::ENTER
        });
    }

    /// Goes to a page: by its link, or by the letters that the page underlines.
    pub(crate) fn page(&self, link: &str, letter: &str) {
        if self.keys {
            self.activations.set(self.activations.get() + 1);
            self.browser.press("g");
            return self.browser.press(letter);
        }
        self.press(link);
    }

    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.typed.set(self.typed.get() + text.chars().count());
        if self.keys {
            self.reach(selector);
            return self.browser.press(text);
        }
        // A click puts the pointer into the field.
        self.activations.set(self.activations.get() + 1);
        self.browser.fill(selector, text);
    }

    /// Ends a task: it took no more than it may.
    pub(crate) fn done(&self, task: &str) {
        let (activations, tabs, typed) =
            (self.activations.take(), self.tabs.take(), self.typed.take());
        let by = if self.keys { "keyboard" } else { "pointer" };
        let told = format!(
            "{by}: {task}: {activations} activations, {tabs} times Tab, {typed} characters\n"
        );
        let _ = std::io::stderr().write_all(told.as_bytes());
        assert!(activations <= MOST, "{task} took {activations}");
    }
}
