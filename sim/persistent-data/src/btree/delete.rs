//! Deleting whole trees.

use dmlab_units::MetaBlock;

use super::{MAX_DEPTH, Tree, ValueType, expect_shape, values_of};
use crate::{PdError, PdErrorKind, TransactionManager};

impl<T: ValueType> Tree<T> {
    /// Takes a reference from a tree's root, and if it was the last deletes all that is below, depth first, children
    /// before their node.
    ///
    /// # Errors
    /// What reading the nodes or changing the space maps says.
    pub async fn delete(&mut self, tm: &mut TransactionManager, root: MetaBlock) -> Result<(), PdError> {
        // Nodes on the way down, each with what is left of its children.
        let mut path: Vec<(MetaBlock, Vec<MetaBlock>)> = Vec::new();
        let mut next = Some(root);
        loop {
            if let Some(block) = next.take() {
                if tm.is_shared(block).await? {
                    tm.dec(block).await?;
                } else if path.len() >= 2 * MAX_DEPTH {
                    return Err(PdErrorKind::Loop.at(block));
                } else {
                    path.push((block, self.children_to_delete(tm, block).await?));
                }
            }
            let Some((block, children)) = path.last_mut() else { return Ok(()) };
            if let Some(child) = children.pop() {
                next = Some(child);
            } else {
                let block = *block;
                path.pop();
                tm.dec(block).await?;
            }
        }
    }

    /// The nodes below one that is to go, the last first. What a leaf's values refer to loses its reference here.
    async fn children_to_delete(
        &mut self,
        tm: &mut TransactionManager,
        block: MetaBlock,
    ) -> Result<Vec<MetaBlock>, PdError> {
        let is_internal = self.node(tm, block).await?.is_internal();
        expect_shape(tm, block, Self::size_of_references())?;
        if is_internal {
            let mut children: Vec<MetaBlock> = values_of(tm.node_here(block));
            children.reverse();
            return Ok(children);
        }
        if T::REFERS {
            let values = values_of(tm.node_here(block));
            self.values.dec(tm, &values).await?;
        }
        Ok(Vec::new())
    }
}
