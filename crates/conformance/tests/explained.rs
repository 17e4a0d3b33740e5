//! Each constructor error that a recorded case shows has an explanation that names an argument.
//!
//! `golden/refused-tables.txt` has the tables of the recorded cases that were refused, each with the line of the kernel log.
//! With DMLAB_UPDATE set, it is written anew from runs of the cases.

mod binary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use dmlab::recording::{Call, Event, Recording};
use dmlab_abi::{Command, Header, TargetSpec, TargetSpecs};
use dmlab_conformance::golden::{self, Expected};
use dmlab_control::{Explanation, FORMS, Form, Surroundings, Table, explain};

const TABLE: &str = "device-mapper: table: ";

fn list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/refused-tables.txt")
}

/// A refused table and the line of the log about it, with MAJ for the major number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Refused {
    log: String,
    table: String,
}

/// The refused tables of each case.
type Cases = BTreeMap<String, BTreeSet<Refused>>;

/// What a line of the log says behind the device's number, which some lack.
fn table_text(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(TABLE)?;
    match rest.split_once(": ") {
        Some((device, text)) if device.contains(':') => Some(text),
        _ => Some(rest),
    }
}

/// Whether a line of the log is what a constructor said, or the table of one of its lines.
fn is_constructor_error(line: &str) -> bool {
    let text = table_text(line).filter(|text| text.contains(" (-")).and_then(|text| text.split_once(": "));
    text.is_some_and(|(target, _)| FORMS.iter().any(|form| form.target == target))
}

/// Whether a line of the log says why a table was refused. A warning about limits does not, nor what follows such a line.
fn is_refusal(line: &str) -> bool {
    let is_other =
        |text: &str| text.starts_with("adding target device") || text == "unable to determine table type";
    is_constructor_error(line)
        || table_text(line).is_some_and(|text| !text.contains(" (-") && !is_other(text))
}

/// The constructor errors of a recorded log.
fn recorded(case: &str) -> BTreeSet<String> {
    let text = std::fs::read(golden::cases_dir().join(format!("{case}.log"))).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| is_constructor_error(line))
        .map(str::to_owned)
        .collect()
}

/// The cases that must pass today, each with its recorded refusals, if it has any.
fn cases() -> Vec<(String, BTreeSet<String>)> {
    let expected = Expected::load().unwrap();
    let all = golden::cases(&golden::cases_dir()).unwrap();
    let passing = all.into_iter().filter(|case| expected.must_pass(case));
    passing
        .map(|case| (recorded(&case), case))
        .filter(|(log, _)| !log.is_empty())
        .map(|(log, case)| (case, log))
        .collect()
}

fn read() -> Cases {
    let text = std::fs::read_to_string(list()).unwrap();
    let (mut cases, mut case, mut log) = (Cases::new(), String::new(), String::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_at_checked(2) {
            Some(("> ", said)) => said.clone_into(&mut log),
            Some(("  ", table)) => {
                let table = table.replace(" ; ", "\n");
                cases.entry(case.clone()).or_default().insert(Refused { log: log.clone(), table });
            }
            _ => line.clone_into(&mut case),
        }
    }
    cases
}

/// What a case has refused, from a run of it.
fn run(binary: &Path, case: &str, folder: &Path) -> BTreeSet<Refused> {
    let file = folder.join("recording");
    let script = golden::cases_dir().join(format!("{case}.sh"));
    let mut program = Program::new(binary);
    program.arg("record").arg("-o").arg(&file).args(["--", "sh"]).arg(script).current_dir(folder);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("dmlab runs");
    let recording = Recording::load(&file).expect("a recording");
    let (mut loads, mut found) = (BTreeMap::new(), BTreeSet::new());
    let mut under_way = Vec::new();
    for event in recording.events {
        match event {
            Event::Begin { call, what: Call::Ioctl { request, sent, .. }, .. }
                if request == Command::TableLoad.request() =>
            {
                if let Some(table) = table(&sent) {
                    loads.insert(call, table);
                    under_way.push(call);
                }
            }
            Event::End { call, .. } => under_way.retain(|&other| other != call),
            Event::Log { text, .. } => {
                let text = text.replace("254:", "MAJ:");
                if let Some(table) = under_way.last().and_then(|call| loads.get(call))
                    && is_refusal(&text)
                {
                    found.insert(Refused { log: text, table: table.clone() });
                }
            }
            _ => {}
        }
    }
    found
}

/// The table that a TABLE_LOAD brings, as text.
fn table(request: &[u8]) -> Option<String> {
    let header = Header::decode(request).ok()?;
    let specs = TargetSpecs::new(request, header.data_start(), header.target_count());
    let specs: Vec<TargetSpec> = specs.collect::<Result<_, _>>().ok()?;
    Some(Table::from_specs(&specs).ok()?.to_string().trim_end().to_owned())
}

fn update() {
    let folder = std::env::temp_dir().join(format!("dmlab-explained-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let binary = binary::dmlab();
    let mut text = "# Tables that the recorded cases have refused: a case, a line of the kernel log, and each table that it is about.\n\
                    # Written by: DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test explained\n"
        .to_owned();
    for (case, _) in cases() {
        let found = run(&binary, &case, &folder);
        let _ = writeln!(text, "{case}");
        let mut last = None;
        for refused in &found {
            if last != Some(&refused.log) {
                let _ = writeln!(text, "> {}", refused.log);
            }
            last = Some(&refused.log);
            // The folder's name is another in each run.
            let table = refused.table.replace(&folder.display().to_string(), "/tmp/case");
            let _ = writeln!(text, "  {}", table.replace('\n', " ; "));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(list(), text).unwrap();
}

/// The explanation of a refused table.
fn explained(refused: &Refused) -> Option<Explanation> {
    let table: Table = refused.table.parse().ok()?;
    explain(&table, &[refused.log.replace("MAJ:", "254:")], &Surroundings::default())
}

#[test]
fn each_recorded_refusal_names_an_argument() {
    if std::env::var_os("DMLAB_UPDATE").is_some() {
        update();
    }
    let listed = read();
    let mut wrong = Vec::new();
    for (case, log) in cases() {
        let known: BTreeSet<&str> =
            listed.get(&case).into_iter().flatten().map(|refused| &*refused.log).collect();
        wrong.extend(
            log.iter()
                .filter(|line| !known.contains(line.as_str()))
                .map(|line| format!("{case}: no table for `{line}`")),
        );
    }
    for (case, refused) in listed.iter().flat_map(|(case, all)| all.iter().map(move |one| (case, one))) {
        let what = || format!("{case}: {} | {}", refused.table.replace('\n', " ; "), refused.log);
        match explained(refused) {
            None => wrong.push(format!("{}: no explanation", what())),
            Some(Explanation { argument: None, right, .. }) => {
                wrong.push(format!("{}: names no argument: {right}", what()));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} refusals:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each text of a constructor that is recorded, of whatever kernel, has an entry in its target's form.
#[test]
fn each_recorded_text_stands_in_its_form() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let (mut waiting, mut missing, mut seen) = (vec![golden], BTreeSet::new(), 0);
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let log = std::fs::read(&path).unwrap();
            for line in String::from_utf8_lossy(&log).lines().filter(|line| is_constructor_error(line)) {
                let text = table_text(line).and_then(|text| text.rsplit_once(" (-")).unwrap_or_default().0;
                let (target, said) = text.split_once(": ").unwrap_or_default();
                // What the table says of any line.
                if said == "Gap in table" || said.contains("target type") {
                    continue;
                }
                seen += 1;
                let has = |form: &&&Form| {
                    form.target == target && form.errors.iter().any(|error| error.text == said)
                };
                if FORMS.iter().find(has).is_none() {
                    missing.insert(text.to_owned());
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} texts are recorded");
    assert!(missing.is_empty(), "{missing:#?}");
}
