//! "Did you mean": the nearest of some candidates to a misspelt word.

/// Words longer than this are not compared, to keep the cost of a bad file small.
const MAX_WORD_CHARS: usize = 80;

/// Help text naming the candidate nearest to `word`, when one is near enough.
pub fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The candidate nearest to `word`, when one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > MAX_WORD_CHARS {
        return None;
    }
    let word = word.to_ascii_lowercase();
    candidates
        .map(|candidate| (edit_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(word.len()) / 3).clamp(1, 4))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, with a transposition of neighbours counted as one.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = (last[j] + usize::from(a[i] != b[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("nmae", "name"), 1);
    }

    #[test]
    fn only_near_words_are_suggested() {
        let names = ["name", "type", "connect_timeout", "load_assignment"];
        assert_eq!(nearest("conect_timeout", names.into_iter()), Some("connect_timeout"));
        assert_eq!(nearest("Nmae", names.into_iter()), Some("name"));
        assert_eq!(nearest("port", names.into_iter()), None);
        assert_eq!(nearest("x", names.into_iter()), None);
    }
}
