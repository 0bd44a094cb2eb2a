//! A whole request, as it is given up to the caller.

use std::fmt;

/// A part of the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    from: u16,
    to: u16,
}

impl Span {
    /// Where `part` stands in `whole`, which holds it; an empty span for what is elsewhere.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Self {
        let from = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        let to = from.wrapping_add(part.len());
        match (u16::try_from(from), u16::try_from(to)) {
            (Ok(from), Ok(to)) if usize::from(to) <= whole.len() => Self { from, to },
            _ => Self::default(),
        }
    }

    pub(super) fn in_(self, whole: &[u8]) -> &[u8] {
        &whole[usize::from(self.from)..usize::from(self.to)]
    }

    pub(super) fn in_mut(self, whole: &mut [u8]) -> &mut [u8] {
        &mut whole[usize::from(self.from)..usize::from(self.to)]
    }
}

/// A request for one of the routes. Debug shows neither its head nor its body: they hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Which of its connection's requests it is; its answer names it.
    pub number: u32,
    /// The rule's place in the list.
    pub route: u16,
    /// What was sent, decoded; nothing when it is larger than may be, and then it was not awaited.
    pub body: Option<Vec<u8>>,
    pub(super) head: Vec<u8>,
    pub(super) method: Span,
    pub(super) query: Span,
    pub(super) fields: Vec<(Span, Span)>,
    pub(super) parameters: Vec<Span>,
}

impl Request {
    pub(super) fn held_bytes(&self) -> usize {
        self.head.capacity()
            + self.fields.capacity() * size_of::<(Span, Span)>()
            + self.parameters.capacity() * size_of::<Span>()
    }

    /// As it came, in capitals.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.method.in_(&self.head)
    }

    /// What follows the target's question mark, as it came; visible ASCII.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.query.in_(&self.head)
    }

    /// The path's parameters in the order of the rule's names.
    #[must_use]
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.parameters.iter().map(|span| span.in_(&self.head))
    }

    /// Names in lower case and values without blanks around them, in order, some repeated.
    #[must_use]
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let part = |span: Span| span.in_(&self.head);
        self.fields
            .iter()
            .map(move |(name, value)| (part(*name), part(*value)))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("number", &self.number)
            .field("route", &self.route)
            .field("body_bytes", &self.body.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}
