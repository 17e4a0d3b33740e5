//! The table parser, typed parameters, status lines and explanations.

use dmlab_control::{
    ErrorTarget, FORMS, Linear, Params, StatusLine, Striped, Surroundings, Table, TargetLine, Zero, explain,
};
use dmlab_units::{Sector, Sectors};

/// Takes the first line of `bytes` for a kernel log line and the rest for a table.
pub(crate) fn parse(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (log, table) = text.split_once('\n').unwrap_or(("", &text));
    let params = Params::from_kernel(bytes);
    assert_eq!(Params::from_kernel(&params.to_kernel()), params);
    let _ = StatusLine {
        start: Sector(0),
        len: Sectors(0),
        target_type: b"striped".to_vec(),
        text: bytes.to_vec(),
    }
    .status();
    let Ok(table) = table.parse::<Table>() else { return };
    assert_eq!(table.to_string().parse::<Table>().as_ref(), Ok(&table));
    for (line, spec) in table.lines.iter().zip(table.to_specs()) {
        assert_eq!(Params::from_kernel(&spec.params), line.params);
        if let Ok(linear) = Linear::parse(&line.params) {
            assert_eq!(Linear::parse(&linear.params()), Ok(linear));
        }
        if let Ok(striped) = Striped::parse(&line.params) {
            assert_eq!(Striped::parse(&striped.params()), Ok(striped));
        }
        let _ = (Zero::parse(&line.params), ErrorTarget::parse(&line.params));
    }
    if let Some(explanation) = explain(
        &table,
        &[log.to_owned()],
        &Surroundings { types: &[], has_device: Some(&|text| text.len() % 2 == 0) },
    ) {
        let (from, to) = explanation.span;
        assert!(from < to, "nothing is marked: {explanation:?}");
        assert!(explanation.to_string().lines().count() >= 4);
    }
}

/// A table after each log line that has an explanation.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let table = "0 8 linear /dev/ram0 0\n8 16 striped 2 8 1:0 0 /dev/ram1 8\n24 8 zero\n32 8 error\n";
    let log = [
        "linear: Invalid argument count (-EINVAL)",
        "linear: Invalid device sector (-EINVAL)",
        "linear: Device lookup failed (-ENOENT)",
        "striped: Not enough destinations specified (-EINVAL)",
        "striped: Target length not divisible by chunk size (-EINVAL)",
        "striped: Couldn't parse stripe destination (-EINVAL)",
        "zero: No arguments required (-EINVAL)",
        "zero: Gap in table (-EINVAL)",
        "zero-length target",
        "too large device",
        "ram0 too small for target: start=0, len=8, dev_size=4",
        "len=8 not aligned to h/w logical block size 4096 of ram0",
    ];
    let about_table =
        log.iter().map(|line| format!("device-mapper: table: 254:0: {line}\n{table}").into_bytes());
    // Each text that a constructor has, after a line of that target.
    let about_line = FORMS.iter().flat_map(|form| {
        let words = form.usage().replace(['[', ']', '(', ')'], "").replace('×', " ");
        let line = move |text: &str| {
            let target = form.target;
            format!("device-mapper: table: 254:0: {target}: {text} (-EINVAL)\n0 8 {target} {words}\n")
                .into_bytes()
        };
        form.errors.iter().map(move |error| line(error.text))
    });
    about_table.chain(about_line).collect()
}
