//! Spans of time in ISO 8601: `PT1M`, `PT8H`, `P30D`.

use chrono::TimeDelta;

use super::excerpt::excerpt;

/// The longest valid span: a thousand years.
const MAX_DAYS: i64 = 366_000;

/// Parses weeks, days, hours, minutes and seconds (to the microsecond). Rejects zero, and years and
/// months, which have no fixed length.
pub fn parse(text: &str) -> Result<TimeDelta, String> {
    let shown = excerpt(text);
    let invalid = || format!("`{shown}` is not an ISO 8601 duration such as PT1M, PT8H or P30D");
    let body = text.strip_prefix('P').ok_or_else(invalid)?;
    let (date, time) = match body.split_once('T') {
        Some((_, "")) => return Err(invalid()),
        Some((date, time)) => (date, time),
        None => (body, ""),
    };
    if date.contains(['Y', 'M']) {
        return Err(format!("`{shown}` has years or months, which have no fixed length; use days"));
    }
    let micros = sum(date, &[('W', 7 * 86_400), ('D', 86_400)])
        .zip(sum(time, &[('H', 3600), ('M', 60), ('S', 1)]))
        .and_then(|(date, time)| date.checked_add(time))
        .ok_or_else(invalid)?;
    if micros == 0 {
        return Err(format!("`{shown}` is zero; a longer duration is required"));
    }
    if micros > MAX_DAYS * 86_400_000_000 {
        return Err(format!("`{shown}` is longer than a thousand years"));
    }
    Ok(TimeDelta::microseconds(micros))
}

/// Parses a setting: an ISO 8601 duration, or one whole number with its unit: `90d`, `12h`, `2w`.
pub fn parse_setting(text: &str) -> Result<TimeDelta, String> {
    let short = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(number, unit)| {
        let whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        match unit {
            _ if !whole => None,
            "w" | "d" => Some(format!("P{number}{}", unit.to_uppercase())),
            "h" | "m" | "s" => Some(format!("PT{number}{}", unit.to_uppercase())),
            _ => None,
        }
    });
    match short {
        Some(short) => parse(&short),
        None if text.starts_with('P') => parse(text),
        None => Err(format!("`{}` is not a duration such as 90d, 12h or P90D", excerpt(text))),
    }
}

/// The microseconds of `text`. Its units must have the order of `units` (each with its seconds).
fn sum(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut total = 0i64;
    for &(unit, seconds) in units {
        if let Some((number, rest)) = text.split_once(unit) {
            total = total.checked_add(micros(number, seconds, unit == 'S')?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(total)
}

fn micros(number: &str, seconds: i64, fraction_allowed: bool) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if number.contains('.') && (!fraction_allowed || fraction.len() > 6) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000)?.checked_add(fraction)
}

/// The shortest text: `PT1M`, `P1DT12H`, `PT0.5S`.
pub fn format(span: TimeDelta) -> String {
    let micros = span.num_microseconds().unwrap_or(i64::MAX).max(0);
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = String::from("P");
    let units =
        [(seconds / 86_400, "D"), (seconds % 86_400 / 3600, "H"), (seconds % 3600 / 60, "M")];
    let has_time = seconds % 86_400 > 0 || micros > 0 || seconds == 0;
    for (number, unit) in units {
        if unit == "H" && has_time {
            text.push('T');
        }
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    match (seconds % 60, micros) {
        (0, 0) if seconds > 0 => {}
        (rest, 0) => text.push_str(&format!("{rest}S")),
        (rest, micros) => {
            let fraction = format!("{micros:06}");
            text.push_str(&format!("{rest}.{}S", fraction.trim_end_matches('0')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, seconds) in
            [("PT1M", 60), ("PT8H", 28_800), ("P30D", 2_592_000), ("P1DT12H30M5S", 131_405)]
        {
            assert_eq!(parse(text), Ok(TimeDelta::seconds(seconds)));
            assert_eq!(format(TimeDelta::seconds(seconds)), text);
        }
        assert_eq!(parse("P1W"), Ok(TimeDelta::days(7)));
        assert_eq!(parse("PT0.25S"), Ok(TimeDelta::milliseconds(250)));
        assert_eq!(format(TimeDelta::milliseconds(1500)), "PT1.5S");
        assert_eq!(parse("PT90M").map(format), Ok("PT1H30M".into()));
    }

    #[test]
    fn settings_may_be_short() {
        for (text, long) in [("90d", "P90D"), ("2w", "P14D"), ("12h", "PT12H"), ("5m", "PT5M")] {
            assert_eq!(parse_setting(text), parse(long), "{text}");
        }
        assert_eq!(parse_setting("30s"), Ok(TimeDelta::seconds(30)));
        assert_eq!(parse_setting("P90D"), parse("P90D"));
        for text in ["", "d", "90", "90D", "9.5d", "-1d", "0d", "d90", "90 d", "9999999d", "1é"] {
            assert!(parse_setting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "1H",
            "PT0S",
            "P1M",
            "P1Y",
            "-PT1H",
            "PT1",
            "P1H",
            "PT1M1H",
            "PT1.5H",
            "pt1h",
            "PT 1H",
            "PT1H ",
            "P1.5D",
            "PT.5S",
            "PT1.S",
            "P9999999D",
            "P99999999999999999999D",
            "PT1H1H",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
