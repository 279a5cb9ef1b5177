//! "Did you mean": the known word that is nearest to a wrong one.

/// A word further away than this share of its length is no suggestion.
const DISTANCE_PER_LETTERS: usize = 3;
/// Longer words are not compared: nobody mistypes them.
const LETTERS_MAX: usize = 64;

/// The nearest of `known` to `word`, if one is near enough to be meant. Of equals the first.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    if letters > LETTERS_MAX {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| {
            *distance <= letters.max(candidate.chars().count()) / DISTANCE_PER_LETTERS
        })
        .map(|(_, candidate)| candidate)
}

/// How many letters to put in, take out, change or swap with the next, to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().take(LETTERS_MAX).collect();
    let width = b.len() + 1;
    // rows[i % 3][j]: of the first i letters of a and the first j of b
    let mut rows = [vec![0; width], vec![0; width], (0..width).collect()];
    for (i, &x) in a.iter().enumerate() {
        rows.rotate_left(1);
        let [before, last, row] = &mut rows;
        row.fill(0);
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(last, j) + usize::from(x != y))
                .min(at(last, j + 1) + 1)
                .min(at(row, j) + 1);
            let swapped = j > 0 && i > 0 && b.get(j - 1) == Some(&x) && a.get(i - 1) == Some(&y);
            if swapped {
                best = best.min(at(before, j - 1) + 1);
            }
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = best;
            }
        }
    }
    rows[2].last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word_and_another_word_finds_none() {
        let known = ["teltonika", "gt06", "h02", "wialon"];
        for (word, found) in [
            ("teltonica", Some("teltonika")),
            ("Teltonkia", Some("teltonika")),
            ("gt6", Some("gt06")),
            ("walon", Some("wialon")),
            ("ruptela", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
