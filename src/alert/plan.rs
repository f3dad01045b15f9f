//! What is to be done now about the alerts there are: the timing and the grouping, pure. Time is passed in, nothing is read or sent.
//!
//! A group is a kind and a channel. Its rules, for each of its alerts: a mail at once, but never within [`Rules::mail_every`] of the group's last;
//! again after [`Rules::repeat_every`] while it lasts; one RESOLVED once it has ended, if anybody was told that it began. A text message once, when
//! it pages and nobody acknowledged it for [`Rules::sms_after`], or as soon as its mails do not get through. Over all groups: more than
//! [`Rules::storm`] mails in a minute are one digest instead, and so are more text messages than [`Rules::sms_storm`] in five minutes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::condition::{AlertKind, Severity};

/// The times and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Between two mails about one group, and between two digests. 30 s. Shorter floods, longer tells late that it is over.
    pub mail_every: Duration,
    /// Between two mails about an alert that lasts. 4 h.
    pub repeat_every: Duration,
    /// How long a page waits for somebody's acknowledgement before it is a text message. 5 min.
    pub sms_after: Duration,
    /// Mails in a minute; more are a digest.
    pub storm: usize,
    /// Text messages in five minutes; more are one.
    pub sms_storm: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mail_every: Duration::from_secs(30),
            repeat_every: Duration::from_secs(4 * 3_600),
            sms_after: Duration::from_secs(300),
            storm: 5,
            sms_storm: 3,
        }
    }
}

/// Over how long mails are counted for a storm.
pub const MAILS_OVER: Duration = Duration::from_secs(60);
/// And text messages.
pub const SMS_OVER: Duration = Duration::from_secs(300);

/// How an alert stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: AlertKind,
    /// When it was first seen.
    pub raised_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// When it had ended, if that is known.
    pub ended_at: Option<Timestamp>,
    /// Whether somebody has acknowledged it.
    pub acknowledged: bool,
    /// Its last mail.
    pub mailed_at: Option<Timestamp>,
    /// Its last text message.
    pub texted_at: Option<Timestamp>,
    /// The last mail about any alert of its group.
    pub group_mailed_at: Option<Timestamp>,
    /// Whether a mail about it was refused or has been tried in vain.
    pub mail_fails: bool,
}

/// What was sent lately, over all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// Mails within [`MAILS_OVER`], digests not counted.
    pub mails: usize,
    /// The last digest by mail.
    pub digest_at: Option<Timestamp>,
    /// Text messages within [`SMS_OVER`].
    pub texts: usize,
}

/// Why a mail is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It began.
    Firing,
    /// It lasts.
    Repeat,
    /// It is over.
    Resolved,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Note that it has ended, when it was last seen.
    End {
        /// The alert.
        id: Uuid,
        /// When.
        at: Timestamp,
    },
    /// It has ended before anybody was told of it: tell nobody, and count it.
    Forget {
        /// The alert.
        id: Uuid,
    },
    /// A mail of its own.
    Mail {
        /// The alert.
        id: Uuid,
        /// Why.
        purpose: Purpose,
    },
    /// One mail about many, each counted as not sent by itself.
    Digest {
        /// The alerts, each with what its own mail would have been.
        alerts: Vec<(Uuid, Purpose)>,
    },
    /// A text message about these: one, or many in a storm.
    Sms {
        /// The alerts.
        alerts: Vec<Uuid>,
    },
}

/// What is to be done at `now`, in the order in which it is to be done.
pub fn plan(now: Timestamp, alerts: &[Standing], lately: Lately, rules: &Rules) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut mails = Vec::new();
    let mut texts = Vec::new();
    for alert in alerts {
        let ended = alert.ended_at.is_some() || has_passed(Some(alert.seen_at), alert.kind.quiet_for(), now);
        if ended && alert.ended_at.is_none() {
            steps.push(Step::End { id: alert.id, at: alert.seen_at });
        }
        match (ended, alert.mailed_at) {
            (true, None) => steps.push(Step::Forget { id: alert.id }),
            (true, Some(_)) if may_mail(alert, rules, now) => mails.push((alert.id, Purpose::Resolved)),
            (false, None) if may_mail(alert, rules, now) => mails.push((alert.id, Purpose::Firing)),
            (false, Some(last)) if has_passed(Some(last), rules.repeat_every, now) && may_mail(alert, rules, now) => {
                mails.push((alert.id, Purpose::Repeat));
            }
            _ => {}
        }
        let waited = has_passed(Some(alert.raised_at), rules.sms_after, now) || alert.mail_fails;
        if !ended && waited && !alert.acknowledged && alert.texted_at.is_none() && alert.kind.severity() == Severity::Page {
            texts.push(alert.id);
        }
    }
    if mails.len() > 1 && lately.mails + mails.len() > rules.storm || mails.len() == 1 && lately.mails >= rules.storm {
        // Held until the next digest may go: nothing is lost, they are due at every look.
        if lately.digest_at.is_none_or(|last| has_passed(Some(last), rules.mail_every, now)) {
            steps.push(Step::Digest { alerts: mails });
        }
    } else {
        steps.extend(mails.into_iter().map(|(id, purpose)| Step::Mail { id, purpose }));
    }
    if texts.len() + lately.texts <= rules.sms_storm {
        steps.extend(texts.into_iter().map(|id| Step::Sms { alerts: vec![id] }));
    } else if !texts.is_empty() && lately.texts <= rules.sms_storm {
        // One about all of them; the one that exceeds the bound, so that the next waits until the five minutes are over.
        steps.push(Step::Sms { alerts: texts });
    }
    steps
}

fn may_mail(alert: &Standing, rules: &Rules, now: Timestamp) -> bool {
    alert.group_mailed_at.is_none_or(|last| has_passed(Some(last), rules.mail_every, now))
}

/// Whether `wait` has passed since `from`.
fn has_passed(from: Option<Timestamp>, wait: Duration, now: Timestamp) -> bool {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    from.is_some_and(|from| now.duration_since(from) >= wait)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn standing(number: u128, raised: i64) -> Standing {
        Standing {
            id: Uuid::from_u128(number),
            kind: AlertKind::BreakerOpened,
            raised_at: at(raised),
            seen_at: at(raised),
            ended_at: None,
            acknowledged: false,
            mailed_at: None,
            texted_at: None,
            group_mailed_at: None,
            mail_fails: false,
        }
    }

    fn steps(now: i64, alert: &Standing) -> Vec<Step> {
        plan(at(now), std::slice::from_ref(alert), Lately::default(), &Rules::default())
    }

    #[test]
    fn a_new_alert_is_mailed_at_once_and_again_after_four_hours() {
        let mut alert = standing(1, 0);
        let id = alert.id;
        alert.acknowledged = true;
        assert_eq!(steps(0, &alert), [Step::Mail { id, purpose: Purpose::Firing }]);
        (alert.mailed_at, alert.group_mailed_at) = (Some(at(0)), Some(at(0)));
        alert.seen_at = at(14_399);
        assert_eq!(steps(14_399, &alert), []);
        alert.seen_at = at(14_400);
        assert_eq!(steps(14_400, &alert), [Step::Mail { id, purpose: Purpose::Repeat }]);
    }

    #[test]
    fn a_group_gets_one_mail_in_thirty_seconds() {
        let mut alert = standing(1, 40);
        alert.group_mailed_at = Some(at(20));
        assert_eq!(steps(49, &alert), []);
        assert_eq!(steps(50, &alert).len(), 1);
    }

    #[test]
    fn a_page_is_a_text_message_when_nobody_acknowledged_it_for_five_minutes() {
        let mut alert = standing(1, 0);
        (alert.mailed_at, alert.group_mailed_at, alert.seen_at) = (Some(at(0)), Some(at(0)), at(300));
        assert_eq!(steps(299, &alert), []);
        assert_eq!(steps(300, &alert), [Step::Sms { alerts: vec![alert.id] }]);
        assert_eq!(steps(300, &Standing { acknowledged: true, ..alert.clone() }), []);
        assert_eq!(steps(300, &Standing { texted_at: Some(at(300)), ..alert.clone() }), []);
        assert_eq!(steps(300, &Standing { kind: AlertKind::ChannelRestarted, ..alert }), [], "a ticket is none");
    }

    #[test]
    fn a_page_whose_mails_do_not_get_through_is_a_text_message_at_once() {
        let mut alert = standing(1, 0);
        (alert.mailed_at, alert.group_mailed_at, alert.mail_fails) = (Some(at(0)), Some(at(0)), true);
        assert_eq!(steps(5, &alert), [Step::Sms { alerts: vec![alert.id] }]);
    }

    #[test]
    fn an_alert_that_nobody_saw_for_a_minute_ended_when_it_was_last_seen() {
        let mut alert = standing(1, 0);
        (alert.mailed_at, alert.group_mailed_at, alert.acknowledged, alert.seen_at) = (Some(at(0)), Some(at(0)), true, at(100));
        let id = alert.id;
        assert_eq!(steps(159, &alert), []);
        assert_eq!(steps(160, &alert), [Step::End { id, at: at(100) }, Step::Mail { id, purpose: Purpose::Resolved }]);
    }

    #[test]
    fn an_alert_that_ended_before_anybody_was_told_is_counted_and_not_sent() {
        let mut alert = standing(1, 0);
        alert.group_mailed_at = Some(at(200));
        assert_eq!(steps(210, &alert), [Step::End { id: alert.id, at: at(0) }, Step::Forget { id: alert.id }]);
    }

    #[test]
    fn a_storm_is_one_digest_and_one_text_message() {
        let alerts: Vec<Standing> = (0..6).map(|number| standing(number, 0)).collect();
        let steps = plan(at(0), &alerts, Lately::default(), &Rules::default());
        assert!(matches!(&steps[..], [Step::Digest { alerts }] if alerts.len() == 6), "{steps:?}");
        let steps = plan(at(1), &alerts, Lately { mails: 0, digest_at: Some(at(0)), texts: 0 }, &Rules::default());
        assert_eq!(steps, [], "the next digest waits");
        let told: Vec<Standing> =
            alerts.into_iter().map(|alert| Standing { mailed_at: Some(at(0)), group_mailed_at: Some(at(0)), seen_at: at(300), ..alert }).collect();
        let steps = plan(at(300), &told, Lately::default(), &Rules::default());
        assert!(matches!(&steps[..], [Step::Sms { alerts }] if alerts.len() == 6), "{steps:?}");
    }

    /// A world of groups whose conditions come and go, with everything that was sent.
    #[derive(Default)]
    struct World {
        alerts: Vec<(u8, Standing)>,
        closed: Vec<(u8, Standing)>,
        mails: Vec<(i64, Option<u8>, Uuid, Purpose)>,
        digests: Vec<i64>,
        texts: Vec<(i64, Vec<Uuid>)>,
        forgotten: usize,
    }

    impl World {
        fn look(&mut self, now: i64, holding: &[bool]) {
            for (group, _) in holding.iter().enumerate().filter(|(_, holds)| **holds) {
                let group = u8::try_from(group).expect("few");
                match self.alerts.iter_mut().find(|(of, alert)| *of == group && alert.ended_at.is_none()) {
                    Some((_, alert)) => alert.seen_at = at(now),
                    None => {
                        let number = u128::try_from(self.alerts.len() + self.closed.len() + 1).expect("few");
                        self.alerts.push((group, standing(number, now)));
                    }
                }
            }
            let mut last: HashMap<u8, Timestamp> = HashMap::new();
            for (group, alert) in self.alerts.iter().chain(&self.closed) {
                if let Some(mailed) = alert.mailed_at {
                    last.entry(*group).and_modify(|known| *known = mailed.max(*known)).or_insert(mailed);
                }
            }
            for (group, alert) in &mut self.alerts {
                alert.group_mailed_at = last.get(group).copied();
            }
            let recently = |time: i64, over: Duration| now - time < i64::try_from(over.as_secs()).expect("short");
            let lately = Lately {
                mails: self.mails.iter().filter(|mail| mail.1.is_some() && recently(mail.0, MAILS_OVER)).count(),
                digest_at: self.digests.last().map(|time| at(*time)),
                texts: self.texts.iter().filter(|text| recently(text.0, SMS_OVER)).count(),
            };
            let standings: Vec<Standing> = self.alerts.iter().map(|(_, alert)| alert.clone()).collect();
            for step in plan(at(now), &standings, lately, &Rules::default()) {
                self.apply(now, step);
            }
            let (closed, open) = std::mem::take(&mut self.alerts).into_iter().partition(|(_, alert)| self.is_closed(alert));
            self.alerts = open;
            self.closed.extend::<Vec<_>>(closed);
        }

        fn is_closed(&self, alert: &Standing) -> bool {
            alert.ended_at.is_some()
                && (alert.mailed_at.is_none() || self.mails.iter().any(|(_, _, id, purpose)| *id == alert.id && *purpose == Purpose::Resolved))
        }

        fn apply(&mut self, now: i64, step: Step) {
            let group_of = |id: Uuid, alerts: &[(u8, Standing)]| alerts.iter().find(|(_, alert)| alert.id == id).map(|(group, _)| *group);
            let touch = |alerts: &mut Vec<(u8, Standing)>, id: Uuid, change: &dyn Fn(&mut Standing)| {
                alerts.iter_mut().filter(|(_, alert)| alert.id == id).for_each(|(_, alert)| change(alert));
            };
            match step {
                Step::End { id, at } => touch(&mut self.alerts, id, &|alert| alert.ended_at = Some(at)),
                Step::Forget { .. } => self.forgotten += 1,
                Step::Mail { id, purpose } => {
                    self.mails.push((now, group_of(id, &self.alerts), id, purpose));
                    touch(&mut self.alerts, id, &|alert| alert.mailed_at = Some(at(now)));
                }
                Step::Digest { alerts } => {
                    self.digests.push(now);
                    for (id, purpose) in alerts {
                        self.mails.push((now, None, id, purpose));
                        touch(&mut self.alerts, id, &|alert| alert.mailed_at = Some(at(now)));
                    }
                }
                Step::Sms { alerts } => {
                    for id in &alerts {
                        touch(&mut self.alerts, *id, &|alert| alert.texted_at = Some(at(now)));
                    }
                    self.texts.push((now, alerts));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_comes_and_goes_nobody_is_flooded_and_nothing_is_left_untold(
            changes in proptest::collection::vec((0_usize..8, 1_i64..90), 1..60)
        ) {
            let mut world = World::default();
            let mut holding = [false; 8];
            let mut now = 0;
            for (group, pause) in changes {
                holding[group] = !holding[group];
                for _ in 0..pause {
                    now += 1;
                    world.look(now, &holding);
                }
            }
            for _ in 0..400 {
                now += 1;
                world.look(now, &[false; 8]);
            }
            prop_assert!(world.alerts.is_empty(), "left untold: {:?}", world.alerts);
            for group in 0..8 {
                let times: Vec<i64> = world.mails.iter().filter(|mail| mail.1 == Some(group)).map(|mail| mail.0).collect();
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{times:?}");
            }
            let alone: Vec<i64> = world.mails.iter().filter(|mail| mail.1.is_some()).map(|mail| mail.0).collect();
            prop_assert!(alone.windows(6).all(|six| six[5] - six[0] >= 60), "more than five in a minute: {alone:?}");
            prop_assert!(world.digests.windows(2).all(|pair| pair[1] - pair[0] >= 30), "{:?}", world.digests);
            let firings = world.mails.iter().filter(|mail| mail.3 == Purpose::Firing).count();
            let resolved = world.mails.iter().filter(|mail| mail.3 == Purpose::Resolved).count();
            prop_assert_eq!(firings, resolved, "each that was told of is told to be over, once");
            prop_assert_eq!(firings + world.forgotten, world.closed.len());
            let mut texted: Vec<Uuid> = world.texts.iter().flat_map(|text| text.1.clone()).collect();
            let all = texted.len();
            texted.sort();
            texted.dedup();
            prop_assert_eq!(texted.len(), all, "one text message an alert");
        }
    }
}
