//! The class of a failure from its text: a typical body, a sentence, and texts of 1 MB that are made to be slow.

use callscope::domain::failure::classify;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const GEMINI: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_input_token_count","quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaDimensions":{"location":"global","model":"gemini-2.5-pro"},"quotaValue":"250000"}]},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more about Gemini API quotas","url":"https://ai.google.dev/gemini-api/docs/rate-limits"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}}"#;
const OVERLOADED: &str = r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
const OPENAI: &str = "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4 in organization org-abcdefghijkl on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s.', 'type': 'tokens', 'param': None, 'code': 'rate_limit_exceeded'}}";
const NETWORK: &str = "Request error: Server disconnected without sending a response.";

fn texts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    let typical =
        [("gemini", GEMINI), ("overloaded", OVERLOADED), ("openai", OPENAI), ("network", NETWORK)];
    let long = ["x ", "\\", "\"quotaId\":\"a\",", "per minute ", "1", "api key "]
        .map(|text| text.repeat((1 << 20) / text.len()));
    let named = long.iter().map(|text| ("1 MiB", &**text));
    for (number, (name, text)) in typical.into_iter().chain(named).enumerate() {
        group.throughput(Throughput::Elements(1));
        let id = BenchmarkId::new(name, number);
        group.bench_with_input(id, text, |bencher, text| {
            bencher.iter(|| classify(Some(text), Some(429), None))
        });
    }
    group.finish();
}

criterion_group!(benches, texts);
criterion_main!(benches);
