//! The control socket: one JSON request per line, one JSON response per line, `{"ok":{...}}` or
//! `{"error":{"message":...,"kind":"usage|internal"}}`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::driver::{Driver, Refusal};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Declares all workloads at the profile's pace. Answered at once; `status` tells when it is done.
    Fill {},
    /// Starts churn, ageing and the demand wave, as the profile has them.
    Soak {
        /// Length; the profile's soak if absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Starts churn alone.
    Churn {
        /// Share of the target per minute, 0..=1.
        per_minute: f64,
        /// Length.
        seconds: u64,
    },
    /// Starts the profile's demand wave alone.
    Wave {
        /// Length.
        seconds: u64,
    },
    /// Deletes that many Pods at once.
    Burst {
        /// How many.
        pods: u32,
    },
    /// Brings one object to that many replicas.
    Scale {
        /// Its name.
        workload: String,
        /// How many.
        replicas: u32,
    },
    /// Ends churn and wave; replicas go back to the plan's.
    Stop {},
    /// What was done so far.
    Status {},
}

/// Binds the socket, replacing a stale one.
///
/// # Errors
/// When the path cannot be bound.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    // What a killed predecessor left would keep us from binding.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("binding the control socket {}", path.display()))
}

/// Serves requests, for ever.
pub async fn serve(listener: UnixListener, driver: Arc<Driver>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, driver.clone()))),
            Err(error) => {
                tracing::error!(%error, "accepting on the control socket failed");
                // Out of file descriptors, most likely: do not spin.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, driver: Arc<Driver>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) => answer(driver.handle(request).await),
            Err(error) => json!({"error": {"message": format!("{line}: {error}"), "kind": "usage"}}),
        };
        if writer.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(refusal) => json!({"error": {"message": refusal.to_string(), "kind": refusal.kind()}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_mistakes_refused() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(read(r#"{"request":"fill"}"#).unwrap(), Request::Fill {});
        assert_eq!(read(r#"{"request":"soak"}"#).unwrap(), Request::Soak { seconds: None });
        assert_eq!(
            read(r#"{"request":"scale","workload":"w","replicas":3}"#).unwrap(),
            Request::Scale { workload: "w".into(), replicas: 3 }
        );
        let write = |request| serde_json::to_string(&request).unwrap();
        assert_eq!(write(Request::Status {}), r#"{"request":"status"}"#);
        assert_eq!(write(Request::Soak { seconds: None }), r#"{"request":"soak"}"#);
        for bad in
            [r#"{"request":"fil"}"#, r#"{"request":"fill","x":1}"#, r#"{"request":"churn"}"#, "{}", "fill"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
