//! Orders in which no owner of many entries comes before the owners of few.

use std::{collections::HashMap, hash::Hash};

/// Puts one of each prefix first, in their order, and the rest after them: relays
/// of one owner must not be all that a node reaches its peers through. An item
/// without a prefix counts as one of its own.
pub fn diverse_first<T, P: PartialEq>(items: &mut [T], prefix: impl Fn(&T) -> Option<P>) {
    let mut seen: Vec<P> = Vec::with_capacity(items.len());
    let mut distinct = 0;
    for n in 0..items.len() {
        let prefix = prefix(&items[n]);
        let is_new = prefix.as_ref().is_none_or(|prefix| !seen.contains(prefix));
        if is_new {
            seen.extend(prefix);
            items[distinct..=n].rotate_right(1);
            distinct += 1;
        }
    }
}

/// Draws up to `n` items: the groups in random order, one random item of each, then
/// again. So an owner of one group gets no more of a short answer than any other,
/// however many items it has there. `random` gives numbers in 0..1.
pub fn spread<T, G: Eq + Hash>(
    items: impl IntoIterator<Item = T>,
    group: impl Fn(&T) -> G,
    n: usize,
    random: &mut dyn FnMut() -> f64,
) -> Vec<T> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<G, usize> = HashMap::new();
    for item in items {
        let place = *places.entry(group(&item)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(item);
    }
    let mut drawn = Vec::with_capacity(n.min(groups.iter().map(Vec::len).sum()));
    while drawn.len() < n && !groups.is_empty() {
        let mut order = std::mem::take(&mut groups);
        while drawn.len() < n && !order.is_empty() {
            let mut group = order.swap_remove(below(order.len(), random()));
            drawn.push(group.swap_remove(below(group.len(), random())));
            if !group.is_empty() {
                groups.push(group);
            }
        }
    }
    drawn
}

/// An index of `len` items by a number in 0..1; 0 if there is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn below(len: usize, random: f64) -> usize {
    ((random.clamp(0.0, 1.0) * len as f64) as usize).min(len.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A sequence that visits all of 0..1.
    fn numbers(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31)
        }
    }

    proptest! {
        #[test]
        fn no_group_has_two_before_each_has_one(groups in vec(0..6_u8, 0..60), n in 0..70_usize, seed: u64) {
            let items: Vec<(u8, usize)> = groups.iter().copied().zip(0..).collect();
            let drawn = spread(items.clone(), |(group, _)| *group, n, &mut numbers(seed));
            prop_assert_eq!(drawn.len(), n.min(items.len()));
            prop_assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len(), "none is drawn twice");
            let all: HashSet<u8> = groups.iter().copied().collect();
            let first: HashSet<u8> = drawn.iter().take(all.len()).map(|(group, _)| *group).collect();
            prop_assert_eq!(first.len(), drawn.len().min(all.len()));
        }
    }

    #[test]
    fn a_group_of_a_thousand_is_drawn_as_often_as_a_group_of_one() {
        let mut random = numbers(7);
        let items: Vec<(u8, usize)> = (0..1_000).map(|n| (0, n)).chain([(1, 0)]).collect();
        let of_the_small =
            (0..1_000).filter(|_| spread(items.iter().copied(), |(group, _)| *group, 1, &mut random)[0].0 == 1).count();
        assert!((400..600).contains(&of_the_small), "{of_the_small} of 1000");
    }
}
