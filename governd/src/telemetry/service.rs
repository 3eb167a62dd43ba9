//! What the service manager is told, where there is one (sd_notify(3)).

use sd_notify::NotifyState;

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// The policy is in force, and requests are answered.
    Ready,
    /// The daemon still works.
    Alive,
    /// It ends.
    Stopping,
}

/// Tells the service manager. Without one nothing happens.
pub fn tell(news: News) {
    let state = match news {
        News::Ready => NotifyState::Ready,
        News::Alive => NotifyState::Watchdog,
        News::Stopping => NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, ?news, "the service manager is not told");
    }
}
