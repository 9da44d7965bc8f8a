//! The menu bar by AppKit.
//!
//! Invariant: all of it is on the main thread, which [`MainThreadMarker`] proves; the item lives as long as the process; a
//! choice does what its entry showed.
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
use std::cell::OnceCell;
use tokio::sync::mpsc::Sender;

/// Points of the menu bar that the icon is wide and high, and pixels for each.
const POINTS: f64 = 18.0;
const SCALE: u32 = 2;

/// What an entry does. The entry holds it, so it is the entry's own for as long as a menu shows that: a menu that is open stays as
/// it was while the next one is made.
struct Choice {
    choose: Sender<Act>,
    act: Act,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses, and this one has no `Drop`.
    #[unsafe(super(NSObject))]
    #[thread_kind = MainThreadOnly]
    #[ivars = Choice]
    struct Target;

    impl Target {
        #[unsafe(method(choose:))]
        fn choose(&self, _: &NSMenuItem) {
            let Choice { choose, act } = self.ivars();
            let _ = choose.try_send(act.clone());
        }
    }
);

impl Target {
    fn new(main: MainThreadMarker, choose: Sender<Act>, act: Act) -> Retained<Self> {
        let target = Self::alloc(main).set_ivars(Choice { choose, act });
        // SAFETY: `init` of NSObject takes nothing, and gives the object that was allocated.
        unsafe { msg_send![super(target), init] }
    }
}

/// The item of the menu bar, and where choices go.
struct MenuBarItem {
    item: Retained<NSStatusItem>,
    choose: Sender<Act>,
}

thread_local! {
    /// Of the main thread alone.
    static SHOWN: OnceCell<MenuBarItem> = const { OnceCell::new() };
}

/// Puts the item into the menu bar, and serves AppKit until the process ends.
pub(super) fn serve(main: MainThreadMarker, choose: Sender<Act>) {
    let app = NSApplication::sharedApplication(main);
    app.setActivationPolicy(NSApplicationActivationPolicy::Accessory);
    let bar = NSStatusBar::systemStatusBar();
    let item = bar.statusItemWithLength(NSVariableStatusItemLength);
    SHOWN
        .with(|shown| shown.set(MenuBarItem { item, choose }))
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
        let Some(MenuBarItem { item, choose }) = shown.get() else {
            return;
        };
        if let Some(button) = item.button(main) {
            let size = POINTS as u32 * SCALE;
            let image = image(&draw(view.state, view.waiting.len(), size));
            button.setImage(image.as_deref());
            button.setToolTip(Some(&NSString::from_str(&view.title())));
        }
        item.setMenu(Some(&menu(main, choose, view.rows())));
    });
}

fn menu(main: MainThreadMarker, choose: &Sender<Act>, rows: Vec<Row>) -> Retained<NSMenu> {
    let menu = NSMenu::new(main);
    menu.setAutoenablesItems(false);
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
                let target = Target::new(main, choose.clone(), act);
                // SAFETY: the target has this selector, which takes the entry that sends it. The entry holds its target weakly,
                // and the represented object, which is the same, strongly.
                unsafe {
                    entry.setRepresentedObject(Some(&target));
                    entry.setTarget(Some(&target));
                    entry.setAction(Some(sel!(choose:)));
                }
                menu.addItem(&entry);
            }
        }
    }
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
    let bytes = pixels.premultiplied();
    if usize::try_from(size * size * 4) != Ok(bytes.len()) {
        return None;
    }
    // SAFETY: the bitmap was made for size × size pixels of four bytes without padding, as many as these are; nobody else has it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
    let image = NSImage::initWithSize(NSImage::alloc(), NSSize::new(POINTS, POINTS));
    image.addRepresentation(&bitmap);
    Some(image)
}
