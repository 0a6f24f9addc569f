//! Test data: the database that a gateway wrote (see README.md), and generated traces.

use std::fmt::Write as _;
use std::io::{Read, Write};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

/// The file that gemini-balance wrote, unpacked.
pub fn gateway_database() -> Vec<u8> {
    let packed = include_bytes!("gemini_balance.sqlite.gz");
    let mut file = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut file).expect("unpacks");
    file
}

/// Calls of some hours and the error logs of the failed ones. The same arguments generate the same bytes.
pub struct Trace {
    /// CSV, as `t_request_log` is exported.
    pub calls_csv: String,
    pub calls: usize,
    /// NDJSON, as `t_error_logs` is exported.
    pub errors_ndjson: String,
    pub errors: usize,
}

impl Trace {
    /// `calls` calls from `start` on, all at different times. One in 18 fails, in bursts.
    pub fn new(start: &str, calls: usize) -> Self {
        let mut at: DateTime<Utc> = start.parse().expect("a time");
        let mut random = Random(calls as u64);
        let mut trace = Self {
            calls_csv: "request_time,model_name,api_key,is_success,status_code,latency_ms\n".into(),
            calls,
            errors_ndjson: String::new(),
            errors: 0,
        };
        let mut failing = false;
        for number in 0..calls {
            at += TimeDelta::microseconds(1 + random.below(250_000));
            let time = at.format("%F %T%.6f");
            let model =
                ["gemini-2.5-flash", "gemini-2.5-pro", "POST /v2/{id}/os-server-external-events"]
                    [random.below(3) as usize];
            let key = format!("FakeSyTRACE{:03}{}", number % 50, "x".repeat(25));
            failing = random.below(100) < if failing { 60 } else { 2 };
            let code = match (failing, random.below(10)) {
                (false, 0) => Some(202),
                (false, _) => Some(200),
                (true, 0) => None,
                (true, 1..=7) => Some(429),
                (true, _) => Some(503),
            };
            let success = u8::from(!failing);
            let status = code.map_or(String::new(), |code| code.to_string());
            let latency = 50 + random.below(9000);
            writeln!(trace.calls_csv, "{time},{model},{key},{success},{status},{latency}")
                .expect("writes");
            // Some failed calls have no error log.
            if failing && random.below(16) > 0 {
                let later = at + TimeDelta::microseconds(random.below(900_000));
                let error = json!({
                    "gemini_key": key,
                    "model_name": model,
                    "error_type": "gemini-chat-stream",
                    "error_log": format!("{{\n  \"error\": {{ \"code\": {status:?}, \"message\": \"模型 overloaded\" }}\n}}\n"),
                    "error_code": code,
                    "request_msg": null,
                    "request_time": later.format("%F %T%.6f").to_string(),
                });
                writeln!(trace.errors_ndjson, "{error}").expect("writes");
                trace.errors += 1;
            }
        }
        trace
    }
}

/// The content of a file, compressed by gzip.
pub fn gzip(content: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content.as_bytes()).expect("packs");
    packed.finish().expect("packs")
}

/// Numbers that are the same in every run (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % end
    }
}
