//! What the parameters of each target are: the answer to a refusal that says no more than that they are wrong.

use super::{Fault, Surroundings, lookup};
use crate::table::{Device, TableLine};

/// Target types with the form of their parameters, in the words of their pages.
const FORMS: &[(&str, &str)] = &[
    ("delay", "DEVICE OFFSET MS [WRITE_DEVICE OFFSET MS [FLUSH_DEVICE OFFSET MS]]"),
    ("dust", "DEVICE OFFSET BLOCK_BYTES"),
    ("ebs", "DEVICE OFFSET EMULATED_BLOCK [UNDERLYING_BLOCK], blocks in sectors"),
    ("flakey", "DEVICE OFFSET UP DOWN [#WORDS FEATURE…], up and down in seconds"),
    ("log-writes", "DEVICE LOG_DEVICE"),
    ("mirror", "LOG #WORDS LOG_ARGUMENT… #LEGS (DEVICE OFFSET)… [#WORDS FEATURE…]"),
    (
        "multipath",
        "#WORDS FEATURE… #WORDS HANDLER… #GROUPS FIRST_GROUP (SELECTOR #WORDS ARGUMENT… #PATHS #ARGUMENTS (DEVICE \
         ARGUMENT…)…)…",
    ),
    ("snapshot", "ORIGIN COW P|PO|N CHUNK [#WORDS FEATURE…], the chunk in sectors"),
    ("snapshot-merge", "ORIGIN COW P|PO CHUNK [#WORDS FEATURE…], the chunk in sectors"),
    ("snapshot-origin", "ORIGIN"),
    ("switch", "#PATHS REGION 0 (DEVICE OFFSET)…, the region in sectors"),
    ("thin", "POOL ID [EXTERNAL_ORIGIN]"),
    (
        "thin-pool",
        "METADATA DATA BLOCK LOW_WATER [#WORDS FEATURE…], the block in sectors, the mark in blocks",
    ),
    ("unstriped", "#STRIPES CHUNK STRIPE DEVICE OFFSET, the chunk in sectors, the first stripe is 0"),
];

/// What can be said without knowing each of a target's texts: which device could not be opened, or how its line looks.
pub(super) fn by_form(
    lines: &[(usize, &TableLine)],
    target: &str,
    said: &str,
    errno: Option<&str>,
    known: &Surroundings<'_>,
) -> Option<Fault> {
    let (_, form) = FORMS.iter().find(|(name, _)| *name == target)?;
    let is_lookup = matches!(errno?, "ENOENT" | "ENOTBLK" | "ENXIO" | "EOVERFLOW" | "EBUSY");
    if is_lookup && let Some(fault) = lookup(lines, devices, errno, known) {
        return Some(fault);
    }
    let (at, line) = lines.first()?;
    let right = format!("{target} takes {form}; the kernel says \"{said}\"");
    Some(Fault { line: *at, from: 3, to: 3 + line.params.len(), right })
}

/// Parameters that look like devices.
fn devices(line: &TableLine) -> Vec<usize> {
    let is_device = |word: &str| word.contains('/') || matches!(Device::from(word), Device::Number(_));
    (0..line.params.len()).filter(|&at| line.params.word(at).is_some_and(is_device)).collect()
}
