//! Documents that are named instead of sent: automatic persisted queries and trusted documents.

use std::path::{Path, PathBuf};

use callscope::app::App;
use callscope::graphql::check::Checker;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::http::{QUERY, STRICT, answer, assert_refused, post, usage};
use crate::support::{Kind, TestApp, TestDatabase, error_code};
use crate::tests;

tests! {
    a_document_is_stored_when_first_sent.only(&[Kind::Sqlite]),
    a_wrong_hash_is_refused.only(&[Kind::Sqlite]),
    invalid_documents_are_not_stored.only(&[Kind::Sqlite]),
    the_number_of_stored_documents_is_limited.only(&[Kind::Sqlite]),
    nothing_is_stored_when_disabled.only(&[Kind::Sqlite]),
    only_trusted_documents_run.only(&[Kind::Sqlite]),
    the_documents_of_the_page_are_trusted.only(&[Kind::Sqlite]),
    the_manifests_of_three_tools_are_read.only(&[Kind::Sqlite]),
    an_invalid_manifest_is_refused.only(&[Kind::Sqlite]),
}

pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named(text: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": hash(text) } })
}

fn by_get(app: &TestApp) -> RequestBuilder {
    app.get("/graphql").header("X-Callscope-Client", "test")
}

/// The status and code of a request that names a document; the code is null if it ran.
async fn ask(app: &TestApp, text: &str) -> (u16, Value) {
    let (status, _, body) = answer(post(app).json(&json!({ "extensions": named(text) }))).await;
    (status, body["errors"][0]["extensions"]["code"].clone())
}

async fn a_document_is_stored_when_first_sent(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    // Like Apollo's clients: by the hash, then with the text, then by the hash again.
    let (status, _, body) = answer(post(&app).json(&json!({ "extensions": named(QUERY) }))).await;
    let unknown = json!([{
        "message": "PersistedQueryNotFound",
        "extensions": { "code": "PERSISTED_QUERY_NOT_FOUND" },
    }]);
    assert_eq!((status, body), (200, json!({ "errors": unknown })));
    let strict = post(&app).header("Accept", STRICT).json(&json!({ "extensions": named(QUERY) }));
    assert_eq!(answer(strict).await.0, 400);
    let both = json!({ "query": QUERY, "extensions": named(QUERY) });
    assert_eq!(answer(post(&app).json(&both)).await.2, usage());
    let named_alone = json!({ "query": null, "extensions": named(QUERY), "variables": {} });
    assert_eq!(answer(post(&app).json(&named_alone)).await.2, usage());
    let url = by_get(&app).query(&[("extensions", named(QUERY).to_string())]);
    assert_eq!(answer(url).await.2, usage());

    // The same by GET only.
    let text = "query A { usageStats { asOf } }";
    let extensions = ("extensions", named(text).to_string());
    let ask = || by_get(&app).query(std::slice::from_ref(&extensions));
    assert_refused(ask(), 200, "PERSISTED_QUERY_NOT_FOUND").await;
    assert_eq!(answer(ask().query(&[("query", text)])).await.2, usage());
    assert_eq!(answer(ask()).await.2, usage());
}

async fn a_wrong_hash_is_refused(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let body = json!({ "query": QUERY, "extensions": named("{ other }") });
    assert_refused(post(&app).json(&body), 400, "PERSISTED_QUERY_MISMATCH").await;
    assert_eq!(ask(&app, "{ other }").await, (200, json!("PERSISTED_QUERY_NOT_FOUND")));
    for wrong in [
        json!(7),
        json!({}),
        json!({ "version": 2, "sha256Hash": hash(QUERY) }),
        json!({ "version": 1, "sha256Hash": 7 }),
        json!({ "version": 1 }),
    ] {
        let body = json!({ "query": QUERY, "extensions": { "persistedQuery": wrong } });
        assert_refused(post(&app).json(&body), 400, "BAD_REQUEST").await;
    }
}

async fn invalid_documents_are_not_stored(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    for text in
        ["{", "{ nothing }", "query A { usageStats { asOf } } query B { usageStats { asOf } }"]
    {
        let both = json!({ "query": text, "extensions": named(text) });
        assert!(answer(post(&app).json(&both)).await.2["errors"].is_array());
        assert_eq!(ask(&app, text).await, (200, json!("PERSISTED_QUERY_NOT_FOUND")), "{text}");
    }
}

async fn the_number_of_stored_documents_is_limited(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.persisted_queries = 2).await;
    let texts: Vec<String> = (0..3).map(|number| format!("{QUERY} # {number}")).collect();
    for text in &texts {
        let both = json!({ "query": text, "extensions": named(text) });
        assert_eq!(answer(post(&app).json(&both)).await.2, usage());
    }
    assert_eq!(ask(&app, &texts[0]).await.1, "PERSISTED_QUERY_NOT_FOUND");
    assert_eq!(ask(&app, &texts[1]).await.1, Value::Null);
    assert_eq!(ask(&app, &texts[2]).await.1, Value::Null);
}

async fn nothing_is_stored_when_disabled(database: TestDatabase) {
    let app =
        TestApp::start_with(&database, |config| config.server.http.persisted_queries = 0).await;
    let both = json!({ "query": QUERY, "extensions": named(QUERY) });
    assert_eq!(answer(post(&app).json(&both)).await.2, usage());
    assert_eq!(ask(&app, QUERY).await, (200, json!("PERSISTED_QUERY_NOT_SUPPORTED")));
}

fn manifest(folder: &Path, content: &Value) -> PathBuf {
    let file = folder.join("manifest.json");
    std::fs::write(&file, content.to_string()).unwrap();
    file
}

async fn only_trusted_documents_run(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let stats = "query Stats($at: DateTime) { usageStats(asOf: $at) { asOf } }";
    let other = "query Other { serverInfo { database } }";
    let file = manifest(folder.path(), &json!({ "stats-1": stats, "other-1": other }));
    let app = TestApp::start_with(&database, |config| {
        config.server.http.trusted_documents = Some(file);
        config.server.http.max_batch = 2;
    })
    .await;
    for taken in [
        json!({ "documentId": "stats-1" }),
        json!({ "doc_id": "stats-1", "variables": { "at": "2026-03-01T12:00:00Z" } }),
        json!({ "documentId": format!("sha256:{}", hash(stats)) }),
        json!({ "documentId": "stats-1", "query": stats }),
        json!({ "extensions": named(stats) }),
        json!({ "query": stats, "extensions": named(stats) }),
        json!({ "query": stats, "operationName": "Stats" }),
    ] {
        assert_eq!(answer(post(&app).json(&taken)).await.2, usage(), "{taken}");
    }
    for refused in [
        json!({ "query": QUERY }),
        json!({ "query": format!("{stats} ") }),
        json!({ "query": "{ __schema { types { name } } }" }),
        json!({ "query": QUERY, "extensions": named(QUERY) }),
        json!({ "extensions": named(QUERY) }),
        json!({ "documentId": "stats-2" }),
        json!({ "documentId": "" }),
        json!({ "documentId": "stats-1", "query": QUERY }),
        json!({ "documentId": "stats-1", "query": other }),
    ] {
        assert_refused(post(&app).json(&refused), 403, "DOCUMENT_NOT_TRUSTED").await;
        let batch = json!([{ "query": stats }, refused]);
        let (_, _, body) = answer(post(&app).json(&batch)).await;
        assert_eq!(body[0], usage());
        assert_eq!(error_code(&body[1]), "DOCUMENT_NOT_TRUSTED");
    }
    assert_refused(post(&app).json(&json!({})), 400, "BAD_REQUEST").await;
    assert_eq!(answer(by_get(&app).query(&[("documentId", "stats-1")])).await.2, usage());
    assert_refused(by_get(&app).query(&[("query", QUERY)]), 403, "DOCUMENT_NOT_TRUSTED").await;
    // GraphiQL could not even query the schema.
    let (status, _, body) = answer(app.get("/graphiql")).await;
    assert!(status == 404 && body.as_str().unwrap().contains("trusted documents"), "{body}");
}

/// The documents of the page; `web/tests/trusted.spec.ts` visits its views.
const OF_THE_PAGE: &[&str] = &include!("../../web/dist/documents.in");

async fn the_documents_of_the_page_are_trusted(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let file = manifest(folder.path(), &json!({ "stats-1": QUERY }));
    let app = TestApp::start_with(&database, |config| {
        config.server.http.trusted_documents = Some(file);
    })
    .await;
    let checker = Checker::new(&TestApp::config(&database).graphql).unwrap();
    assert!(OF_THE_PAGE.len() > 10, "{}", OF_THE_PAGE.len());
    for text in OF_THE_PAGE {
        assert_eq!(checker.check(text).await, Ok(()), "{text}");
        // Most need variables, and two are subscriptions; the test only checks that they are accepted.
        let (_, _, body) = answer(post(&app).json(&json!({ "query": text }))).await;
        assert_ne!(error_code(&body), "DOCUMENT_NOT_TRUSTED", "{text}");
        let changed = json!({ "query": format!("{text} ") });
        assert_refused(post(&app).json(&changed), 403, "DOCUMENT_NOT_TRUSTED").await;
    }
    let boot = OF_THE_PAGE.iter().find(|text| text.contains("query Boot")).unwrap();
    let (_, _, body) = answer(post(&app).json(&json!({ "query": boot }))).await;
    assert_eq!(body["data"]["serverInfo"]["limits"]["trustedDocumentsOnly"], true, "{body}");
    let open = TestApp::start(&database).await;
    let (_, _, body) = answer(post(&open).json(&json!({ "query": boot }))).await;
    assert_eq!(body["data"]["serverInfo"]["limits"]["trustedDocumentsOnly"], false, "{body}");
}

async fn the_manifests_of_three_tools_are_read(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let id = hash(QUERY);
    let codegen = json!({ id.as_str(): QUERY });
    let relay = json!({ "1a2b3c4d5e6f708192a3b4c5d6e7f809": QUERY });
    let operation = json!({ "id": id, "name": "", "type": "query", "body": QUERY });
    let apollo = json!({
        "format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation],
    });
    for content in [codegen, relay, apollo] {
        let file = manifest(folder.path(), &content);
        let app = TestApp::start_with(&database, |config| {
            config.server.http.trusted_documents = Some(file);
        })
        .await;
        assert_eq!(ask(&app, QUERY).await, (200, Value::Null), "{content}");
        app.shutdown().await;
    }
}

async fn an_invalid_manifest_is_refused(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("{{ a(x: {}) }}", "[".repeat(5000));
    let format = json!({ "format": "other", "version": 1, "operations": [] });
    for (content, named) in [
        (json!({ "good": QUERY, "bad-1": "{ nothing }" }), "bad-1"),
        (json!({ "bad-2": "{" }), "bad-2"),
        (json!({ "bad-3": deep }), "bad-3"),
        (json!({ "bad-4": format!("{{ {} }}", "a: __typename ".repeat(60)) }), "bad-4"),
        (json!({}), "no documents"),
        (json!([]), "not a manifest"),
        (json!({ "a": 7 }), "not a manifest"),
        (format, "format"),
    ] {
        let mut config = TestApp::config(&database);
        config.server.http.trusted_documents = Some(manifest(folder.path(), &content));
        let error = App::open(config).await.err().unwrap().to_string();
        assert!(error.contains(named) && error.contains("manifest.json"), "{error}");
    }
    let mut config = TestApp::config(&database);
    config.server.http.trusted_documents = Some(folder.path().join("missing.json"));
    assert!(App::open(config).await.err().unwrap().to_string().contains("missing.json"));
}
