//! How figures are named, and which are shown (`telemetry.metrics_prefix`, `.prefix_filter`,
//! `.filter_default`).

use std::str::FromStr;

/// Longest prefix and longest rule, in octets.
const OCTETS_MAX: usize = 128;

/// Names of figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// What the names of herald's own figures begin with, before a `_`. Default `herald`.
    pub prefix: String,
    /// Which figures are shown; of several rules that fit, the longest decides, of equal ones the
    /// one that hides.
    pub rules: Vec<Rule>,
    /// Whether figures that no rule fits are shown. Default yes.
    pub otherwise: bool,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            prefix: "herald".to_owned(),
            rules: Vec::new(),
            otherwise: true,
        }
    }
}

/// Shows (`+name`) or hides (`-name`) what begins with a name. Dots in it stand for `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    show: bool,
    start: String,
}

/// Why a text is no part of a name or no rule; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// Neither `+` nor `-` stands at its begin.
    #[error("rule {text:?} must begin with '+' (show) or '-' (hide)")]
    Sign {
        /// The rule.
        text: String,
    },
    /// Nothing is left behind the sign, or the prefix is empty.
    #[error("a prefix must not be empty")]
    Empty,
    /// It is too long.
    #[error("prefix has {octets} octets, at most {OCTETS_MAX} are allowed")]
    Length {
        /// Its length.
        octets: usize,
    },
    /// No name can have these characters.
    #[error(
        "prefix {text:?} must consist of letters, digits, '_' and '.', and not begin with a digit"
    )]
    Characters {
        /// The prefix.
        text: String,
    },
}

impl Naming {
    /// Checks a prefix and writes it as it stands in names.
    ///
    /// # Errors
    /// [`NamingError`].
    pub fn check_prefix(text: &str) -> Result<String, NamingError> {
        let first = text.chars().next().ok_or(NamingError::Empty)?;
        if text.len() > OCTETS_MAX {
            let octets = text.len();
            return Err(NamingError::Length { octets });
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        if first.is_ascii_digit() || !text.chars().all(fits) {
            let text = text.to_owned();
            return Err(NamingError::Characters { text });
        }
        Ok(text.replace('.', "_"))
    }

    /// The whole name of one of herald's own figures.
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// Whether a figure of this whole name is shown.
    pub(super) fn shows(&self, name: &str) -> bool {
        let fitting = self
            .rules
            .iter()
            .filter(|rule| name.starts_with(&rule.start));
        let decisive = fitting.max_by_key(|rule| (rule.start.len(), !rule.show));
        decisive.map_or(self.otherwise, |rule| rule.show)
    }
}

impl FromStr for Rule {
    type Err = NamingError;
    fn from_str(text: &str) -> Result<Self, NamingError> {
        let (show, start) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(start), _) => (true, start),
            (_, Some(start)) => (false, start),
            _ => {
                let text = text.to_owned();
                return Err(NamingError::Sign { text });
            }
        };
        let start = Naming::check_prefix(start)?;
        Ok(Self { show, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(rules: &[&str], otherwise: bool) -> Naming {
        Naming {
            rules: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            otherwise,
            ..Naming::default()
        }
    }

    #[test]
    fn the_longest_rule_decides() {
        let naming = naming(
            &["-herald.dns", "+herald.dns.query", "-herald.dns.query_s"],
            true,
        );
        assert!(naming.shows("herald_http_requests"));
        assert!(!naming.shows("herald_dns_shed"));
        assert!(naming.shows("herald_dns_query"));
        assert!(!naming.shows("herald_dns_query_seconds"));
    }

    #[test]
    fn of_two_equal_rules_the_one_that_hides_decides() {
        assert!(!naming(&["+herald", "-herald"], true).shows("herald_x"));
        assert!(!naming(&["-herald", "+herald"], true).shows("herald_x"));
    }

    #[test]
    fn what_no_rule_fits_follows_the_default() {
        assert!(!naming(&["+herald_dns"], false).shows("herald_http"));
        assert!(naming(&["+herald_dns"], false).shows("herald_dns_shed"));
    }

    #[test]
    fn bad_rules_and_prefixes_are_named() {
        let error = |text: &str| text.parse::<Rule>().unwrap_err().to_string();
        assert_eq!(
            error("herald"),
            "rule \"herald\" must begin with '+' (show) or '-' (hide)"
        );
        assert_eq!(error("+"), "a prefix must not be empty");
        assert!(error("-a b").contains("\"a b\" must consist of"));
        assert!(Naming::check_prefix("9a").is_err());
        assert_eq!(Naming::check_prefix("a.b").unwrap(), "a_b");
        let long = "a".repeat(129);
        let error = Naming::check_prefix(&long).unwrap_err().to_string();
        assert_eq!(error, "prefix has 129 octets, at most 128 are allowed");
    }
}
