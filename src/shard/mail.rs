//! Mail: what the hub asks of this shard, step by step.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mio::Token;

use super::bearers::log_socket;
use super::forms::Forms;
use super::list::Slot;
use super::outbox::{Frames, Outbox};
use super::socket::{ChannelSeat, Delivery, Fault, Pace, Phase, Seat, Socket, Unread, UserSeat};
use super::subscriptions::Subscriptions;
use super::timers::seconds;
use super::{Channel, Members, Shard, Walk, Walked, Walking};
use crate::dialect::{self, Session};
use crate::hub::{Arrival, LiveApp, Message, SocketNumber};
use crate::model::{AppNumber, AppSettings, Audience, ChannelName, Dialect, Parting, Push, UserId};
use crate::net::stream::Stream;
use crate::net::timer::Tick;
use crate::net::websocket::Reader;

/// How many messages are carried out in one turn.
const MESSAGES_PER_TURN: usize = 256;

/// How much the logs of all lists may hold before mail has to wait, in bytes. What waits in the mailbox is
/// bounded there, where a publisher can still be told.
const BEHIND_BYTES_MAX: usize = 256 * 1024;

impl Shard {
    /// Carries out what waits, unless the sockets are too far behind.
    pub(super) fn carry_out_mail(&mut self) {
        if self.mail.is_empty() {
            self.mailbox.take(&mut self.mail);
        }
        for _ in 0..MESSAGES_PER_TURN {
            if self.behind_bytes > BEHIND_BYTES_MAX {
                return;
            }
            let Some(message) = self.mail.pop_front() else { return };
            self.mailbox.done(&message);
            self.carry_out(message);
        }
    }

    fn carry_out(&mut self, message: Message) {
        match message {
            Message::Expect(arrival) => self.expect(arrival),
            Message::Open(number, stream, ahead) => self.open(number, stream, ahead),
            Message::Abandon(number) => self.abandon(number),
            Message::Push(push) => self.push(&push),
            Message::CloseUser(app, user) => self.close_user(app, &user),
            Message::Permit(app, user, change) => self.permit(app, &user, &change),
            Message::Followed(number) => self.take_up_again(number),
            Message::DisableApp(app) => self.close_app(app, Parting::AppDisabled),
            Message::CloseApp(app) => self.close_app(app, Parting::AppUnregistered),
            Message::Leave(time) => self.empty(time, Parting::NodeCutOff),
            Message::Drain(time, parting) => self.drain(time, parting),
        }
    }

    /// Makes room for a socket whose stream is still with the door.
    fn expect(&mut self, arrival: Arrival) {
        let slot = self.sockets.vacant_key() as Slot;
        let app = arrival.app.number;
        let settings = arrival.app.settings();
        let greeting = dialect::greet(&arrival.session, &settings);
        let members = self.apps.entry(app).or_insert_with(|| Members::new(&arrival.app));
        members.count += 1;
        members.deflating += usize::from(arrival.deflates);
        let seat = members.seat(arrival.session, slot, &settings, self.now);
        self.sockets.insert(Socket {
            stream: None,
            reader: Reader::default(),
            outbox: Outbox::default(),
            app,
            seat,
            phase: Phase::Live,
            last_heard: self.now,
            frames: 0,
            next_ping: 0,
            deflates: arrival.deflates,
            is_dirty: false,
            unread: Unread::Nothing,
        });
        self.places.extend(arrival.place.map(|place| (slot, place)));
        self.awaited.insert(arrival.number, slot);
        let dialect = self.sockets[slot as usize].dialect();
        self.metrics.sockets.of(dialect).add(1);
        greeting.into_iter().for_each(|greeting| self.say(slot, &greeting));
        if self.draining.is_some() {
            self.exodus.add_late(slot, self.now);
        }
    }

    /// The stream is here: sends what waited for it, then reads what came ahead.
    fn open(&mut self, number: SocketNumber, mut stream: Stream, ahead: Bytes) {
        let Some(slot) = self.awaited.remove(&number) else { return };
        let registered = stream.register(self.poll.registry(), Token(slot as usize));
        let Some((socket, mut delivery)) = self.socket(slot) else { return };
        socket.stream = Some(stream);
        socket.outbox.unblock();
        let opened = registered.map_err(|_| Fault::Gone).and_then(|()| socket.flush(&mut delivery));
        self.log_arrival(slot);
        self.show_connected(slot);
        self.settle(slot, opened);
        self.start_timer(slot);
        if !ahead.is_empty() {
            self.take_in(slot, &mut ahead.to_vec());
        }
    }

    fn log_arrival(&self, slot: Slot) {
        let socket = self.sockets.get(slot as usize);
        let Some((Seat::Channels(seat), app)) = socket.map(|socket| (&socket.seat, socket.app)) else {
            return;
        };
        if let Some(members) = self.apps.get(&app) {
            log_socket("connect", &members.live, &seat.session);
        }
    }

    fn abandon(&mut self, number: SocketNumber) {
        if let Some(slot) = self.awaited.remove(&number) {
            self.remove(slot);
        }
    }

    /// Once for each dialect that has receivers here, as they read other frames.
    fn push(&mut self, push: &Push) {
        self.metrics.pushes.add(1);
        for dialect in Dialect::ALL {
            self.push_in(push, dialect);
        }
    }

    /// A push to everyone, or to a channel, joins the log of its list; one to some users goes into the outboxes of
    /// their sockets, behind what the log still owes them.
    fn push_in(&mut self, push: &Push, dialect: Dialect) {
        if !self.has_receivers(push, dialect) {
            return;
        }
        let Some(text) = dialect::encode(push, dialect) else { return };
        let forms = self.forms(push.app, &text);
        match &push.audience {
            Audience::Everyone => self.append(Walk::Everyone(push.app), forms),
            Audience::Users(users) => self.push_to_users(push.app, users, &forms),
            Audience::Channel(channel) => self.push_to_channel(push, channel, dialect, forms),
            Audience::Watchers(user) => self.push_to_watchers(push, user, &forms),
            Audience::Bearers(user) => self.push_to_bearers(push.app, user, &forms),
            Audience::Socket(id) => self.push_to_socket(push.app, *id, &forms),
        }
    }

    /// Whether it is worth while to encode a push: a channel is seldom heard in more than one dialect.
    fn has_receivers(&mut self, push: &Push, dialect: Dialect) -> bool {
        let Audience::Channel(channel) = &push.audience else { return true };
        let members = self.apps.get_mut(&push.app);
        members.is_some_and(|members| members.channels(dialect).contains_key(channel))
    }

    /// Appends a message to the log of a list, and has the list walked.
    pub(super) fn append(&mut self, walk: Walk, forms: Forms) {
        let Some((_, walked)) = walk.list(&mut self.apps) else { return };
        self.behind_bytes += forms.bytes();
        walked.list.append(forms);
        if !std::mem::replace(&mut walked.is_walking, true) {
            let laps_before = walked.list.laps();
            self.walks.push_back(Walking { walk, laps_before, begun: self.turn });
        }
    }

    fn push_to_users(&mut self, app: AppNumber, users: &[UserId], forms: &Forms) {
        let Some(members) = self.apps.get_mut(&app) else { return };
        let (limits, now) = (self.settings.outbox, self.now);
        let mut delivery = Delivery { limits, pool: &mut self.pool, metrics: &self.metrics, now };
        let mut delivered = 0;
        for slot in users.iter().filter_map(|user| members.users.get(user)).flatten() {
            let socket = &mut self.sockets[*slot as usize];
            let Seat::User(seat) = &socket.seat else { continue };
            let owed = members.everyone.list.catch_up(seat.place, socket.deflates);
            let pushed = Frames { bytes: forms.frame(socket.deflates).clone(), count: 1 };
            for frames in owed.into_iter().chain([pushed]) {
                delivered += u64::from(frames.count);
                if let Err(fault) = socket.queue(frames, &mut delivery) {
                    self.faulty.push((*slot, fault));
                    break;
                }
            }
            if !std::mem::replace(&mut socket.is_dirty, true) {
                self.dirty.push_back(*slot);
            }
        }
        self.count_deliveries(app, delivered);
        self.settle_faulty();
    }

    fn close_app(&mut self, app: AppNumber, parting: Parting) {
        let slots = self.slots(|socket| socket.app == app);
        slots.into_iter().for_each(|slot| self.part(slot, parting));
    }

    pub(super) fn slots(&self, wanted: impl Fn(&Socket) -> bool) -> Vec<Slot> {
        self.sockets.iter().filter(|(_, socket)| wanted(socket)).map(|(slot, _)| slot as Slot).collect()
    }
}

impl Members {
    fn new(live: &Arc<LiveApp>) -> Self {
        Self {
            live: Arc::clone(live),
            count: 0,
            deflating: 0,
            everyone: Walked::default(),
            users: HashMap::new(),
            channels: HashMap::new(),
            cluster_channels: HashMap::new(),
            bearers: HashMap::new(),
            ids: HashMap::new(),
            signed_in: HashMap::new(),
            watchers: HashMap::new(),
        }
    }

    /// The channels on this shard, as those know them who speak a dialect.
    pub(super) fn channels(&mut self, dialect: Dialect) -> &mut HashMap<ChannelName, Channel> {
        match dialect {
            Dialect::Cluster => &mut self.cluster_channels,
            Dialect::Gusher | Dialect::Pusher => &mut self.channels,
        }
    }

    /// Gives a new socket its seat.
    fn seat(&mut self, session: Session, slot: Slot, settings: &AppSettings, now: Tick) -> Seat {
        let leave_by = match &session {
            Session::Gusher(_) => None,
            Session::Pusher(_) => settings
                .authorized_connections
                .then_some((now + seconds(settings.authorization_timeout), Parting::Unauthorized)),
            Session::Cluster(session) => {
                session.life_s.map(|life_s| (now + seconds(life_s), Parting::TokenExpired))
            }
        };
        if let Some(Some(user)) = session.bearer() {
            self.bearers.entry(user.clone()).or_default().insert(slot);
        }
        match session {
            Session::Gusher(user) => {
                let sockets_of_user = self.users.entry(user.clone()).or_default();
                sockets_of_user.push(slot);
                let user_place = sockets_of_user.len() as u32 - 1;
                Seat::User(UserSeat { user, place: self.everyone.list.join(slot), user_place })
            }
            Session::Pusher(_) | Session::Cluster(_) => {
                let socket_id = session.socket_id().unwrap_or_default();
                self.ids.insert(socket_id, slot);
                Seat::Channels(Box::new(ChannelSeat {
                    session,
                    socket_id,
                    identity: None,
                    leave_by,
                    activity_timeout: seconds(settings.activity_timeout),
                    pong_timeout: seconds(settings.pong_timeout),
                    subscriptions: Subscriptions::default(),
                    pace: Pace::default(),
                    left: None,
                }))
            }
        }
    }
}
