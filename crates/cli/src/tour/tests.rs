use super::*;

fn told(color: bool) -> String {
    let mut out = Vec::new();
    tell(&mut out, color).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_story_is_the_same_each_time() {
    assert_eq!(told(false), told(false));
}

#[test]
fn colours_only_where_asked_for() {
    assert!(!told(false).contains('\x1b'));
    assert!(told(true).contains('\x1b'));
}

/// What the story must show, read off the disks and the log.
#[test]
fn sectors_land_where_the_tables_say() {
    let story = told(false);
    for part in [
        // linear: ram0 from sector 64, ram1 from 0
        "    ram0    ........ABCDEFGH................\n    ram1    IJKLMNOP........................\n",
        // three stripes, chunks of two blocks, at sectors 0, 32 and 64
        "    ram2    abghmnst........................\n    ram3    ....cdijopuv....................\n    ram4    ........efklqrwx................\n",
        // the write that waited went to the new table's disk
        "    ram6    ....!...........................\n",
        "the write has not ended: it waits in the kernel",
        "the write has ended, without an error",
        "0 32 striped 2 1:7 254:3 1 AD",
        "the device's event number is 1 now",
        "      8 8 linear /dev/rom7 0\n",
        // layers: what is shared, what was copied, what deletion gives back
        "base     data block      0*    1      .     .\n",
        "image    data block      0*    2*    3*     .\n",
        "box      data block      5     2*    3*    4*\n",
        "the write has not ended\n",
        "remove ioctl on joined failed: Device or resource busy (EBUSY)",
        "No devices found",
    ] {
        assert!(story.contains(part), "the story does not show\n{part}\n{story}");
    }
}

#[test]
fn lines_fit_a_terminal() {
    for line in told(false).lines().filter(|line| !line.contains("device-mapper:")) {
        assert!(line.chars().count() <= 110, "{line}");
    }
}
