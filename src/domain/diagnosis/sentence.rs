//! A diagnosis as a sentence, in English and in Chinese.

use chrono::{DateTime, Utc};

use super::{Cause, Diagnosis};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    English,
    Chinese,
}

/// What the sentence calls keys and models, in the order of the diagnosis.
pub struct Names {
    pub keys: Vec<String>,
    pub models: Vec<String>,
}

impl Diagnosis {
    /// Cause, scope, time, counts, and what to do.
    pub fn sentence(&self, names: &Names, language: Language) -> String {
        match language {
            Language::English => self.english(names),
            Language::Chinese => self.chinese(names),
        }
    }

    fn english(&self, names: &Names) -> String {
        let when = match self.until {
            None => format!("since {}", minute(self.since)),
            Some(until) => format!("from {} to {}", minute(self.since), minute(until)),
        };
        // While it lasts, and after its end.
        let verb = |lasting: &'static str, ended: &'static str| {
            if self.until.is_none() { lasting } else { ended }
        };
        let key = match &names.keys[..] {
            [] => "every key".to_owned(),
            [key] => format!("key {key}"),
            keys => format!("keys {}", keys.join(", ")),
        };
        let with_key = if names.keys.is_empty() { String::new() } else { format!(" with {key}") };
        let models = names.models.join(", ");
        let for_model = if models.is_empty() { String::new() } else { format!(" for {models}") };
        let counts = self.counts();
        match self.cause {
            Cause::KeyDead => format!(
                "The provider {} {key}{for_model} {when}{counts}: replace the key.",
                verb("has rejected", "rejected"),
            ),
            Cause::KeyUnpaid => format!(
                "The account of {key} {} credit {when}{counts}: add credit.",
                verb("has lacked", "lacked"),
            ),
            Cause::QuotaExhausted => format!(
                "The quota of {key}{for_model} {} exhausted {when}{counts}: wait for its reset, or use other keys.",
                verb("has been", "was"),
            ),
            Cause::RateTooHigh => format!(
                "Calls with {key}{for_model} {} the rate limit {when}{counts}: spread them over more keys or time.",
                verb("have exceeded", "exceeded"),
            ),
            Cause::PoolExhausted => format!(
                "Most keys {} out of quota{for_model} {when}{counts}: wait for the reset, or add keys.",
                verb("have been", "were"),
            ),
            Cause::AddressBlocked => format!(
                "The provider {} {} {when}{counts}: it probably blocks the server's address or region; use another address, do not replace keys.",
                verb("has refused", "refused"),
                if names.keys.is_empty() { "most keys" } else { &key },
            ),
            Cause::ModelOutage => format!(
                "{models} {} for all keys {when}{counts}: wait, or use another model.",
                verb("has been failing", "failed"),
            ),
            Cause::ProviderOutage => format!(
                "The provider {} for most models and all keys {when}{counts}: wait, or use another provider.",
                verb("has been failing", "failed"),
            ),
            Cause::ClientFault => format!(
                "Requests{for_model}{with_key} {} invalid {when}{counts}: correct the client; other keys do not help.",
                verb("have been", "were"),
            ),
            Cause::GatewayFault => format!(
                "The gateway {} the provider{for_model}{with_key} {when}{counts}: check the gateway, its proxies and the network.",
                verb("has not reached", "did not reach"),
            ),
            Cause::Slow => format!(
                "Calls{for_model}{with_key} {} slow {when}: {} of {} took more than three times the usual latency.",
                verb("have been", "were"),
                thousands(self.failures),
                thousands(self.failures + self.successes),
            ),
            Cause::Silent if names.keys.is_empty() => {
                format!("No calls {when}: check the gateway and its clients.")
            }
            Cause::Silent => format!("No calls{with_key} {when}, while other keys were used."),
            Cause::Unknown => format!(
                "Calls{for_model}{with_key} {} more than usual {when}{counts}, for an unknown reason: read the error logs.",
                verb("have failed", "failed"),
            ),
        }
    }

    fn chinese(&self, names: &Names) -> String {
        let when = match self.until {
            None => format!("自 {} 起", minute(self.since)),
            Some(until) => format!("{} 至 {} 期间", minute(self.since), minute(until)),
        };
        let key = match &names.keys[..] {
            [] => "所有密钥".to_owned(),
            keys => format!("密钥 {}", keys.join("、")),
        };
        let model = match &names.models[..] {
            [] => "所有模型".to_owned(),
            models => models.join("、"),
        };
        let counts = self.chinese_counts();
        match self.cause {
            Cause::KeyDead => {
                format!("{when}，{key}（{model}）被服务商拒绝{counts}：请更换密钥。")
            }
            Cause::KeyUnpaid => format!("{when}，{key}的账户余额不足{counts}：请充值。"),
            Cause::QuotaExhausted => {
                format!("{when}，{key}（{model}）的配额已用尽{counts}：等待重置，或使用其他密钥。")
            }
            Cause::RateTooHigh => format!(
                "{when}，{key}（{model}）的调用超过速率限制{counts}：请分散到更多密钥或更长时间。"
            ),
            Cause::PoolExhausted => {
                format!("{when}，{model} 的大多数密钥配额已用尽{counts}：等待重置，或增加密钥。")
            }
            Cause::AddressBlocked => format!(
                "{when}，服务商拒绝{key}{counts}：服务器地址或地区可能被封锁，请更换地址，不要更换密钥。"
            ),
            Cause::ModelOutage => {
                format!("{when}，{model} 对所有密钥都失败{counts}：等待，或使用其他模型。")
            }
            Cause::ProviderOutage => {
                format!("{when}，服务商的大多数模型都失败{counts}：等待，或使用其他服务商。")
            }
            Cause::ClientFault => {
                format!("{when}，{key}（{model}）的请求无效{counts}：请修正客户端，换密钥无效。")
            }
            Cause::GatewayFault => format!(
                "{when}，网关无法连接服务商（{key}，{model}）{counts}：请检查网关、代理和网络。"
            ),
            Cause::Slow => format!(
                "{when}，{key}（{model}）变慢：{}/{} 次调用超过平时延迟的三倍。",
                thousands(self.failures),
                thousands(self.failures + self.successes),
            ),
            Cause::Silent if names.keys.is_empty() => {
                format!("{when}没有任何调用：请检查网关和客户端。")
            }
            Cause::Silent => format!("{when}，{key}没有调用，而其他密钥仍在使用。"),
            Cause::Unknown => {
                format!(
                    "{when}，{key}（{model}）的失败多于平时{counts}，原因未知：请查看错误日志。"
                )
            }
        }
    }

    /// " (503, 1,214 of 1,980 calls)".
    fn counts(&self) -> String {
        let status = self.status.map(|status| format!("{status}, ")).unwrap_or_default();
        let all = thousands(self.failures + self.successes);
        format!(" ({status}{} of {all} calls)", thousands(self.failures))
    }

    fn chinese_counts(&self) -> String {
        let status = self.status.map(|status| format!("{status}，")).unwrap_or_default();
        let all = thousands(self.failures + self.successes);
        format!("（{status}{}/{all} 次调用）", thousands(self.failures))
    }
}

fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
