//! gemini-balance's database before Callscope first opens it: its two tables with its columns and
//! types, and no index. The text of the comments is ours.

use super::{CallRow, ErrorRow, Kind, NULL, TestDatabase};

const SQLITE: &str = "
CREATE TABLE t_error_logs (
    id INTEGER NOT NULL,
    gemini_key VARCHAR(100),
    model_name VARCHAR(100),
    error_type VARCHAR(50),
    error_log TEXT,
    error_code INTEGER,
    request_msg JSON,
    request_time DATETIME,
    PRIMARY KEY (id)
);
CREATE TABLE t_request_log (
    id INTEGER NOT NULL,
    request_time DATETIME,
    model_name VARCHAR(100),
    api_key VARCHAR(100),
    is_success BOOLEAN NOT NULL,
    status_code INTEGER,
    latency_ms INTEGER,
    PRIMARY KEY (id)
);";

const POSTGRES: &str = "
CREATE TABLE t_error_logs (
    id SERIAL NOT NULL,
    gemini_key VARCHAR(100),
    model_name VARCHAR(100),
    error_type VARCHAR(50),
    error_log TEXT,
    error_code INTEGER,
    request_msg JSON,
    request_time TIMESTAMP WITHOUT TIME ZONE,
    PRIMARY KEY (id)
);
CREATE TABLE t_request_log (
    id SERIAL NOT NULL,
    request_time TIMESTAMP WITHOUT TIME ZONE,
    model_name VARCHAR(100),
    api_key VARCHAR(100),
    is_success BOOLEAN NOT NULL,
    status_code INTEGER,
    latency_ms INTEGER,
    PRIMARY KEY (id)
);";

const MYSQL: &str = "
CREATE TABLE t_error_logs (
    id INTEGER NOT NULL AUTO_INCREMENT,
    gemini_key VARCHAR(100) COMMENT 'the key',
    model_name VARCHAR(100) COMMENT 'the model',
    error_type VARCHAR(50) COMMENT 'the route',
    error_log TEXT COMMENT 'the answer',
    error_code INTEGER COMMENT 'the status',
    request_msg JSON COMMENT 'the request',
    request_time DATETIME COMMENT 'the time',
    PRIMARY KEY (id)
);
CREATE TABLE t_request_log (
    id INTEGER NOT NULL AUTO_INCREMENT,
    request_time DATETIME COMMENT 'the time',
    model_name VARCHAR(100) COMMENT 'the model',
    api_key VARCHAR(100) COMMENT 'the key',
    is_success BOOL NOT NULL COMMENT 'the outcome',
    status_code INTEGER COMMENT 'the status',
    latency_ms INTEGER COMMENT 'the latency',
    PRIMARY KEY (id)
);";

pub fn ddl(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => SQLITE,
        Kind::Postgres => POSTGRES,
        Kind::MariaDb => MYSQL,
    }
}

/// Creates the tables in an empty database and fills them with rows of every kind that gemini-balance
/// writes.
pub async fn fill(database: &TestDatabase) {
    database.execute(ddl(database.kind())).await;
    database
        .insert(&[
            CallRow::at("2026-03-01T11:59:58.123456Z").key("AIza-one").model("gemini-2.5-flash"),
            CallRow::at("2026-03-01T11:59:59Z").key("AIza-one").status(429),
            CallRow::at("2026-03-01T12:00:00Z").key("AIza-two").model(NULL).latency(NULL),
            CallRow::at_stored(NULL).key(NULL).status(NULL),
        ])
        .await;
    if database.kind() == Kind::Sqlite {
        database
            .insert(&[
                CallRow::at("2026-03-01T12:00:01Z").status("Server disconnected"),
                CallRow::at("2026-03-01T12:00:02Z").status(""),
            ])
            .await;
    }
    database
        .insert(&[
            ErrorRow::at("2026-03-01T11:59:59Z").key("AIza-one"),
            ErrorRow::at("2026-03-01T12:00:00Z")
                .request(r#"{"message": "it's \"quoted\" \\ 密钥"}"#),
            ErrorRow::at_stored(NULL).key(NULL).model(NULL).log(NULL).code(NULL).request(NULL),
        ])
        .await;
}
