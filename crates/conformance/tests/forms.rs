//! The page of each target shows the form of its line, as its source has it. With DMLAB_UPDATE set, the pages are written anew.

use std::fs;
use std::path::PathBuf;

use dmlab_conformance::repository;
use dmlab_control::FORMS;

fn pages() -> Vec<PathBuf> {
    let folder = fs::read_dir(repository().join("docs/src/targets")).unwrap();
    let mut pages: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
}

#[test]
fn each_form_stands_in_a_page() {
    let mut wrong = Vec::new();
    for form in FORMS {
        let marked = pages().into_iter().find_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            Some((form.write_into(&text)?, text, path))
        });
        let Some((written, text, path)) = marked else {
            let (begin, end) = form.marks();
            wrong.push(format!(
                "{}: no page of docs/src/targets has its marks, {begin} and {end}",
                form.target
            ));
            continue;
        };
        if written == text {
            continue;
        }
        if std::env::var_os("DMLAB_UPDATE").is_some() {
            fs::write(path, written).unwrap();
        } else {
            wrong.push(format!(
                "{}: {} is not what its form says; DMLAB_UPDATE=1 cargo test -p dmlab-conformance --test forms writes it",
                form.target,
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
