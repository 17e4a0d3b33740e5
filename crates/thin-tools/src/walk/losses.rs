//! What a tree has lost, and where.

use super::node::Contents;
use super::shape::EdgeError;
use super::{Forest, NodeError};
use crate::metadata::BlockError;
use dmlab_units::MetaBlock;

/// Something wrong below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The node.
    pub block: MetaBlock,
    /// The nodes that lead to it, from the root down, without itself.
    pub path: Vec<MetaBlock>,
    /// First and last key that may have been lost; `None` when nothing is lost.
    pub keys: Option<(u64, u64)>,
    /// What is wrong.
    pub why: EdgeError,
}

impl Forest {
    /// All that is wrong below `root`, in the order of keys.
    ///
    /// Only flawed nodes are gone into, and only by edges that can be followed; by those a node is reached once, since
    /// its keys fit under one key of its parent.
    pub fn losses(&self, root: MetaBlock) -> Vec<Loss> {
        let all = Some((0, u64::MAX));
        let lost_root = |why: NodeError| {
            vec![Loss { block: root, path: Vec::new(), keys: all, why: EdgeError::Node(why) }]
        };
        let Some(place) = self.place(root) else {
            return lost_root(BlockError::Beyond { nr_blocks: self.nr_blocks }.into());
        };
        if let Contents::Bad(why) = self.nodes[place].contents {
            return lost_root(why);
        }
        let mut losses = Vec::new();
        // A path is shared by all that is found at its end: the stack holds one node of it each, with its last key.
        let mut path: Vec<(usize, usize, u64)> = vec![(place, 0, u64::MAX)];
        while let Some((place, next, end)) = path.last_mut() {
            let (at, i, end) = (*place, *next, *end);
            let Contents::Internal(internal) = &self.nodes[at].contents else {
                path.pop();
                continue;
            };
            if i >= internal.keys.len() || !self.shapes[at].is_flawed {
                path.pop();
                continue;
            }
            *next += 1;
            let end = internal.keys.get(i + 1).map_or(end, |next| next - 1);
            let mut found = |why: EdgeError| {
                losses.push(Loss {
                    block: internal.children[i],
                    path: path.iter().map(|&(place, ..)| self.nodes[place].block).collect(),
                    keys: why.loses().then_some((internal.keys[i], end)),
                    why,
                });
            };
            match self.edge(at, i) {
                Err(why) => found(why),
                Ok(child) => {
                    if let Some(why) = self.underfull(child) {
                        found(why);
                    }
                    if self.shapes[child].is_flawed {
                        path.push((child, 0, end));
                    }
                }
            }
        }
        losses
    }
}
