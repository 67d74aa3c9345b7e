//! Looks for a stored response to a request: under the page's key, among the page's variants, and where other kinds of
//! askers have left one that all may have.

use super::record::{Record, Stored};
use super::shared::{Away, Shared};
use super::status::Reason;
use super::subject::Subject;
use super::terms::Terms;

/// What was found for a request.
pub(super) enum Look {
    Fresh(Record, Terms),
    Stale {
        key: String,
        record: Record,
        terms: Terms,
        is_marked: bool,
    },
    Missing(String, Reason),
    /// Responses to such requests are not stored.
    Pass(String),
    /// What is stored is for others, and this request's would have the same key.
    Never,
}

impl Shared {
    pub(super) async fn look(&self, subject: &Subject) -> Look {
        let key = subject.key(self);
        let first = match self.read(&key).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.look_elsewhere(subject, key).await,
            Err(Away) => return Look::Missing(key, Reason::Missing),
        };
        match first.stored {
            Stored::Pass => Look::Pass(key),
            Stored::Alone => Look::Missing(key, Reason::Missing),
            Stored::Response(record) if record.is_for(&subject.headers) => {
                self.judge(subject, key, record, first.is_stale)
            }
            Stored::Response(record) => {
                let key = subject.variant_key(self, &record);
                let found = self.read(&key).await.unwrap_or_default();
                match found.map(|found| (found.stored, found.is_stale)) {
                    Some((Stored::Pass, _)) => Look::Pass(key),
                    Some((Stored::Response(record), is_marked)) => {
                        match record.is_for(&subject.headers) {
                            true => self.judge(subject, key, record, is_marked),
                            false => Look::Never,
                        }
                    }
                    Some((Stored::Alone, _)) | None => Look::Missing(key, Reason::Varies),
                }
            }
        }
    }

    /// There is nothing under the page's own key; perhaps another kind of asker has left something that all may have.
    async fn look_elsewhere(&self, subject: &Subject, key: String) -> Look {
        for other in subject.other_keys(self) {
            let Ok(found) = self.read(&other).await else {
                break;
            };
            let Some((Stored::Response(record), false)) =
                found.map(|found| (found.stored, found.is_stale))
            else {
                continue;
            };
            let terms = Terms::of_record(&self.rules, &record, subject.asker);
            if record.is_for(&subject.headers) && terms.satisfies(&subject.asks, self.now()) {
                return Look::Fresh(record, terms);
            }
        }
        Look::Missing(key, Reason::Missing)
    }

    fn judge(&self, subject: &Subject, key: String, record: Record, is_stale: bool) -> Look {
        let terms = Terms::of_record(&self.rules, &record, subject.asker);
        if !terms.may_be_shared() {
            // The options have changed since it was stored.
            return Look::Missing(key, Reason::Missing);
        }
        // Stale to the cache, and fresh by its own terms: it was marked.
        let is_marked = is_stale && terms.is_fresh(self.now());
        match !is_marked && terms.satisfies(&subject.asks, self.now()) {
            true => Look::Fresh(record, terms),
            false => Look::Stale {
                key,
                record,
                terms,
                is_marked,
            },
        }
    }
}
