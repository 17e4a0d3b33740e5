use super::*;

fn told(color: bool) -> String {
    tell(color).unwrap().concat()
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
        assert!(line.chars().count() <= 130, "{line}");
    }
}

#[test]
fn a_listener_goes_at_their_own_pace() {
    let chapters: Vec<String> = ["one\n", "two\n", "three\n"].map(String::from).to_vec();
    let told = |input: &str| {
        let mut out = Vec::new();
        with_pauses(&chapters, &mut input.as_bytes(), &mut out).unwrap();
        // What the listener types ends the question's line.
        let text = String::from_utf8(out).unwrap().replace(" > ", "\n");
        text.lines()
            .filter(|line| chapters.contains(&format!("{line}\n")))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(told("\n\n"), ["one", "two", "three"]);
    assert_eq!(told("r\n\nb\n3\n"), ["one", "one", "two", "one", "three"]);
    assert_eq!(told("what?\n9\n\nq\n"), ["one", "two"]);
    assert_eq!(told(""), ["one"]);
}

#[test]
fn nothing_is_left_that_was_not_removed_on_screen() {
    let story = told(false);
    let names = |verb: &str| -> std::collections::BTreeSet<String> {
        let lines =
            story.lines().filter_map(|line| line.trim_start().strip_prefix(&format!("$ dmlab {verb} ")));
        lines.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect()
    };
    let refused = ["big", "odd", "gone"].map(String::from);
    let created: std::collections::BTreeSet<String> =
        names("create").into_iter().filter(|name| !refused.contains(name)).collect();
    assert_eq!(names("remove"), created);
}
