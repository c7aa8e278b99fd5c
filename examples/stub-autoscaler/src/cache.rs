//! What a watch has shown so far.

use std::collections::HashMap;

/// Objects by key. A watch that lists anew says with the list what is gone.
pub(crate) struct Cache<V> {
    entries: HashMap<String, (V, u32)>,
    /// Number of the running (or last) list: older entries are not in it.
    list: u32,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), list: 0 }
    }
}

impl<V> Cache<V> {
    /// Takes in an object as it is now.
    pub(crate) fn insert(&mut self, key: String, value: V) {
        self.entries.insert(key, (value, self.list));
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// A list begins.
    pub(crate) fn list_started(&mut self) {
        self.list += 1;
    }

    /// The list is complete: what it did not name is gone.
    pub(crate) fn list_done(&mut self) {
        let list = self.list;
        self.entries.retain(|_, (_, seen)| *seen == list);
    }

    /// An object, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// All objects.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(value, _)| value)
    }

    /// All objects with their keys, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut V)> {
        self.entries.iter_mut().map(|(key, (value, _))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_list_forgets_what_it_does_not_name() {
        let mut cache = Cache::default();
        cache.list_started();
        cache.insert("a".to_owned(), 1);
        cache.insert("b".to_owned(), 2);
        cache.list_done();
        cache.list_started();
        cache.insert("b".to_owned(), 3);
        assert_eq!(cache.get("a"), Some(&1), "the list is not complete yet");
        cache.list_done();
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(&3)));
    }
}
