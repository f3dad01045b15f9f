//! What a change of the file means to a process that runs: which fields it can take over, and which need a new one.
//!
//! Only the log's level is taken over. Everything else is built into pools, actors, listeners and the bounds between them when the process
//! starts; half of a new file beside half of an old one is a state that nobody has tested, and a restart costs nothing: another process takes
//! over what is in flight.

use secrecy::ExposeSecret;

use super::{ChannelSettings, Settings};

/// What differs between the settings that run and those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Whether `log.level` does, which is taken over at once.
    pub level: bool,
    /// The sections and channels that do, and are taken over by the next process only.
    pub at_restart: Vec<String>,
}

impl Settings {
    /// What of `new` is not as it is here.
    pub fn differences(&self, new: &Self) -> Differences {
        let mut at_restart = Vec::new();
        let mut note = |differs: bool, name: &str| {
            if differs {
                at_restart.push(name.to_owned());
            }
        };
        note(self.server != new.server, "server");
        let same_database = self.database.url.expose_secret() == new.database.url.expose_secret()
            && self.database.replica_url.as_ref().map(ExposeSecret::expose_secret) == new.database.replica_url.as_ref().map(ExposeSecret::expose_secret)
            // The address is masked in it, and was compared.
            && format!("{:?}", self.database) == format!("{:?}", new.database);
        note(!same_database, "database");
        note(self.limits != new.limits, "limits");
        note(self.poller != new.poller, "poller");
        note(self.operations != new.operations, "operations");
        note(self.log.format != new.log.format, "log.format");
        let of = |settings: &Self, id: &str| settings.channels.iter().find(|channel| channel.id == id).map(whole);
        for channel in &self.channels {
            note(of(new, &channel.id) != Some(whole(channel)), &format!("channels[{}]", channel.id));
        }
        for channel in new.channels.iter().filter(|channel| of(self, &channel.id).is_none()) {
            note(true, &format!("channels[{}]", channel.id));
        }
        Differences { level: self.log.level != new.log.level, at_restart }
    }
}

/// Everything that a channel's settings say, secrets too: to be compared, and never shown.
fn whole(channel: &ChannelSettings) -> String {
    let secrets: Vec<&str> = channel.notification_secrets.iter().map(ExposeSecret::expose_secret).collect();
    format!("{channel:?}\0{}\0{}", channel.secret_key.expose_secret(), secrets.join("\0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Level;

    #[test]
    fn only_the_level_of_the_log_is_taken_over() {
        let old = Settings { channels: vec![ChannelSettings::test("a", "stripe", "http://localhost:1", "sk_test_1")], ..Settings::default() };
        assert_eq!(old.differences(&old.clone()), Differences::default());
        let mut new = old.clone();
        new.log.level = Level::DEBUG;
        assert_eq!(old.differences(&new), Differences { level: true, at_restart: Vec::new() });
        new.limits.inquiries = 7;
        new.database.url = "postgres:///other".into();
        new.channels[0].secret_key = "sk_test_2".into();
        new.channels.push(ChannelSettings::test("b", "stripe", "http://localhost:1", "sk_test_1"));
        assert_eq!(old.differences(&new).at_restart, ["database", "limits", "channels[a]", "channels[b]"]);
        assert_eq!(new.differences(&old).at_restart, ["database", "limits", "channels[a]", "channels[b]"]);
    }
}
