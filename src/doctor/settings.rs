//! Risks in the configuration.

use super::{CheckInput, Finding};

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let mut findings = vec![];
    let secrets: Vec<&str> = input
        .settings
        .iter()
        .filter(|setting| setting.is_secret && setting.is_flag)
        .map(|setting| setting.name.as_str())
        .collect();
    if let Some(name) = secrets.first() {
        let variable = format!("CALLSCOPE_{}", name.replace('-', "_").to_uppercase());
        findings.push(Finding::warning(
            "secrets",
            format!("--{} is set by a flag", secrets.join(", --")),
            format!(
                "other users of this machine can read it in the process list: set {variable}, or \
                 {variable}_FILE to the name of a file with the secret"
            ),
        ));
    }
    if input.server.listen.ip().is_loopback() {
        let found = format!("{} is reachable from this machine only", input.server.listen);
        findings.push(Finding::ok("address", found));
    } else {
        findings.push(Finding::warning(
            "address",
            format!("{} is reachable from other machines", input.server.listen),
            "traffic, including tokens, is not encrypted: use a reverse proxy with TLS \
             (docs/OPERATIONS.md)",
        ));
    }
    findings
}
