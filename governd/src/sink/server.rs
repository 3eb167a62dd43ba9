//! The server: connections with TLS, within limits, and one thread that owns the store.

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::yield_now,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::{
    authority::Authority,
    client::{Client, Common},
    counts::Counts,
    doorkeeper::Doorkeeper,
    keeper::{self, Call, Keeper},
    notice::Tell,
    store::Store,
};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a failed accept keeps from the next one, such as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked who is silent.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Serves until the future is dropped.
///
/// # Errors
/// If no thread can be had for the store.
pub async fn serve(
    listener: TcpListener,
    authority: Arc<Authority>,
    store: Store,
    tell: Tell,
) -> io::Result<()> {
    serve_counted(listener, authority, store, tell, Arc::default()).await
}

/// The same; somebody else looks at what it counts.
///
/// # Errors
/// If no thread can be had for the store.
pub async fn serve_counted(
    listener: TcpListener,
    authority: Arc<Authority>,
    store: Store,
    tell: Tell,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let (calls, queue) = mpsc::channel(keeper::CALLS_MAX);
    let acceptor = TlsAcceptor::from(authority.server());
    let common = Arc::new(Common::new(counts));
    thread::Builder::new().name("sink-store".to_owned()).spawn({
        let (counts, refusals) = (Arc::clone(&common.counts), Arc::clone(&common.refusals));
        move || Keeper::new(store, authority, tell, counts, refusals).run(queue)
    })?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (leave, mut left) = mpsc::unbounded_channel();
    let mut door = Doorkeeper::default();
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = accept(&listener, &places) => {
                let Some((stream, address, place)) = accepted else {
                    return Ok(());
                };
                let door = door.admit(address.ip());
                let common = Arc::clone(&common);
                let client = Client::new(calls.clone(), Arc::clone(&common), address.ip());
                let (acceptor, leave) = (acceptor.clone(), leave.clone());
                common.counts.came();
                tokio::spawn(async move {
                    client.converse(stream, acceptor, door, leave).await;
                    common.counts.went();
                    drop(place);
                });
                // Who is in goes before the next one who comes.
                yield_now().await;
            }
            Some(place) = left.recv() => door.gone(&place),
            _ = look.tick() => {
                if calls.send(Call::look()).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    loop {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, address)) => return Some((stream, address, place)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
