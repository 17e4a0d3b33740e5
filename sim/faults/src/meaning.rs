//! What bios mean: the names that a rule can aim at.

use dmlab_block::Meaning;

/// The meanings that the targets of a machine give their bios.
#[derive(Clone, Debug, Default)]
pub struct Meanings(Vec<&'static Meaning>);

impl Meanings {
    /// These meanings, in their order.
    pub fn new(meanings: impl IntoIterator<Item = &'static Meaning>) -> Meanings {
        Meanings(meanings.into_iter().collect())
    }

    /// Every meaning, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static Meaning> {
        self.0.iter().copied()
    }

    /// Whether one of them has this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|meaning| meaning.name == name)
    }

    /// All names, with commas between.
    pub fn names(&self) -> String {
        self.0.iter().map(|meaning| meaning.name).collect::<Vec<_>>().join(", ")
    }

    /// Whether a rule that aims at `aimed` strikes bios that say `said`: of that meaning, or of a part of it.
    pub(crate) fn is_meant(&self, said: &str, aimed: &str) -> bool {
        said == aimed || self.0.iter().any(|m| m.name == said && !aimed.is_empty() && m.within == aimed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static WHOLE: Meaning = Meaning::new("node", "", "", "");
    static PART: Meaning = Meaning { within: "node", ..Meaning::new("leaf", "", "", "") };
    static OTHER: Meaning = Meaning::new("data", "", "", "");

    #[test]
    fn a_part_is_meant_by_the_whole_and_not_the_other_way() {
        let meanings = Meanings::new([&WHOLE, &PART, &OTHER]);
        assert!(meanings.is_meant("leaf", "node") && meanings.is_meant("node", "node"));
        assert!(meanings.is_meant("one's own", "one's own"));
        assert!(!meanings.is_meant("node", "leaf") && !meanings.is_meant("data", "node"));
        assert!(!meanings.is_meant("", "node") && !meanings.is_meant("data", ""));
        assert!(meanings.has("leaf") && !meanings.has("lea"));
        assert_eq!(meanings.names(), "node, leaf, data");
    }
}
