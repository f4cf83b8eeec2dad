//! The few questions of `init --ask`.

use std::io::{BufRead, Write};

use anyhow::bail;

use crate::config::{Settings, SettingsLayer};

/// What was answered.
#[derive(Debug)]
pub(super) struct Answers {
    /// The settings that the answers make, over those that were given otherwise.
    pub(super) settings: SettingsLayer,
    /// Whether a password for creating queues is drawn.
    pub(super) create_password: bool,
}

/// Asks, with what `given` says as the answer to an empty line. A wrong answer is asked for again.
pub(super) fn ask(
    given: SettingsLayer,
    create_password: bool,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> anyhow::Result<Answers> {
    let mut layer = given;
    let present = layer.clone().settle()?;
    let questions: [(&str, &str, String); 3] = [
        (
            "Names or addresses by which clients find the server",
            "listen.hosts",
            present.listen.hosts.to_string(),
        ),
        ("Ports to listen at", "listen.ports", present.listen.ports.to_string()),
        (
            "Where monitoring finds metrics, such as 127.0.0.1:9223, or off",
            "monitoring.http",
            present.monitoring.http.to_string(),
        ),
    ];
    for (question, setting, default) in questions {
        loop {
            let Some(text) = answer(question, &default, input, output)? else { break };
            match setting_of(setting, &text) {
                Ok(answered) => {
                    layer = answered.over(layer);
                    break;
                }
                Err(reason) => writeln!(output, "{reason}")?,
            }
        }
    }
    let create_password = loop {
        let default = if create_password { "y" } else { "n" };
        let text = answer("Shall clients need a password for creating queues (y/n)", default, input, output)?;
        match text.as_deref().unwrap_or(default) {
            "y" | "yes" => break true,
            "n" | "no" => break false,
            _ => writeln!(output, "Answer y or n.")?,
        }
    };
    Ok(Answers { settings: layer, create_password })
}

/// The answer, unless it is an empty line.
fn answer(
    question: &str,
    default: &str,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> anyhow::Result<Option<String>> {
    write!(output, "{question} [{default}]: ")?;
    output.flush()?;
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        bail!("The answers ended: give settings as flags instead, see `smp-server init --help`");
    }
    let text = line.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A layer of this one setting; why not, in words for people.
fn setting_of(setting: &str, text: &str) -> Result<SettingsLayer, String> {
    let file = format!("{setting} = {}", toml::Value::String(text.to_owned()));
    let layer: SettingsLayer = toml::from_str(&file).map_err(|error| error.message().to_owned())?;
    layer.clone().settle().map(|_: Settings| layer).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> anyhow::Result<(Settings, bool, String)> {
        let mut said = Vec::new();
        let answers = ask(SettingsLayer::default(), false, &mut answers.as_bytes(), &mut said)?;
        Ok((answers.settings.settle()?, answers.create_password, String::from_utf8(said)?))
    }

    #[test]
    fn empty_lines_take_what_is_proposed() {
        let (settings, password, said) = asked("\n\n\n\n").unwrap();
        assert_eq!((settings, password), (Settings::default(), false));
        assert!(said.contains("Ports to listen at [5223]: "), "{said}");
    }

    #[test]
    fn wrong_answers_are_asked_for_again() {
        let (settings, password, said) =
            asked("smp.example.org\nmany\n5223,443\n127.0.0.1:9223\nperhaps\ny\n").unwrap();
        assert_eq!(settings.listen.hosts.to_string(), "smp.example.org");
        assert_eq!(settings.listen.ports.0, [5223, 443]);
        assert_eq!(settings.monitoring.http.to_string(), "127.0.0.1:9223");
        assert!(password && said.contains("`many` is not a list of ports"), "{said}");
        assert!(asked("\n\n").is_err(), "the answers ended");
    }
}
