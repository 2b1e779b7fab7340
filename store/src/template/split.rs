//! Sorting texts by their templates.
//!
//! A template is known by a hash of its text, and a text joins it only when all its bytes between
//! the slots are the template's. Texts with too many slots, and those whose template few others
//! share, stay whole.

use std::collections::HashMap;

use kansoku_model::Slice;
use kansoku_model::prehashed::Prehashed;
use xxhash_rust::xxh3::xxh3_64;

use super::tokens::{Cutter, Slot};

/// A template that fewer texts share stays with the whole texts.
const ROWS_MIN: usize = 4;
/// More templates than this are no templates; the texts behind them stay whole.
const TEMPLATES_MAX: usize = 4096;
/// How many texts may start a template of their own before half of them must have joined one.
const TRIAL_ROWS: usize = 512;

/// Texts of one template.
#[derive(Debug, Default)]
pub struct Group {
    /// One more piece than slots.
    pub pieces: Vec<Slice>,
    /// Of each slot: 0 for text, else the byte of a time format.
    pub kinds: Vec<u8>,
    /// Numbers of the texts.
    pub rows: Vec<u32>,
    /// Row by row.
    pub slots: Vec<Slice>,
}

/// Texts sorted by template, the most frequent template first.
#[derive(Debug, Default)]
pub struct Split {
    pub groups: Vec<Group>,
    /// Per text the number of its group; as large as the number of groups: it stays whole.
    pub ids: Vec<u32>,
    pub whole: Vec<Slice>,
}

const NO_GROUP: u32 = u32::MAX;

/// Sorts `values`, slices of `text`: lines with the times of their entries, or values of a slot.
/// `None` when templates are of no use.
pub fn split(values: &[Slice], text: &[u8], times: Option<&[i64]>) -> Option<Split> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<u64, u32, Prehashed> = HashMap::default();
    let mut ids = Vec::with_capacity(values.len());
    let mut slots: Vec<Slot> = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let bytes = &text[value.start as usize..][..value.len as usize];
        slots.clear();
        let cutter = Cutter::new(bytes, value.start, &mut slots);
        let is_cut = match times {
            Some(times) => cutter.coarse(times[row]),
            None => cutter.fine(),
        };
        if row == TRIAL_ROWS && groups.len() > TRIAL_ROWS / 2 {
            return None;
        }
        let id = if is_cut {
            group_of(&mut groups, &mut known, *value, &slots, text)
        } else {
            NO_GROUP
        };
        if let Some(group) = groups.get_mut(id as usize) {
            group.rows.push(row as u32);
            group.slots.extend(slots.iter().map(|s| s.at));
        }
        ids.push(id);
    }
    Some(by_frequency(groups, ids, values))
}

fn group_of(
    groups: &mut Vec<Group>,
    known: &mut HashMap<u64, u32, Prehashed>,
    value: Slice,
    slots: &[Slot],
    text: &[u8],
) -> u32 {
    let bytes = |s: Slice| &text[s.start as usize..][..s.len as usize];
    let mut hash = slots.len() as u64;
    for (piece, kind) in pieces(value, slots) {
        hash = hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(kind);
        if piece.len > 0 {
            hash ^= xxh3_64(bytes(piece));
        }
    }
    let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash >> 29;
    if let Some(&id) = known.get(&hash) {
        let group = &groups[id as usize];
        let is_same = group.kinds.len() == slots.len()
            && slots.iter().zip(&group.kinds).all(|(s, k)| s.kind == *k)
            && pieces(value, slots)
                .zip(&group.pieces)
                .all(|((a, _), b)| bytes(a) == bytes(*b));
        return if is_same { id } else { NO_GROUP };
    }
    if groups.len() == TEMPLATES_MAX {
        return NO_GROUP;
    }
    let id = groups.len() as u32;
    known.insert(hash, id);
    groups.push(Group {
        pieces: pieces(value, slots).map(|(piece, _)| piece).collect(),
        kinds: slots.iter().map(|s| s.kind).collect(),
        ..Group::default()
    });
    id
}

/// What lies between the slots, each with the kind of the slot behind it.
fn pieces(value: Slice, slots: &[Slot]) -> impl Iterator<Item = (Slice, u8)> {
    let mut start = value.start;
    let ends = slots
        .iter()
        .map(|s| (s.at.start, s.at.start + s.at.len, s.kind));
    let last = (value.start + value.len, 0, 0xff);
    ends.chain([last]).map(move |(end, next, kind)| {
        let piece = Slice {
            start,
            len: end - start,
        };
        start = next;
        (piece, kind)
    })
}

fn by_frequency(mut groups: Vec<Group>, mut ids: Vec<u32>, values: &[Slice]) -> Split {
    let mut order: Vec<u32> = (0..groups.len() as u32)
        .filter(|id| groups[*id as usize].rows.len() >= ROWS_MIN)
        .collect();
    order.sort_by_key(|id| std::cmp::Reverse(groups[*id as usize].rows.len()));
    let none = order.len() as u32;
    let mut ranks = vec![none; groups.len()];
    for (rank, id) in order.iter().enumerate() {
        ranks[*id as usize] = rank as u32;
    }
    let mut whole = Vec::new();
    for (id, value) in ids.iter_mut().zip(values) {
        *id = ranks.get(*id as usize).copied().unwrap_or(none);
        if *id == none {
            whole.push(*value);
        }
    }
    let groups = order
        .iter()
        .map(|id| std::mem::take(&mut groups[*id as usize]))
        .collect();
    Split { groups, ids, whole }
}
