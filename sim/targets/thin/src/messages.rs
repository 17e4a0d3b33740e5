//! Messages to a pool (kernel/thin.md#messages-to-a-pool).

use dmlab_dm::{MessageResult, parse_u64_strict};
use dmlab_runtime::Level;
use dmlab_units::{Errno, ThinBlock, ThinId};

use super::metadata::ThinMetadata;
use super::modes::Mode;
use super::pool::Pool;

/// Largest id of a thin device.
pub(super) const MAX_ID: u64 = (1 << 24) - 1;

fn shown(word: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(word)
}

impl Pool {
    fn warn(&self, text: impl std::fmt::Display) {
        self.lines.warn(text);
    }

    fn id(&self, word: &[u8]) -> Result<ThinId, Errno> {
        match parse_u64_strict(word) {
            Some(id) if id <= MAX_ID => Ok(ThinId(id)),
            _ => {
                self.warn(format_args!("Message received with invalid device id: {}", shown(word)));
                Err(Errno::EINVAL)
            }
        }
    }

    /// Takes a message and commits what it changed.
    pub(super) async fn message(&self, words: &[Vec<u8>]) -> MessageResult {
        if self.mode() >= Mode::OutOfMetadataSpace {
            let text = "unable to service pool target messages in READ_ONLY or FAIL mode";
            self.log(Level::Err, text);
            return Err(Errno::EOPNOTSUPP);
        }
        let mut metadata = self.metadata().await;
        self.carry_out(&mut metadata, words).await?;
        // What the message asked for is done; whether the commit works shows in the pool's mode.
        let _ = self.commit(&mut metadata).await;
        self.note_changes(&metadata);
        Ok(None)
    }

    async fn carry_out(&self, metadata: &mut ThinMetadata, words: &[Vec<u8>]) -> Result<(), Errno> {
        let Some((name, args)) = words.split_first() else { return Err(Errno::EINVAL) };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let wanted = if is("create_thin") || is("delete") {
            1
        } else if is("create_snap") || is("set_transaction_id") {
            2
        } else if is("reserve_metadata_snap") || is("release_metadata_snap") {
            0
        } else {
            self.warn(format_args!("Unrecognised thin pool target message received: {}", shown(name)));
            return Err(Errno::EINVAL);
        };
        if args.len() != wanted {
            let (got, wanted) = (args.len() + 1, wanted + 1);
            self.warn(format_args!("Message received with {got} arguments instead of {wanted}."));
            return Err(Errno::EINVAL);
        }
        if is("create_thin") {
            let id = self.id(&args[0])?;
            metadata.create_thin(id).await.inspect_err(|_| {
                let id = shown(&args[0]);
                self.warn(format_args!("Creation of new thinly-provisioned device with id {id} failed."));
            })
        } else if is("create_snap") {
            let (id, origin) = (self.id(&args[0])?, self.id(&args[1])?);
            // From here on all its blocks are shared.
            self.forget_mappings(origin, ThinBlock(0)..ThinBlock(u64::MAX));
            metadata.create_snapshot(id, origin).await.inspect_err(|_| {
                let (id, origin) = (shown(&args[0]), shown(&args[1]));
                self.warn(format_args!("Creation of new snapshot {id} of device {origin} failed."));
            })
        } else if is("delete") {
            let id = self.id(&args[0])?;
            metadata.delete_thin(id).await.inspect_err(|_| {
                self.warn(format_args!("Deletion of thin device {} failed.", shown(&args[0])));
            })
        } else if is("set_transaction_id") {
            self.set_transaction_id(metadata, &args[0], &args[1])
        } else if is("reserve_metadata_snap") {
            let _ = self.commit(metadata).await;
            metadata
                .reserve_metadata_snapshot()
                .await
                .inspect_err(|_| self.warn("reserve_metadata_snap message failed."))
        } else {
            metadata
                .release_metadata_snapshot()
                .await
                .inspect_err(|_| self.warn("release_metadata_snap message failed."))
        }
    }

    fn set_transaction_id(
        &self,
        metadata: &mut ThinMetadata,
        current: &[u8],
        new: &[u8],
    ) -> Result<(), Errno> {
        let Some(old_id) = parse_u64_strict(current) else {
            self.warn(format_args!("set_transaction_id message: Unrecognised id {}.", shown(current)));
            return Err(Errno::EINVAL);
        };
        let Some(new_id) = parse_u64_strict(new) else {
            self.warn(format_args!("set_transaction_id message: Unrecognised new id {}.", shown(new)));
            return Err(Errno::EINVAL);
        };
        metadata.set_transaction_id(old_id, new_id).inspect_err(|_| {
            let (current, new) = (shown(current), shown(new));
            self.warn(format_args!("Failed to change transaction id from {current} to {new}."));
        })
    }
}
