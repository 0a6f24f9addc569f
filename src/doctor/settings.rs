//! The configuration: what is risky in it.

use super::{Finding, Patient};

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = vec![];
    let told: Vec<&str> = patient
        .settings
        .iter()
        .filter(|setting| setting.is_secret && setting.is_flag)
        .map(|setting| setting.name.as_str())
        .collect();
    if let Some(name) = told.first() {
        let variable = format!("CALLSCOPE_{}", name.replace('-', "_").to_uppercase());
        findings.push(Finding::doubtful(
            "secrets",
            format!("--{} is given as a flag", told.join(", --")),
            format!(
                "whoever has an account on this machine can read it in the list of processes; set \
                 {variable}, or {variable}_FILE to the name of a file that holds it"
            ),
        ));
    }
    if patient.server.listen.ip().is_loopback() {
        let found = format!("{} is reached from this machine alone", patient.server.listen);
        findings.push(Finding::good("address", found));
    } else {
        findings.push(Finding::doubtful(
            "address",
            format!("{} is reached from other machines", patient.server.listen),
            "what travels is not encrypted, tokens too: put a proxy with TLS in front \
             (docs/OPERATIONS.md)",
        ));
    }
    findings
}
