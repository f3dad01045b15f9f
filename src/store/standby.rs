//! A standby, as whoever sets one up speaks to it and its primary: whom to follow, for whom to wait, and to take over. `breakwater bench` does so with
//! two databases of its own; `serve` never does, and a real installation's standby is promoted by whoever runs the database.
//!
//! It speaks over one connection as a superuser, to one server, and asks for nothing else there.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::StoreError;

/// Has it replay what is left of the primary's log, and take writes from then on. Does not wait: the server would look only every 100 ms.
const PROMOTE: &str = "SELECT pg_promote(wait => false)";
const TAKES_WRITES: &str = "SELECT NOT pg_is_in_recovery()";
/// Between two looks whether it has been done, and how long they go on.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const PROMOTED_WITHIN: Duration = Duration::from_secs(60);
const RELOAD: &str = "SELECT pg_reload_conf()";
/// At a standby: whether the log comes in through that port.
const FOLLOWS: &str = "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming' AND sender_port = $1";
/// At a primary: whether commits wait for a standby that is there.
const WAITS: &str = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'";

/// A superuser's connection to one server. It ends with this value.
#[derive(Debug)]
pub struct Administrator {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Administrator {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Administrator {
    /// Connects to the one server of `url`.
    ///
    /// # Errors
    /// [`StoreError::Away`] when it does not answer.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(async move {
            // Whoever asks is told why.
            let _lost = connection.await;
        });
        Ok(Self { client, driver })
    }

    /// Gives a role a password. A standby learns it with everything else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_password(&self, role: &str, password: &str) -> Result<(), StoreError> {
        self.run(&format!("ALTER ROLE {} PASSWORD {}", quoted(role, '"'), quoted(password, '\''))).await
    }

    /// From the next [`Administrator::reload`] on no commit is acknowledged before the standby of that name has it on its disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_for_standby(&self, name: &str) -> Result<(), StoreError> {
        self.run(&format!("ALTER SYSTEM SET synchronous_standby_names = {}", quoted(&quoted(name, '"'), '\''))).await
    }

    /// From the next [`Administrator::reload`] on this standby follows the primary at `origin`, in the words of libpq.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn follow(&self, origin: &str) -> Result<(), StoreError> {
        self.run(&format!("ALTER SYSTEM SET primary_conninfo = {}", quoted(origin, '\''))).await
    }

    /// Has the server read its settings again, and who may connect.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reload(&self) -> Result<(), StoreError> {
        self.says_yes(RELOAD, &[]).await.map(drop)
    }

    /// Whether this standby follows a primary through that port.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn follows_through(&self, port: u16) -> Result<bool, StoreError> {
        self.says_yes(FOLLOWS, &[&i32::from(port)]).await
    }

    /// Whether this primary's commits wait for a standby that is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waits_for_one(&self) -> Result<bool, StoreError> {
        self.says_yes(WAITS, &[]).await
    }

    /// Makes a primary of this standby, and returns when it is one; false when that took more than a minute.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn promote(&self) -> Result<bool, StoreError> {
        self.says_yes(PROMOTE, &[]).await?;
        let deadline = tokio::time::Instant::now() + PROMOTED_WITHIN;
        while !self.says_yes(TAKES_WRITES, &[]).await? {
            if tokio::time::Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// One statement; several in a message would be one transaction, in which settings cannot be altered.
    async fn run(&self, statement: &str) -> Result<(), StoreError> {
        Ok(self.client.batch_execute(statement).await?)
    }

    async fn says_yes(&self, question: &str, parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> Result<bool, StoreError> {
        Ok(self.client.query_one(question, parameters).await?.try_get(0)?)
    }
}

/// These statements take no parameters.
fn quoted(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_cannot_end_its_quotes() {
        assert_eq!(quoted("it's", '\''), "'it''s'");
        assert_eq!(quoted(&quoted("a\"b", '"'), '\''), "'\"a\"\"b\"'");
    }
}
