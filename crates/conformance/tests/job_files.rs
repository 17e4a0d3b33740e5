//! The job files of `docs/examples` do what they say in a user's repository: each step is run as its service runs it, with
//! dmlab installed already, as from the cache, and with the packages there.

mod binary;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use dmlab_conformance::repository;
use yaml_rust2::{Yaml, YamlLoader};

/// A user's repository: a folder with their scripts, and one with programs that their machine has.
struct Project {
    folder: PathBuf,
}

/// Stands for a package manager on a machine that has the packages.
const HAS_IT: &str = "#!/bin/sh\nexit 0\n";

impl Project {
    fn new(name: &str, scripts: &[(&str, &str)]) -> Project {
        let folder = std::env::temp_dir().join(format!("dmlab-job-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let programs = folder.join("programs");
        fs::create_dir_all(&programs).unwrap();
        for (name, text) in scripts {
            fs::write(folder.join(name), text).unwrap();
        }
        for name in ["sudo", "apt-get"] {
            let path = programs.join(name);
            fs::write(&path, HAS_IT).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(binary::dmlab(), programs.join("dmlab")).unwrap();
        Project { folder }
    }

    /// Runs a step as its service does; what it printed.
    #[track_caller]
    fn step(&self, shell: &[&str], script: &str) -> String {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.folder.join("programs").display());
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(script)
            .current_dir(&self.folder)
            .env("PATH", path)
            .env_remove("DMLAB_MACHINE")
            .output()
            .expect("the shell runs");
        let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{script}\n{text}");
        text
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn example(name: &str) -> Yaml {
    let text = fs::read_to_string(repository().join("docs/examples").join(name)).unwrap();
    YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")).remove(0)
}

/// The steps of a GitHub job that run something.
fn steps(job: &Yaml) -> Vec<String> {
    let steps = job["steps"].as_vec().expect("a job has steps");
    steps.iter().filter_map(|step| step["run"].as_str()).map(str::to_owned).collect()
}

const GITHUB: [&str; 2] = ["bash", "-ec"];

fn volume_test() -> String {
    fs::read_to_string(repository().join("docs/examples/volume-test.sh")).unwrap()
}

#[test]
fn github_runs_a_script_on_a_machine() {
    if binary::lacks_programs() {
        return;
    }
    let project = Project::new("github", &[("device-mapper-test.sh", &volume_test())]);
    let said: String = steps(&example("github-actions.yml")["jobs"]["test"])
        .iter()
        .map(|step| project.step(&GITHUB, step))
        .collect();
    assert!(said.contains("ok 3 - nothing is left behind"), "{said}");
}

#[test]
fn gitlab_runs_a_script_on_a_machine() {
    if binary::lacks_programs() {
        return;
    }
    let project = Project::new("gitlab", &[("device-mapper-test.sh", &volume_test())]);
    let installed = project.folder.join(".dmlab/bin");
    fs::create_dir_all(&installed).unwrap();
    symlink(binary::dmlab(), installed.join("dmlab")).unwrap();
    fs::remove_file(project.folder.join("programs/dmlab")).unwrap();
    let job = &example("gitlab-ci.yml")["device-mapper"];
    let lines = |key: &str| job[key].as_vec().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    let script: Vec<String> = lines("before_script").chain(lines("script")).collect();
    let said = project.step(&["bash", "-ec"], &script.join("\n"));
    assert!(said.contains("ok 3 - nothing is left behind"), "{said}");
}

/// A workload that is right: data, a flush, then the word that says that they are there.
const WORK: &str =
    "yes data | dd of=/dev/ram0 bs=4096 seek=1 count=1 iflag=fullblock oflag=direct conv=fsync status=none
yes commit | dd of=/dev/ram0 bs=4096 count=1 iflag=fullblock oflag=direct conv=fsync status=none
";
const CHECK: &str = "case \"$(head -c 6 /dev/ram0)\" in
commit) test \"$(tail -c +4097 /dev/ram0 | head -c 4)\" = data ;;
esac
";

fn crash_project(name: &str) -> Project {
    Project::new(name, &[("setup.sh", "dmsetup ls\n"), ("work.sh", WORK), ("check.sh", CHECK)])
}

#[test]
fn shards_explore_and_are_joined() {
    if binary::lacks_programs() {
        return;
    }
    let jobs = &example("crash-shards.yml")["jobs"];
    let project = crash_project("shards");
    for step in steps(&jobs["record"]) {
        project.step(&GITHUB, &step);
    }
    let shards = jobs["explore"]["strategy"]["matrix"]["shard"].as_vec().unwrap();
    assert_eq!(shards.len(), 8);
    for shard in shards {
        let number = shard.as_i64().unwrap().to_string();
        for step in steps(&jobs["explore"]) {
            project.step(&GITHUB, &step.replace("${{ matrix.shard }}", &number));
        }
    }
    let said: String = steps(&jobs["report"]).iter().map(|step| project.step(&GITHUB, step)).collect();
    assert!(said.contains("none broke") && project.folder.join("report.json").is_file(), "{said}");
}

#[test]
fn pods_of_an_indexed_job_explore_shards() {
    if binary::lacks_programs() {
        return;
    }
    let spec = &example("crash-shards-job.yaml")["spec"];
    let completions = spec["completions"].as_i64().unwrap();
    assert_eq!(
        spec["maxFailedIndexes"].as_i64(),
        Some(completions),
        "a shard that finds something stops no other"
    );
    let project = crash_project("pods");
    project.step(&["bash", "-ec"], "dmlab crash --script setup.sh --workload work.sh --save run.crash");
    let command = spec["template"]["spec"]["containers"][0]["command"].as_vec().unwrap();
    let command: Vec<&str> = command.iter().map(|word| word.as_str().unwrap()).collect();
    let [shell, option, line] = command[..] else { panic!("{command:?}") };
    for index in 0..completions {
        project.step(&[shell, option], &format!("JOB_COMPLETION_INDEX={index}; {line}"));
    }
    let said = project.step(&["bash", "-ec"], "dmlab crash merge report-*.json");
    assert!(said.contains("none broke"), "{said}");
}

#[test]
fn the_image_is_built_from_what_there_is() {
    let text = fs::read_to_string(repository().join("docs/examples/Dockerfile")).unwrap();
    let copied = text.lines().find_map(|line| line.strip_prefix("COPY --from=build /dmlab/")).unwrap();
    let path = copied.split(' ').next().unwrap();
    assert_eq!(Path::new(path), Path::new("target/release/dmlab"), "what the build leaves");
    assert!(text.contains("cargo build --release --locked"));
}
