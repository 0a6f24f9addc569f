//! Compressed responses, and responses that must not be compressed.

use std::io::Read;

use serde_json::{Value, json};

use super::http::post;
use crate::support::{CallRow, Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    large_responses_are_compressed.only(&[Kind::Sqlite]),
    small_responses_are_not_compressed.only(&[Kind::Sqlite]),
    responses_with_secrets_are_not_compressed.only(&[Kind::Sqlite]),
}

const CALLS: &str =
    "{ callDetails(period: LAST_HOUR, first: 200) { nodes { id timestamp model } } }";

async fn with_calls(database: &TestDatabase) -> TestApp {
    let calls: Vec<CallRow> = (0..200).map(|_| CallRow::at("2026-03-01T11:59:00Z")).collect();
    database.insert(&calls).await;
    TestApp::start(database).await
}

/// The encoding of the response, its Vary header, and its bytes.
async fn bytes(
    app: &TestApp,
    accept: &str,
    query: &str,
) -> (Option<String>, Option<String>, Vec<u8>) {
    let sent = post(app).header("Accept-Encoding", accept).json(&json!({ "query": query }));
    let response = sent.send().await.unwrap();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
    let (encoding, vary) = (header("Content-Encoding"), header("Vary"));
    (encoding, vary, response.bytes().await.unwrap().to_vec())
}

fn decoded(encoding: Option<&str>, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        Some("gzip") => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
        Some("br") => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
        Some("zstd") => return zstd::decode_all(bytes).unwrap(),
        _ => return bytes.to_vec(),
    }
    .unwrap();
    plain
}

async fn large_responses_are_compressed(database: TestDatabase) {
    let app = with_calls(&database).await;
    let plain = bytes(&app, "identity", CALLS).await.2;
    assert!(plain.len() > 10_000);
    for (accept, encoding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("br;q=0.5, gzip", Some("gzip")),
        ("deflate", None),
        ("identity", None),
        ("", None),
    ] {
        let (found, vary, bytes) = bytes(&app, accept, CALLS).await;
        assert_eq!(found.as_deref(), encoding, "{accept}");
        // Responses without compression also need Vary for caches.
        assert_eq!(vary.as_deref(), Some("accept-encoding"), "{accept}");
        assert!(encoding.is_none() || bytes.len() * 5 < plain.len(), "{accept}: {}", bytes.len());
        assert_eq!(decoded(encoding, &bytes), plain, "{accept}");
    }
}

async fn small_responses_are_not_compressed(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let (encoding, _, bytes) = bytes(&app, "gzip, br, zstd", "{ usageStats { asOf } }").await;
    assert_eq!(encoding, None);
    assert!(serde_json::from_slice::<Value>(&bytes).unwrap()["data"].is_object());
}

/// The compressed length would reveal the secret to a client that controls the text next to it (BREACH).
async fn responses_with_secrets_are_not_compressed(database: TestDatabase) {
    let app = with_calls(&database).await;
    let query = CALLS.replace("model", "apiKey { hidden: secret }");
    assert_eq!(bytes(&app, "gzip, br, zstd", &query).await.0, None);
}
