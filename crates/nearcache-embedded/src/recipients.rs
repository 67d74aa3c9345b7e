//! Which mailbox a client has, by its id: for what one client has sent to another.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::mailbox::{Bound, Mailbox};

/// The mailboxes of all clients that have one.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    by_client: RwLock<HashMap<u64, Weak<Mailbox>>>,
}

impl Recipients {
    /// A new mailbox, by which the client is known from now on.
    pub(crate) fn open(self: &Arc<Self>, client: u64, bound: Arc<Bound>) -> OwnMailbox {
        let mailbox = Arc::new(Mailbox::new(bound));
        let mut by_client = self.by_client.write();
        by_client.insert(client, Arc::downgrade(&mailbox));
        OwnMailbox {
            mailbox,
            client,
            recipients: self.clone(),
        }
    }

    /// The mailbox of a client, if it is there and has one.
    pub(crate) fn find(&self, client: u64) -> Option<Arc<Mailbox>> {
        let mailbox = self.by_client.read().get(&client)?.upgrade()?;
        (!mailbox.has_ended()).then_some(mailbox)
    }
}

/// A session's mailbox, which ends with the session.
#[derive(Debug)]
pub(crate) struct OwnMailbox {
    mailbox: Arc<Mailbox>,
    client: u64,
    recipients: Arc<Recipients>,
}

impl Deref for OwnMailbox {
    type Target = Arc<Mailbox>;

    fn deref(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

impl Drop for OwnMailbox {
    fn drop(&mut self) {
        let mut by_client = self.recipients.by_client.write();
        // Another handle of the client may have a mailbox since.
        let is_this =
            |known: &Weak<Mailbox>| std::ptr::eq(known.as_ptr(), &raw const *self.mailbox);
        if by_client.get(&self.client).is_some_and(is_this) {
            by_client.remove(&self.client);
        }
        drop(by_client);
        self.mailbox.close();
    }
}
