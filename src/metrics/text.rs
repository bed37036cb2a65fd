//! Reads the `OpenMetrics` text that the encoder writes, and turns it into the older format.
//!
//! Only ever sees that text, whose lines are in order: for each family `# HELP`, `# TYPE`, perhaps
//! `# UNIT`, then its samples. A line that does not fit is left out.

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times or sizes in buckets, with their sum and number.
    Histogram,
    /// Always 1: its labels are what it says.
    Info,
    /// Something else.
    Unknown,
}

/// All figures of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, without the suffixes of its samples.
    pub name: String,
    /// What the figures are.
    pub kind: Kind,
    /// In the order in which they are written.
    pub samples: Vec<Sample>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What follows the family's name: nothing, or as in `_total`, `_bucket`, `_sum`.
    pub suffix: String,
    /// Labels in the order in which they are written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// Reads every family.
pub(super) fn read(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, kind)) = type_of(line) {
            families.push(Family {
                name: name.to_owned(),
                kind,
                samples: Vec::new(),
            });
        } else if !line.starts_with('#')
            && let Some(family) = families.last_mut()
        {
            family.samples.extend(sample(&family.name, line));
        }
    }
    families
}

/// The same figures as Prometheus text 0.0.4: there a family has the name of its samples, and
/// neither infos nor units exist.
pub(super) fn to_plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ");
        let following = lines.peek().and_then(|next| type_of(next));
        if let (Some(help), Some((name, kind))) = (help, following) {
            let suffix = plain_suffix(kind);
            let help = help.strip_prefix(name).unwrap_or_default();
            plain.extend(["# HELP ", name, suffix, help, "\n"]);
        } else if let Some((name, kind)) = type_of(line) {
            let (suffix, kind) = (plain_suffix(kind), plain_kind(kind));
            plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

fn plain_suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram | Kind::Unknown => "",
    }
}

fn plain_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Info => "gauge",
        Kind::Histogram => "histogram",
        Kind::Unknown => "untyped",
    }
}

/// Name and kind, of a line that says them.
fn type_of(line: &str) -> Option<(&str, Kind)> {
    let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
    let kind = match kind {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "info" => Kind::Info,
        _ => Kind::Unknown,
    };
    Some((name, kind))
}

/// Reads `name_suffix{label="value"} 1`.
fn sample(family: &str, line: &str) -> Option<Sample> {
    let rest = line.strip_prefix(family)?;
    let end = rest.find(['{', ' '])?;
    let (suffix, rest) = rest.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    Some(Sample {
        suffix: suffix.to_owned(),
        labels,
        value: rest.trim().parse().ok()?,
    })
}

/// Labels and their values.
type Labels = Vec<(String, String)>;

/// Reads labels up to the `}`, and gives what follows.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix('}') {
            return Some((labels, end));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = value(quoted)?;
        labels.push((name.to_owned(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// Reads a value up to its closing quote, and gives what follows.
fn value(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP h_shed Queries shed.
# TYPE h_shed counter
h_shed_total{transport=\"udp\",why=\"a \\\"b\\\"\\\\\\n\"} 12
# HELP h_open Open.
# TYPE h_open gauge
h_open 3
# HELP h_build Build.
# TYPE h_build info
h_build_info{version=\"1\"} 1
# HELP h_time Time.
# TYPE h_time histogram
h_time_sum 0.5
h_time_count 2
h_time_bucket{le=\"+Inf\"} 2
# EOF
";

    #[test]
    fn families_are_read_with_their_labels() {
        let families = read(TEXT);
        let kinds: Vec<_> = families.iter().map(|f| (f.name.as_str(), f.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("h_shed", Kind::Counter),
                ("h_open", Kind::Gauge),
                ("h_build", Kind::Info),
                ("h_time", Kind::Histogram)
            ]
        );
        let shed = &families[0].samples[0];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            shed.labels,
            [pair("transport", "udp"), pair("why", "a \"b\"\\\n")]
        );
        assert_eq!((shed.suffix.as_str(), shed.value), ("_total", 12.0));
        assert_eq!(families[3].samples.len(), 3);
    }

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        assert_eq!(
            to_plain(TEXT),
            "\
# HELP h_shed_total Queries shed.
# TYPE h_shed_total counter
h_shed_total{transport=\"udp\",why=\"a \\\"b\\\"\\\\\\n\"} 12
# HELP h_open Open.
# TYPE h_open gauge
h_open 3
# HELP h_build_info Build.
# TYPE h_build_info gauge
h_build_info{version=\"1\"} 1
# HELP h_time Time.
# TYPE h_time histogram
h_time_sum 0.5
h_time_count 2
h_time_bucket{le=\"+Inf\"} 2
"
        );
    }

    #[test]
    fn a_broken_line_is_left_out() {
        let families = read("# TYPE a gauge\na{x=\"1} 2\na 1\nb 2\n");
        assert_eq!(families[0].samples.len(), 1);
    }
}
