//! Channels: subscribing, unsubscribing and publishing, as a socket asks for it, step by step.
//!
//! Always: the hub knows of a subscription before its client is told; the reply is on its way, or in the outbox, before
//! the shard next takes mail, so no push overtakes it; and a subscriber never hears of a change that its roster includes.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::forms::Forms;
use super::list::Slot;
use super::socket::{ChannelSeat, Seat};
use super::subscriptions::Subscription;
use super::{Shard, Walk};
use crate::dialect;
use crate::hub::{Bearer, Joined, Subscriber};
use crate::model::{
    AppNumber, AppRate, ChannelKind, ChannelName, Command, Content, Dialect, Member, Push, Refusal, Reply,
};
use crate::net::timer::Tick;
use crate::net::websocket::Opcode;

/// One second.
pub(super) const SECOND_TICKS: Tick = 4;

impl Shard {
    /// Carries out what a client asks.
    pub(super) fn carry_out_command(&mut self, slot: Slot, command: Command) {
        match command {
            Command::Ping => self.reply(slot, &Reply::Pong),
            Command::Echo(value) => {
                let at_s = Timestamp::now().as_second();
                self.reply(slot, &Reply::Echo { value: &value, at_s });
            }
            Command::ShowPermissions => self.reply(slot, &Reply::Permissions),
            Command::SubscribeAll(channels) => {
                let reply = match self.join_channels(slot, &channels) {
                    Ok(()) => Reply::SubscribedToAll(&channels),
                    Err(refusal) => {
                        self.show_refused(slot, &refusal);
                        Reply::SubscribedToNone(&channels, refusal)
                    }
                };
                self.reply(slot, &reply);
            }
            Command::Subscribe { channel, member } => {
                let reply = match self.join_channel(slot, &channel, member.as_ref()) {
                    Ok(joined) => {
                        Reply::Subscribed { channel: &channel, roster: joined.roster, kept: joined.kept }
                    }
                    Err(refusal) => {
                        self.show_refused(slot, &refusal);
                        Reply::NotSubscribed(&channel, refusal)
                    }
                };
                self.reply(slot, &reply);
            }
            Command::Unsubscribe(channel) => {
                let reply = match self.leave_channel(slot, &channel) {
                    Ok(()) => {
                        self.note_left(slot, &channel);
                        self.show_unsubscribed(slot, &channel);
                        Reply::Unsubscribed(&channel)
                    }
                    Err(refusal) => Reply::NotUnsubscribed(&channel, refusal),
                };
                self.reply(slot, &reply);
            }
            Command::Publish { channel, event, data } => {
                if let Err(refusal) = self.publish_as(slot, &channel, event, data) {
                    self.show_refused(slot, &refusal);
                    self.reply(slot, &Reply::NotPublished(&channel, refusal));
                }
            }
            Command::SignIn(sign_in) => self.sign_in(slot, &sign_in),
        }
    }

    /// Into all channels that it is not in, or into none.
    fn join_channels(&mut self, slot: Slot, channels: &[ChannelName]) -> Result<(), Refusal> {
        let channels_max = self.settings.channels.channels_max;
        let Some((_, seat)) = self.channel_seat(slot) else { return Err(Refusal::Internal) };
        let new: HashSet<&ChannelName> =
            channels.iter().filter(|channel| !seat.subscriptions.contains(channel)).collect();
        if seat.subscriptions.len() + new.len() > channels_max {
            return Err(Refusal::TooManyChannels);
        }
        new.into_iter().try_for_each(|channel| self.join_channel(slot, channel, None).map(drop))
    }

    fn join_channel(
        &mut self,
        slot: Slot,
        channel: &ChannelName,
        member: Option<&Member>,
    ) -> Result<Joined, Refusal> {
        let channels_max = self.settings.channels.channels_max;
        let (shard, now) = (self.index, self.now);
        let Some((app, seat)) = self.channel_seat(slot) else { return Err(Refusal::Internal) };
        if seat.subscriptions.contains(channel) {
            return Err(Refusal::SubscribedAlready);
        }
        if seat.subscriptions.len() >= channels_max {
            return Err(Refusal::TooManyChannels);
        }
        let left = seat.left.as_ref().map_or(0, |left| left.count(channel, now));
        let bearer = seat.session.bearer().map(|user| user.cloned());
        let bearer = bearer.as_ref().map(|user| Bearer { user: user.as_ref() });
        let subscriber = Subscriber { shard, socket: seat.socket_id, member, bearer };
        let dialect = seat.session.dialect();
        let Some(members) = self.apps.get_mut(&app) else { return Err(Refusal::Internal) };
        let rejoins_max = members.live.settings().max_presence_rejoins_per_second;
        if left > rejoins_max {
            members.live.metrics.exceeded.of(AppRate::Rejoins).add(1);
            return Err(Refusal::RateExceeded(AppRate::Rejoins));
        }
        let joined = self.hub.subscribe(&members.live, channel, &subscriber)?;
        let follow = joined.follow;
        let entry = members.channels(dialect).entry(channel.clone());
        // One name for all sockets that are in the channel.
        let name = entry.key().clone();
        let held = entry.or_default();
        let place = held.walked.list.join(slot);
        if joined.revision > 0 {
            held.newcomers.insert(slot, joined.revision);
        }
        let subscription = Subscription { place, member: member.map(|member| member.user.clone()) };
        if let Some((_, seat)) = self.channel_seat(slot) {
            seat.subscriptions.insert(name, subscription);
            if channel.kind() != ChannelKind::Public && dialect == Dialect::Pusher {
                seat.leave_by = None;
            }
        }
        if let Some(number) = follow {
            self.put_aside(slot, number);
        }
        self.show_subscribed(slot, channel);
        Ok(joined)
    }

    /// A client has left a channel. Where others are told of that, it cannot come and go as often as it likes.
    fn note_left(&mut self, slot: Slot, channel: &ChannelName) {
        let now = self.now;
        if let Some((_, seat)) = self.channel_seat(slot).filter(|_| channel.kind() == ChannelKind::Presence) {
            seat.left.get_or_insert_default().add(channel, now);
        }
    }

    /// Takes a socket out of a channel, here and, unless it has left, in the hub.
    pub(super) fn leave_channel(&mut self, slot: Slot, channel: &ChannelName) -> Result<(), Refusal> {
        let Some((app, seat)) = self.channel_seat(slot) else { return Err(Refusal::Internal) };
        let Some(subscription) = seat.subscriptions.remove(channel) else {
            return Err(Refusal::NotSubscribed);
        };
        let dialect = seat.session.dialect();
        if self.is_known(slot) {
            self.unsubscribe_in_hub(slot, channel, &subscription);
        }
        let Some(members) = self.apps.get_mut(&app) else { return Err(Refusal::Internal) };
        let Some(held) = members.channels(dialect).get_mut(channel) else { return Err(Refusal::Internal) };
        let sockets = &mut self.sockets;
        held.walked.list.remove(subscription.place, |moved, place| {
            if let Seat::Channels(seat) = &mut sockets[moved as usize].seat
                && let Some(subscription) = seat.subscriptions.get_mut(channel)
            {
                subscription.place = place;
            }
        });
        held.newcomers.remove(&slot);
        if held.walked.list.is_empty() {
            self.behind_bytes -= held.walked.list.behind_bytes();
            members.channels(dialect).remove(channel);
        }
        Ok(())
    }

    fn publish_as(
        &mut self,
        slot: Slot,
        channel: &ChannelName,
        event: Arc<str>,
        data: Arc<str>,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let app = self.channel_seat(slot).map(|(app, _)| app).ok_or(Refusal::Internal)?;
        let live = self.apps.get(&app).map(|members| Arc::clone(&members.live)).ok_or(Refusal::Internal)?;
        let Some((_, seat)) = self.channel_seat(slot) else { return Err(Refusal::Internal) };
        let Some(subscription) = seat.subscriptions.get(channel) else { return Err(Refusal::NotSubscribed) };
        let user = subscription.member.clone().filter(|_| channel.kind() == ChannelKind::Presence);
        if seat.pace.add(now, SECOND_TICKS) > live.settings().max_client_events_per_second {
            return Err(Refusal::TooManyEvents);
        }
        let socket_id = seat.socket_id;
        self.hub.publish_as(&live, channel, (event, data), socket_id, user)
    }

    /// Appends a push to the log of its channel's subscribers that speak a dialect. A socket that is not to get it gets
    /// what it is owed first. One that has left hears of what is published, and not of who else is there: the others are
    /// told that it is gone.
    pub(super) fn push_to_channel(
        &mut self,
        push: &Push,
        channel: &ChannelName,
        dialect: Dialect,
        forms: Forms,
    ) {
        let Some(members) = self.apps.get_mut(&push.app) else { return };
        let mut excepted: Vec<Slot> =
            push.except.and_then(|id| members.ids.get(&id).copied()).into_iter().collect();
        let Some(held) = members.channels(dialect).get_mut(channel) else { return };
        if push.revision > 0 {
            excepted.extend(
                held.newcomers.iter().filter(|(_, told)| **told >= push.revision).map(|(slot, _)| *slot),
            );
            held.newcomers.retain(|_, told| *told > push.revision);
        }
        if !matches!(push.content, Content::Event { .. } | Content::Value { .. }) {
            excepted.extend(self.exodus.leaving());
        }
        if dialect::spares_some(push) {
            let is_spared = |slot: &Slot| match &self.sockets[*slot as usize].seat {
                Seat::Channels(seat) => dialect::is_spared(&seat.session, push),
                Seat::User(_) => false,
            };
            excepted.extend(held.walked.list.slots().filter(is_spared));
        }
        let walk = Walk::Channel(push.app, dialect, channel.clone());
        let places: Vec<(Slot, u32)> = excepted
            .into_iter()
            .filter_map(|slot| Some((slot, self.place_in(slot, channel, dialect)?)))
            .collect();
        for (slot, place) in &places {
            self.hand_over(*slot, &walk, *place);
        }
        self.append(walk.clone(), forms);
        if let Some((_, walked)) = walk.list(&mut self.apps) {
            places.iter().for_each(|(_, place)| walked.list.skip(*place));
        }
        self.settle_faulty();
    }

    /// Its place among the subscribers of a channel that speak a dialect.
    fn place_in(&self, slot: Slot, channel: &ChannelName, dialect: Dialect) -> Option<u32> {
        match &self.sockets.get(slot as usize)?.seat {
            Seat::Channels(seat) if seat.session.dialect() != dialect => None,
            Seat::Channels(seat) => seat.subscriptions.get(channel).map(|subscription| subscription.place),
            Seat::User(_) => None,
        }
    }

    pub(super) fn channel_seat(&mut self, slot: Slot) -> Option<(AppNumber, &mut ChannelSeat)> {
        let socket = self.sockets.get_mut(slot as usize)?;
        match &mut socket.seat {
            Seat::Channels(seat) => Some((socket.app, seat)),
            Seat::User(_) => None,
        }
    }

    /// Tells a client what came of its command.
    pub(super) fn reply(&mut self, slot: Slot, reply: &Reply<'_>) {
        let Some((_, seat)) = self.channel_seat(slot) else { return };
        for text in dialect::reply(&seat.session, reply) {
            self.say(slot, &text);
        }
    }

    /// Sends a text to one socket.
    pub(super) fn say(&mut self, slot: Slot, text: &str) {
        self.answer(slot, Opcode::Text, text.as_bytes());
    }
}
