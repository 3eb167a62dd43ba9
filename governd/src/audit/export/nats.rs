//! NATS JetStream: a message for each record, which the stream stores once (`Nats-Msg-Id`).

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::{ConnectOptions, HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use tokio::{runtime::Runtime, time::timeout};

use super::{Batch, Delivered, Destination, Fault, SetUpError, TIMEOUT, config, item_key, tls};

/// Longest time for a batch, whose records are all on their way at once.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Nats {
    servers: Vec<String>,
    subject: String,
    credentials: Option<PathBuf>,
    tls: rustls::ClientConfig,
    /// The client keeps its connection alive from here; this thread only waits for it.
    runtime: Runtime,
    context: Option<jetstream::Context>,
}

impl Nats {
    pub(super) fn new(spec: &config::Nats) -> Result<Self, SetUpError> {
        let config::Nats { name, from: _, servers, subject, credentials_file, tls } = spec;
        let file = |path: &Path, error: io::Error| SetUpError::file(name, path, error);
        if let Some(path) = credentials_file {
            std::fs::metadata(path).map_err(|error| file(path, error))?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("governd-nats")
            .enable_all()
            .build()
            .map_err(|error| SetUpError::unusable(name, error))?;
        let tls = tls::Identity::read(name, tls)?.client(name)?;
        Ok(Self {
            servers: servers.clone(),
            subject: subject.clone(),
            credentials: credentials_file.clone(),
            tls: (*tls).clone(),
            runtime,
            context: None,
        })
    }
}

impl Destination for Nats {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let Self { servers, subject, credentials, tls, runtime, context } = self;
        let delivered = runtime.block_on(async {
            let context = match context.take() {
                Some(context) => context,
                None => connect(servers, credentials.as_deref(), tls.clone()).await?,
            };
            publish(&context, subject, batch).await?;
            Ok(context)
        });
        *context = Some(delivered?);
        Ok(Delivered::default())
    }
}

async fn connect(
    servers: &[String],
    credentials: Option<&Path>,
    tls: rustls::ClientConfig,
) -> Result<jetstream::Context, Fault> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Fault::later(&format!("cannot connect to {}", servers.join(", ")), error)
    };
    let mut options =
        ConnectOptions::new().name("governd").connection_timeout(TIMEOUT).tls_client_config(tls);
    if let Some(path) = credentials {
        options = options.credentials_file(path).await.map_err(|error| unreachable(&error))?;
    }
    let connecting = timeout(TIMEOUT, options.connect(servers)).await;
    let client = connecting.map_err(|error| unreachable(&error))?;
    let mut context = jetstream::new(client.map_err(|error| unreachable(&error))?);
    context.set_timeout(TIMEOUT);
    Ok(context)
}

/// Publishes all records, and waits until the stream has stored them.
async fn publish(
    context: &jetstream::Context,
    subject: &str,
    batch: Batch<'_>,
) -> Result<(), Fault> {
    let failed = |error: &dyn std::fmt::Display| {
        Fault::later(&format!("no stream has stored what was published to {subject}"), error)
    };
    let all = async {
        let mut stored = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, item_key(batch.origin, item.index));
            headers.insert("Governd-Log", batch.origin);
            let payload = item.line.clone().into();
            let sent = context.publish_with_headers(subject.to_owned(), headers, payload).await;
            stored.push(sent.map_err(|error| failed(&error))?);
        }
        for answer in stored {
            answer.await.map_err(|error| failed(&error))?;
        }
        Ok(())
    };
    timeout(BATCH_TIMEOUT, all).await.map_err(|error| failed(&error))?
}
