import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.pusher.client.AuthorizationFailureException;
import com.pusher.client.ChannelAuthorizer;
import com.pusher.client.Pusher;
import com.pusher.client.PusherOptions;
import com.pusher.client.channel.PresenceChannelEventListener;
import com.pusher.client.channel.PrivateChannel;
import com.pusher.client.channel.PrivateEncryptedChannelEventListener;
import com.pusher.client.channel.PusherEvent;
import com.pusher.client.channel.User;
import com.pusher.client.connection.ConnectionEventListener;
import com.pusher.client.connection.ConnectionState;
import com.pusher.client.connection.ConnectionStateChange;
import com.pusher.rest.data.PresenceUser;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.logging.LogManager;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** pusher-java-client, which speaks protocol 5: what an app on a phone joins, hears and says. */
public class Guest {
    static final int PATIENCE_SECONDS = 10;
    static final int RESTART_SECONDS = 60;
    static final String HOST = setting("PUSHER_HOST", "127.0.0.1");
    static final int PORT = Integer.parseInt(setting("PUSHER_PORT", "8001"));
    static final String APP_ID = setting("PUSHER_APP_ID", "1");
    static final String KEY = setting("PUSHER_APP_KEY", "demo");
    static final String SECRET = setting("PUSHER_APP_SECRET", "demo-secret");

    // Part of every name, so that two visits to one server do not meet.
    static final String RUN = "-" + Integer.toHexString(ThreadLocalRandom.current().nextInt());
    static final String NEWS = "news" + RUN;
    static final String CHAT = "private" + RUN;
    static final String ROOM = "presence" + RUN;
    static final String VAULT = "private-encrypted" + RUN;
    static final String COUNTED = "counted" + RUN;
    static final String ADA = "ada" + RUN;

    static final com.pusher.rest.Pusher BACKEND = backend(SECRET);

    public static void main(String[] none) {
        LogManager.getLogManager().reset(); // attempts to reach a server that is away are no news here
        try {
            visit();
            System.exit(0);
        } catch (Throwable problem) {
            fail("the visit goes on", "no exception", problem);
        }
    }

    static void visit() throws Exception {
        Visitor ada = new Visitor(ADA, SECRET);
        subscriptions(ada);
        publications(ada);
        otherMember(ada);
        refusals();
        subscriptionCount(ada);
        signIn(ada);
        if (setting("GUEST_RESTART", "").isEmpty()) {
            System.out.println("skip a restart of the server: GUEST_RESTART is not set");
        } else {
            restart(ada);
        }
        ada.client.disconnect();
        step("the client disconnects", "DISCONNECTED", ada.state(PATIENCE_SECONDS));
    }

    static void subscriptions(Visitor ada) throws Exception {
        ada.connects("a client");
        ada.client.subscribePrivate(CHAT, ada, "headline", "client-typing");
        step("and a private channel", CHAT + " joined", ada.hears());
        ada.client.subscribePresence(ROOM, ada, "headline");
        step("and a presence channel, where it sees itself", ROOM + " has [" + ADA + "]", ada.hears());
        step("which it has joined", ROOM + " joined", ada.hears());
        ada.client.subscribePrivateEncrypted(VAULT, ada, "headline");
        step("and an encrypted channel", VAULT + " joined", ada.hears());
    }

    static void publications(Visitor ada) throws Exception {
        for (String channel : List.of(NEWS, CHAT, ROOM)) {
            publish(channel, "headline", Map.of("text", "hello ☃"));
            String kind = channel.substring(0, channel.length() - RUN.length());
            String headline = channel + " headline {\"text\":\"hello ☃\"}";
            step("an event of the " + kind + " channel arrives", headline, ada.hears());
        }
        publish(VAULT, "headline", Map.of("pin", 1234));
        step("an encrypted event arrives, and opens", VAULT + " headline {\"pin\":1234}", ada.hears());
    }

    /**
     * Publishes. Apache's client finds out that a restart has closed its connection only as it uses that again, and repeats no
     * POST by itself.
     */
    static void publish(String channel, String event, Object data) {
        if (BACKEND.trigger(channel, event, data).getStatus() == com.pusher.rest.data.Result.Status.NETWORK_ERROR) {
            BACKEND.trigger(channel, event, data);
        }
    }

    static void otherMember(Visitor ada) throws Exception {
        String name = "bob" + RUN;
        Visitor bob = new Visitor(name, SECRET);
        bob.connects("somebody else");
        bob.client.subscribePresence(ROOM, bob, "headline");
        step("and sees both in the presence channel", ROOM + " has [" + ADA + ", " + name + "]", bob.hears());
        step("which it has joined", ROOM + " joined", bob.hears());
        step("who was there sees who came", ROOM + " + " + name + " {\"name\":\"" + name + "\"}", ada.hears());
        PrivateChannel chat = bob.client.subscribePrivate(CHAT, bob, "client-typing");
        step("the other joins the private channel", CHAT + " joined", bob.hears());
        chat.trigger("client-typing", "{\"at\":3}");
        step("a client event arrives", CHAT + " client-typing {\"at\":3}", ada.hears());
        bob.client.disconnect();
        step("and who left is seen to leave", ROOM + " - " + name, ada.hears());
        step("the other disconnects", "DISCONNECTED", bob.state(PATIENCE_SECONDS));
    }

    /** The library calls onAuthenticationFailure when its authorizer refuses, and onError when the server does. */
    static void refusals() throws Exception {
        Visitor eve = new Visitor("eve" + RUN, "wrong");
        eve.connects("a stranger");
        eve.client.subscribePrivate(CHAT, eve, "pusher:subscription_error");
        step("and is refused, without a code that closes", "error null", eve.hears());
        String refusal = eve.hears();
        String begin = CHAT + " pusher:subscription_error ";
        step("and the channel hears of it", begin, refusal.substring(0, Math.min(begin.length(), refusal.length())));
        JsonObject told = JsonParser.parseString(refusal.substring(begin.length())).getAsJsonObject();
        step("with its type", "AuthError", told.get("type").getAsString());
        step("and its status", 401, told.get("status").getAsInt());
        eve.client.subscribePrivateEncrypted(VAULT, eve, "headline");
        step("so it is on an encrypted channel", "error null", eve.hears());
        eve.client.subscribePrivate("private-locked" + RUN, eve);
        step("what its authorizer refuses is an authentication failure", "failure locked", eve.hears());
        step("the stranger stays connected", ConnectionState.CONNECTED, eve.client.getConnection().getState());
        eve.client.disconnect();
        step("until it disconnects", "DISCONNECTED", eve.state(PATIENCE_SECONDS));
    }

    static void subscriptionCount(Visitor ada) throws Exception {
        ada.client.subscribe(COUNTED, ada, "pusher:subscription_count");
        step("a channel is joined", COUNTED + " joined", ada.hears());
        String count = COUNTED + " pusher:subscription_count {\"subscription_count\":1}";
        step("and tells how many joined it", count, ada.hears());
        ada.client.unsubscribe(COUNTED);
    }

    static void signIn(Visitor ada) throws Exception {
        ada.client.user().bind("ping", event -> ada.pings.add(event.getChannelName() + " " + event.getData()));
        ada.client.signin();
        step("a user signs in, and an event for the user arrives", "#server-to-user-" + ADA + " 4", ada.isPinged(4));
        step("the library knows the user", ADA, ada.client.user().userId());
    }

    static void restart(Visitor ada) throws Exception {
        System.out.println("RESTART");
        System.out.flush();
        step("a restart of the server is noticed", "RECONNECTING", ada.state(RESTART_SECONDS));
        step("and the connection comes back", true, ada.isBack());
        Set<String> heard = new TreeSet<>();
        for (int i = 0; i < 5; i++) {
            heard.add(ada.hears());
        }
        Set<String> expected = new TreeSet<>(List.of(NEWS + " joined", CHAT + " joined", ROOM + " joined",
            ROOM + " has [" + ADA + "]", VAULT + " joined"));
        step("and has joined all channels again", expected, heard);
        publications(ada);
        step("and the user is signed in again", "#server-to-user-" + ADA + " 5", ada.isPinged(5));
    }

    /** One client; what it is told about its channels and its connection lands in two inboxes, in words. */
    static class Visitor
            implements PresenceChannelEventListener, PrivateEncryptedChannelEventListener, ConnectionEventListener {
        final BlockingQueue<String> inbox = new LinkedBlockingQueue<>();
        final BlockingQueue<String> states = new LinkedBlockingQueue<>();
        final BlockingQueue<String> pings = new LinkedBlockingQueue<>();
        final Pusher client;

        Visitor(String name, String secret) {
            PusherOptions options = new PusherOptions()
                .setHost(HOST)
                .setWsPort(PORT)
                .setUseTLS(false)
                .setMaxReconnectionAttempts(60)
                .setMaxReconnectGapInSeconds(1)
                .setChannelAuthorizer(authorizer(name, backend(secret)))
                .setUserAuthenticator(socketId -> signedUser(socketId, name));
            client = new Pusher(KEY, options);
        }

        /**
         * Connects with one channel that is asked for before. When that is joined, the library has sent all that waited
         * for the connection; what is asked for just as it connects may be sent twice, and is refused the second time.
         */
        void connects(String who) throws InterruptedException {
            client.subscribe(NEWS, this, "headline");
            client.connect(this, ConnectionState.ALL);
            step(who + " connects", "CONNECTED", state(PATIENCE_SECONDS));
            step("and joins a public channel", NEWS + " joined", hears());
        }

        String hears() throws InterruptedException {
            return next(inbox, PATIENCE_SECONDS);
        }

        /** The next state of the connection that is not just on the way to another. */
        String state(int seconds) throws InterruptedException {
            String state;
            do {
                state = next(states, seconds);
            } while (state.equals("CONNECTING") || state.equals("DISCONNECTING"));
            return state;
        }

        /** Whether the connection is there again, after as many attempts as it takes. */
        boolean isBack() throws InterruptedException {
            String state;
            do {
                state = state(RESTART_SECONDS);
                inbox.removeIf(heard -> heard.startsWith("error")); // an attempt that failed
            } while (state.equals("RECONNECTING"));
            return state.equals("CONNECTED");
        }

        /** Nothing tells when the library is ready for a user's events: publishes until one arrives. */
        String isPinged(int number) throws InterruptedException {
            String user = "#server-to-user-" + ADA;
            String body = new Gson().toJson(Map.of("name", "ping", "channels", List.of(user), "data", "" + number));
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
            String heard = null;
            while ((heard == null || !heard.endsWith(" " + number)) && System.nanoTime() < end) {
                BACKEND.post("/events", body);
                heard = pings.poll(100, TimeUnit.MILLISECONDS);
            }
            return heard;
        }

        @Override
        public void onSubscriptionSucceeded(String channel) {
            inbox.add(channel + " joined");
        }

        @Override
        public void onEvent(PusherEvent event) {
            inbox.add(event.getChannelName() + " " + event.getEventName() + " " + event.getData());
        }

        @Override
        public void onUsersInformationReceived(String channel, Set<User> users) {
            Set<String> names = new TreeSet<>();
            users.forEach(user -> names.add(user.getId()));
            inbox.add(channel + " has " + names);
        }

        @Override
        public void userSubscribed(String channel, User user) {
            inbox.add(channel + " + " + user.getId() + " " + user.getInfo());
        }

        @Override
        public void userUnsubscribed(String channel, User user) {
            inbox.add(channel + " - " + user.getId());
        }

        @Override
        public void onAuthenticationFailure(String message, Exception problem) {
            inbox.add("failure " + message);
        }

        @Override
        public void onDecryptionFailure(String event, String reason) {
            inbox.add("sealed " + event + " " + reason);
        }

        @Override
        public void onConnectionStateChange(ConnectionStateChange change) {
            states.add(change.getCurrentState().name());
        }

        @Override
        public void onError(String message, String code, Exception problem) {
            inbox.add("error " + code);
        }

        /** Two interfaces give this method; a listener's own errors are as good as the connection's. */
        @Override
        public void onError(String message, Exception problem) {
            inbox.add("error " + message);
        }
    }

    /** What an app's own server answers when a client asks to join a channel. */
    static ChannelAuthorizer authorizer(String name, com.pusher.rest.Pusher backend) {
        return (channel, socketId) -> {
            if (channel.startsWith("private-locked")) {
                throw new AuthorizationFailureException("locked");
            }
            return channel.startsWith("presence-")
                ? backend.authenticate(socketId, channel, new PresenceUser(name, Map.of("name", name)))
                : backend.authenticate(socketId, channel);
        };
    }

    /** What it answers when a client asks to sign in; the server's library cannot do that yet. */
    static String signedUser(String socketId, String name) {
        String user = new Gson().toJson(Map.of("id", name));
        String auth = KEY + ":" + signature(socketId + "::user::" + user);
        return new Gson().toJson(Map.of("auth", auth, "user_data", user));
    }

    static com.pusher.rest.Pusher backend(String secret) {
        String masterKey = Base64.getEncoder().encodeToString(new byte[32]);
        com.pusher.rest.Pusher backend = new com.pusher.rest.Pusher(APP_ID, KEY, secret, masterKey);
        backend.setHost(HOST + ":" + PORT);
        backend.setEncrypted(false);
        return backend;
    }

    static String signature(String text) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(SECRET.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
            StringBuilder hex = new StringBuilder();
            for (byte part : mac.doFinal(text.getBytes(StandardCharsets.UTF_8))) {
                hex.append(String.format("%02x", part));
            }
            return hex.toString();
        } catch (java.security.GeneralSecurityException problem) {
            throw new IllegalStateException(problem);
        }
    }

    static String next(BlockingQueue<String> queue, int seconds) throws InterruptedException {
        String heard = queue.poll(seconds, TimeUnit.SECONDS);
        return heard != null ? heard : "nothing within " + seconds + " s";
    }

    static String setting(String name, String usual) {
        return System.getenv().getOrDefault(name, usual);
    }

    static void step(String name, Object expected, Object got) {
        if (!Objects.equals(expected, got)) {
            fail(name, expected, got);
        }
        System.out.println("ok   " + name);
    }

    static void fail(String name, Object expected, Object got) {
        System.out.println("FAIL " + name + ": expected " + expected + ", got " + got);
        System.exit(1);
    }
}
