//! The steps of the near tier's model.

use super::{
    Carrier, Configuration, Entry, KEY, Message, Piece, Read, Request, State, TAG, Value, Write,
};

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A read marks its key and is sent: `ReadThrough::read_and_keep`.
    Read(usize),
    /// It marks the tag of what it has found, and asks for the tag's version: `tags::judge_found`.
    ReadTag(usize),
    /// It keeps what it has found: `Near::record`.
    Keep(usize),
    /// A write is announced: `keepers::announce`.
    Announce,
    /// It is sent.
    Send,
    /// Its caller gives up, after it was sent: the same announcement is over.
    GiveUp,
    /// A FILL is announced: `Near::begin_fill`.
    AnnounceFill,
    /// It is sent.
    SendFill,
    /// The server carries a request out.
    Serve(usize),
    /// A message arrives.
    Arrive(usize),
    /// The news of the key (0) or of its tag (1) arrive, over their own connection: `Near::hear`.
    News(usize),
    /// Somebody else changes the key.
    Change,
    /// Somebody else invalidates the tag.
    ChangeTag,
    /// A write of a connection that was lost is carried out.
    Late,
    /// The connection that carries the news of the key (0), or of its tag (1) where that is another one, is lost, and
    /// there is a new one: `Carrier::end`.
    Lose(usize),
}

impl State {
    pub(super) fn new(configuration: Configuration) -> Self {
        let writes = |may: bool| if may { Write::Idle } else { Write::Done };
        State {
            versions: [0; 2],
            carries: 0,
            tracked: [false; 2],
            requests: Vec::new(),
            replies: Vec::new(),
            news: Vec::new(),
            late: false,
            reads: vec![Read::Idle; configuration.reads],
            write: writes(configuration.writes),
            fill: writes(configuration.fills),
            entry: None,
            least: [0; 2],
            changes: configuration.changes,
            lost: !configuration.loss,
        }
    }

    /// How the state is wrong, if it is.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        let entry = self.entry.filter(|entry| entry.carried)?;
        if entry.version < self.least[KEY] || entry.tag < self.least[TAG] {
            return Some("it is older than what is known here");
        }
        let settled = self.requests.is_empty()
            && self.replies.is_empty()
            && self.news.is_empty()
            && !self.late
            && !matches!(
                self.write,
                Write::Announced { .. }
                    | Write::Sent {
                        given_up: false,
                        ..
                    }
            )
            && !matches!(self.fill, Write::Announced { .. } | Write::Sent { .. });
        if settled && [entry.version, entry.tag] != self.versions {
            return Some("it stays, and is older than what is there");
        }
        None
    }

    pub(super) fn steps(&self, configuration: Configuration) -> Vec<(Step, State)> {
        let mut all = Vec::new();
        for step in self.possible(configuration) {
            let mut next = self.clone();
            next.take(step, configuration);
            all.push((step, next));
        }
        all
    }

    fn possible(&self, configuration: Configuration) -> Vec<Step> {
        let mut all = Vec::new();
        for (who, read) in self.reads.iter().enumerate() {
            match read {
                Read::Idle => all.push(Step::Read(who)),
                Read::Found { .. } if configuration.tag => all.push(Step::ReadTag(who)),
                Read::Found { .. } | Read::FoundTag { .. } => all.push(Step::Keep(who)),
                Read::Asked { .. } | Read::AskedTag { .. } => {}
            }
        }
        match self.write {
            Write::Idle => all.push(Step::Announce),
            Write::Announced { .. } => all.push(Step::Send),
            Write::Sent {
                given_up: false, ..
            } => all.push(Step::GiveUp),
            _ => {}
        }
        match self.fill {
            Write::Idle => all.push(Step::AnnounceFill),
            Write::Announced { .. } => all.push(Step::SendFill),
            _ => {}
        }
        // What is on one connection keeps its order.
        let first = |queue: usize| match configuration.carrier {
            Carrier::One => queue.min(1),
            Carrier::Two | Carrier::Nodes => queue,
        };
        all.extend((0..first(self.requests.len())).map(Step::Serve));
        all.extend((0..first(self.replies.len())).map(Step::Arrive));
        let first_of = |key: usize| {
            let mut news = self.news.iter();
            news.position(
                |news| matches!(news, Message::News { key: of, .. } if usize::from(*of) == key),
            )
        };
        // The first of each connection.
        for key in [KEY, TAG] {
            let first = first_of(key);
            if first.is_some() && (configuration.carrier == Carrier::Nodes || first == Some(0)) {
                all.push(Step::News(key));
            }
        }
        if self.changes > 0 {
            all.push(Step::Change);
            if configuration.tag {
                all.push(Step::ChangeTag);
            }
        }
        if self.late {
            all.push(Step::Late);
        }
        if !self.lost {
            all.push(Step::Lose(KEY));
            if configuration.carrier == Carrier::Nodes && configuration.tag {
                all.push(Step::Lose(TAG));
            }
        }
        all
    }

    fn take(&mut self, step: Step, configuration: Configuration) {
        let has = |piece: Piece| configuration.without != Some(piece);
        match step {
            Step::Read(who) => {
                if !has(Piece::MarkOfRead) {
                    // One mark for the key: who reads next makes it hold again.
                    self.marks(|mark| *mark = true);
                }
                self.reads[who] = Read::Asked { mark: true };
                self.request(Request::Read {
                    who: who as u8,
                    key: KEY as u8,
                });
            }
            Step::ReadTag(who) => {
                if let Read::Found { mark, value } = self.reads[who] {
                    let tag_mark = true;
                    self.reads[who] = Read::AskedTag {
                        mark,
                        tag_mark,
                        value,
                    };
                    self.request(Request::Read {
                        who: who as u8,
                        key: TAG as u8,
                    });
                }
            }
            Step::Keep(who) => {
                let kept = match std::mem::take(&mut self.reads[who]) {
                    Read::Found { mark, value } => Some((mark, value)),
                    // Dead, if its tag was invalidated since it was stored.
                    Read::FoundTag {
                        mark,
                        tag_mark,
                        value,
                        tag,
                    } if tag == value.tag => Some((mark && tag_mark, value)),
                    _ => None,
                };
                if let Some((mark, Value { version, tag })) = kept
                    && (mark || !has(Piece::Mark))
                {
                    self.entry = Some(Entry {
                        version,
                        tag,
                        carried: true,
                    });
                }
            }
            Step::Announce => {
                self.change_here(KEY);
                self.write = Write::Announced { mark: true };
            }
            Step::Send => {
                self.request(Request::Write);
                self.write = Write::Sent {
                    mark: true,
                    given_up: false,
                };
            }
            Step::GiveUp => {
                if has(Piece::PoisonGivenUp) {
                    self.change_here(KEY);
                }
                self.write = Write::Sent {
                    mark: true,
                    given_up: true,
                };
            }
            Step::AnnounceFill => {
                self.change_here(KEY);
                self.fill = Write::Announced { mark: true };
            }
            Step::SendFill => {
                if let Write::Announced { mark } = self.fill {
                    self.request(Request::Fill);
                    self.fill = Write::Sent {
                        mark,
                        given_up: false,
                    };
                }
            }
            Step::Serve(at) => self.serve(at, configuration),
            Step::Arrive(at) => {
                let message = self.replies.remove(at);
                self.arrive(message, configuration);
            }
            Step::News(key) => {
                let of_key = |news: &Message| matches!(news, Message::News { key: of, .. } if usize::from(*of) == key);
                if let Some(at) = self.news.iter().position(of_key) {
                    let message = self.news.remove(at);
                    self.arrive(message, configuration);
                }
            }
            Step::Change => {
                self.changes -= 1;
                self.change(KEY, configuration);
            }
            Step::ChangeTag => {
                self.changes -= 1;
                self.change(TAG, configuration);
            }
            Step::Late => {
                self.late = false;
                self.change(KEY, configuration);
            }
            Step::Lose(node) => self.lose(node, configuration),
        }
    }

    fn request(&mut self, request: Request) {
        self.requests.push(request);
    }

    fn serve(&mut self, at: usize, configuration: Configuration) {
        let request = self.requests.remove(at);
        let one = configuration.carrier == Carrier::One;
        match request {
            Request::Read { who, key } => {
                self.tracked[usize::from(key)] |= one;
                self.replies.push(match usize::from(key) {
                    KEY => Message::Reply {
                        who,
                        value: Value {
                            version: self.versions[KEY],
                            tag: self.carries,
                        },
                    },
                    _ => Message::ReplyTag {
                        who,
                        tag: self.versions[TAG],
                    },
                });
            }
            Request::Write | Request::Fill => {
                self.versions[KEY] += 1;
                self.carries = self.versions[TAG];
                let version = self.versions[KEY];
                let fills = request == Request::Fill;
                if one {
                    // Not told of its own write, and forgotten; unless it is read after that.
                    self.tracked[KEY] = fills && configuration.without != Some(Piece::FillReads);
                } else {
                    let key = KEY as u8;
                    self.news.push(Message::News { key, version });
                }
                self.replies.push(match fills {
                    true => Message::Filled { version },
                    false => Message::Written { version },
                });
            }
        }
    }

    /// Somebody else changes a key.
    fn change(&mut self, key: usize, configuration: Configuration) {
        self.versions[key] += 1;
        if key == KEY {
            self.carries = self.versions[TAG];
        }
        let news = Message::News {
            key: key as u8,
            version: self.versions[key],
        };
        match configuration.carrier {
            Carrier::One if self.tracked[key] => {
                self.tracked[key] = false;
                self.replies.push(news);
            }
            Carrier::One => {}
            Carrier::Two | Carrier::Nodes => self.news.push(news),
        }
    }

    fn arrive(&mut self, message: Message, configuration: Configuration) {
        let has = |piece: Piece| configuration.without != Some(piece);
        match message {
            Message::Reply { who, value } => {
                let read = &mut self.reads[usize::from(who)];
                if let Read::Asked { mark } = *read {
                    *read = Read::Found { mark, value };
                }
            }
            Message::ReplyTag { who, tag } => {
                let read = &mut self.reads[usize::from(who)];
                if let Read::AskedTag {
                    mark,
                    tag_mark,
                    value,
                } = *read
                {
                    // Without the mark from before, only what comes from now on is seen.
                    let tag_mark = tag_mark || !has(Piece::MarkOfTag);
                    *read = Read::FoundTag {
                        mark,
                        tag_mark,
                        value,
                        tag,
                    };
                }
            }
            Message::Written { version } => {
                if let Write::Sent {
                    given_up: false, ..
                } = self.write
                {
                    if has(Piece::PoisonAfter) {
                        self.change_here(KEY);
                    }
                    self.least[KEY] = self.least[KEY].max(version);
                }
                self.write = Write::Done;
            }
            Message::Filled { version } => {
                if let Write::Sent { mark, .. } = self.fill {
                    self.fill = Write::Done;
                    if has(Piece::PoisonAfter) {
                        self.change_here(KEY);
                    }
                    self.least[KEY] = self.least[KEY].max(version);
                    if mark && !configuration.tag {
                        self.entry = Some(Entry {
                            version,
                            tag: 0,
                            carried: true,
                        });
                    }
                }
            }
            Message::News { key, version } => {
                let key = usize::from(key);
                if key == KEY || has(Piece::Cell) {
                    self.change_here(key);
                }
                self.least[key] = self.least[key].max(version);
            }
        }
    }

    /// The key, or its tag, was changed, or may have been: what is near ends, and so do the marks.
    fn change_here(&mut self, key: usize) {
        self.entry = None;
        if key == KEY {
            self.marks(|mark| *mark = false);
        } else {
            self.spoil_tag_marks();
        }
    }

    fn spoil_tag_marks(&mut self) {
        for read in &mut self.reads {
            if let Read::AskedTag { tag_mark, .. } | Read::FoundTag { tag_mark, .. } = read {
                *tag_mark = false;
            }
        }
    }

    /// The marks of the key.
    fn marks(&mut self, change: impl Fn(&mut bool)) {
        for read in &mut self.reads {
            match read {
                Read::Idle => {}
                Read::Asked { mark }
                | Read::Found { mark, .. }
                | Read::AskedTag { mark, .. }
                | Read::FoundTag { mark, .. } => change(mark),
            }
        }
        for write in [&mut self.write, &mut self.fill] {
            if let Write::Announced { mark } | Write::Sent { mark, .. } = write {
                change(mark);
            }
        }
    }

    fn lose(&mut self, node: usize, configuration: Configuration) {
        self.lost = true;
        if configuration.carrier == Carrier::Nodes {
            self.lose_node(node, configuration);
            return;
        }
        self.news.clear();
        if configuration.carrier == Carrier::One {
            let writes = |request: &Request| matches!(request, Request::Write | Request::Fill);
            self.late = self.requests.iter().any(writes);
            self.requests.clear();
            self.replies.clear();
            self.tracked = [false; 2];
            for read in &mut self.reads {
                if let Read::Asked { .. } | Read::AskedTag { .. } = read {
                    *read = Read::Idle;
                }
            }
            for write in [&mut self.write, &mut self.fill] {
                if let Write::Sent { .. } = write {
                    *write = Write::Done;
                }
            }
        }
        if configuration.without != Some(Piece::Loss) {
            if let Some(entry) = &mut self.entry {
                entry.carried = false;
            }
            self.marks(|mark| *mark = false);
        }
        self.least = self.versions;
    }

    /// The connection that carries the news of one node is lost. The others go on.
    fn lose_node(&mut self, node: usize, configuration: Configuration) {
        let has = |piece: Piece| configuration.without != Some(piece);
        self.news
            .retain(|news| !matches!(news, Message::News { key, .. } if usize::from(*key) == node));
        if has(Piece::Loss) && (node == KEY || has(Piece::CarriedByTag)) {
            if let Some(entry) = &mut self.entry {
                entry.carried = false;
            }
            if node == KEY {
                self.marks(|mark| *mark = false);
            } else {
                self.spoil_tag_marks();
            }
        }
        self.least[node] = self.versions[node];
    }
}
