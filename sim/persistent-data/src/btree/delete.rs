//! Deleting whole trees.

use dmlab_units::{Errno, MetaBlock};

use super::{MAX_DEPTH, Tree};
use crate::store::{Later, runs};
use crate::{Rule, Store};
use dmlab_formats::thin::Mapping;

impl Store {
    /// Takes a parent from a tree's root, and if it was the last deletes all that is below, depth first, children
    /// before their node.
    ///
    /// # Errors
    /// What reading the nodes or changing the space maps says.
    pub fn delete_tree(&mut self, root: MetaBlock, tree: Tree) -> Later<'_, Result<(), Errno>> {
        Box::pin(async move {
            // Nodes on the way down: what is left of each one's children, and their tree.
            let mut path: Vec<(MetaBlock, Vec<MetaBlock>, Tree)> = Vec::new();
            let mut next = Some((root, tree));
            loop {
                if let Some((block, tree)) = next.take() {
                    if self.is_shared(block).await? {
                        self.decrement_metadata(block.0, block.0 + 1).await?;
                    } else if path.len() >= 2 * MAX_DEPTH {
                        return Err(Errno::EILSEQ);
                    } else {
                        let (children, below) = self.children_to_delete(block, tree).await?;
                        path.push((block, children, below));
                    }
                }
                let Some((block, children, below)) = path.last_mut() else { return Ok(()) };
                if let Some(child) = children.pop() {
                    next = Some((child, *below));
                } else {
                    let block = *block;
                    path.pop();
                    self.decrement_metadata(block.0, block.0 + 1).await?;
                }
            }
        })
    }

    /// The nodes below one that is to go, the last first, and their tree; what a leaf of the last level
    /// refers to is counted down here.
    async fn children_to_delete(
        &mut self,
        block: MetaBlock,
        tree: Tree,
    ) -> Result<(Vec<MetaBlock>, Tree), Errno> {
        let node = self.node(tree, block).await?;
        Store::expect_shape(node, tree.rule.value_size())?;
        let below = match tree.rule {
            _ if node.is_internal() => Some(tree),
            Rule::Roots(below) => Some(*below),
            Rule::Data | Rule::None => None,
        };
        if let Some(below) = below {
            return Ok(((0..node.len()).rev().map(|i| node.value(i)).collect(), below));
        }
        if tree.rule == Rule::Data {
            let numbers: Vec<u64> = (0..node.len()).map(|i| node.value::<Mapping>(i).block.0).collect();
            for (begin, end) in runs(&numbers) {
                self.decrement_data(begin, end).await?;
            }
        }
        Ok((Vec::new(), tree))
    }
}
