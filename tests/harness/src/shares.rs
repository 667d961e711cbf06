//! Whether a sequence of choices holds a share.

/// How far the worst window of this sequence is from its share: the largest difference, over all windows, between how
/// often `is_chosen` held and how often its share asks for. One pass.
pub fn worst_window<T>(sequence: impl IntoIterator<Item = T>, share: f64, is_chosen: impl Fn(T) -> bool) -> f64 {
    let (mut balance, mut lowest, mut highest) = (0.0_f64, 0.0_f64, 0.0_f64);
    for choice in sequence {
        balance += f64::from(u8::from(is_chosen(choice))) - share;
        lowest = lowest.min(balance);
        highest = highest.max(balance);
    }
    highest - lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_bad_window() {
        let fair = worst_window([true, false, true, false], 0.5, |c| c);
        let run = worst_window([true, false, true, true, true, true, false], 0.5, |c| c);
        assert_eq!((fair, run), (0.5, 2.0));
    }
}
