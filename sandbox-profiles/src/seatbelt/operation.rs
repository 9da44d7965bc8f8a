//! What a program may ask of Seatbelt, as values.

/// An operation and what it is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read the content of a file, or the names in a folder.
    Read(Place),
    /// Learn of a file's existence, size and times.
    ReadMetadata(Place),
    /// Change the content of a file that is there.
    Write(Place),
    /// Make something where nothing is.
    Create(Place),
    /// Remove it, or move it away.
    Remove(Place),
    /// Change permission bits.
    SetMode(Place),
    /// Set a set-id bit.
    SetId(Place),
    /// Set an extended attribute.
    SetAttribute(Place),
    /// Map it as code.
    MapCode(Place),
    /// Control a device.
    Control(Place),
    /// Become the program.
    Execute(Place),
    /// Make a process.
    Fork,
    /// Send a signal.
    Signal(Receiver),
    /// Connect, or send a datagram.
    Connect(Endpoint),
    /// Bind a socket.
    Bind(Endpoint),
    /// Take connections.
    Accept(Endpoint),
    /// Find a service of the system by its global name.
    LookUp(String),
    /// Send an Apple event to the app with this identifier.
    SendEvent(String),
    /// Have LaunchServices open an app or an address.
    Open,
    /// Read preferences of this domain.
    ReadPreferences(String),
    /// Read a value of the kernel by its name.
    ReadKernel(String),
}

impl Operation {
    /// Its name in Apple's language.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "file-read-data",
            Self::ReadMetadata(_) => "file-read-metadata",
            Self::Write(_) => "file-write-data",
            Self::Create(_) => "file-write-create",
            Self::Remove(_) => "file-write-unlink",
            Self::SetMode(_) => "file-write-mode",
            Self::SetId(_) => "file-write-setugid",
            Self::SetAttribute(_) => "file-write-xattr",
            Self::MapCode(_) => "file-map-executable",
            Self::Control(_) => "file-ioctl",
            Self::Execute(_) => "process-exec",
            Self::Fork => "process-fork",
            Self::Signal(_) => "signal",
            Self::Connect(_) => "network-outbound",
            Self::Bind(_) => "network-bind",
            Self::Accept(_) => "network-inbound",
            Self::LookUp(_) => "mach-lookup",
            Self::SendEvent(_) => "appleevent-send",
            Self::Open => "lsopen",
            Self::ReadPreferences(_) => "user-preference-read",
            Self::ReadKernel(_) => "sysctl-read",
        }
    }

    /// The file it is about; of a Unix socket too, whose rules name paths.
    pub(super) fn place(&self) -> Option<(&str, Option<Kind>)> {
        match self {
            Self::Read(place)
            | Self::ReadMetadata(place)
            | Self::Write(place)
            | Self::Create(place)
            | Self::Remove(place)
            | Self::SetMode(place)
            | Self::SetId(place)
            | Self::SetAttribute(place)
            | Self::MapCode(place)
            | Self::Control(place)
            | Self::Execute(place) => Some((&place.path, Some(place.kind))),
            Self::Connect(Endpoint::Socket(path))
            | Self::Bind(Endpoint::Socket(path))
            | Self::Accept(Endpoint::Socket(path)) => Some((path, None)),
            _ => None,
        }
    }
}

/// A path that leads through no link, and what lies there or is to be made there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Absolute and resolved, as the kernel has it.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

impl Place {
    /// An ordinary file.
    #[must_use]
    pub fn file(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::File,
        }
    }

    /// A folder.
    #[must_use]
    pub fn folder(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Folder,
        }
    }

    /// A symbolic link itself.
    #[must_use]
    pub fn link(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Link,
        }
    }
}

/// What lies at a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a device.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The sender.
    Itself,
    /// Another process of the same sandbox.
    SameSandbox,
    /// Any other.
    Other,
}

/// The other end of a connection, or one's own where one listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(Address, u16),
    /// UDP.
    Udp(Address, u16),
    /// A Unix socket by its path.
    Socket(String),
}

/// Where a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// 127.0.0.1 or `::1`.
    Loopback,
    /// `::ffff:127.0.0.1`, from a socket that speaks both.
    MappedLoopback,
    /// An address of this machine that others reach.
    OwnHost,
    /// Another machine's.
    Elsewhere,
}
