//! Families of metrics whose series are all there from the start: closed label sets, and no
//! lock on the way to a series.

use std::{borrow::Cow, fmt::Debug, marker::PhantomData};

use prometheus_client::{
    encoding::EncodeMetric,
    metrics::{TypedMetric, counter::Counter, family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The labels of one series.
pub(crate) type LabelSet = Vec<(&'static str, Cow<'static, str>)>;

/// A label whose values are a closed set.
pub(crate) trait Label: Copy + 'static {
    const KEY: &'static str;
    const VALUES: &'static [&'static str];
    /// The position of this value.
    fn index(self) -> usize;
}

/// A label that can be gone through.
pub(crate) trait Each: Label {
    /// All of them, in the order of their values.
    const ALL: &'static [Self];
}

/// Several labels, of which each combination is a series.
pub(crate) trait Labels: Copy {
    /// All combinations, in the order of their index.
    fn all() -> Vec<LabelSet>;
    fn index(self) -> usize;
}

macro_rules! labels_of {
    ($($name:ident),+) => {
        impl<$($name: Label),+> Labels for ($($name,)+) {
            fn all() -> Vec<LabelSet> {
                let mut all = vec![LabelSet::new()];
                $(all = all.into_iter().flat_map(|begin| with::<$name>(&begin)).collect();)+
                all
            }

            #[expect(non_snake_case)]
            fn index(self) -> usize {
                let ($($name,)+) = self;
                let mut index = 0;
                $(index = index * <$name as Label>::VALUES.len() + $name.index();)+
                index
            }
        }
    };
}

labels_of!(A);
labels_of!(A, B);
labels_of!(A, B, C);
labels_of!(A, B, C, D, E);

fn with<L: Label>(begin: &LabelSet) -> Vec<LabelSet> {
    let values = L::VALUES.iter();
    values.map(|value| begin.iter().cloned().chain([(L::KEY, Cow::Borrowed(*value))]).collect()).collect()
}

/// One series for each combination of labels.
pub(crate) struct Family<L, M> {
    series: Vec<M>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, M: Clone> Family<L, M> {
    pub(crate) fn at(&self, labels: L) -> &M {
        &self.series[labels.index()]
    }
}

impl<L: Labels, M: Default + Clone + EncodeMetric + TypedMetric + Send + Sync + Debug + 'static> Family<L, M> {
    pub(crate) fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
        Self { series: series(registry, name, help, L::all(), M::default), labels: PhantomData }
    }
}

impl<L: Labels> Family<L, Histogram> {
    /// With the buckets that `new` makes.
    pub(crate) fn histograms(registry: &mut Registry, name: &str, help: &str, new: fn() -> Histogram) -> Self {
        Self { series: series(registry, name, help, L::all(), new), labels: PhantomData }
    }
}

/// Registers a family with these series and no other, which are returned in that order.
pub(crate) fn series<M: Clone + EncodeMetric + TypedMetric + Send + Sync + Debug + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: Vec<LabelSet>,
    new: fn() -> M,
) -> Vec<M> {
    let family = family::Family::<LabelSet, M, fn() -> M>::new_with_constructor(new);
    registry.register(name, help, family.clone());
    labels.iter().map(|labels| family.get_or_create(labels).clone()).collect()
}

/// Registers a metric without labels.
pub(crate) fn single<M: Clone + EncodeMetric + Send + Sync + Debug + 'static>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// A number of things as a gauge has it.
pub(crate) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One less, but never below zero.
pub(crate) fn fall(gauge: &Gauge) {
    use std::sync::atomic::Ordering::Relaxed;
    let _ = gauge.inner().fetch_update(Relaxed, Relaxed, |value| (value > 0).then(|| value - 1));
}

/// Takes a total that somebody else counts. It never falls.
pub(crate) fn reach(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, std::sync::atomic::Ordering::Relaxed);
}

/// Defines the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident = $key:literal { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant),+ }

        impl $crate::families::Label for $name {
            const KEY: &'static str = $key;
            const VALUES: &'static [&'static str] = &[$($text),+];

            fn index(self) -> usize {
                self as usize
            }
        }

        impl $crate::families::Each for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}
pub(crate) use label;

#[cfg(test)]
mod tests {
    use super::*;

    label!(One = "one" { A = "a", B = "b" });
    label!(Two = "two" { X = "x", Y = "y", Z = "z" });

    #[test]
    fn each_combination_has_a_series_of_its_own_at_its_index() {
        let all = <(One, Two)>::all();
        assert_eq!(all.len(), 6);
        for (one, two) in [(One::A, Two::X), (One::A, Two::Z), (One::B, Two::X), (One::B, Two::Y)] {
            let found = &all[(one, two).index()];
            let expected = [("one", One::VALUES[one.index()]), ("two", Two::VALUES[two.index()])];
            assert_eq!(found.iter().map(|(key, value)| (*key, value.as_ref())).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_gauge_never_falls_below_zero_and_a_total_never_falls() {
        let (gauge, counter) = (Gauge::default(), Counter::default());
        fall(&gauge);
        gauge.inc();
        fall(&gauge);
        fall(&gauge);
        reach(&counter, 5);
        reach(&counter, 3);
        assert_eq!((gauge.get(), counter.get()), (0, 5));
    }
}
