//! Error messages of the provider and the gateway, as in a gateway's error logs.

use serde::Serialize;
use serde_json::{Value, json};

use super::dice::Dice;
use super::fault::Fault;
use super::model::Model;

const PROMPTS: [&str; 6] = [
    "Summarise this meeting in three bullet points.",
    "Translate the paragraph below into plain English.",
    "写一个 Rust 函数，把字节数转换成易读的文本。",
    "Which of these five tickets is the most urgent, and why?",
    "Rewrite the release note so that a customer understands it.",
    "把下面的内容整理成表格。",
];

pub fn message(fault: Fault, model: &Model, dice: &mut Dice) -> String {
    match fault {
        Fault::DailyQuota => quota(model.name, "Day", model.daily_quota, dice),
        Fault::MinuteQuota => quota(model.name, "Minute", 10, dice),
        Fault::Suspended => status(
            403,
            "PERMISSION_DENIED",
            "Permission denied: Consumer 'api_key' has been suspended.",
            Some(json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "CONSUMER_SUSPENDED",
                "domain": "googleapis.com",
                "metadata": { "service": "generativelanguage.googleapis.com" },
            }])),
        ),
        Fault::BadRequest => status(
            400,
            "INVALID_ARGUMENT",
            "* GenerateContentRequest.contents: contents is not specified\n",
            None,
        ),
        Fault::Overloaded => {
            status(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", None)
        }
        Fault::Internal => {
            status(500, "INTERNAL", "An internal error has occurred. Please retry.", None)
        }
        Fault::Disconnected => {
            "Generic error: Server disconnected without sending a response.".into()
        }
        Fault::TimedOut => "Generic error: The read operation timed out.".into(),
    }
}

/// The failed request, which the gateway logs for 30 % of the failures.
pub fn request(endpoint: &str, model: &Model, dice: &mut Dice) -> Option<Value> {
    if !dice.chance(0.3) {
        return None;
    }
    let text = PROMPTS[dice.below(PROMPTS.len())];
    Some(match endpoint {
        "openai-embedding" => json!({ "model": model.name, "input": text }),
        "gemini-embed-single" => json!({ "content": { "parts": [{ "text": text }] } }),
        _ if endpoint.starts_with("openai") => json!({
            "model": model.name,
            "messages": [{ "role": "user", "content": text }],
            "temperature": 0.7,
            "stream": !endpoint.ends_with("non-stream"),
        }),
        _ => json!({
            "contents": [{ "role": "user", "parts": [{ "text": text }] }],
            "generationConfig": { "temperature": 0.7, "topP": 0.9 },
        }),
    })
}

fn quota(model: &str, per: &str, limit: u32, dice: &mut Dice) -> String {
    const METRIC: &str = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
    let delay = dice.between(2.0, 60.0);
    let text = format!(
        "You exceeded your current quota, please check your plan and billing details.\n\
         * Quota exceeded for metric: {METRIC}, limit: {limit}, model: {model}\n\
         Please retry in {delay:.9}s."
    );
    let details = json!([
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": METRIC,
                "quotaId": format!("GenerateRequestsPer{per}PerProjectPerModel-FreeTier"),
                "quotaDimensions": { "location": "global", "model": model },
                "quotaValue": limit.to_string(),
            }],
        },
        {
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay as u32),
        },
    ]);
    status(429, "RESOURCE_EXHAUSTED", &text, Some(details))
}

/// The error body of Google's services.
fn status(code: u16, status: &str, message: &str, details: Option<Value>) -> String {
    let body = Body { error: Status { code, message, status, details } };
    // Texts and numbers always serialise.
    serde_json::to_string_pretty(&body).map_or_else(|_| message.to_owned(), |json| json + "\n")
}

#[derive(Serialize)]
struct Body<'a> {
    error: Status<'a>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    message: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}
