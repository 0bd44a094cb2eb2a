//! Texts that are counted and kept once.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

#[derive(Debug)]
struct Label {
    text: Box<str>,
    count: u32,
}

/// Texts with a count above 0.
#[derive(Debug, Default)]
pub(super) struct Labels {
    texts: Vec<Label>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Labels {
    /// One more; the count now.
    pub(super) fn hold(&mut self, text: &str) -> u32 {
        let place = self.place_of(text).unwrap_or_else(|| self.add(text));
        let label = &mut self.texts[place as usize];
        label.count = label.count.saturating_add(1);
        label.count
    }

    /// One less; at 0 the text is forgotten.
    pub(super) fn release(&mut self, text: &str) {
        if let Some(place) = self.place_of(text) {
            self.release_at(place);
        }
    }

    /// The same by the text's place.
    pub(super) fn release_at(&mut self, place: u32) {
        let Some(label) = self.texts.get_mut(place as usize) else {
            return;
        };
        label.count = label.count.saturating_sub(1);
        if label.count > 0 {
            return;
        }
        let text = std::mem::take(&mut label.text);
        let hash = self.hasher.hash_one(&*text);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
            entry.remove();
            self.free.push(place);
        }
    }

    /// Where a held text is.
    pub(super) fn place_of(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.index
            .find(hash, |place| &*self.texts[*place as usize].text == text)
            .copied()
    }

    fn add(&mut self, text: &str) -> u32 {
        let label = Label {
            text: text.into(),
            count: 0,
        };
        let place = if let Some(place) = self.free.pop() {
            self.texts[place as usize] = label;
            place
        } else {
            self.texts.push(label);
            u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
        };
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.index
            .insert_unique(self.hasher.hash_one(text), place, |place| {
                hasher.hash_one(&*texts[*place as usize].text)
            });
        place
    }
}
