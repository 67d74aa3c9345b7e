//! The lines of the guide `docs/deployments.md` that make a user, which the tests make theirs by.

const GUIDE: &str = include_str!("../../../../docs/deployments.md");

/// What the guide's lines are written for.
const PREFIX: &str = "myapp";

/// A line `ACL SETUSER app on >secret ~myapp:* ...`.
#[derive(Clone, Debug)]
pub(crate) struct AclLine(Vec<String>);

/// The line under this heading.
///
/// # Panics
/// If the guide has none.
pub(crate) fn acl_line(heading: &str) -> AclLine {
    let section = GUIDE
        .split_once(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("docs/deployments.md has no heading {heading:?}"))
        .1;
    let section = section.split("\n#").next().unwrap_or_default();
    let line = section
        .lines()
        .find(|line| line.starts_with("ACL SETUSER "))
        .unwrap_or_else(|| panic!("docs/deployments.md has no ACL SETUSER for {heading:?}"));
    AclLine(line.split_whitespace().map(str::to_owned).collect())
}

impl AclLine {
    /// The same for another user.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        name.clone_into(&mut self.0[2]);
        for rule in self.0.iter_mut().filter(|rule| rule.starts_with('>')) {
            *rule = format!(">{password}");
        }
        self
    }

    /// The same for another prefix.
    pub(crate) fn prefix(mut self, prefix: &str) -> Self {
        let mut glob = String::new();
        for c in prefix.chars() {
            // What is special in a pattern is meant as it is.
            if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                glob.push('\\');
            }
            glob.push(c);
        }
        for rule in self
            .0
            .iter_mut()
            .filter(|rule| rule.starts_with(['~', '&']))
        {
            let (kind, pattern) = rule.split_at(1);
            // The separator may be another one, and without a prefix there is none.
            let rest = pattern.strip_prefix(PREFIX).unwrap_or(pattern);
            *rule = format!("{kind}{glob}{}", rest.trim_start_matches(':'));
        }
        self
    }

    /// The same with one rule less.
    pub(crate) fn without(mut self, rule: &str) -> Self {
        self.0.retain(|known| known != rule);
        self
    }

    /// The commands that it permits.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|rule| rule.strip_prefix('+'))
    }

    pub(crate) fn command(&self) -> redis::Cmd {
        let mut command = redis::Cmd::new();
        command.arg(&self.0[..]);
        command
    }
}
