//! Producers that record calls. Each call has a unique model name, which identifies it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::Ledger;

/// The calls of one request, stored completely or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    pub name: String,
    pub calls: usize,
    pub failed: bool,
    /// Whether it has an idempotency key, so that it can be sent again.
    pub keyed: bool,
    /// Whether it is sent as a stream of lines, which a key makes one batch.
    pub streamed: bool,
}

impl Batch {
    pub fn new(producer: &str, number: usize) -> Self {
        Self {
            name: format!("{producer}-{number}"),
            calls: [1, 1, 3, 40, 1][number % 5],
            failed: number.is_multiple_of(3),
            keyed: number.is_multiple_of(2),
            streamed: number.is_multiple_of(4),
        }
    }

    /// The models of its calls.
    pub fn models(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.calls).map(|index| format!("{}.{index}", self.name))
    }

    fn calls(&self) -> Vec<Value> {
        let error = json!({ "errorType": "crash", "message": self.name });
        // Several keys: Citus stores them on several servers.
        let call = |(index, model)| match (self.failed, format!("key {}", index % 7)) {
            (true, key) => json!({ "key": key, "model": model, "statusCode": 429, "error": error }),
            (false, key) => json!({ "key": key, "model": model, "statusCode": 200 }),
        };
        self.models().enumerate().map(call).collect()
    }

    fn body(&self) -> Value {
        let calls = self.calls();
        let key = self.keyed.then(|| self.name.clone());
        json!({
            "query": "mutation($input: RecordCallsInput!) { recordCalls(input: $input) { recorded duplicate } }",
            "variables": { "input": { "calls": calls, "idempotencyKey": key } },
        })
    }

    /// Sends the batch. The response must be complete, an error or missing.
    pub async fn send(&self, http: &reqwest::Client, address: &str) -> Acknowledgement {
        if self.streamed {
            return self.stream(http, address).await;
        }
        let sent = http.post(format!("http://{address}/graphql")).json(&self.body()).send().await;
        let answer: Value = match sent {
            Ok(answer) => match answer.json().await {
                Ok(answer) => answer,
                Err(_) => return Acknowledgement::None,
            },
            Err(_) => return Acknowledgement::None,
        };
        let payload = &answer["data"]["recordCalls"];
        if payload.is_null() {
            let code = &answer["errors"][0]["extensions"]["code"];
            let known = ["DATABASE_UNAVAILABLE", "TIMEOUT", "SERVER_BUSY"];
            assert!(known.iter().any(|known| code == known), "{answer}");
            return Acknowledgement::None;
        }
        assert_eq!(payload["recorded"], json!(self.calls), "{answer}");
        match payload["duplicate"].as_bool() {
            Some(true) => Acknowledgement::Duplicate,
            Some(false) => Acknowledgement::Recorded,
            None => panic!("{answer}"),
        }
    }

    async fn stream(&self, http: &reqwest::Client, address: &str) -> Acknowledgement {
        let lines: String = self.calls().iter().map(|call| format!("{call}\n")).collect();
        let request = http.post(format!("http://{address}/ingest/calls")).body(lines);
        let request = request.header("Content-Type", "application/x-ndjson");
        let Ok(sent) = request.header("Idempotency-Key", &self.name).send().await else {
            return Acknowledgement::None;
        };
        let status = sent.status();
        let Ok(report) = sent.json::<Value>().await else { return Acknowledgement::None };
        if status != 200 {
            assert!(status == 503 || status == 408, "{status} {report}");
            return Acknowledgement::None;
        }
        let count = |name: &str| report[name].as_u64().map(|count| count as usize);
        match (count("recorded"), count("duplicates")) {
            (Some(recorded), Some(0)) if recorded == self.calls => Acknowledgement::Recorded,
            (Some(0), Some(duplicates)) if duplicates == self.calls => Acknowledgement::Duplicate,
            _ => panic!("{report}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    None,
    Recorded,
    Duplicate,
}

pub fn client() -> reqwest::Client {
    // A timeout, because the server may be killed before it responds.
    reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap()
}

/// Records batches one by one until `stop` is set.
pub async fn produce(name: String, address: String, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    let http = client();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch = Batch::new(&name, number);
        let acknowledgement = batch.send(&http, &address).await;
        assert_ne!(acknowledgement, Acknowledgement::Duplicate, "{batch:?} was sent once");
        ledger.enter(batch, acknowledgement != Acknowledgement::None);
        number += 1;
    }
}
