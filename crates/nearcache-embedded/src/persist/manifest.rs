//! The manifest: which files make up the append-only log, and in which order they are read. Its form is that of
//! Redis 7: a line `file NAME seq NUMBER type b|h|i` for each file.

/// The name that all files of the log begin with: a server's `appendfilename`.
pub(crate) const NAME: &str = "appendonly.aof";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The contents at some moment.
    pub(crate) base: Option<File>,
    /// Files that are not needed any more, but may not be deleted yet.
    pub(crate) history: Vec<File>,
    /// What happened since that moment, in this order.
    pub(crate) increments: Vec<File>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl Manifest {
    pub(crate) fn name() -> String {
        format!("{NAME}.manifest")
    }

    /// The files to read, in this order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.base.iter().chain(&self.increments)
    }

    pub(crate) fn next_base(&self) -> File {
        let number = self.last_base() + 1;
        File {
            name: format!("{NAME}.{number}.base.aof"),
            number,
        }
    }

    pub(crate) fn next_increment(&self) -> File {
        let number = self
            .increments
            .iter()
            .chain(&self.history)
            .map(|file| file.number);
        let number = number.max().unwrap_or(0) + 1;
        File {
            name: format!("{NAME}.{number}.incr.aof"),
            number,
        }
    }

    fn last_base(&self) -> u64 {
        self.base.as_ref().map_or(0, |file| file.number)
    }

    pub(crate) fn print(&self) -> String {
        let line = |kind: char| {
            move |file: &File| {
                format!(
                    "file {} seq {} type {kind}\n",
                    quoted(&file.name),
                    file.number
                )
            }
        };
        let base = self.base.iter().map(line('b'));
        let history = self.history.iter().map(line('h'));
        let increments = self.increments.iter().map(line('i'));
        base.chain(history).chain(increments).collect()
    }

    /// Reads a manifest; the error says which line is wrong, and where it begins.
    pub(crate) fn read(text: &[u8]) -> Result<Self, (u64, String)> {
        let mut manifest = Manifest::default();
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let wrong = |why: &str| (at, format!("{why}: '{}'", line.trim_ascii().escape_ascii()));
            if line.first() != Some(&b'#') {
                if !line.ends_with(b"\n") {
                    return Err(wrong("the last line is cut"));
                }
                manifest.read_line(line).map_err(wrong)?;
            }
            at += line.len() as u64;
        }
        if manifest == Manifest::default() {
            return Err((0, "it names no file".to_owned()));
        }
        Ok(manifest)
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = words(line).ok_or("a name is not quoted correctly")?;
        let (mut name, mut number, mut kind) = (None, None, None);
        if words.len() < 6 || words.len() % 2 > 0 {
            return Err("a line is not 'file NAME seq NUMBER type KIND'");
        }
        for pair in words.chunks_exact(2) {
            match pair[0].to_ascii_lowercase().as_str() {
                "file" => name = Some(&pair[1]),
                "seq" => number = pair[1].parse().ok().filter(|number| *number > 0),
                "type" => kind = Some(pair[1].as_str()),
                // Later versions may say more.
                _ => {}
            }
        }
        let (Some(name), Some(number), Some(kind)) = (name, number, kind) else {
            return Err("a line is not 'file NAME seq NUMBER type KIND'");
        };
        if name.contains(['/', '\\']) || name == ".." || name == "." || name.is_empty() {
            return Err("a file must be in the same folder");
        }
        let file = File {
            name: name.clone(),
            number,
        };
        match kind {
            "b" if self.base.is_some() => Err("there is a second base"),
            "b" => {
                self.base = Some(file);
                Ok(())
            }
            "h" => {
                self.history.push(file);
                Ok(())
            }
            "i" if self
                .increments
                .last()
                .is_some_and(|last| last.number >= number) =>
            {
                Err("the increments are not in ascending order")
            }
            "i" => {
                self.increments.push(file);
                Ok(())
            }
            _ => Err("a type is none of b, h, i"),
        }
    }
}

/// A name as a server prints it: in quotes if it has anything but plain characters.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut text = "\"".to_owned();
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text + "\""
}

/// Splits a line into words, which may be in quotes.
fn words(line: &[u8]) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while let Some(first) = rest.first() {
        let mut word = Vec::new();
        if *first == b'"' {
            rest = &rest[1..];
            loop {
                match *rest {
                    [b'"', ref after @ ..] => {
                        rest = after;
                        break;
                    }
                    [b'\\', b'x', high, low, ref after @ ..]
                        if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                    {
                        let digits = [high, low];
                        let digits = std::str::from_utf8(&digits).ok()?;
                        word.push(u8::from_str_radix(digits, 16).ok()?);
                        rest = after;
                    }
                    [b'\\', byte, ref after @ ..] => {
                        word.push(match byte {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            b't' => b'\t',
                            b'a' => 7,
                            b'b' => 8,
                            byte => byte,
                        });
                        rest = after;
                    }
                    [byte, ref after @ ..] => {
                        word.push(byte);
                        rest = after;
                    }
                    [] => return None,
                }
            }
            if !rest.is_empty() && !rest[0].is_ascii_whitespace() {
                return None;
            }
        } else {
            let end = rest
                .iter()
                .position(u8::is_ascii_whitespace)
                .unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(String::from_utf8(word).ok()?);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                        file appendonly.aof.3.incr.aof seq 3 type h\n\
                        file appendonly.aof.4.incr.aof seq 4 type i\n\
                        file appendonly.aof.5.incr.aof seq 5 type i\n";

    #[test]
    fn a_manifest_is_read_as_it_is_printed() {
        let manifest = Manifest::read(TEXT.as_bytes()).unwrap();
        assert_eq!(manifest.print(), TEXT);
        assert_eq!(manifest.next_base().name, "appendonly.aof.3.base.aof");
        assert_eq!(manifest.next_increment().name, "appendonly.aof.6.incr.aof");
        assert_eq!(manifest.files().count(), 3);
        let mut odd = manifest.clone();
        odd.increments[0].name = "a \"name\" \u{e4}".into();
        assert_eq!(Manifest::read(odd.print().as_bytes()), Ok(odd));
    }

    #[test]
    fn comments_and_words_of_later_versions_are_skipped() {
        let text = "# a comment\nfile a seq 1 type i more words\nfile b seq 2 type i\n";
        assert_eq!(Manifest::read(text.as_bytes()).unwrap().increments.len(), 2);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_line() {
        for (text, at) in [
            ("", 0),
            ("# only a comment\n", 0),
            ("file a seq 1 type b", 0),
            ("file a seq 1 type b\n\n", 20),
            ("file a seq 1 type b\nfile b seq 2 type b\n", 20),
            ("file a seq 2 type i\nfile b seq 1 type i\n", 20),
            ("file a seq 0 type b\n", 0),
            ("file a seq x type b\n", 0),
            ("file a seq 1 type x\n", 0),
            ("file ../a seq 1 type b\n", 0),
            ("file a seq 1\n", 0),
            ("file \"a seq 1 type b\n", 0),
            ("\0\0\0\0\n", 0),
        ] {
            let error = Manifest::read(text.as_bytes()).unwrap_err();
            assert_eq!(error.0, at, "{text:?}: {error:?}");
        }
    }
}
