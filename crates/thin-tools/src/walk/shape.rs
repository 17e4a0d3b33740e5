//! What is below each node, found from the leaves up, and which edges can be followed.

use super::Forest;
use super::node::{Contents, NodeError};
use crate::metadata::BlockError;
use dmlab_units::MetaBlock;

/// What is below a sound node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Levels of nodes below it; 0 for a leaf.
    pub height: u32,
    /// Entries of all leaves below it that can be reached.
    pub nr_entries: u64,
    /// A lower bound of its keys.
    pub first: u64,
    /// Its last key that can be reached, or the lower bound of its last child.
    pub last: u64,
    /// Leaves below it that can be reached; 1 for a leaf.
    pub nr_leaves: u64,
    /// Whether something below it is wrong.
    pub is_flawed: bool,
}

/// Why a child can't be followed, or is wrong in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// The child itself.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The child is an ancestor of its parent.
    #[error("the block is its own ancestor")]
    Loop,
    /// Keys that lookups never find, since the parent leads them elsewhere.
    #[error("keys {first} to {last} stand under a parent's keys {begin} to {end}")]
    KeysOutside {
        /// First key of the child.
        first: u64,
        /// Last key of the child.
        last: u64,
        /// First key that the parent gives it.
        begin: u64,
        /// Last key that the parent gives it.
        end: u64,
    },
    /// Not as deep as its siblings.
    #[error("{found} levels below it, but {wanted} below its siblings")]
    Depth {
        /// Levels below the child.
        found: u32,
        /// Levels below its first sound sibling.
        wanted: u32,
    },
    /// Too few entries. Nothing is lost by it.
    #[error("{found} entries of {max_entries}, fewer than a third")]
    Underfull {
        /// Entries.
        found: u32,
        /// Room.
        max_entries: u32,
    },
}

impl EdgeError {
    /// Whether what is below can't be used.
    pub fn loses(self) -> bool {
        !matches!(self, EdgeError::Underfull { .. })
    }
}

impl Forest {
    /// Finds every node's shape, children first.
    pub(super) fn settle(&mut self, roots: &[MetaBlock]) {
        self.shapes = vec![Shape::default(); self.nodes.len()];
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            OnPath,
            Done,
        }
        let mut states = vec![State::New; self.nodes.len()];
        // The path from a root down, with the index of the next child of each.
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in roots {
            let Some(root) = self.place(*root) else { continue };
            if states[root] == State::New {
                states[root] = State::OnPath;
                path.push((root, 0));
            }
            while let Some((place, next)) = path.last_mut() {
                let (at, index) = (*place, *next);
                let child = match &self.nodes[at].contents {
                    Contents::Internal(internal) => internal.children.get(index).copied(),
                    _ => None,
                };
                let Some(child) = child else {
                    self.shapes[at] = self.shape_at(at);
                    states[at] = State::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let Some(child) = self.place(child) else { continue };
                match states[child] {
                    State::New => {
                        states[child] = State::OnPath;
                        path.push((child, 0));
                    }
                    State::OnPath => {
                        self.loops.insert((at as u32, index as u32));
                    }
                    State::Done => {}
                }
            }
        }
    }

    fn shape_at(&self, place: usize) -> Shape {
        let internal = match &self.nodes[place].contents {
            Contents::Bad(_) => return Shape { is_flawed: true, ..Shape::default() },
            Contents::Leaf(leaf) => {
                return Shape {
                    height: 0,
                    nr_entries: u64::from(leaf.nr_entries),
                    first: leaf.first,
                    last: leaf.last,
                    nr_leaves: 1,
                    is_flawed: false,
                };
            }
            Contents::Internal(internal) => internal,
        };
        let mut shape = Shape {
            first: internal.keys[0],
            last: *internal.keys.last().expect("an internal node has children"),
            height: self.depth_of_children(place).map_or(1, |depth| depth + 1),
            ..Shape::default()
        };
        for i in 0..internal.keys.len() {
            match self.edge_with(place, i, Some(shape.height - 1)) {
                Ok(child) => {
                    let (below, error) = (&self.shapes[child], self.underfull(child));
                    shape.nr_entries += below.nr_entries;
                    shape.nr_leaves += below.nr_leaves;
                    shape.is_flawed |= below.is_flawed || error.is_some();
                    if below.nr_entries > 0 {
                        shape.last = shape.last.max(below.last);
                    }
                }
                Err(_) => shape.is_flawed = true,
            }
        }
        shape
    }

    /// Height of the first child that can be read.
    fn depth_of_children(&self, place: usize) -> Option<u32> {
        let Contents::Internal(internal) = &self.nodes[place].contents else { return None };
        (0..internal.keys.len())
            .find_map(|i| self.edge_with(place, i, None).ok())
            .map(|c| self.shapes[c].height)
    }

    /// The child at index `i` of an internal node, if it can be followed.
    pub(super) fn edge(&self, place: usize, i: usize) -> Result<usize, EdgeError> {
        self.edge_with(place, i, Some(self.shapes[place].height.saturating_sub(1)))
    }

    fn edge_with(&self, place: usize, i: usize, depth: Option<u32>) -> Result<usize, EdgeError> {
        let Contents::Internal(internal) = &self.nodes[place].contents else {
            unreachable!("only internal nodes have edges")
        };
        let Some(child) = self.place(internal.children[i]) else {
            return Err(NodeError::from(BlockError::Beyond { nr_blocks: self.nr_blocks }).into());
        };
        if self.loops.contains(&(place as u32, i as u32)) {
            return Err(EdgeError::Loop);
        }
        if let Contents::Bad(e) = self.nodes[child].contents {
            return Err(e.into());
        }
        let shape = &self.shapes[child];
        if let Some(wanted) = depth
            && shape.height != wanted
        {
            return Err(EdgeError::Depth { found: shape.height, wanted });
        }
        let begin = internal.keys[i];
        // Keys ascend, so the next one is at least 1.
        let end = internal.keys.get(i + 1).map_or(u64::MAX, |next| next - 1);
        let is_empty = shape.height == 0 && shape.nr_entries == 0;
        if !is_empty && (shape.first < begin || shape.last > end) {
            return Err(EdgeError::KeysOutside { first: shape.first, last: shape.last, begin, end });
        }
        Ok(child)
    }

    pub(super) fn nr_entries_at(&self, place: usize) -> u32 {
        match &self.nodes[place].contents {
            Contents::Leaf(leaf) => leaf.nr_entries,
            Contents::Internal(internal) => internal.keys.len() as u32,
            Contents::Bad(_) => 0,
        }
    }

    /// What is wrong with a node that is not the root and has too few entries.
    pub(super) fn underfull(&self, place: usize) -> Option<EdgeError> {
        let (found, max_entries) = (self.nr_entries_at(place), self.nodes[place].max_entries);
        (found < max_entries / 3).then_some(EdgeError::Underfull { found, max_entries })
    }
}
