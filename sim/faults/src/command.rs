//! What `dmlab fault` asks of a machine: a verb and its words, with NUL between.

use serde_json::{Value, json};

use crate::{FileError, Hit, Injector, Listed, Rule, RuleError, Struck, read_rules};

/// The answer to a command: lines, each with the number from which it would be asked for, or what is wrong.
pub type Lines = Result<Vec<(u64, String)>, String>;

/// Carries out a command, whose words have NUL between them: `add` and a rule's words, `load` and a TOML text, `list` and
/// `hits` (of those after number `from`; each a JSON object on its line with the word `json`), `clear` and `release` with names
/// or numbers of rules.
///
/// # Errors
/// What is wrong with it.
pub fn run_command(injector: &Injector, from: u64, command: &[u8]) -> Lines {
    let text = std::str::from_utf8(command).map_err(|_| "a rule is text".to_owned())?;
    let mut words = text.split('\0');
    let verb = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    let plain = |lines: Vec<String>| lines.into_iter().map(|line| (0, line)).collect();
    let said = |error: RuleError| error.to_string();
    let as_json = words.first() == Some(&"json");
    match verb {
        "add" => {
            let rule = Rule::from_words(words.iter().copied(), injector.meanings()).map_err(said)?;
            let id = injector.add(rule).map_err(said)?;
            Ok(plain(vec![format!("#{}", id.0)]))
        }
        "load" => {
            let rules = read_rules(words.first().copied().unwrap_or_default(), injector.meanings());
            let ids = injector.add_all(rules.map_err(|error: FileError| error.to_string())?).map_err(said)?;
            Ok(plain((ids.start.0..ids.end.0).map(|id| format!("#{id}")).collect()))
        }
        "list" => {
            let rules = injector.list().into_iter().filter(|rule| rule.id.0 > from);
            let shown = if as_json { |rule: &Listed| rule_json(rule).to_string() } else { line };
            Ok(rules.map(|rule| (rule.id.0 - 1, shown(&rule))).collect())
        }
        "hits" => {
            let hits = injector.hits_after(from).into_iter();
            let shown = if as_json { |hit: &Hit| hit_json(hit).to_string() } else { Hit::to_string };
            Ok(hits.map(|hit| (hit.nr - 1, shown(&hit))).collect())
        }
        "clear" if words.is_empty() => Ok(plain(vec![count(injector.clear(), "rule")])),
        "clear" | "release" => {
            let ids: Result<Vec<_>, _> = words.iter().map(|word| injector.find(word)).collect();
            let ids = ids.map_err(said)?;
            if verb == "clear" {
                let gone = ids.into_iter().filter(|id| injector.remove(*id)).count();
                return Ok(plain(vec![count(gone, "rule")]));
            }
            let released = ids.into_iter().map(|id| injector.release(id)).sum();
            Ok(plain(vec![format!("{} released", count(released, "request"))]))
        }
        _ => Err(format!("no command of faults is called {verb:?}")),
    }
}

fn count(nr: usize, what: &str) -> String {
    format!("{nr} {what}{}", if nr == 1 { "" } else { "s" })
}

fn line(listed: &Listed) -> String {
    let Listed { id, rule, counts, held } = listed;
    let held = if *held == 0 { String::new() } else { format!(", holds {held}") };
    format!(
        "#{} {} of {}{held}: {rule}",
        id.0,
        count(counts.hits as usize, "hit"),
        if counts.matches == 1 { "1 match".to_owned() } else { format!("{} matches", counts.matches) },
    )
}

fn rule_json(listed: &Listed) -> Value {
    let words = listed.rule.to_words().into_iter().map(|(key, value)| (key.to_owned(), json!(value)));
    json!({
        "id": listed.id.0,
        "hits": listed.counts.hits,
        "matches": listed.counts.matches,
        "held": listed.held,
        "rule": Value::Object(words.collect()),
    })
}

fn hit_json(hit: &Hit) -> Value {
    let struck = match &hit.struck {
        Struck::Bio { device, op, sector, len, tag, .. } => json!({
            "device": device,
            "op": op.letters(),
            "sector": sector.0,
            "sectors": len.0,
            "meaning": Some(tag.what).filter(|what| !what.is_empty()),
            "owner": tag.owner,
            "index": tag.index,
        }),
        Struck::Ioctl { command, device } => json!({ "ioctl": command.name(), "device": device }),
        Struck::Uevent { action, device } => json!({ "uevent": action.to_string(), "device": device }),
    };
    json!({
        "nr": hit.nr,
        "time_ns": hit.time.as_nanos(),
        "rule": hit.rule.0,
        "label": hit.label,
        "match": hit.match_nr,
        "struck": struck,
        "text": hit.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meanings;
    use std::sync::Arc;

    use dmlab_runtime::{Runtime, VirtualDriver};
    use dmlab_units::DevT;

    use crate::Names;

    struct NoNames(Meanings);

    impl Names for NoNames {
        fn mapped(&self, _name: &str) -> Option<DevT> {
            None
        }

        fn meanings(&self) -> &Meanings {
            &self.0
        }
    }

    fn injector() -> Arc<Injector> {
        Injector::new(&Runtime::new(1, VirtualDriver::new()), Box::new(NoNames(Meanings::default())))
    }

    fn ask(injector: &Injector, words: &[&str]) -> Result<Vec<String>, String> {
        let lines = run_command(injector, 0, words.join("\0").as_bytes())?;
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    #[test]
    fn rules_come_and_go() {
        let injector = injector();
        let ok = |words: &[&str]| ask(&injector, words).unwrap();
        assert_eq!(ok(&["add", "name=a", "device=my disk", "hang"]), ["#1"]);
        assert_eq!(ok(&["load", "[[fault]]\ndrop = true\n[[fault]]\nwatch = true\n"]), ["#2", "#3"]);
        assert_eq!(
            ok(&["list"]),
            [
                "#1 0 hits of 0 matches: name=a device=my disk hang=true",
                "#2 0 hits of 0 matches: drop=true",
                "#3 0 hits of 0 matches: watch=true"
            ]
        );
        assert_eq!(ok(&["release", "a", "#2"]), ["0 requests released"]);
        assert_eq!(ok(&["clear", "a"]), ["1 rule"]);
        assert_eq!(ok(&["clear"]), ["2 rules"]);
        assert!(ok(&["hits"]).is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let injector = injector();
        let wrong = |words: &[&str]| ask(&injector, words).unwrap_err();
        assert_eq!(wrong(&["clear", "x"]), "there is no rule `x`");
        assert!(wrong(&["add", "nht=3"]).contains("perhaps `nth`"));
        assert!(wrong(&["load", "[[fault]]\nx = 1"]).starts_with("line 2"));
        assert!(wrong(&["dance"]).contains("dance"));
        assert_eq!(run_command(&injector, 0, &[0xff]), Err("a rule is text".to_owned()));
    }
}
