//! Linux: a StatusNotifierItem on the session bus, which Plasma, most panels and, with an extension, GNOME show.

use crate::{
    act::Act,
    failed,
    icon::{Pixels, draw},
    view::{Row, View},
};
use futures_util::StreamExt as _;
use ksni::{
    Handle, MenuItem, OfflineReason, Status, ToolTip, Tray, TrayMethods as _, menu::StandardItem,
};
use plexus_client::{Exit, Home, Stop, out};
use plexus_protocol::Digest;
use tokio::sync::mpsc::{self, Receiver, Sender};
use zbus::{MessageStream, fdo::RequestNameFlags};

/// The sizes that the icon is drawn in: panels at 1 and 2 pixels a point.
const SIZES: [u32; 2] = [22, 44];
/// How many choices may wait to be carried out; a person makes no more, and further ones are dropped.
const CHOICES: usize = 16;

/// The icon on the desktop.
pub(crate) struct Icon {
    handle: Handle<Item>,
    /// Ends with the bus.
    bus: MessageStream,
}

impl Icon {
    /// Shows this.
    pub(crate) async fn show(&self, view: &View) {
        self.handle.update(|item| item.view = view.clone()).await;
    }

    /// Why nothing can be shown any more. May be dropped while it waits.
    pub(crate) async fn ended(&mut self) -> Stop {
        while let Some(Ok(_)) = self.bus.next().await {}
        Stop::new(Exit::Failed, "desktop_gone", "the session bus has ended")
    }
}

/// Runs `program` with an icon, and with what the person chooses.
///
/// # Errors
/// There is no session bus; the icon of this state directory is there already; those of `program`.
pub(crate) fn run<F: Future<Output = Result<(), Stop>>>(
    home: &Home,
    program: impl FnOnce(Icon, Receiver<Act>) -> F,
) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let bus = claim(home).await?;
        let (choose, chosen) = mpsc::channel(CHOICES);
        let item = Item {
            view: View::unknown(),
            choose,
        };
        // A login starts this before the panel, which is not there yet.
        let handle = item.assume_sni_available(true).spawn().await;
        let handle = handle.map_err(|why| no_bus(&why))?;
        program(Icon { handle, bus }, chosen).await
    })
}

/// Connects to the session bus, and takes the name that one icon of this state directory has.
async fn claim(home: &Home) -> Result<MessageStream, Stop> {
    let bus = zbus::Connection::session().await;
    let bus = bus.map_err(|why| no_bus(&why))?;
    let of = Digest::of(home.path().as_os_str().as_encoded_bytes()).to_string();
    let name = format!("local.plexus.Tray.h{}", &of[..16]);
    let taken = bus.request_name_with_flags(name, RequestNameFlags::DoNotQueue.into());
    match taken.await {
        Ok(_) => Ok(MessageStream::from(bus)),
        Err(zbus::Error::NameTaken) => {
            let why = format!(
                "the icon of {} is in the tray already",
                home.path().display()
            );
            Err(Stop::new(Exit::Failed, "already_runs", why))
        }
        Err(why) => Err(no_bus(&why)),
    }
}

fn no_bus(why: &impl std::fmt::Display) -> Stop {
    let why = format!("there is no desktop to show an icon on: no session bus answers ({why})");
    Stop::new(Exit::Failed, "no_session_bus", why).next(
        "start it in your desktop's session, where DBUS_SESSION_BUS_ADDRESS is set; over ssh or without a desktop: \
         plexusctl status, plexusctl approvals watch",
    )
}

/// What the desktop asks.
struct Item {
    view: View,
    choose: Sender<Act>,
}

impl Item {
    fn pixmaps(&self) -> Vec<ksni::Icon> {
        let (state, waiting) = (self.view.state, self.view.waiting.len());
        SIZES.map(|size| pixmap(draw(state, waiting, size))).into()
    }
}

impl Tray for Item {
    fn id(&self) -> String {
        "plexus-tray".to_owned()
    }

    fn title(&self) -> String {
        self.view.title()
    }

    fn status(&self) -> Status {
        match self.view.waiting.is_empty() {
            true => Status::Active,
            false => Status::NeedsAttention,
        }
    }

    fn icon_pixmap(&self) -> Vec<ksni::Icon> {
        self.pixmaps()
    }

    fn attention_icon_pixmap(&self) -> Vec<ksni::Icon> {
        self.pixmaps()
    }

    fn tool_tip(&self) -> ToolTip {
        ToolTip {
            title: self.view.title(),
            ..ToolTip::default()
        }
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        self.view.rows().into_iter().map(entry).collect()
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        if let Some(act) = self.view.click() {
            let _ = self.choose.try_send(act);
        }
    }

    fn watcher_offline(&self, _reason: OfflineReason) -> bool {
        out::say(
            "no tray shows icons here now; this one appears as soon as one does (GNOME: the extension AppIndicator)",
        );
        true
    }
}

fn entry(row: Row) -> MenuItem<Item> {
    match row {
        Row::Line => MenuItem::Separator,
        Row::Text(text) => StandardItem {
            label: label(&text),
            enabled: false,
            ..StandardItem::default()
        }
        .into(),
        Row::Entry(text, act) => StandardItem {
            label: label(&text),
            activate: Box::new(move |item: &mut Item| {
                let _ = item.choose.try_send(act.clone());
            }),
            ..StandardItem::default()
        }
        .into(),
    }
}

/// A label as the menu's protocol has it: one underscore would make a letter the access key.
fn label(text: &str) -> String {
    text.replace('_', "__")
}

/// The protocol has the opacity first.
fn pixmap(pixels: Pixels) -> ksni::Icon {
    let size = i32::try_from(pixels.size).unwrap_or_default();
    let mut data = pixels.rgba;
    for pixel in data.chunks_exact_mut(4) {
        pixel.rotate_right(1);
    }
    ksni::Icon {
        width: size,
        height: size,
        data,
    }
}
