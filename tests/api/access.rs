//! Access control: tokens, their scopes, sessions, the audit log.

use callscope::access::token;
use callscope::app::{App, Config};
use callscope::clock::Clock;
use callscope::domain::access::Scopes;
use callscope::store::token::{self as store, TokenRow};
use chrono::TimeDelta;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, NOW, TestApp, TestDatabase, settings};
use crate::tests;

tests! {
    every_field_that_reads_requires_the_read_scope,
    fields_without_their_scope_are_null,
    request_texts_require_their_own_scope,
    an_invalid_token_is_refused,
    anonymous_callers_have_the_configured_scopes,
    a_public_address_requires_tokens,
    a_stored_token_is_valid_until_it_ends,
    revoking_the_last_token_grants_no_anonymous_access,
    every_shown_key_is_in_the_audit_log,
    no_key_is_shown_without_its_audit_entry,
    a_read_only_server_logs_shown_keys,
    searches_match_only_what_is_shown_of_a_key,
    searches_in_full_keys_are_in_the_audit_log,
    the_order_of_keys_reveals_nothing,
    keys_are_paged_by_their_ids,
    unknown_ids_cost_one_statement,
    a_session_has_the_scopes_of_its_token,
    a_session_ends,
    the_viewer_is_reported,
}

const READER: &str = "reader-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";
const SCRAPER: &str = "scraper-0123456789abcdef";
const KEY: &str = "AIzaSecretSecretSecretSecretSecret1234";

/// A server with a token for reading, one with all scopes and one with another scope.
async fn start_with_tokens(database: &TestDatabase) -> TestApp {
    TestApp::start_with(database, |config| config.access = tokens(&[])).await
}

fn tokens(more: &[&str]) -> callscope::config::AccessConfig {
    let tokens = format!("reader:READ:{READER} admin:ALL:{ADMIN} scraper:METRICS:{SCRAPER}");
    settings(&[&["--tokens", &tokens], more].concat())
}

fn codes(response: &Value) -> Vec<(&str, &str)> {
    let errors = response["errors"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let text = |value: &'_ Value| value.as_str().map(str::to_owned);
    assert!(errors.iter().all(|error| text(&error["message"]).is_some()), "{response}");
    errors
        .iter()
        .map(|error| {
            let path = error["path"].as_array().and_then(|path| path.last());
            (
                error["extensions"]["code"].as_str().expect("a code"),
                path.and_then(Value::as_str).unwrap_or_default(),
            )
        })
        .collect()
}

async fn every_field_that_reads_requires_the_read_scope(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let fields = app.graphql_as(ADMIN, "{ __schema { queryType { fields { name } } } }").await;
    let fields = fields["data"]["__schema"]["queryType"]["fields"].as_array().unwrap().clone();
    // Any token may read facts about the server itself.
    let open = ["serverInfo", "viewer"];
    for field in fields.iter().map(|field| field["name"].as_str().unwrap()) {
        let query = match field {
            "usageStats" => "{ usageStats { lastHour { total } } }",
            "callDetails" => "{ callDetails(period: LAST_HOUR) { totalCount } }",
            "callSeries" => "{ callSeries(period: LAST_HOUR) { start } }",
            "callGroups" => "{ callGroups(by: [MODEL], period: LAST_HOUR) { model } }",
            "errorLookup" => {
                "{ errorLookup(key: \"k\", timestamp: \"2026-03-01T12:00:00Z\") { id } }"
            }
            "errorLogs" => "{ errorLogs { totalCount } }",
            "classifyFailure" => "{ classifyFailure(statusCode: 429) { class } }",
            "diagnoses" => "{ diagnoses(period: LAST_HOUR) { cause } }",
            "usableKeys" => "{ usableKeys(model: \"m\") { totalCount } }",
            "poolForecast" => "{ poolForecast { usable } }",
            "errorGroups" => "{ errorGroups(by: [MODEL]) { count } }",
            "errorSeries" => "{ errorSeries(period: LAST_HOUR) { count } }",
            "apiKeys" => "{ apiKeys { totalCount } }",
            "apiKey" => "{ apiKey(key: \"k\") { id } }",
            "node" => "{ node(id: \"call_1\") { id } }",
            "nodes" => "{ nodes(ids: [\"call_1\"]) { id } }",
            // Deletions have their own scope: `delete::a_deletion_is_found_by_its_id`.
            "deletion" => continue,
            "serverInfo" => "{ serverInfo { version } }",
            "viewer" => "{ viewer { name } }",
            other => panic!("the new field {other} needs a query here"),
        };
        let allowed = app.graphql_as(READER, query).await;
        assert!(allowed.get("errors").is_none(), "{allowed}");
        let refused = app.graphql_as(SCRAPER, query).await;
        let expected = if open.contains(&field) { vec![] } else { vec![("FORBIDDEN", field)] };
        assert_eq!(codes(&refused), expected, "{refused}");
    }
}

async fn fields_without_their_scope_are_null(database: TestDatabase) {
    // Each call has its own error, although they have the same key.
    database.insert(&[1, 2].map(|_| CallRow::at("2026-03-01T11:30:00Z").key(KEY))).await;
    let app = start_with_tokens(&database).await;
    let query = "{ apiKeys { nodes { masked secret } } callDetails(period: LAST_HOUR) {
        nodes { statusCode apiKey { secret } } } }";
    let response = app.graphql_as(READER, query).await;
    let call = json!({ "statusCode": 200, "apiKey": { "secret": null } });
    let expected = json!({
        "apiKeys": { "nodes": [{ "masked": "AIza...1234", "secret": null }] },
        "callDetails": { "nodes": [call, call] },
    });
    assert_eq!(response["data"], expected);
    assert_eq!(codes(&response), [("FORBIDDEN", "secret"); 3]);
    let message = response["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("REVEAL_KEYS") && !response.to_string().contains(KEY), "{response}");
    let response = app.graphql_as(ADMIN, query).await;
    assert_eq!(response["data"]["apiKeys"]["nodes"][0]["secret"], KEY);
    let call = json!({ "statusCode": 200, "apiKey": { "secret": KEY } });
    assert_eq!(response["data"]["callDetails"]["nodes"], json!([call, call]));
}

async fn request_texts_require_their_own_scope(database: TestDatabase) {
    let request = r#"{"prompt": "the-prompt"}"#;
    database.insert(&[ErrorRow::at("2026-03-01T11:30:00Z").key(KEY).request(request)]).await;
    let app = start_with_tokens(&database).await;
    let query = "{ errorLogs { nodes { errorCode request } } node(id: \"error_1\") {
        ... on ErrorLog { request } } }";
    let response = app.graphql_as(READER, query).await;
    assert_eq!(response["data"]["errorLogs"]["nodes"][0]["request"], Value::Null);
    assert!(response["data"]["errorLogs"]["nodes"][0]["errorCode"].is_number());
    assert_eq!(codes(&response), [("FORBIDDEN", "request"), ("FORBIDDEN", "request")]);
    assert!(!response.to_string().contains("the-prompt"));
    let response = app.graphql_as(ADMIN, query).await;
    assert_eq!(response["data"]["node"]["request"]["prompt"], "the-prompt");
}

async fn refusal(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 401 {
        assert!(response.headers()["WWW-Authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    let body: Value = response.json().await.unwrap();
    let code = body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
    (status, code)
}

fn query(app: &TestApp) -> RequestBuilder {
    let query = json!({ "query": "{ usageStats { lastHour { total } } viewer { name } }" });
    app.post(&query)
}

async fn an_invalid_token_is_refused(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let refused = || (401, "UNAUTHENTICATED".to_owned());
    assert_eq!(refusal(query(&app)).await, refused());
    for wrong in ["", "x", &READER[1..], &format!("{READER}x"), &READER.to_uppercase()] {
        assert_eq!(refusal(query(&app).bearer_auth(wrong)).await, refused(), "{wrong}");
    }
    for wrong in ["Basic cmVhZGVyOg==", READER, "Bearer", &format!("Token {READER}")] {
        assert_eq!(refusal(query(&app).header("Authorization", wrong)).await, refused(), "{wrong}");
    }
    let lower = query(&app).header("Authorization", format!("bearer  {READER}"));
    assert_eq!(refusal(lower).await, (200, String::new()));
    // Liveness and GraphiQL's files are public; the server's data is not.
    for (path, expected) in [("/healthz", 200), ("/schema.graphql", 401), ("/graphiql", 200)] {
        assert_eq!(status(app.get(path)).await, expected, "{path}");
    }
}

async fn anonymous_callers_have_the_configured_scopes(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z").key(KEY)]).await;
    let more = ["--anonymous-scopes", "READ"];
    let app = TestApp::start_with(&database, |config| config.access = tokens(&more)).await;
    let response = app.graphql("{ viewer { name scopes } apiKeys { nodes { masked secret } } }");
    let response = response.await;
    assert_eq!(response["data"]["viewer"], json!({ "name": "anonymous", "scopes": ["READ"] }));
    assert_eq!(codes(&response), [("FORBIDDEN", "secret")]);
    // An unknown token is refused where a missing one is not.
    assert_eq!(refusal(query(&app).bearer_auth("wrong")).await.0, 401);
}

async fn open(database: &TestDatabase, listen: &str, access: &[&str]) -> Result<App, String> {
    let config = Config {
        database: database.config(),
        server: settings(&["--listen", listen]),
        access: settings(access),
        graphql: settings(&[]),
        record: settings(&[]),
        replicas: settings(&[]),
        keep: settings(&[]),
        observe: settings(&[]),
        clock: Clock::fixed(NOW.parse().unwrap()),
    };
    App::open(config).await.map_err(|error| error.to_string())
}

async fn a_public_address_requires_tokens(database: TestDatabase) {
    for public in ["0.0.0.0:0", "[::]:0"] {
        let refused = open(&database, public, &[]).await.err().unwrap();
        assert!(refused.contains("callscope token create") && refused.contains("--tokens"));
        assert!(refused.contains("--anonymous-scopes"), "{refused}");
    }
    for local in ["127.0.0.1:0", "[::1]:0"] {
        assert!(open(&database, local, &[]).await.unwrap().tokens().is_open());
        let closed = open(&database, local, &["--anonymous-scopes", ""]).await.unwrap();
        assert!(!closed.tokens().is_open() && closed.tokens().anonymous_scopes().is_empty());
    }
    let with_tokens = open(&database, "0.0.0.0:0", &["--tokens", "a:READ:0123456789abcdef"]).await;
    assert!(with_tokens.unwrap().tokens().anonymous_scopes().is_empty());
    let everybody = open(&database, "0.0.0.0:0", &["--anonymous-scopes", "READ"]).await;
    assert_eq!(everybody.unwrap().tokens().anonymous_scopes().to_string(), "READ");
}

/// Creates a token in the database, as `callscope token create` does.
async fn create(app: &TestApp, name: &str, holds: Option<TimeDelta>) -> (String, TokenRow) {
    let now = app.clock.now();
    let scopes: Scopes = "READ".parse().unwrap();
    let new = token::make(name, scopes, now, holds.map(|span| now + span)).unwrap();
    store::insert(&app.services().db, &new.row).await.unwrap();
    (new.token.expose().to_owned(), new.row)
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn a_stored_token_is_valid_until_it_ends(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let (lasting, row) = create(&app, "lasting", None).await;
    let (short, _) = create(&app, "short", Some(TimeDelta::minutes(10))).await;
    assert!(!row.digest.contains(&lasting[3..]), "a token is not stored");
    // A server looks up unknown tokens, at most once a second.
    app.clock.advance(TimeDelta::seconds(1));
    assert_eq!(status(query(&app).bearer_auth(&lasting)).await, 200);
    assert_eq!(status(query(&app).bearer_auth(&short)).await, 200);
    app.clock.advance(TimeDelta::minutes(10));
    assert_eq!(status(query(&app).bearer_auth(&short)).await, 401);
    let now = app.clock.now();
    assert!(store::revoke(&app.services().db, "lasting", now).await.unwrap());
    assert!(
        !store::revoke(&app.services().db, "lasting", now).await.unwrap(),
        "it is revoked already"
    );
    app.clock.advance(TimeDelta::seconds(5));
    assert_eq!(status(query(&app).bearer_auth(&lasting)).await, 401);
    // A name is never free again: the audit log refers to names.
    let again = token::make("lasting", Scopes::all(), now, None).unwrap();
    let refused = store::insert(&app.services().db, &again.row).await.unwrap_err();
    assert_eq!(refused.code(), "BAD_USER_INPUT");
    assert_eq!(store::list(&app.services().db).await.unwrap().len(), 2);
}

async fn revoking_the_last_token_grants_no_anonymous_access(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    assert_eq!(status(query(&app)).await, 200);
    create(&app, "only", None).await;
    app.clock.advance(TimeDelta::seconds(5));
    assert_eq!(status(query(&app)).await, 401, "anonymous access remains after the first token");
    store::revoke(&app.services().db, "only", app.clock.now()).await.unwrap();
    app.clock.advance(TimeDelta::seconds(5));
    assert_eq!(status(query(&app)).await, 401);
    app.shutdown().await;
    let app = TestApp::start(&database).await;
    assert_eq!(status(query(&app)).await, 401, "a restart restores anonymous access");
}

async fn audit(database: &TestDatabase) -> Vec<Vec<Value>> {
    database
        .query("SELECT at, caller, address, action, subject FROM callscope_audit ORDER BY id")
        .await
}

async fn every_shown_key_is_in_the_audit_log(database: TestDatabase) {
    let calls = ["a", "b", "b"]
        .map(|end| CallRow::at("2026-03-01T11:30:00Z").key(format!("{KEY}{end}").as_str()));
    database.insert(&calls).await;
    let app = start_with_tokens(&database).await;
    // Masked and refused keys are not shown.
    app.graphql_as(READER, "{ apiKeys { nodes { secret masked } } }").await;
    assert_eq!(audit(&database).await, Vec::<Vec<Value>>::new());
    let query = "{ apiKeys { nodes { id secret } }
        callDetails(period: LAST_HOUR) { nodes { apiKey { secret } } } }";
    app.db().record();
    let response = app.graphql_as(ADMIN, query).await;
    let sent = app.db().record();
    let entries = sent.iter().filter(|sql| sql.contains("callscope_audit")).count();
    // At most one statement for each of the two lists, however many keys they show.
    assert!((1..=2).contains(&entries) && sent.len() <= 4, "{sent:#?}");
    let ids = response["data"]["apiKeys"]["nodes"].as_array().unwrap();
    let entry = |node: &Value| {
        let at = json!("2026-03-01T12:00:00.000000Z");
        vec![at, json!("admin"), json!("127.0.0.1"), json!("REVEAL_KEY"), node["id"].clone()]
    };
    let mut entries = audit(&database).await;
    entries.sort_by_key(|entry| entry[4].to_string());
    // Two lists that finish at different times may both log the keys that they share.
    entries.dedup();
    let mut expected: Vec<_> = ids.iter().map(entry).collect();
    expected.sort_by_key(|entry| entry[4].to_string());
    assert_eq!(entries, expected);
}

async fn no_key_is_shown_without_its_audit_entry(database: TestDatabase) {
    database.insert(&[1, 2].map(|_| CallRow::at("2026-03-01T11:30:00Z").key(KEY))).await;
    let app = start_with_tokens(&database).await;
    database.execute("DROP TABLE callscope_audit").await;
    let query = "{ apiKeys { nodes { masked secret } }
        callDetails(period: LAST_HOUR) { nodes { apiKey { masked secret } } } }";
    let response = app.graphql_as(ADMIN, query).await;
    let key = json!({ "masked": "AIza...1234", "secret": null });
    assert_eq!(response["data"]["apiKeys"]["nodes"], json!([key]));
    let calls = json!([{ "apiKey": key }, { "apiKey": key }]);
    assert_eq!(response["data"]["callDetails"]["nodes"], calls);
    assert_eq!(codes(&response), [("DATABASE_UNAVAILABLE", "secret"); 3]);
}

async fn a_read_only_server_logs_shown_keys(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z").key(KEY)]).await;
    TestApp::start(&database).await.shutdown().await;
    let app = TestApp::start_with(&database, |config| {
        config.database.read_only = true;
        config.access = tokens(&[]);
    })
    .await;
    let response = app.graphql_as(ADMIN, "{ apiKeys { nodes { secret } } }").await;
    assert_eq!(response["data"]["apiKeys"]["nodes"][0]["secret"], KEY);
    assert_eq!(audit(&database).await, Vec::<Vec<Value>>::new(), "only the server's log has it");
}

async fn searches_match_only_what_is_shown_of_a_key(database: TestDatabase) {
    let other = "AIzaOtherOtherOtherOtherOtherOther5678";
    for key in [KEY, other] {
        database.insert(&[CallRow::at("2026-03-01T11:30:00Z").key(key)]).await;
        database.insert(&[ErrorRow::at("2026-03-01T11:30:00Z").key(key)]).await;
    }
    let app = start_with_tokens(&database).await;
    let found = async |token: &str, needle: &str| {
        let query = format!(
            "{{ apiKeys(search: \"{needle}\") {{ totalCount nodes {{ masked }} }}
                errorLogs(filter: {{ keyContains: \"{needle}\" }}) {{ totalCount }}
                errorGroups(by: [API_KEY], filter: {{ keyContains: \"{needle}\" }}) {{ count }} }}"
        );
        let data = app.graphql_as(token, &query).await["data"].clone();
        let counts = [
            data["apiKeys"]["totalCount"].clone(),
            data["errorLogs"]["totalCount"].clone(),
            data["errorGroups"].as_array().unwrap().len().into(),
        ];
        assert!(counts.iter().all(|count| *count == counts[0]), "{needle} {data}");
        counts[0].as_u64().unwrap()
    };
    for (needle, by_reader, by_admin) in [
        ("aiza", 2, 2),
        ("1234", 1, 1),
        ("AIza...1234", 1, 0),
        ("Secret", 0, 1),
        ("AIzaS", 0, 1),
        ("t1234", 0, 1),
        ("", 2, 2),
    ] {
        assert_eq!(found(READER, needle).await, by_reader, "{needle}");
        assert_eq!(found(ADMIN, needle).await, by_admin, "{needle}");
    }
}

fn login(app: &TestApp, token: &str) -> RequestBuilder {
    app.client().post(app.url("/session")).json(&json!({ "token": token }))
}

/// The name, the value and the attributes of the cookie that a response sets.
fn cookie(response: &Response) -> (String, Vec<String>) {
    let text = response.headers()["Set-Cookie"].to_str().unwrap();
    let mut parts = text.split("; ").map(str::to_owned);
    (parts.next().unwrap(), parts.collect())
}

async fn a_session_has_the_scopes_of_its_token(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let response = login(&app, READER).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["Cache-Control"], "no-store");
    let (pair, attributes) = cookie(&response);
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(attributes.iter().any(|found| found == attribute), "{attributes:?}");
    }
    assert!(!attributes.iter().any(|found| found == "Secure"), "plain HTTP on this machine");
    let body: Value = response.json().await.unwrap();
    let expected =
        json!({ "name": "reader", "scopes": ["READ"], "expiresAt": "2026-03-02T00:00:00Z" });
    assert_eq!(body, expected);
    assert!(!pair.contains(READER) && !body.to_string().contains(READER));

    let sent = query(&app).header("Cookie", format!("other=1; {pair}"));
    let answer: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["viewer"]["name"], "reader");
    let shown = app.get("/session").header("Cookie", &pair);
    assert_eq!(shown.send().await.unwrap().json::<Value>().await.unwrap(), expected);
    // The header takes precedence over the cookie.
    let both = query(&app).header("Cookie", &pair).bearer_auth(ADMIN);
    let answer: Value = both.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["viewer"]["name"], "admin");

    let is_secure = async |app: &TestApp| {
        let login = login(app, READER).header("X-Forwarded-Proto", "https");
        let logout = app.client().delete(app.url("/session")).header("X-Forwarded-Proto", "https");
        let [login, logout] = [login.send().await.unwrap(), logout.send().await.unwrap()];
        [login, logout].map(|response| cookie(&response).1.iter().any(|found| found == "Secure"))
    };
    assert_eq!(
        is_secure(&app).await,
        [false, false],
        "the header of an untrusted client is believed"
    );
    let behind_tls = TestApp::start_with(&database, |config| {
        config.access = tokens(&[]);
        config.server.trust_forwarded_for = true;
    })
    .await;
    assert_eq!(is_secure(&behind_tls).await, [true, true]);
    assert_eq!(refusal(login(&app, "wrong")).await, (401, "UNAUTHENTICATED".to_owned()));
    // A form of another site can send this header, so it is ignored.
    let form = app.client().post(app.url("/session")).body(json!({ "token": READER }).to_string());
    assert_eq!(refusal(form).await, (400, "BAD_REQUEST".to_owned()));
}

async fn a_session_ends(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let (token, _) = create(&app, "page", Some(TimeDelta::hours(1))).await;
    app.clock.advance(TimeDelta::seconds(1));
    let (short, attributes) = cookie(&login(&app, &token).send().await.unwrap());
    assert!(
        attributes.iter().any(|found| found == "Max-Age=3599"),
        "the session outlives its token"
    );
    let (long, _) = cookie(&login(&app, READER).send().await.unwrap());
    let with = |pair: &str| query(&app).header("Cookie", pair);
    assert_eq!((status(with(&short)).await, status(with(&long)).await), (200, 200));
    for forged in [long.replace("callscope_session=", "callscope_session=x"), format!("{long}x")] {
        assert_eq!(status(with(&forged)).await, 401);
    }
    store::revoke(&app.services().db, "page", app.clock.now()).await.unwrap();
    app.clock.advance(TimeDelta::seconds(5));
    assert_eq!((status(with(&short)).await, status(with(&long)).await), (401, 200));
    app.clock.advance(TimeDelta::hours(12));
    assert_eq!(status(with(&long)).await, 401);
    let ended = app.client().delete(app.url("/session")).header("Cookie", &long).send().await;
    let (pair, attributes) = cookie(&ended.unwrap());
    assert_eq!(pair, "callscope_session=");
    assert!(attributes.iter().any(|found| found == "Max-Age=0"));
}

async fn the_viewer_is_reported(database: TestDatabase) {
    let app = start_with_tokens(&database).await;
    let viewer = async |token| {
        app.graphql_as(token, "{ viewer { name scopes } }").await["data"]["viewer"].clone()
    };
    assert_eq!(viewer(READER).await, json!({ "name": "reader", "scopes": ["READ"] }));
    let all = ["READ", "READ_REQUESTS", "REVEAL_KEYS", "RECORD", "DELETE", "METRICS"];
    assert_eq!(viewer(ADMIN).await, json!({ "name": "admin", "scopes": all }));
}

/// The ids of a page of keys, and its page information.
async fn key_ids(app: &TestApp, token: &str, page: &str) -> (Vec<String>, Value) {
    let query =
        format!("{{ apiKeys({page}) {{ nodes {{ id }} pageInfo {{ endCursor startCursor }} }} }}");
    let list = app.graphql_as(token, &query).await["data"]["apiKeys"].clone();
    let nodes = list["nodes"].as_array().unwrap().iter();
    let ids = nodes.map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    (ids, list["pageInfo"].clone())
}

async fn insert_nine_keys(database: &TestDatabase) {
    let call = |number| CallRow::at("2026-03-01T11:30:00Z").key(format!("AIza{number}key"));
    database.insert(&(0..9).map(call).collect::<Vec<_>>()).await;
}

async fn the_order_of_keys_reveals_nothing(database: TestDatabase) {
    insert_nine_keys(&database).await;
    let app = start_with_tokens(&database).await;
    let (all, _) = key_ids(&app, READER, "first: 50").await;
    assert!(all.is_sorted() && all.len() == 9, "not sorted by id: {all:?}");
    let (by_key, _) = key_ids(&app, ADMIN, "first: 50").await;
    assert!(!by_key.is_sorted(), "a caller that sees keys gets them by key");
    // Groups of the same size are sorted by their first rows.
    database.execute("DELETE FROM t_request_log").await;
    for key in ["AIza2key", "AIza9key", "AIza1key"] {
        database.insert(&[CallRow::at("2026-03-01T11:30:00Z").key(key)]).await;
        database.insert(&[ErrorRow::at("2026-03-01T11:30:00Z").key(key)]).await;
    }
    let query = "{ callGroups(by: [API_KEY], period: LAST_HOUR) { apiKey { secret } }
        errorGroups(by: [API_KEY]) { apiKey { secret } } }";
    let groups = app.graphql_as(ADMIN, query).await["data"].clone();
    let keys =
        ["AIza2key", "AIza9key", "AIza1key"].map(|key| json!({ "apiKey": { "secret": key } }));
    assert_eq!((&groups["callGroups"], &groups["errorGroups"]), (&json!(keys), &json!(keys)));
}

async fn keys_are_paged_by_their_ids(database: TestDatabase) {
    insert_nine_keys(&database).await;
    let app = start_with_tokens(&database).await;
    let (all, _) = key_ids(&app, READER, "first: 50").await;
    for (first, step) in [("first", "after"), ("last", "before")] {
        let (mut found, mut cursor) = (vec![], String::new());
        loop {
            let (page, info) = key_ids(&app, READER, &format!("{first}: 2{cursor}")).await;
            if page.is_empty() {
                break;
            }
            let end = if step == "after" { &info["endCursor"] } else { &info["startCursor"] };
            cursor = format!(", {step}: {end}");
            found.extend(page);
        }
        found.sort();
        assert_eq!(found, all, "{step}");
    }
}

async fn unknown_ids_cost_one_statement(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let ids: Vec<String> = (0..200).map(|number| format!("\"key_{number:021}A\"")).collect();
    let aliases: Vec<String> = ids[..20]
        .iter()
        .enumerate()
        .map(|(n, id)| format!("k{n}: apiKey(key: {id}) {{ id }}"))
        .collect();
    let query = format!("{{ nodes(ids: [{}]) {{ id }} {} }}", ids.join(", "), aliases.join(" "));
    let statements = app.statements(&query).await;
    // One statement for the ids, one for the list that `apiKey` reads.
    assert!(statements <= 2, "{statements}");
}

async fn searches_in_full_keys_are_in_the_audit_log(database: TestDatabase) {
    database.insert(&[CallRow::at("2026-03-01T11:30:00Z").key(KEY)]).await;
    database.insert(&[ErrorRow::at("2026-03-01T11:30:00Z").key(KEY)]).await;
    let app = start_with_tokens(&database).await;
    let subjects = async || {
        let entries = audit(&database).await;
        assert!(entries.iter().all(|entry| entry[1] == "admin" && entry[3] == "SEARCH_KEYS"));
        let subject = |entry: &Vec<Value>| entry[4].as_str().unwrap().to_owned();
        entries.iter().map(subject).collect::<Vec<_>>()
    };
    // A search in masked keys and an empty text reveal nothing.
    app.graphql_as(READER, "{ apiKeys(search: \"Secret\") { totalCount } }").await;
    app.graphql_as(ADMIN, "{ apiKeys(search: \"\") { totalCount } }").await;
    assert_eq!(subjects().await, Vec::<String>::new());
    // A caller that searches for a key character by character.
    let mut known = "AIza".to_owned();
    for next in ["x", "S", "e"] {
        let search = format!("{{ apiKeys(search: \"{known}{next}\") {{ totalCount }} }}");
        let response = app.graphql_as(ADMIN, &search).await;
        if response["data"]["apiKeys"]["totalCount"] == 1 {
            known += next;
        }
    }
    assert_eq!(known, "AIzaSe");
    let entry =
        |filter: &str, keys: u8| format!("{{\"filter\":\"{filter}\",\"matchingKeys\":{keys}}}");
    let search = |keys| entry("apiKeys.search", keys);
    assert_eq!(subjects().await, [search(0), search(1), search(1)]);

    // All searches of one document are logged by one statement.
    database.execute("DELETE FROM callscope_audit").await;
    let before = app.sent();
    let query = "{ errorLogs(filter: { keyContains: \"AIzaSecr\" }) { totalCount }
        same: errorLogs(filter: { keyContains: \"AIzaSecr\" }) { nodes { id } }
        errorGroups(by: [MODEL], filter: { keyContains: \"AIzaX\" }) { count }
        apiKeys { nodes { errorLogs(filter: { keyContains: \"AIzaY\" }) { totalCount } } } }";
    let response = app.graphql_as(ADMIN, query).await;
    assert!(response.get("errors").is_none(), "{response}");
    let mut found = subjects().await;
    found.sort();
    let filter = |keys| entry("ErrorLogFilter.keyContains", keys);
    // Two equal searches that finish at different times may each have an entry.
    assert!(found.len() >= 3 && found.starts_with(&[filter(0), filter(0)]), "{found:?}");
    assert!(found[2..].iter().all(|subject| *subject == filter(1)), "{found:?}");
    assert!(app.sent() - before < 20);

    // A subscription matches later keys.
    database.execute("DELETE FROM callscope_audit").await;
    let query = "subscription { errorRecorded(filter: { keyContains: \"Secret\" }) { id } }";
    let request = super::subscriptions::post(&app, query).bearer_auth(ADMIN);
    let events = super::subscriptions::Events::of(request).await;
    let expected = "{\"filter\":\"ErrorLogFilter.keyContains\",\"matchingKeys\":null}".to_owned();
    assert_eq!(subjects().await, [expected]);
    drop(events);

    // Without an audit entry there is no answer.
    database.execute("DROP TABLE callscope_audit").await;
    let response = app.graphql_as(ADMIN, "{ apiKeys(search: \"Secret\") { totalCount } }").await;
    assert_eq!(response["data"], Value::Null);
    assert_eq!(codes(&response), [("DATABASE_UNAVAILABLE", "apiKeys")]);
}
