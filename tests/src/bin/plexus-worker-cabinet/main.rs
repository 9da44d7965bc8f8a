//! The worker of the cabinet: a source without a root, whose folders and secrets come by field. It reads and writes
//! whatever path it is asked for, so that its sandbox alone decides.
//!
//! Must not know: anything of the daemon but its protocol.

use plexus_ipc::{
    message::Secret,
    worker::{
        CallContext, Handlers, NoInput, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
        SourceError, on_file_thread,
    },
};
use plexus_protocol::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fs, io, process::ExitCode, sync::Arc};

const MANIFEST: &str = include_str!("../../../fixture/cabinet.json");

fn main() -> ExitCode {
    plexus_ipc::worker::main::<Cabinet>(MANIFEST)
}

struct Cabinet {
    drawer: String,
    secrets: Secrets,
}

#[derive(Deserialize)]
struct Config {
    drawer: String,
}

#[derive(Deserialize)]
struct Look {
    path: String,
}

#[derive(Deserialize)]
struct Put {
    path: String,
    text: String,
}

impl Source for Cabinet {
    type Config = Config;

    async fn open(config: Config, secrets: Secrets, _: Role) -> Result<Self, OpenError> {
        let drawer = config.drawer;
        Ok(Self { drawer, secrets })
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("about", Self::about)
            .read("look", Self::look)
            .effect("put", Self::plan_put, Self::put)
    }
}

impl Cabinet {
    async fn about(
        self: Arc<Self>,
        _: CallContext,
        _: NoInput,
    ) -> Result<Reply<Value>, SourceError> {
        let digest = |secret: &Secret| json!(Digest::of(secret.expose().as_bytes()));
        let of = |field: &str| Some((field.to_owned(), digest(self.secrets.get(field)?)));
        // A secret of another source would have that source's name, or the file's.
        let fields = ["token", "spare", "secret", "key", "cabinet.token"];
        let secrets: Map<String, Value> = fields.into_iter().filter_map(of).collect();
        let about = json!({"drawer": self.drawer, "secrets": secrets});
        Ok(Reply::new(about, "told about itself"))
    }

    async fn look(
        self: Arc<Self>,
        _: CallContext,
        input: Look,
    ) -> Result<Reply<Value>, SourceError> {
        on_file_thread(move || {
            let text = fs::read_to_string(&input.path).map_err(refused)?;
            Ok(Reply::new(json!({"text": text}), "looked"))
        })
        .await
    }

    async fn plan_put(
        self: Arc<Self>,
        _: CallContext,
        input: Put,
    ) -> Result<Plan<Put>, SourceError> {
        let state = Digest::of(input.path.as_bytes());
        Ok(Plan::new(input, state, Preview::new("put"), "put"))
    }

    async fn put(self: Arc<Self>, _: CallContext, put: Put) -> Result<Reply<Value>, SourceError> {
        on_file_thread(move || {
            fs::write(&put.path, &put.text).map_err(refused)?;
            Ok(Reply::new(json!({"ok": true}), "put"))
        })
        .await
    }
}

/// What the kernel said, by its kind.
fn refused(error: io::Error) -> SourceError {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => "sandbox",
        io::ErrorKind::NotFound => "not_found",
        _ => "io",
    };
    SourceError::transport(reason, error.to_string())
}
