//! A desktop's tray: a session bus of the test's own, and on it a watcher and a host of StatusNotifierItems, which reads
//! an item and chooses entries of its menu as a panel does.

use crate::waiting::{PATIENCE, lines};
use std::{
    collections::HashMap,
    pin::{Pin, pin},
    process::{Child, Command, Stdio},
};
use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use zbus::{
    Connection, MessageStream,
    export::futures_core::Stream,
    message::Type,
    zvariant::{DynamicType, OwnedValue, Structure, Value},
};

/// The properties of something on the bus, by their names.
type Properties = HashMap<String, OwnedValue>;

/// The desktop. Its bus ends with it.
pub struct Desktop {
    runtime: Runtime,
    connection: Connection,
    registered: UnboundedReceiver<String>,
    bus: Child,
    /// Where the bus is, as `DBUS_SESSION_BUS_ADDRESS` names it.
    pub address: String,
}

/// An item that a program put into the tray.
pub struct Item {
    name: String,
    signals: MessageStream,
}

/// An item as a person sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Appearance {
    /// Its title, which is its tip too.
    pub title: String,
    /// Whether it asks for attention.
    pub needs_attention: bool,
    /// Its pictures: width, height, and the bytes of their pixels.
    pub pictures: Vec<(i32, i32, Vec<u8>)>,
    /// The entries of its menu that can be chosen, with their numbers.
    pub entries: Vec<(String, i32)>,
    /// The lines of its menu that cannot.
    pub lines: Vec<String>,
}

impl Appearance {
    /// The labels of the entries.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|(label, _)| label.as_str())
            .collect()
    }
}

struct Watcher(UnboundedSender<String>);

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, service: String) {
        let _ = self.0.send(service);
    }
    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

impl Desktop {
    /// Starts a bus, and is its tray.
    ///
    /// # Panics
    /// Where there is no `dbus-daemon`.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("dbus-daemon: {error}; type: sudo apt-get install dbus (`cargo xtask test` does where it may)")
            });
        let said = bus.stdout.take().expect("a pipe");
        let address = lines(said).next().expect("an address of dbus-daemon");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (register, registered) = unbounded_channel();
        let connection = runtime.block_on(async {
            zbus::connection::Builder::address(address.as_str())?
                .serve_at("/StatusNotifierWatcher", Watcher(register))?
                .name("org.kde.StatusNotifierWatcher")?
                .build()
                .await
        });
        Self {
            runtime,
            connection: connection.expect("a connection"),
            registered,
            bus,
            address,
        }
    }

    /// The item that comes next.
    #[must_use]
    #[track_caller]
    pub fn item(&mut self) -> Item {
        let Self {
            runtime,
            connection,
            registered,
            ..
        } = self;
        runtime.block_on(async {
            let name = timeout(PATIENCE, registered.recv()).await;
            let name = name.expect("an item in the tray").expect("a watcher");
            // A stream with a rule of its own takes that back when it is dropped, which needs the runtime.
            let signals = MessageStream::from(&*connection);
            let rule = (format!("type='signal',sender='{name}'"),);
            let bus = Some("org.freedesktop.DBus");
            let asked =
                connection.call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule);
            asked.await.expect("its signals");
            Item { name, signals }
        })
    }

    /// Waits until an item is shown as `wanted`.
    #[track_caller]
    pub fn until(
        &self,
        item: &mut Item,
        what: &str,
        wanted: impl Fn(&Appearance) -> bool,
    ) -> Appearance {
        let Item { name, signals } = item;
        self.runtime.block_on(async {
            loop {
                // What comes is heard while it is read as well: where nobody takes it, the connection takes nothing more.
                let mut is_old = false;
                let shown = {
                    let mut reading = pin!(timeout(PATIENCE, self.read(name)));
                    loop {
                        tokio::select! {
                            shown = &mut reading => break shown.expect(what),
                            heard = next(signals) => is_old |= is_signal(&heard),
                        }
                    }
                };
                if wanted(&shown) {
                    return shown;
                }
                let heard = async { while !is_signal(&next(signals).await) {} };
                if !is_old && timeout(PATIENCE, heard).await.is_err() {
                    panic!("waited {PATIENCE:?} in vain: {what}; it shows {shown:#?}");
                }
            }
        })
    }

    /// Chooses an entry of the menu by its label.
    #[track_caller]
    pub fn choose(&self, item: &mut Item, label: &str) {
        let shown = self.until(item, label, |shown| shown.labels().contains(&label));
        let (_, id) = shown
            .entries
            .iter()
            .find(|(of, _)| of == label)
            .expect("it");
        let event = (*id, "clicked", Value::I32(0), 0_u32);
        self.runtime.block_on(self.call(
            &item.name,
            "/MenuBar",
            "com.canonical.dbusmenu",
            "Event",
            &event,
        ));
    }

    /// Clicks the icon itself.
    #[track_caller]
    pub fn click(&self, item: &Item) {
        let at = (0_i32, 0_i32);
        let interface = "org.kde.StatusNotifierItem";
        self.runtime.block_on(self.call(
            &item.name,
            "/StatusNotifierItem",
            interface,
            "Activate",
            &at,
        ));
    }

    async fn read(&self, name: &str) -> Appearance {
        let of = ("org.kde.StatusNotifierItem",);
        let interface = "org.freedesktop.DBus.Properties";
        let said = self.call(name, "/StatusNotifierItem", interface, "GetAll", &of);
        let mut said: Properties = said.await.body().deserialize().expect("properties");
        let mut take = |name: &str| said.remove(name).expect("a property");
        let text = |value: OwnedValue| String::try_from(value).expect("a text");
        let (title, status, icon) = (take("Title"), take("Status"), take("IconPixmap"));
        let whole = (0_i32, -1_i32, Vec::<String>::new());
        let menu = self.call(
            name,
            "/MenuBar",
            "com.canonical.dbusmenu",
            "GetLayout",
            &whole,
        );
        let (_, (_, _, rows)): (u32, (i32, Properties, Vec<OwnedValue>)) =
            menu.await.body().deserialize().expect("a menu");
        let (mut entries, mut lines) = (Vec::new(), Vec::new());
        for row in rows {
            let row = Structure::try_from(row).expect("a row");
            let (id, mut about, _): (i32, Properties, Vec<Value<'_>>) = {
                let mut fields = row.into_fields().into_iter();
                let mut next = || fields.next().expect("a field");
                (
                    next().try_into().expect("a number"),
                    next().try_into().expect("properties"),
                    next().try_into().expect("rows"),
                )
            };
            let Some(label) = about.remove("label") else {
                continue;
            };
            let label = text(label).replace("__", "_");
            match about.remove("enabled").map(bool::try_from) {
                Some(Ok(false)) => lines.push(label),
                _ => entries.push((label, id)),
            }
        }
        Appearance {
            title: text(title),
            needs_attention: text(status) == "NeedsAttention",
            pictures: icon.try_into().expect("pictures"),
            entries,
            lines,
        }
    }

    async fn call(
        &self,
        name: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> zbus::Message {
        let answer = self
            .connection
            .call_method(Some(name), path, Some(interface), method, body);
        let answer = timeout(PATIENCE, answer).await.expect("an answer");
        answer.unwrap_or_else(|error| panic!("{interface}.{method}: {error}"))
    }
}

fn is_signal(heard: &Option<zbus::Result<zbus::Message>>) -> bool {
    match heard {
        Some(Ok(message)) => message.message_type() == Type::Signal,
        Some(Err(why)) => panic!("the bus: {why}"),
        None => panic!("the bus has ended"),
    }
}

async fn next(messages: &mut MessageStream) -> Option<zbus::Result<zbus::Message>> {
    std::future::poll_fn(|context| Pin::new(&mut *messages).poll_next(context)).await
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}
