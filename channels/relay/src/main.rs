//! The command line of the relay: `serve`, and `invite` and `remove`, which ask a serving one.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use plexus_channels::Id;
use plexus_channels::wire::Kind;
use plexus_relay::listen::{self, Bound};
use plexus_relay::operator::{self, Invite, Operator, Remove};
use plexus_relay::store::{Address, JetStream, RedbFile, Store, StoreError};
use plexus_relay::{Network, Proxies, Relay, Terms};
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

/// How long connections may take to end when the relay stops.
const LEAVE: Duration = Duration::from_secs(2);

#[derive(Parser)]
#[command(
    name = "plexus-relay",
    version,
    about = "A relay for end-to-end encrypted channels",
    after_help = "Exit status: 0 done, 1 failed, 2 usage. docs/channels/relay.md is the manual."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients until SIGINT or SIGTERM
    Serve(Serve),
    /// Make an invitation; a relay must be serving from the store. Prints a secret
    Invite(Invitation),
    /// Remove a user: end their logins, and renew the keys of their channels
    Remove(Removal),
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    store: StoreOptions,
    /// A file with USER:PASSWORD or a token for NATS; no one else may read it
    #[arg(long, value_name = "FILE", requires = "cache")]
    nats_credentials: Option<PathBuf>,
    /// The certificates that sign those of the NATS servers, PEM; tls:// needs it
    #[arg(long, value_name = "FILE", requires = "cache")]
    nats_ca: Option<PathBuf>,
    /// Address to listen on; beyond this machine only with a certificate
    #[arg(long, default_value = "127.0.0.1:7090")]
    listen: SocketAddr,
    /// The certificate chain, PEM
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Requests a second of one device, after a burst of twice as many; 0 for no limit
    #[arg(long, default_value_t = Terms::default().device_rate)]
    device_rate: u32,
    /// Registrations and proofs a second of one address that are refused, after a burst of twice as many; 0 for no limit
    #[arg(long, default_value_t = Terms::default().address_rate)]
    address_rate: u32,
    /// Proxies whose X-Forwarded-For or Forwarded is believed: addresses or networks, by commas
    #[arg(long, value_name = "ADDRESS[/BITS]", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
}

#[derive(Args)]
struct Invitation {
    #[command(flatten)]
    store: StoreOptions,
    /// The organization; it is made where there is none of this name
    #[arg(long)]
    organization: String,
    /// Kind of user
    #[arg(long, value_enum, default_value_t = UserKind::Agent)]
    kind: UserKind,
    /// Number of users who may register with it
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Days until it expires
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// Print {"invitation_key", "founded"} instead of the key alone
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Removal {
    #[command(flatten)]
    store: StoreOptions,
    /// The id of the user, as `plexusctl channels members` and clients show it
    user: Id,
    /// Print {"user": …, "organization": …, "channels": …} instead of a sentence
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum UserKind {
    Agent,
    Human,
}

/// Where everything is kept.
#[derive(Args)]
struct StoreOptions {
    /// Store: redb:FILE, or nats://HOST:PORT[,HOST:PORT…] or tls://… for several relays
    #[arg(long, value_parser = store)]
    store: StoreLocation,
    /// With NATS: this relay's own copy of what it has read
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

#[derive(Clone)]
enum StoreLocation {
    Redb(PathBuf),
    Nats(Address),
}

fn store(text: &str) -> Result<StoreLocation, String> {
    match text.split_once(':') {
        Some(("redb", file)) if !file.is_empty() => Ok(StoreLocation::Redb(PathBuf::from(file))),
        Some(("nats" | "tls", _)) => Address::parse(text).map(StoreLocation::Nats),
        _ => Err("a store is redb:FILE, nats://HOST:PORT or tls://HOST:PORT".to_owned()),
    }
}

impl StoreOptions {
    /// The file that is this relay's own.
    fn file(&self) -> Result<&Path, &'static str> {
        match (&self.store, &self.cache) {
            (StoreLocation::Redb(file), None) | (StoreLocation::Nats(_), Some(file)) => Ok(file),
            (StoreLocation::Redb(_), Some(_)) => Err("--cache goes with a store of NATS"),
            (StoreLocation::Nats(_), None) => {
                Err("a store of NATS needs --cache FILE, for each relay its own")
            }
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let place = match &cli.command {
        Command::Serve(serve) => &serve.store,
        Command::Invite(invitation) => &invitation.store,
        Command::Remove(removal) => &removal.store,
    };
    if let Err(why) = place.file() {
        Cli::command()
            .error(ErrorKind::ArgumentConflict, why)
            .exit();
    }
    let filter = std::env::var("PLEXUS_RELAY_LOG").ok();
    let filter = filter.filter(|filter| !filter.is_empty());
    let filter = filter.and_then(|filter| tracing_subscriber::EnvFilter::try_new(filter).ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.unwrap_or_else(|| "info".into()))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended: Result<(), Box<dyn Error>> = runtime.map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(async {
            match cli.command {
                Command::Serve(serve) => serve_until_told(serve).await,
                Command::Invite(invitation) => invite(invitation).await,
                Command::Remove(removal) => remove(removal).await,
            }
        });
        // Connections hold the store until their tasks are gone, and a store that is closed starts faster.
        runtime.shutdown_timeout(LEAVE);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Where stderr is closed nobody listens.
            let _ = writeln!(std::io::stderr(), "plexus-relay: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_until_told(serve: Serve) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let tls = match (&serve.tls_certificate, &serve.tls_key) {
        (Some(chain), Some(key)) => Some(listen::tls(&read(chain)?, &read(key)?)?),
        _ => None,
    };
    let file = serve.store.file()?;
    // Servers of NATS may take their time.
    let store = tokio::select! {
        store = open(&serve) => store?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let terms = Terms {
        device_rate: serve.device_rate,
        address_rate: serve.address_rate,
        proxies: Proxies(serve.trusted_proxy),
    };
    let relay = Relay::new(store, terms);
    let of_address = |why: std::io::Error| format!("{}: {why}", serve.listen);
    let bound = Bound::to(serve.listen, tls).await.map_err(of_address)?;
    let scheme = if bound.has_tls() { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", bound.address()?);
    let path = operator_socket(file);
    let of_operator =
        |why: std::io::Error| format!("the operator's socket {}: {why}", path.display());
    let operator = Operator::to(&path).map_err(of_operator)?;
    tokio::select! {
        () = operator.serve(Arc::clone(&relay)) => {}
        () = async {
            let ready = serde_json::json!({"endpoint": endpoint, "pid": std::process::id()});
            // Who started the relay may not care for it.
            let _ = writeln!(std::io::stdout(), "PLEXUS_RELAY_READY {ready}");
            tracing::info!(name: "relay.ready", %endpoint, "the relay serves");
            bound.serve(Arc::clone(&relay)).await;
        } => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Who does not take their leave is left.
    let _ = tokio::time::timeout(LEAVE, relay.stop()).await;
    // A second relay on this store makes it anew.
    let _ = std::fs::remove_file(&path);
    tracing::info!(name: "relay.stopped", "the relay stops");
    Ok(())
}

async fn open(serve: &Serve) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let address = match &serve.store.store {
        StoreLocation::Redb(file) => {
            let of_file = |why: StoreError| format!("the store {}: {}", file.display(), why.0);
            return Ok(Arc::new(RedbFile::open(file).map_err(of_file)?));
        }
        StoreLocation::Nats(address) => address,
    };
    let mut address = address.clone();
    address.credentials.clone_from(&serve.nats_credentials);
    address.authority.clone_from(&serve.nats_ca);
    let cache = serve.store.file()?;
    Ok(Arc::new(JetStream::open(&address, cache).await?))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// Where the relay that serves from a store listens to its operator.
fn operator_socket(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".operator");
    path.into()
}

async fn invite(invitation: Invitation) -> Result<(), Box<dyn Error>> {
    let ask = Invite {
        organization: invitation.organization,
        kind: match invitation.kind {
            UserKind::Agent => Kind::Agent,
            UserKind::Human => Kind::Human,
        },
        uses: invitation.uses,
        days: invitation.days,
    };
    let answer = asked(&invitation.store, operator::INVITATIONS, &ask).await?;
    let key = answer["invitation_key"].as_str().unwrap_or_default();
    let line = if invitation.json {
        answer.to_string()
    } else {
        key.to_owned()
    };
    // First: the key is shown only once.
    writeln!(std::io::stdout(), "{line}")?;
    // A misspelt name makes one too, in which nobody else is.
    if answer["founded"] == true {
        let name = &ask.organization;
        let _ = writeln!(std::io::stderr(), "the organization {name:?} is new");
    }
    Ok(())
}

async fn remove(removal: Removal) -> Result<(), Box<dyn Error>> {
    let ask = Remove { user: removal.user };
    let answer = asked(&removal.store, operator::REMOVALS, &ask).await?;
    let line = if removal.json {
        answer.to_string()
    } else {
        let text = |at: &serde_json::Value| at.as_str().unwrap_or_default().to_owned();
        let (name, of) = (text(&answer["user"]["name"]), text(&answer["organization"]));
        let channels = &answer["channels"];
        format!("removed {name:?} from {of:?}, and from {channels} of its channels")
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Why the socket of an operator does not answer, and what to do.
fn not_reached(store: &StoreOptions, socket: &Path, why: &std::io::Error) -> String {
    if why.kind() == std::io::ErrorKind::PermissionDenied {
        return of_another_user(socket);
    }
    let same = match store.cache {
        Some(_) => "--store and --cache",
        None => "--store",
    };
    let socket = socket.display();
    format!(
        "no relay serves from this store: {socket}: {why}\nrun: plexus-relay serve, with the same {same}"
    )
}

fn of_another_user(socket: &Path) -> String {
    let socket = socket.display();
    format!(
        "the relay of this store answers its own user alone: {socket}\nrun this as that user: sudo -u USER plexus-relay …"
    )
}

/// What the relay that serves from a store answers its operator.
async fn asked(
    store: &StoreOptions,
    path: &str,
    ask: &impl serde::Serialize,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let socket = operator_socket(store.file()?);
    let stream = UnixStream::connect(&socket)
        .await
        .map_err(|why| not_reached(store, &socket, &why))?;
    // The relay would end the connection without a word.
    if std::fs::metadata(&socket)?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(of_another_user(&socket).into());
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let body = Full::new(bytes::Bytes::from(serde_json::to_vec(ask)?));
    let request = hyper::Request::post(path)
        .header("host", "operator")
        .body(body)?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&bytes)?;
    if !status.is_success() {
        let why = answer["error"]["message"].as_str().unwrap_or("no answer");
        return Err(format!("the relay refuses: {why}").into());
    }
    Ok(answer)
}
