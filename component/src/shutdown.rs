//! Orderly shutdown on SIGTERM and SIGINT.

use anyhow::Context;
use platform::signals;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT.
///
/// A SIGINT that was ignored at the start stays so. SIGTERM is taken in any case: it is how the programs of a run tell
/// each other to end.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn token() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("installing the SIGTERM handler")?;
    let interrupt = SignalKind::interrupt();
    let mut interrupt = match signals::is_ignored(interrupt.as_raw_value()) {
        true => None,
        false => Some(signal(interrupt).context("installing the SIGINT handler")?),
    };
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let interrupted = async {
            match &mut interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupted => {}
        }
        cancel.cancel();
    });
    Ok(token)
}
