//! The Rust test that README shows.

// As README has it, and not as rustfmt would.
#[rustfmt::skip]
mod shown {
    use dmlab::{Lab, units::{Errno, Sector, Sectors}};

    #[test]
    fn a_bad_sector_is_reported() -> Result<(), dmlab::Error> {
        let lab = Lab::new(1); // a machine on virtual time, from seed 1
        lab.create("vol", "0 1024 linear /dev/ram0 0")?;
        lab.faults().on("/dev/ram0").reads().sectors(8..9).fail(Errno::EIO).add()?;
        assert!(lab.read("/dev/mapper/vol", Sector(8), Sectors(1)).is_err());
        Ok(())
    }
}

#[test]
fn readme_shows_this_very_test() {
    let (readme, here) = (include_str!("../../../README.md"), include_str!("readme.rs"));
    let block = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    for line in block.expect("README shows a test").lines() {
        assert!(here.contains(&format!("    {line}\n")) || line.is_empty(), "{line}");
    }
}
