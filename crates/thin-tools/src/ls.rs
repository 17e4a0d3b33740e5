//! The devices of a pool: `thin_ls`.

use crate::entries::for_each_leaf;
use crate::lost::ReadError;
use crate::map::Sharing;
use crate::metadata::Metadata;
use crate::survey::{OpenError, Scope, Survey, View, Which};
use dmlab_formats::thin::{DeviceDetails, Mapping};
use dmlab_units::ThinId;

/// A column of the list. Names, order and units are those of `thin_ls -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the column")]
pub enum Column {
    Dev,
    MappedBlocks,
    ExclusiveBlocks,
    SharedBlocks,
    MappedSectors,
    ExclusiveSectors,
    SharedSectors,
    MappedBytes,
    ExclusiveBytes,
    SharedBytes,
    Mapped,
    Exclusive,
    Shared,
    Transaction,
    CreateTime,
    SnapTime,
}

impl Column {
    const ALL: [(Column, &'static str); 16] = [
        (Column::Dev, "DEV"),
        (Column::MappedBlocks, "MAPPED_BLOCKS"),
        (Column::ExclusiveBlocks, "EXCLUSIVE_BLOCKS"),
        (Column::SharedBlocks, "SHARED_BLOCKS"),
        (Column::MappedSectors, "MAPPED_SECTORS"),
        (Column::ExclusiveSectors, "EXCLUSIVE_SECTORS"),
        (Column::SharedSectors, "SHARED_SECTORS"),
        (Column::MappedBytes, "MAPPED_BYTES"),
        (Column::ExclusiveBytes, "EXCLUSIVE_BYTES"),
        (Column::SharedBytes, "SHARED_BYTES"),
        (Column::Mapped, "MAPPED"),
        (Column::Exclusive, "EXCLUSIVE"),
        (Column::Shared, "SHARED"),
        (Column::Transaction, "TRANSACTION"),
        (Column::CreateTime, "CREATE_TIME"),
        (Column::SnapTime, "SNAP_TIME"),
    ];
    /// The columns that are shown if none are named.
    pub const DEFAULT: [Column; 4] = [Column::Dev, Column::Mapped, Column::CreateTime, Column::SnapTime];

    /// The column of a name as `thin_ls` has it.
    ///
    /// # Errors
    /// The names there are.
    pub fn parse(name: &str) -> Result<Column, String> {
        let found = Column::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(column, _)| *column).ok_or_else(|| {
            let names: Vec<&str> = Column::ALL.iter().map(|(_, name)| *name).collect();
            format!("no column `{name}`, there are {}", names.join(", "))
        })
    }

    /// Its name, as `thin_ls` has it.
    pub fn name(self) -> &'static str {
        Column::ALL.iter().find(|(column, _)| *column == self).map_or("", |(_, name)| name)
    }

    fn counts_owners(self) -> bool {
        let name = self.name();
        name.starts_with("EXCLUSIVE") || name.starts_with("SHARED")
    }
}

/// What `thin_ls` shows of a device.
struct Line {
    id: ThinId,
    details: DeviceDetails,
    exclusive: u64,
}

impl Line {
    fn cell(&self, column: Column, block_size: u64) -> String {
        let blocks = match column {
            Column::ExclusiveBlocks
            | Column::ExclusiveSectors
            | Column::ExclusiveBytes
            | Column::Exclusive => self.exclusive,
            Column::SharedBlocks | Column::SharedSectors | Column::SharedBytes | Column::Shared => {
                self.details.mapped_blocks.saturating_sub(self.exclusive)
            }
            _ => self.details.mapped_blocks,
        };
        let sectors = blocks.saturating_mul(block_size);
        match column {
            Column::Dev => self.id.to_string(),
            Column::MappedBlocks | Column::ExclusiveBlocks | Column::SharedBlocks => blocks.to_string(),
            Column::MappedSectors | Column::ExclusiveSectors | Column::SharedSectors => sectors.to_string(),
            Column::MappedBytes | Column::ExclusiveBytes | Column::SharedBytes => {
                sectors.saturating_mul(512).to_string()
            }
            Column::Mapped | Column::Exclusive | Column::Shared => human(sectors.saturating_mul(512)),
            Column::Transaction => self.details.transaction_id.to_string(),
            Column::CreateTime => self.details.creation_time.to_string(),
            Column::SnapTime => self.details.snapshotted_time.to_string(),
        }
    }
}

/// Bytes in the unit of which there are at most 8192, rounded to the nearest, as `thin_ls` shows them (observed).
fn human(bytes: u64) -> String {
    let mut number = bytes;
    let mut unit = 0;
    let units = ["", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    while number > 8192 && unit + 1 < units.len() {
        number = number.saturating_add(512) / 1024;
        unit += 1;
    }
    format!("{number}{}", units[unit])
}

/// Lists the devices of a pool, one row each; what is shared is found by walking all mappings, if a column asks for it.
///
/// # Errors
/// Metadata that can't be opened, or of which a part can't be read.
pub fn ls<M: Metadata + ?Sized>(
    metadata: &M,
    which: Which,
    columns: &[Column],
) -> Result<Vec<Vec<String>>, ReadError> {
    let needs_mappings = columns.iter().any(|column| column.counts_owners());
    let survey = Survey::new(metadata, if needs_mappings { Scope::Mappings } else { Scope::Devices })?;
    let view = survey.view(which)?;
    survey.expect_whole(view)?;
    let block_size = view.superblock.data_block_size.0;
    let exclusive = if needs_mappings { exclusive(&survey, view)? } else { Vec::new() };
    let mut exclusive = exclusive.into_iter();
    let mut rows = Vec::new();
    for (&id, &details) in &view.details {
        let line = Line { id, details, exclusive: exclusive.next().unwrap_or(0) };
        rows.push(columns.iter().map(|&column| line.cell(column, block_size)).collect());
    }
    Ok(rows)
}

/// Blocks that only one device maps, for each device of a view.
fn exclusive<M: Metadata + ?Sized>(survey: &Survey<'_, M>, view: &View) -> Result<Vec<u64>, OpenError> {
    let sharing = Sharing::new(survey, view).map_err(OpenError::Changed)?;
    let mut all = Vec::new();
    for id in view.details.keys() {
        let mut own = 0;
        if let Some(&root) = view.roots.get(id) {
            for_each_leaf(survey.metadata, &survey.mappings, root, |leaf, entries: &[(u64, Mapping)]| {
                own += entries.iter().filter(|(_, mapping)| !sharing.is_shared(leaf, mapping.block)).count();
            })
            .map_err(OpenError::Changed)?;
        }
        all.push(own as u64);
    }
    Ok(all)
}

/// Lays rows out as `thin_ls` prints them: columns as wide as their widest cell, to the right, a blank after each.
pub fn ls_table(columns: &[Column], rows: &[Vec<String>], headers: bool) -> String {
    let header: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
    let lines: Vec<&Vec<String>> = headers.then_some(&header).into_iter().chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!("{cell:>width$} "));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_thin_ls_rounds_them() {
        let pairs = [
            (0, "0"),
            (65536, "64KiB"),
            (8_388_608, "8192KiB"),
            (8_454_144, "8MiB"),
            (13_107_200, "13MiB"),
            (65_536_000, "63MiB"),
            (8_589_934_592, "8192MiB"),
            (58_982_400_000, "55GiB"),
            (120_795_955_200_000, "110TiB"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(human(bytes), text);
        }
    }
}
