//! Shares `ratePerHour` among Schedules, Restores and single Backups: a Schedule that fails all night leaves some. Pure.

use std::collections::BTreeMap;

use super::watched::Group;

/// The most DebugBundles within an hour. Each is a pure function of `ratePerHour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// In all.
    pub(super) all: usize,
    /// For one group: three tenths, rounded up, and at least two, because a target that hangs may fail later.
    pub(super) group: usize,
    /// For the Backups of all Schedules: the rest, four tenths rounded down, is kept for Restores and for Backups without
    /// a Schedule.
    pub(super) schedules: usize,
}

impl Shares {
    /// The shares of this rate.
    pub(super) fn of(rate: usize) -> Self {
        Self { all: rate, group: (rate * 3).div_ceil(10).max(2).min(rate), schedules: rate - rate * 4 / 10 }
    }
}

/// The share that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    All,
    Group,
    Schedules,
}

impl Spent {
    /// A sentence about a target of this group.
    pub(super) fn sentence(self, group: &Group, shares: Shares) -> String {
        let Shares { all, group: of_group, schedules } = shares;
        let of_policy = format!("that ratePerHour of the DebugBundlePolicy ({all}) allows");
        match (self, group) {
            (Self::All, _) => format!("{all} were created within the last hour, the most {of_policy}"),
            (Self::Group, Group::Schedule(name)) => format!(
                "{of_group} were created within the last hour for Schedule {name}, the most for one Schedule {of_policy}"
            ),
            (Self::Group, Group::Target(_)) => {
                format!("{of_group} were created for it within the last hour, the most {of_policy} for one")
            }
            (Self::Schedules, _) => format!(
                "{schedules} were created within the last hour for Backups of Schedules; the other {} {of_policy} are \
                 kept for Restores and for Backups without a Schedule",
                all - schedules
            ),
        }
    }
}

/// The DebugBundles created within the last hour.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    all: usize,
    schedules: usize,
    groups: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts one that was created for the group with this key; `None`: the group is not known.
    pub(super) fn add(&mut self, key: Option<&str>) {
        self.all += 1;
        if let Some(key) = key {
            self.schedules += usize::from(Group::is_of_schedule(key));
            *self.groups.entry(key.to_owned()).or_default() += 1;
        }
    }

    /// Counts one more for this group, unless a share is used up.
    pub(super) fn take(&mut self, group: &Group, shares: Shares) -> Result<(), Spent> {
        let key = group.key();
        if self.all >= shares.all {
            return Err(Spent::All);
        }
        if self.groups.get(&key).is_some_and(|number| *number >= shares.group) {
            return Err(Spent::Group);
        }
        if Group::is_of_schedule(&key) && self.schedules >= shares.schedules {
            return Err(Spent::Schedules);
        }
        self.add(Some(&key));
        Ok(())
    }

    /// One that was counted was not created.
    pub(super) fn give_back(&mut self, group: &Group) {
        let key = group.key();
        self.all = self.all.saturating_sub(1);
        self.schedules = self.schedules.saturating_sub(usize::from(Group::is_of_schedule(&key)));
        if let Some(number) = self.groups.get_mut(&key) {
            *number = number.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_rate() {
        let shares = |rate| {
            let Shares { all, group, schedules } = Shares::of(rate);
            (all, group, schedules)
        };
        assert_eq!([1, 2, 3, 5].map(shares), [(1, 1, 1), (2, 2, 2), (3, 2, 2), (5, 2, 3)]);
        assert_eq!([10, 20, 100].map(shares), [(10, 3, 6), (20, 6, 12), (100, 30, 60)]);
    }

    #[test]
    fn one_schedule_leaves_room_for_others_and_all_schedules_for_restores() {
        let (mut tally, shares) = (Tally::default(), Shares::of(10));
        let schedule = |name: &str| Group::Schedule(name.to_owned());
        let mut takes = |group: &Group| tally.take(group, shares);
        for name in ["a", "b"] {
            let results: Vec<_> = (0..4).map(|_| takes(&schedule(name))).collect();
            assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(Spent::Group)]);
        }
        assert_eq!(takes(&schedule("c")), Err(Spent::Schedules));
        for n in 0..4 {
            assert_eq!(takes(&Group::Target(n.to_string())), Ok(()));
        }
        assert_eq!(takes(&Group::Target("5".to_owned())), Err(Spent::All));
        tally.give_back(&schedule("a"));
        assert_eq!(tally.take(&schedule("c"), shares), Ok(()));
    }
}
