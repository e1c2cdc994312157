use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// Is notified of every event of one kind, in the order in which they happen.
///
/// It is called where the thing happens: it must return soon, wait for nothing and not
/// call back.
pub trait Observer<E>: Send + Sync {
    /// This has happened.
    fn observe(&self, event: &E);
}

impl<E, F: Fn(&E) + Send + Sync> Observer<E> for F {
    fn observe(&self, event: &E) {
        self(event);
    }
}

/// Observers that are all notified, in the order in which they were added. Cheap to clone;
/// all clones are one list. Whoever composes a node adds a handful and removes none.
pub struct Observers<E>(Arc<RwLock<Vec<Arc<dyn Observer<E>>>>>);

impl<E> Observers<E> {
    /// Adds one: it is notified of what happens from now on.
    pub fn add(&self, observer: Arc<dyn Observer<E>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// A list of this one.
    pub fn of(observer: Arc<dyn Observer<E>>) -> Self {
        let observers = Self::default();
        observers.add(observer);
        observers
    }
}

impl<E: 'static> Observers<E> {
    /// A list of its own, which notifies `first` and then whoever is on this one.
    #[must_use]
    pub fn after(&self, first: Arc<dyn Observer<E>>) -> Self {
        let observers = Self::of(first);
        observers.add(Arc::new(self.clone()));
        observers
    }
}

impl<E> Observer<E> for Observers<E> {
    fn observe(&self, event: &E) {
        for observer in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            observer.observe(event);
        }
    }
}

impl<E> Clone for Observers<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Observers<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E> fmt::Debug for Observers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "{count} observers")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn all_are_told_of_everything_in_order() {
        let observers = Observers::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        for who in ["first", "second"] {
            let told = told.clone();
            observers.add(Arc::new(move |event: &u32| told.lock().unwrap().push((who, *event))));
        }
        [1, 2].iter().for_each(|event| observers.clone().observe(event));
        assert_eq!(*told.lock().unwrap(), [("first", 1), ("second", 1), ("first", 2), ("second", 2)]);
    }
}
