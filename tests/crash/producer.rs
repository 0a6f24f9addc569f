//! Who records. Each call has a model name of its own, by which it is found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::Ledger;

/// What one request records, whole or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    pub name: String,
    pub calls: usize,
    pub failed: bool,
    /// Whether it has an idempotency key, by which it can be sent again.
    pub keyed: bool,
}

impl Batch {
    fn new(producer: &str, number: usize) -> Self {
        Self {
            name: format!("{producer}-{number}"),
            calls: [1, 1, 3, 40][number % 4],
            failed: number.is_multiple_of(3),
            keyed: number.is_multiple_of(2),
        }
    }

    /// The models of its calls.
    pub fn models(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.calls).map(|index| format!("{}.{index}", self.name))
    }

    fn body(&self) -> Value {
        let error = json!({ "errorType": "crash", "message": self.name });
        let calls: Vec<Value> = self
            .models()
            .map(|model| match self.failed {
                true => {
                    json!({ "key": "a key", "model": model, "statusCode": 429, "error": error })
                }
                false => json!({ "key": "a key", "model": model, "statusCode": 200 }),
            })
            .collect();
        let key = self.keyed.then(|| self.name.clone());
        json!({
            "query": "mutation($input: RecordCallsInput!) { recordCalls(input: $input) { recorded duplicate } }",
            "variables": { "input": { "calls": calls, "idempotencyKey": key } },
        })
    }

    /// Whether it was acknowledged; the answer is what it must be, or there is none, or an error.
    pub async fn send(&self, http: &reqwest::Client, address: &str) -> Acknowledgement {
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    None,
    Recorded,
    Duplicate,
}

pub fn client() -> reqwest::Client {
    // No answer is awaited for ever from a server that is killed between.
    reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap()
}

/// Records one batch after the other until it is told to stop.
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
