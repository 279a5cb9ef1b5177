//! What a person may have meant.

/// So many letters may be wrong in a short name; one more for each four letters beyond.
const WRONG_MIN: usize = 2;

/// Of `names` the few that are nearest to `text`, the best first; none if it resembles nothing.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const SHOWN: usize = 3;
    let text = text.to_ascii_lowercase();
    let most = WRONG_MIN.max(text.chars().count() / 4 + 1);
    let mut close: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let begins = !text.is_empty() && (name.starts_with(&text) || text.starts_with(name));
            let wrong = if begins { 1 } else { distance(&text, name) };
            (wrong <= most).then_some((wrong, name))
        })
        .collect();
    close.sort_unstable();
    close.truncate(SHOWN);
    close.into_iter().map(|(_, name)| name).collect()
}

/// The number of letters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let left = next.last().copied().unwrap_or_default();
            let mut cost = (row[j] + usize::from(x != y))
                .min(row[j + 1] + 1)
                .min(left + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(above[j - 1] + 1);
            }
            next.push(cost);
        }
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let names = ["gt06", "h02", "teltonika", "wialon"];
        for (text, meant) in [
            ("teltonica", "teltonika"),
            ("Teltonika", "teltonika"),
            ("wailon", "wialon"),
            ("gt60", "gt06"),
            ("telt", "teltonika"),
            ("wialonips", "wialon"),
        ] {
            assert_eq!(nearest(text, names).first(), Some(&meant), "{text}");
        }
        assert!(nearest("mqtt-broker", names).is_empty());
        assert!(nearest("", ["gt06"]).is_empty());
    }
}
