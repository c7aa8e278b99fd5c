//! Watching a kind for ever: list, watch, list again when the server asks for it.
//!
//! A second list means that events may have been missed, so it is counted as a gap; a measurement with
//! gaps is void (design: run validity).

use std::fmt::Debug;
use std::time::Instant;

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start_watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// What happened to an object, stamped at receipt.
#[derive(Debug)]
pub enum Change<K> {
    /// Added or modified (or first seen in a list).
    Applied(K),
    /// Gone.
    Deleted(K),
    /// A list begins: what it does not name is gone. The flag is true for every list but the first.
    ListStarted {
        /// Whether events may have been missed before this list.
        gap: bool,
    },
    /// The list is complete.
    ListDone,
}

/// Changes of all objects of `api` that match `config`, each with the time of its receipt.
///
/// Errors of the connection are logged and retried with back-off; they show as `ListStarted {gap}` only if
/// the watch could not be resumed.
pub fn changes<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = (Instant, Change<K>)> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut lists = 0_u32;
    start_watcher(api, config).default_backoff().filter_map(move |event| {
        let at = Instant::now();
        let change = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => Some(Change::Applied(object)),
            Ok(Event::Delete(object)) => Some(Change::Deleted(object)),
            Ok(Event::Init) => {
                lists += 1;
                Some(Change::ListStarted { gap: lists > 1 })
            }
            Ok(Event::InitDone) => Some(Change::ListDone),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "watch failed; retrying");
                None
            }
        };
        std::future::ready(change.map(|change| (at, change)))
    })
}
