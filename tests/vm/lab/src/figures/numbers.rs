//! Numbers, as reports print them.

/// To so many significant digits, without zeros at the end, as C's `%g` below a million.
pub(crate) fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".into();
    }
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of any number is below 400")]
    let magnitude = value.abs().log10().floor() as i32;
    // Rounding may carry into one more digit: 9.996 is 10.0.
    let decimals = usize::try_from(digits - 1 - magnitude).unwrap_or_default();
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// New connections a second, of so many clients that each open a burst so often.
pub(crate) fn rate(every: u32, burst: u32, clients: u32) -> f64 {
    1000.0 * f64::from(burst) / f64::from(every) * f64::from(clients)
}

/// The middle one, or the middle of the two middle ones.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Of a sum of parts, what share of the whole. None where there is no whole.
pub(crate) fn quotient(parts: &[f64], whole: f64) -> Option<f64> {
    (whole > 0.0 && !parts.is_empty()).then(|| parts.iter().sum::<f64>() / whole)
}

/// A goal: `<= 4` or `>= 5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limit {
    at_most: bool,
    value: f64,
}

impl Limit {
    pub(crate) fn holds(self, measured: f64) -> bool {
        if self.at_most { measured <= self.value } else { measured >= self.value }
    }

    /// With the signs of mathematics.
    pub(crate) fn text(self, unit: &str) -> String {
        format!("{} {}{unit}", if self.at_most { '≤' } else { '≥' }, self.value)
    }
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a goal is like \"<= 4\" or \">= 5\"");
        let (sign, value) = text.split_once(' ').ok_or_else(wrong)?;
        let value = value.parse().map_err(|_| wrong())?;
        match sign {
            "<=" => Ok(Self { at_most: true, value }),
            ">=" => Ok(Self { at_most: false, value }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_read_them() {
        let rates: Vec<_> =
            [20, 40, 80, 160, 320, 640].map(|every| significant(rate(every, 1, 6), 3)).into_iter().collect();
        assert_eq!(rates, ["300", "150", "75", "37.5", "18.8", "9.38"]);
        assert_eq!(significant(rate(640, 1, 1), 3), "1.56");
        assert_eq!(significant(rate(1, 1, 6), 3), "6000");
    }

    #[test]
    fn significant_digits() {
        for (value, digits, text) in [
            (0.0, 3, "0"),
            (2.0, 6, "2"),
            (2.5, 6, "2.5"),
            (1_234_567.0, 3, "1234567"),
            (0.012_345, 3, "0.0123"),
            (-1.5, 3, "-1.5"),
        ] {
            assert_eq!(significant(value, digits), text);
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn quotients() {
        assert_eq!(quotient(&[1.0, 2.0], 4.0), Some(0.75));
        assert_eq!(quotient(&[1.0], 0.0), None);
        assert_eq!(quotient(&[], 1.0), None);
    }

    #[test]
    fn limits() {
        let most: Limit = "<= 1.15".parse().unwrap();
        let least: Limit = ">= 5".parse().unwrap();
        assert!(most.holds(1.15) && !most.holds(1.151) && least.holds(5.0) && !least.holds(4.9));
        assert_eq!((most.text(""), least.text(" ms")), ("≤ 1.15".into(), "≥ 5 ms".into()));
        for wrong in ["", "5", "<= x", "< 5", "<=5"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }
}
