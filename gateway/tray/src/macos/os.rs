//! The menu bar by AppKit.
//!
//! Invariant: all of it is on the main thread, which [`MainThreadMarker`] proves; the item and its target live as long as
//! the process.
#![expect(unsafe_code, reason = "calls to Objective-C have no safe spelling")]

use crate::{
    act::Act,
    icon::{Pixels, draw},
    view::{Row, View},
};
use objc2::{
    AnyThread as _, DefinedClass as _, MainThreadOnly, define_class, msg_send, rc::Retained, sel,
};
use objc2_app_kit::{
    NSApplication, NSApplicationActivationPolicy, NSBitmapImageRep, NSDeviceRGBColorSpace, NSImage,
    NSMenu, NSMenuItem, NSStatusBar, NSStatusItem, NSVariableStatusItemLength,
};
use objc2_foundation::{MainThreadMarker, NSInteger, NSObject, NSSize, NSString};
use std::cell::{OnceCell, RefCell};
use tokio::sync::mpsc::Sender;

/// Points of the menu bar that the icon is wide and high, and pixels for each.
const POINTS: f64 = 18.0;
const SCALE: u32 = 2;

/// What AppKit calls when an entry is chosen.
struct Choices {
    choose: Sender<Act>,
    /// What the entries do, by their tags.
    acts: RefCell<Vec<Act>>,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses, and this one has no `Drop`.
    #[unsafe(super(NSObject))]
    #[thread_kind = MainThreadOnly]
    #[ivars = Choices]
    struct Target;

    impl Target {
        #[unsafe(method(choose:))]
        fn choose(&self, entry: &NSMenuItem) {
            let act = usize::try_from(entry.tag())
                .ok()
                .and_then(|tag| self.ivars().acts.borrow().get(tag).cloned());
            if let Some(act) = act {
                let _ = self.ivars().choose.try_send(act);
            }
        }
    }
);

/// The item of the menu bar, with what its entries call.
struct MenuBarItem {
    item: Retained<NSStatusItem>,
    target: Retained<Target>,
}

thread_local! {
    /// Of the main thread alone.
    static SHOWN: OnceCell<MenuBarItem> = const { OnceCell::new() };
}

/// Puts the item into the menu bar, and serves AppKit until the process ends.
pub(super) fn serve(main: MainThreadMarker, choose: Sender<Act>) {
    let app = NSApplication::sharedApplication(main);
    app.setActivationPolicy(NSApplicationActivationPolicy::Accessory);
    let choices = Choices {
        choose,
        acts: RefCell::new(Vec::new()),
    };
    let target = Target::alloc(main).set_ivars(choices);
    // SAFETY: `init` of NSObject takes nothing, and gives the object that was allocated.
    let target: Retained<Target> = unsafe { msg_send![super(target), init] };
    let bar = NSStatusBar::systemStatusBar();
    let item = bar.statusItemWithLength(NSVariableStatusItemLength);
    SHOWN
        .with(|shown| shown.set(MenuBarItem { item, target }))
        .ok();
    show(&View::unknown());
    app.run();
}

/// Shows this. On another thread it does nothing.
pub(super) fn show(view: &View) {
    let Some(main) = MainThreadMarker::new() else {
        return;
    };
    SHOWN.with(|shown| {
        let Some(MenuBarItem { item, target }) = shown.get() else {
            return;
        };
        if let Some(button) = item.button(main) {
            let size = POINTS as u32 * SCALE;
            let image = image(&draw(view.state, view.waiting.len(), size));
            button.setImage(image.as_deref());
            button.setToolTip(Some(&NSString::from_str(&view.title())));
        }
        item.setMenu(Some(&menu(main, target, view.rows())));
    });
}

fn menu(main: MainThreadMarker, target: &Target, rows: Vec<Row>) -> Retained<NSMenu> {
    let menu = NSMenu::new(main);
    menu.setAutoenablesItems(false);
    let mut acts = Vec::new();
    for row in rows {
        match row {
            Row::Line => menu.addItem(&NSMenuItem::separatorItem(main)),
            Row::Text(text) => {
                let entry = NSMenuItem::new(main);
                entry.setTitle(&NSString::from_str(&text));
                entry.setEnabled(false);
                menu.addItem(&entry);
            }
            Row::Entry(text, act) => {
                let entry = NSMenuItem::new(main);
                entry.setTitle(&NSString::from_str(&text));
                entry.setTag(NSInteger::try_from(acts.len()).unwrap_or(-1));
                // SAFETY: the target has this selector, takes the entry that sends it, and outlives the menu.
                unsafe {
                    entry.setTarget(Some(target));
                    entry.setAction(Some(sel!(choose:)));
                }
                acts.push(act);
                menu.addItem(&entry);
            }
        }
    }
    target.ivars().acts.replace(acts);
    menu
}

fn image(pixels: &Pixels) -> Option<Retained<NSImage>> {
    let size = NSInteger::try_from(pixels.size).ok()?;
    // SAFETY: without planes the bitmap allocates its own; rows have no padding.
    let bitmap = unsafe {
        NSBitmapImageRep::initWithBitmapDataPlanes_pixelsWide_pixelsHigh_bitsPerSample_samplesPerPixel_hasAlpha_isPlanar_colorSpaceName_bytesPerRow_bitsPerPixel(
            NSBitmapImageRep::alloc(), std::ptr::null_mut(), size, size, 8, 4, true, false,
            NSDeviceRGBColorSpace, size * 4, 32,
        )
    }?;
    let data = bitmap.bitmapData();
    if data.is_null() {
        return None;
    }
    // Opacity comes premultiplied in such a bitmap.
    let bytes: Vec<u8> = pixels
        .rgba
        .chunks_exact(4)
        .flat_map(premultiplied)
        .collect();
    // SAFETY: the bitmap was made for size × size pixels of four bytes, as many as there are, and nobody else has it yet.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
    let image = NSImage::initWithSize(NSImage::alloc(), NSSize::new(POINTS, POINTS));
    image.addRepresentation(&bitmap);
    Some(image)
}

fn premultiplied(pixel: &[u8]) -> [u8; 4] {
    let [red, green, blue, opacity] = [0, 1, 2, 3].map(|at| pixel.get(at).copied().unwrap_or(0));
    // A product of two bytes by 255 is a byte.
    let part = |part: u8| (u16::from(part) * u16::from(opacity) / 255) as u8;
    [part(red), part(green), part(blue), opacity]
}
