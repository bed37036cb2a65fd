//! A persistent list: clones share everything, and a change copies only the path to its place.
//!
//! A tree of equal depth with the elements in its leaves. Finding, inserting and removing by
//! position cost O(log n); the persistent vectors at hand split and join themselves for each insert
//! in the middle, which costs a hundred times as much.
//!
//! **Invariant**: all leaves are equally deep, no node has more than [`WIDTH`] parts, and none but
//! the root fewer than a quarter of that.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Index, Range};
use std::sync::Arc;

/// Most elements of a leaf, and most children of a branch.
const WIDTH: usize = 32;

/// A persistent list of `T`, which should be cheap to clone.
#[derive(Clone)]
pub struct Sequence<T> {
    root: Node<T>,
    length: usize,
}

#[derive(Clone)]
enum Node<T> {
    Leaf(Arc<[T]>),
    Branch(Arc<[Child<T>]>),
}

#[derive(Clone)]
struct Child<T> {
    /// Elements in this child and those before it.
    end: usize,
    node: Node<T>,
}

impl<T> Sequence<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The element at `position`.
    pub fn get(&self, position: usize) -> Option<&T> {
        let (leaf, offset) = self.leaf_at(position);
        leaf.get(offset)
    }

    /// All elements, in order. Does not allocate.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            sequence: self,
            next: 0,
            leaf: [].iter(),
        }
    }

    /// The leaf that holds `position`, and where in it; an offset past its end if none does.
    fn leaf_at(&self, mut position: usize) -> (&[T], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, position),
                Node::Branch(children) => {
                    let place = children.partition_point(|child| child.end <= position);
                    let Some(child) = children.get(place) else {
                        return (&[], position);
                    };
                    position -= start(children, place);
                    node = &child.node;
                }
            }
        }
    }
}

impl<T: Clone> Sequence<T> {
    /// Puts `element` at `position`, before what is there.
    ///
    /// # Panics
    /// `position` is past the end.
    pub(super) fn insert(&mut self, position: usize, element: T) {
        assert!(position <= self.length, "position is past the end");
        self.length += 1;
        self.root = top(self.root.insert(position, element));
    }

    /// Removes the element at `position`.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn remove(&mut self, position: usize) {
        assert!(position < self.length, "position is past the end");
        self.length -= 1;
        self.root = self.root.remove(position);
        // A root with one child gives way to it.
        if let Node::Branch(children) = &self.root
            && let [only] = &**children
        {
            self.root = only.node.clone();
        }
    }

    /// Replaces the element at `position`.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn set(&mut self, position: usize, element: T) {
        assert!(position < self.length, "position is past the end");
        self.root = self.root.set(position, element);
    }
}

impl<T: Clone> Node<T> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Branch(children) => children.last().map_or(0, |child| child.end),
        }
    }

    /// Number of elements of a leaf, or of children of a branch.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Branch(children) => children.len(),
        }
    }

    /// This node with one more element; as two if it grew too wide.
    fn insert(&self, position: usize, element: T) -> Vec<Self> {
        match self {
            Self::Leaf(leaf) => {
                let (before, after) = leaf.split_at(position);
                let before = before.iter().cloned();
                leaves(before.chain([element]).chain(after.iter().cloned()))
            }
            Self::Branch(children) => {
                let last = children.len() - 1;
                let place = children
                    .partition_point(|child| child.end < position)
                    .min(last);
                let position = position - start(children, place);
                let changed = children[place].node.insert(position, element);
                branches(with(children, place..place + 1, changed))
            }
        }
    }

    fn remove(&self, position: usize) -> Self {
        match self {
            Self::Leaf(leaf) => {
                let (before, after) = (&leaf[..position], &leaf[position + 1..]);
                Self::Leaf(before.iter().chain(after).cloned().collect())
            }
            Self::Branch(children) => {
                let place = children.partition_point(|child| child.end <= position);
                let position = position - start(children, place);
                let changed = children[place].node.remove(position);
                let nodes = if changed.width() >= WIDTH / 4 || children.len() == 1 {
                    with(children, place..place + 1, vec![changed])
                } else if place > 0 {
                    let joined = children[place - 1].node.join(&changed);
                    with(children, place - 1..place + 1, joined)
                } else {
                    let joined = changed.join(&children[1].node);
                    with(children, 0..2, joined)
                };
                // No wider than before, so no need to split.
                Self::Branch(counted(nodes))
            }
        }
    }

    fn set(&self, position: usize, element: T) -> Self {
        match self {
            Self::Leaf(leaf) => {
                let (before, after) = (&leaf[..position], &leaf[position + 1..]);
                let before = before.iter().cloned();
                Self::Leaf(
                    before
                        .chain([element])
                        .chain(after.iter().cloned())
                        .collect(),
                )
            }
            Self::Branch(children) => {
                let place = children.partition_point(|child| child.end <= position);
                let position = position - start(children, place);
                let changed = vec![children[place].node.set(position, element)];
                Self::Branch(counted(with(children, place..place + 1, changed)))
            }
        }
    }

    /// Two neighbours of one depth as one node, or as two of about the same width.
    fn join(&self, next: &Self) -> Vec<Self> {
        match (self, next) {
            (Self::Leaf(left), Self::Leaf(right)) => leaves(left.iter().chain(&**right).cloned()),
            (Self::Branch(left), Self::Branch(right)) => {
                let children = left.iter().chain(&**right);
                branches(children.map(|child| child.node.clone()).collect())
            }
            _ => unreachable!("neighbours are equally deep"),
        }
    }
}

/// Elements before child `place`.
fn start<T>(children: &[Child<T>], place: usize) -> usize {
    match place.checked_sub(1) {
        Some(before) => children[before].end,
        None => 0,
    }
}

/// The nodes of `children` with those in `range` replaced.
fn with<T: Clone>(children: &[Child<T>], range: Range<usize>, by: Vec<Node<T>>) -> Vec<Node<T>> {
    let mut nodes = Vec::with_capacity(children.len() + by.len());
    let node = |child: &Child<T>| child.node.clone();
    nodes.extend(children[..range.start].iter().map(node));
    nodes.extend(by);
    nodes.extend(children[range.end..].iter().map(node));
    nodes
}

fn counted<T: Clone>(nodes: Vec<Node<T>>) -> Arc<[Child<T>]> {
    let mut end = 0;
    let count = |node: Node<T>| {
        end += node.len();
        Child { end, node }
    };
    nodes.into_iter().map(count).collect()
}

/// As few leaves as hold `elements`, about equally wide.
fn leaves<T: Clone>(elements: impl Iterator<Item = T>) -> Vec<Node<T>> {
    let elements: Arc<[T]> = elements.collect();
    if elements.len() <= WIDTH {
        return vec![Node::Leaf(elements)];
    }
    let parts = parts(elements.len());
    parts
        .map(|part| Node::Leaf(elements[part].into()))
        .collect()
}

/// As few branches as hold `nodes`, about equally wide.
fn branches<T: Clone>(nodes: Vec<Node<T>>) -> Vec<Node<T>> {
    if nodes.len() <= WIDTH {
        return vec![Node::Branch(counted(nodes))];
    }
    let parts = parts(nodes.len());
    parts
        .map(|part| Node::Branch(counted(nodes[part].to_vec())))
        .collect()
}

/// As few ranges as cover `length`, none longer than [`WIDTH`], about equally long.
fn parts(length: usize) -> impl Iterator<Item = Range<usize>> {
    let count = length.div_ceil(WIDTH);
    (0..count).map(move |part| part * length / count..(part + 1) * length / count)
}

/// One node above `nodes`, with as many levels between as it takes.
fn top<T: Clone>(mut nodes: Vec<Node<T>>) -> Node<T> {
    while nodes.len() > 1 {
        nodes = branches(nodes);
    }
    nodes.pop().unwrap_or_else(|| Node::Leaf(Arc::new([])))
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Arc::new([])),
            length: 0,
        }
    }
}

impl<T: Clone> FromIterator<T> for Sequence<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let root = top(leaves(elements.into_iter()));
        let length = root.len();
        Self { root, length }
    }
}

impl<T> Index<usize> for Sequence<T> {
    type Output = T;
    fn index(&self, position: usize) -> &T {
        self.get(position).expect("position is before the end")
    }
}

impl<T: fmt::Debug> fmt::Debug for Sequence<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self).finish()
    }
}

/// Elements of a [`Sequence`], in order.
#[derive(Debug)]
pub struct Iter<'a, T> {
    sequence: &'a Sequence<T>,
    next: usize,
    leaf: std::slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let element = self.leaf.next().or_else(|| {
            let (leaf, offset) = self.sequence.leaf_at(self.next);
            self.leaf = leaf.get(offset..)?.iter();
            self.leaf.next()
        })?;
        self.next += 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.sequence.length - self.next;
        (rest, Some(rest))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> FusedIterator for Iter<'_, T> {}

impl<'a, T> IntoIterator for &'a Sequence<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Depth, after checking the widths.
    fn depth(node: &Node<u32>, is_root: bool) -> usize {
        assert!(node.width() <= WIDTH);
        assert!(is_root || node.width() >= WIDTH / 4);
        match node {
            Node::Leaf(_) => 1,
            Node::Branch(children) => {
                assert!(children.len() > 1);
                let depths = children.iter().map(|child| depth(&child.node, false));
                let depths: Vec<_> = depths.collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    fn check(sequence: &Sequence<u32>, model: &[u32]) {
        assert!(depth(&sequence.root, true) < 6);
        assert_eq!(sequence.len(), model.len());
        assert_eq!(sequence.iter().len(), model.len());
        assert!(sequence.iter().eq(model));
        for (position, element) in model.iter().enumerate() {
            assert_eq!(&sequence[position], element);
        }
        assert_eq!(sequence.get(model.len()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_list(
            length in prop_oneof![0..100_u32, 0..4_000_u32],
            changes in vec((any::<u32>(), 0..5_u8, 1..60_usize), 0..60),
        ) {
            let mut model: Vec<u32> = (0..length).collect();
            let mut sequence: Sequence<u32> = model.iter().copied().collect();
            check(&sequence, &model);
            for (number, kind, times) in changes {
                let before = sequence.clone();
                let old = model.clone();
                for _ in 0..times {
                    let place = number as usize % (model.len() + 1);
                    match kind {
                        0 | 1 => {
                            model.insert(place, number);
                            sequence.insert(place, number);
                        }
                        2 if place < model.len() => {
                            model[place] = number;
                            sequence.set(place, number);
                        }
                        _ if place < model.len() => {
                            model.remove(place);
                            sequence.remove(place);
                        }
                        _ => {}
                    }
                }
                check(&sequence, &model);
                check(&before, &old);
            }
        }
    }

    #[test]
    fn it_can_be_emptied_and_filled_again() {
        let mut sequence: Sequence<u32> = (0..2_000).collect();
        while !sequence.is_empty() {
            sequence.remove(sequence.len() / 2);
        }
        check(&sequence, &[]);
        for number in 0..2_000 {
            sequence.insert(sequence.len(), number);
        }
        check(&sequence, &(0..2_000).collect::<Vec<_>>());
    }
}
