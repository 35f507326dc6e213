//! The course of things as a picture: a lane for each object, and for each container and operation, on one axis of time.
//! Pure; made of the timeline alone.

use std::collections::BTreeMap;

use debugbundle_format::text::bounded;
use jiff::{SignedDuration, Timestamp};

use crate::diagnose::{CauseStep, MomentStep, TimelineEvent};

/// Most lanes; those of the way to the cause and those with trouble come first.
const LANES: usize = 24;
/// Most marks of one lane; the newest are kept.
const MARKS: usize = 40;
/// Most spans of one lane; the newest are kept.
const SPANS: usize = 200;
/// Longest words beside a lane (bytes).
const WORDS: usize = 200;
/// The width of the picture, in units of its own.
pub(super) const WIDTH: i64 = 1000;

/// How something stood during a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Created, but nobody works on it yet.
    Waits,
    /// It is not over.
    Runs,
    /// Over, and well.
    Done,
    /// Over, and failed.
    Failed,
}

impl Look {
    /// The word, which is also the class of the style.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Runs => "runs",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A part of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// From 0 to [`WIDTH`].
    pub(super) from: i64,
    /// At least 1 more than `from`.
    pub(super) to: i64,
    pub(super) look: Look,
}

/// One object, container or operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// `Kind/namespace/name`.
    pub(super) object: String,
    /// The container or operation; empty for the object itself.
    pub(super) part: String,
    /// How it stands at the end.
    pub(super) look: Look,
    /// What was last said of it.
    pub(super) says: String,
    /// Whether it is where the way to the cause ends.
    pub(super) is_cause: bool,
    pub(super) spans: Vec<Span>,
    /// Errors and Warnings: where, from 0 to [`WIDTH`], and their number in the timeline.
    pub(super) marks: Vec<(i64, usize)>,
}

/// The picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) lanes: Vec<Lane>,
    /// Lanes that were left out.
    pub(super) left_out: usize,
}

/// The moments of one lane, oldest first, with their numbers in the timeline.
type Moments<'a> = Vec<(usize, &'a TimelineEvent)>;

/// The course of the target and of what it waited for; `None` if nothing about the target has a time. `tree` leads from the
/// target to the cause; things that are not over last until `now`.
pub(super) fn course(timeline: &[TimelineEvent], tree: &[CauseStep], target: &str, now: Timestamp) -> Option<Course> {
    let mut all: BTreeMap<(&str, &str), Moments<'_>> = BTreeMap::new();
    for (number, moment) in timeline.iter().enumerate() {
        all.entry((moment.object.as_str(), moment.part.as_str())).or_default().push((number, moment));
    }
    let own = all.get(&(target, ""))?;
    let first = own.iter().find(|(_, moment)| moment.step != MomentStep::Point).map(|(_, moment)| moment.t)?;
    let over = own.iter().rev().find(|(_, moment)| ends(moment.step)).map(|(_, moment)| moment.t);
    // Some time on both sides: what happened just before and just after belongs to it.
    let last = over.unwrap_or(now).max(first + SignedDuration::from_secs(1));
    let edge = last.duration_since(first) / 20;
    let (from, to) = (first - edge, if over.is_some() { (last + edge).min(now.max(last)) } else { last });
    let scale = Scale { from, to };

    let rank = |object: &str| tree.iter().position(|step| step.object == object);
    let cause = tree.last().filter(|_| tree.len() > 1).map(|step| step.object.as_str());
    let mut lanes: Vec<(usize, Lane)> = Vec::new();
    for ((object, part), moments) in &all {
        let Some(lane) = lane((object, part), moments, &all, &scale, now) else { continue };
        let rank = if *object == target { Some(0) } else { rank(object) };
        // A lane without a span is of use only on the way to the cause.
        if lane.spans.is_empty() && rank.is_none() {
            continue;
        }
        let is_cause = part.is_empty() && cause == Some(*object);
        lanes.push((rank.unwrap_or(usize::MAX), Lane { is_cause, ..lane }));
    }
    let trouble = |lane: &Lane| lane.look == Look::Failed || !lane.marks.is_empty() || lane.look == Look::Waits;
    let start = |lane: &Lane| lane.spans.first().map_or(WIDTH, |span| span.from);
    lanes.sort_by_key(|(rank, lane)| (*rank, !trouble(lane), start(lane), lane.object.clone(), lane.part.clone()));
    let left_out = lanes.len().saturating_sub(LANES);
    lanes.truncate(LANES);
    Some(Course { from, to, lanes: lanes.into_iter().map(|(_, lane)| lane).collect(), left_out })
}

/// Where times lie in the picture.
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    /// From 0 to [`WIDTH`]; `None` outside the picture.
    fn place(&self, t: Timestamp) -> Option<i64> {
        (self.from..=self.to).contains(&t).then(|| self.nearest(t))
    }

    fn nearest(&self, t: Timestamp) -> i64 {
        let micros = |from: Timestamp, to: Timestamp| to.duration_since(from).as_micros().max(0);
        let all = micros(self.from, self.to).max(1);
        let done = micros(self.from, t.clamp(self.from, self.to));
        i64::try_from(done * i128::from(WIDTH) / all).unwrap_or(WIDTH)
    }

    /// A span that is at least visible; `None` outside the picture.
    fn span(&self, from: Timestamp, to: Timestamp, look: Look) -> Option<Span> {
        if to < self.from || self.to < from {
            return None;
        }
        let to = self.nearest(to).max(3);
        Some(Span { from: self.nearest(from).min(to - 3), to, look })
    }
}

fn ends(step: MomentStep) -> bool {
    matches!(step, MomentStep::Ended | MomentStep::Failed)
}

fn lane(
    (object, part): (&str, &str),
    moments: &Moments<'_>,
    all: &BTreeMap<(&str, &str), Moments<'_>>,
    scale: &Scale,
    now: Timestamp,
) -> Option<Lane> {
    let mut stretches: Vec<(Timestamp, Timestamp, Look)> = Vec::new();
    let time = |wanted: MomentStep| moments.iter().find(|(_, m)| m.step == wanted).map(|(_, m)| m.t);
    let created = time(MomentStep::Created).or_else(|| time(MomentStep::Accepted));
    // Containers start again and again: each end belongs to the earliest start that has none.
    let mut open: std::collections::VecDeque<Timestamp> = std::collections::VecDeque::new();
    let mut first_start = None;
    for (_, moment) in moments {
        match moment.step {
            MomentStep::Started => {
                first_start.get_or_insert(moment.t);
                open.push_back(moment.t);
            }
            MomentStep::Ended | MomentStep::Failed => {
                let look = if moment.step == MomentStep::Ended { Look::Done } else { Look::Failed };
                let start = open.pop_front().or(created).unwrap_or(moment.t);
                first_start.get_or_insert(start);
                stretches.push((start, moment.t, look));
            }
            _ => {}
        }
    }
    stretches.extend(open.into_iter().map(|start| (start, now, Look::Runs)));
    if let Some(created) = created {
        // A pod waits until its first container starts.
        let of_parts = all.range((object, "")..).take_while(|((of, _), _)| *of == object).flat_map(|(_, all)| all);
        let begun = of_parts.filter(|(_, m)| m.step == MomentStep::Started).map(|(_, m)| m.t).min();
        let until = first_start.or(begun).unwrap_or(now);
        if created < until {
            stretches.push((created, until, Look::Waits));
        }
    }
    stretches.sort_by_key(|(from, to, _)| (*from, *to));
    let mut spans: Vec<Span> = stretches.iter().filter_map(|(from, to, look)| scale.span(*from, *to, *look)).collect();
    spans.drain(..spans.len().saturating_sub(SPANS));
    // As the picture shows it: what came later is no part of it.
    let look = spans.last().map_or(Look::Waits, |span| span.look);
    let mut marks: Vec<(i64, usize)> = moments
        .iter()
        .filter(|(_, moment)| moment.step == MomentStep::Trouble)
        .filter_map(|(number, moment)| Some((scale.place(moment.t)?, *number)))
        .collect();
    marks.drain(..marks.len().saturating_sub(MARKS));
    if spans.is_empty() && marks.is_empty() {
        return None;
    }
    let said = moments.iter().rev().find(|(_, m)| m.step != MomentStep::Point && m.t <= now)?;
    let says = bounded(&said.1.text, WORDS).into_owned();
    let (object, part) = (object.to_owned(), part.to_owned());
    Some(Lane { object, part, look, says, is_cause: false, spans, marks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::MomentKind;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    fn moment(minute: i64, object: &str, part: &str, step: MomentStep) -> TimelineEvent {
        TimelineEvent {
            t: at(minute),
            kind: MomentKind::Phase,
            object: object.into(),
            text: format!("{step:?}"),
            part: part.into(),
            step,
            path: String::new(),
            line: None,
        }
    }

    fn tree(objects: &[&str]) -> Vec<CauseStep> {
        let step = |object: &&str| CauseStep {
            object: (*object).to_owned(),
            state: String::new(),
            why: String::new(),
            evidence: Vec::new(),
        };
        objects.iter().map(step).collect()
    }

    #[test]
    fn what_waits_runs_and_fails_lies_on_one_axis_and_the_way_to_the_cause_comes_first() {
        use MomentStep::{Created, Ended, Failed, Started, Trouble};
        let (target, volume, pod) = ("Restore/v/r1", "PodVolumeRestore/v/r1-x", "Pod/shop/db-0");
        let mut timeline = vec![
            moment(-900, "Pod/v/velero", "velero", Started),
            moment(0, target, "", Created),
            moment(0, target, "", Started),
            moment(1, pod, "", Created),
            moment(1, volume, "", Created),
            moment(2, pod, "wait", Started),
            moment(3, pod, "wait", Failed),
            moment(4, pod, "wait", Started),
            moment(5, pod, "", Trouble),
            moment(9, "Backup/v/other", "", Ended),
        ];
        timeline.sort_by_key(|moment| moment.t);
        let course = course(&timeline, &tree(&[target, volume, pod]), target, at(10)).expect("a course");
        assert_eq!((course.from, course.to), (at(0) - SignedDuration::from_secs(30), at(10)));
        let lanes: Vec<_> = course.lanes.iter().map(|lane| (lane.object.as_str(), lane.part.as_str())).collect();
        assert_eq!(
            lanes,
            [(target, ""), (volume, ""), (pod, ""), (pod, "wait"), ("Pod/v/velero", "velero"), ("Backup/v/other", "")]
        );
        let looks = |lane: &Lane| lane.spans.iter().map(|span| span.look).collect::<Vec<_>>();
        assert_eq!(looks(&course.lanes[0]), [Look::Runs]);
        assert_eq!(looks(&course.lanes[1]), [Look::Waits]);
        assert_eq!(looks(&course.lanes[3]), [Look::Failed, Look::Runs]);
        assert_eq!(course.lanes[2].spans, [Span { from: 142, to: 238, look: Look::Waits }]);
        assert_eq!(course.lanes[2].marks, [(523, 8)]);
        assert_eq!(course.lanes[4].spans, [Span { from: 0, to: WIDTH, look: Look::Runs }]);
        let causes: Vec<_> =
            course.lanes.iter().filter(|lane| lane.is_cause).map(|lane| lane.object.as_str()).collect();
        assert_eq!(causes, [pod]);
    }

    #[test]
    fn a_picture_is_bounded_and_shows_the_time_of_its_target() {
        use MomentStep::{Created, Ended, Started, Trouble};
        let target = "Backup/v/b1";
        let mut timeline = vec![moment(0, target, "", Created), moment(10, target, "", Ended)];
        for n in 0..100 {
            let object = format!("Pod/shop/p{n}");
            timeline.push(moment(1, &object, "c", Started));
            timeline.extend((0..100).map(|_| moment(2, &object, "c", Trouble)));
        }
        timeline.push(moment(90, "Pod/shop/late", "c", Started));
        timeline.sort_by_key(|moment| moment.t);
        let course = course(&timeline, &[], target, at(100)).expect("a course");
        assert_eq!((course.lanes.len(), course.left_out), (LANES, 100 + 1 - LANES));
        assert!(course.lanes.iter().all(|lane| lane.marks.len() <= MARKS));
        assert_eq!(course.lanes[0].look, Look::Done);
        assert!(course.to < at(11) && super::course(&timeline, &[], "Backup/v/b2", at(100)).is_none());
    }
}
