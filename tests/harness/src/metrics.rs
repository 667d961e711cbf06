//! What a Prometheus scrape says, read back.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    series: Vec<Series>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// With its suffix (`_total`, `_bucket`).
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// As it was.
    pub value: f64,
}

impl Scrape {
    /// Reads the text exposition format.
    ///
    /// # Errors
    /// The first line that is not of that format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines.map(|line| Series::parse(line).ok_or_else(|| line.to_owned()));
        Ok(Self { series: series.collect::<Result<_, _>>()? })
    }

    /// Every series of this name that has all these labels.
    pub fn all<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| {
            series.name == name && labels.iter().all(|(n, v)| series.labels.get(*n).is_some_and(|have| have == v))
        })
    }

    /// The sum of every series of this name that has all these labels; nothing when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values: Vec<f64> = self.all(name, labels).map(|series| series.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

impl Series {
    fn parse(line: &str) -> Option<Self> {
        let name_end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(name_end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => parse_labels(inside)?,
            None => (BTreeMap::new(), rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels, value })
    }
}

fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = parse_value(after)?;
        labels.insert(name.to_owned(), value);
        rest = after;
    }
}

fn parse_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
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

    #[test]
    fn series_are_summed_by_their_labels() {
        let text = "# HELP a b\na{v=\"1\",r=\"x\"} 2\na{v=\"2\",r=\"x}\\\"\"} 3.5\nb 1e3\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(scrape.sum("a", &[]), Some(5.5));
        assert_eq!(scrape.sum("a", &[("r", "x}\"")]), Some(3.5));
        assert_eq!(scrape.sum("b", &[]), Some(1000.0));
        assert_eq!(scrape.sum("c", &[]), None);
    }
}
