//! Users of this shard that have signed in, and those who watch them, step by step.

use std::collections::HashMap;
use std::collections::HashSet;

use super::Shard;
use super::forms::Forms;
use super::list::Slot;
use super::socket::{Identity, Seat};
use crate::model::{AppNumber, Parting, Push, Reply, SignIn, UserId};

impl Shard {
    /// Remembers whose socket it is, and has it watch whom it names. Signing in again as the same user replaces what
    /// was said before.
    pub(super) fn sign_in(&mut self, slot: Slot, sign_in: &SignIn) {
        let user = &sign_in.member.user;
        let Some((app, seat)) = self.channel_seat(slot) else { return };
        let former = seat.identity.take();
        seat.leave_by = None;
        let Some(members) = self.apps.get_mut(&app) else { return };
        if former.is_none() {
            members.signed_in.entry(user.clone()).or_default().insert(slot);
            self.hub.sign_in(self.index, &members.live, user);
        }
        if let Some(former) = former {
            self.unwatch_in_hub(slot, &former.watchlist);
            self.unwatch(app, slot, &former.watchlist);
        }
        let Some(members) = self.apps.get_mut(&app) else { return };
        for watched in &sign_in.watchlist {
            members.watchers.entry(watched.clone()).or_default().insert(slot);
        }
        let watched = self.hub.watch(self.index, &members.live, &sign_in.watchlist);
        let ids_max = members.live.settings().max_watchlist_ids as usize;
        let (member, watchlist) = (sign_in.member.clone(), sign_in.watchlist.clone());
        if let Some((_, seat)) = self.channel_seat(slot) {
            seat.identity = Some(Box::new(Identity { member, watchlist, told: watched.revision }));
        }
        self.reply(slot, &Reply::SignedIn(sign_in));
        self.reply(slot, &Reply::Watched { online: watched.online, offline: watched.offline });
        if sign_in.is_watchlist_cut {
            self.reply(slot, &Reply::WatchlistCut(ids_max));
        }
        if sign_in.is_watchlist_invalid {
            self.reply(slot, &Reply::WatchlistInvalid);
        }
    }

    /// Forgets whose socket it was; the hub has been told.
    pub(super) fn sign_out(&mut self, slot: Slot) {
        let Some((app, seat)) = self.channel_seat(slot) else { return };
        let Some(identity) = seat.identity.take() else { return };
        self.unwatch(app, slot, &identity.watchlist);
        let Some(members) = self.apps.get_mut(&app) else { return };
        take_out(&mut members.signed_in, &identity.member.user, slot);
    }

    /// A socket watches these users no longer, here.
    fn unwatch(&mut self, app: AppNumber, slot: Slot, watchlist: &[UserId]) {
        let Some(members) = self.apps.get_mut(&app) else { return };
        watchlist.iter().for_each(|user| take_out(&mut members.watchers, user, slot));
    }

    /// Tells those who watch a user, unless they were told when they began to watch.
    pub(super) fn push_to_watchers(&mut self, push: &Push, user: &UserId, forms: &Forms) {
        let Some(members) = self.apps.get(&push.app) else { return };
        let is_told = |slot: &Slot| match &self.sockets[*slot as usize].seat {
            Seat::Channels(seat) => {
                seat.identity.as_ref().is_none_or(|identity| identity.told >= push.revision)
            }
            Seat::User(_) => true,
        };
        let watchers = members.watchers.get(user).into_iter().flatten().copied();
        let slots: Vec<Slot> = watchers.filter(|slot| self.is_known(*slot) && !is_told(slot)).collect();
        self.count_deliveries(push.app, slots.len() as u64);
        slots.into_iter().for_each(|slot| {
            let deflates = self.sockets[slot as usize].deflates;
            self.send(slot, forms.frame(deflates).clone());
        });
    }

    /// Closes the sockets that are signed in as this user.
    pub(super) fn close_user(&mut self, app: AppNumber, user: &UserId) {
        let Some(members) = self.apps.get(&app) else { return };
        let slots: Vec<Slot> = members.signed_in.get(user).into_iter().flatten().copied().collect();
        slots.into_iter().for_each(|slot| self.part(slot, Parting::Terminated));
    }
}

/// Takes a socket out of a user's.
pub(super) fn take_out(sockets: &mut HashMap<UserId, HashSet<Slot>>, user: &UserId, slot: Slot) {
    let Some(of_user) = sockets.get_mut(user) else { return };
    of_user.remove(&slot);
    if of_user.is_empty() {
        sockets.remove(user);
    }
}
