//! What is left of limits, as a caller may know it: values, and the texts of two HTTP fields.
//!
//! The texts are those of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers):
//! `"contact-60";q=6;w=60` and `"contact-60";r=5;t=60`. They tell no key, so they link nobody.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::named::Policy;

const MS: i64 = 1000;
const DIGITS_MAX: usize = 20;

/// One window of one limit, as a caller may know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Whose window it is.
    pub policy: Policy,
    /// How many more charges it takes now.
    pub remaining: u64,
    /// Milliseconds until `remaining` grows; 0 when nothing is used.
    pub reset_ms: i64,
}

/// Policies in a fixed order, with what their texts have in common.
#[derive(Debug)]
pub(super) struct Shape {
    slots: Box<[Slot]>,
    /// Those told where nothing refuses.
    usual: Box<[usize]>,
    usual_policies: String,
    /// Whether one name may be told twice.
    merges: bool,
}

#[derive(Debug)]
struct Slot {
    policy: Policy,
    /// The first slot of the same name.
    group: usize,
    /// `"contact-60";q=6;w=60`
    whole: String,
    /// `"contact-60";r=`
    left: String,
}

/// The quota of a slot, by its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) slot: usize,
    pub(super) remaining: u64,
    pub(super) reset_ms: i64,
}

/// Quotas in order, of each policy one.
#[derive(Debug, Clone)]
pub struct Quotas {
    shape: Arc<Shape>,
    items: Vec<Item>,
}

impl Shape {
    /// Of these policies; `usual` says which are told where nothing refuses, by their places, and
    /// `repeats` whether one may be told of two keys.
    pub(super) fn new(
        policies: impl IntoIterator<Item = Policy>,
        usual: Vec<usize>,
        repeats: bool,
    ) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for policy in policies {
            let named = |slot: &Slot| slot.policy.name == policy.name;
            let window_s = policy.window_ms.div_euclid(MS);
            slots.push(Slot {
                group: slots.iter().position(named).unwrap_or(slots.len()),
                whole: format!("\"{}\";q={};w={window_s}", policy.name, policy.limit),
                left: format!("\"{}\";r=", policy.name),
                policy,
            });
        }
        let mut shape = Self {
            merges: repeats || slots.iter().enumerate().any(|(i, slot)| slot.group != i),
            slots: slots.into(),
            usual: Box::default(),
            usual_policies: String::new(),
        };
        shape.usual_policies = shape.policies(usual.iter().copied());
        shape.usual = usual.into();
        shape
    }

    fn policies(&self, slots: impl Iterator<Item = usize>) -> String {
        let texts: Vec<&str> = slots.map(|slot| self.slots[slot].whole.as_str()).collect();
        texts.join(", ")
    }
}

impl Quotas {
    /// None yet.
    pub(super) fn new(shape: &Arc<Shape>) -> Self {
        Self {
            shape: Arc::clone(shape),
            items: Vec::with_capacity(shape.usual.len()),
        }
    }

    /// One more, unless there is a tighter one of its policy; a looser one it replaces.
    pub(super) fn put(&mut self, item: Item) {
        if self.shape.merges {
            let group = self.shape.slots[item.slot].group;
            let alike = |held: &&mut Item| self.shape.slots[held.slot].group == group;
            if let Some(held) = self.items.iter_mut().find(alike) {
                let tighter = item.remaining < held.remaining
                    || item.remaining == held.remaining && item.reset_ms > held.reset_ms;
                if tighter {
                    *held = item;
                }
                return;
            }
        }
        self.items.push(item);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Each as a value.
    pub fn iter(&self) -> impl Iterator<Item = Quota> {
        self.items.iter().map(|item| Quota {
            policy: self.shape.slots[item.slot].policy.clone(),
            remaining: item.remaining,
            reset_ms: item.reset_ms,
        })
    }

    /// Whether the policies are those that are told where nothing refuses: their text is then the
    /// same for all quotas of one row.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        let slots = self.items.iter().map(|item| &item.slot);
        slots.eq(self.shape.usual.iter())
    }

    /// `RateLimit-Policy`: `q` is the quota and `w` the window in seconds.
    #[must_use]
    pub fn policies(&self) -> String {
        if self.is_usual() {
            return self.shape.usual_policies.clone();
        }
        self.shape.policies(self.items.iter().map(|item| item.slot))
    }

    /// `RateLimit`: `r` is what remains and `t` the seconds until it grows, rounded up.
    #[must_use]
    pub fn left(&self) -> String {
        // Bytes, checked once at the end: most calls of a server write this text twice.
        let mut text = Vec::with_capacity(self.shape.usual_policies.len() + DIGITS_MAX);
        for item in &self.items {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(self.shape.slots[item.slot].left.as_bytes());
            put_digits(&mut text, item.remaining);
            text.extend_from_slice(b";t=");
            let over = i64::from(item.reset_ms.rem_euclid(MS) > 0);
            let reset_s = item.reset_ms.div_euclid(MS) + over;
            if reset_s < 0 {
                text.push(b'-');
            }
            put_digits(&mut text, reset_s.unsigned_abs());
        }
        // It is made of texts and digits, so the default is never taken; it stands for a panic.
        String::from_utf8(text).unwrap_or_default()
    }

    fn values(&self) -> impl Iterator<Item = (&Policy, u64, i64)> {
        let of = |item: &Item| {
            let policy = &self.shape.slots[item.slot].policy;
            (policy, item.remaining, item.reset_ms)
        };
        self.items.iter().map(of)
    }
}

/// Each value as it is, also where two have one policy.
impl FromIterator<Quota> for Quotas {
    fn from_iter<T: IntoIterator<Item = Quota>>(quotas: T) -> Self {
        let (mut policies, mut items) = (Vec::new(), Vec::new());
        for (slot, quota) in quotas.into_iter().enumerate() {
            policies.push(quota.policy);
            items.push(Item {
                slot,
                remaining: quota.remaining,
                reset_ms: quota.reset_ms,
            });
        }
        let usual = (0..items.len()).collect();
        Self {
            shape: Arc::new(Shape::new(policies, usual, false)),
            items,
        }
    }
}

/// By value, of whatever limits they were made.
impl PartialEq for Quotas {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl Eq for Quotas {}

impl Hash for Quotas {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for value in self.values() {
            value.hash(state);
        }
    }
}

/// As `fmt` writes it, in a fraction of the time.
fn put_digits(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    loop {
        first -= 1;
        digits[first] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}
