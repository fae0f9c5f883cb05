import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.pusher.rest.Pusher;
import com.pusher.rest.data.Event;
import com.pusher.rest.data.PresenceUser;
import com.pusher.rest.data.Result;
import com.pusher.rest.data.Validity;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** pusher-http-java: what a backend in Java publishes, asks, signs and is told (PC-174, PC-187). */
public class Guest {
    static final int PATIENCE_SECONDS = 10;
    static final String SERVER = setting("PUSHER_HOST", "127.0.0.1") + ":" + setting("PUSHER_PORT", "8001");
    static final String KEY = setting("PUSHER_APP_KEY", "demo");
    static final String SECRET = setting("PUSHER_APP_SECRET", "demo-secret");
    static final String WEBHOOKS = System.getenv("GUEST_WEBHOOKS");
    static final String SUCCEEDED = "pusher_internal:subscription_succeeded";

    // Part of every name, so that two visits to one server do not meet.
    static final String RUN = "-" + Integer.toHexString(ThreadLocalRandom.current().nextInt());
    static final String NEWS = "news" + RUN;
    static final String CHAT = "private" + RUN;
    static final String ROOM = "presence" + RUN;
    static final String MEMO = "cache" + RUN;
    static final String ADA = "ada" + RUN;

    public static void main(String[] none) {
        try {
            visit();
            System.exit(0);
        } catch (Throwable problem) {
            fail("the visit goes on", "no exception", problem);
        }
    }

    static void visit() throws Exception {
        Pusher backend = backend(SECRET);
        BlockingQueue<JsonObject> webhooks = new LinkedBlockingQueue<>();
        if (WEBHOOKS != null) {
            listenForWebhooks(backend, webhooks);
        }
        Socket first = new Socket();
        Socket second = new Socket();
        subscriptions(backend, first, second);
        publications(backend, first, second);
        queries(backend);
        refusals(backend);
        users(backend, first);
        if (WEBHOOKS != null) {
            webhooks(webhooks, first, second);
        } else {
            System.out.println("skip webhooks: GUEST_WEBHOOKS is not set");
        }
    }

    static void subscriptions(Pusher backend, Socket first, Socket second) throws Exception {
        step("a public channel is joined", SUCCEEDED, first.subscribe(NEWS, "{}"));
        String signed = backend.authenticate(first.id, CHAT);
        step("a signed private channel is joined", SUCCEEDED, first.subscribe(CHAT, signed));
        signed = backend.authenticate(second.id, CHAT);
        step("another one joins it too", SUCCEEDED, second.subscribe(CHAT, signed));
        signed = backend.authenticate(first.id, ROOM, new PresenceUser(ADA, Map.of("name", "Ada")));
        step("a signed presence channel is joined", SUCCEEDED, first.subscribe(ROOM, signed));
        step("a signature for another socket is refused", "pusher:error", second.subscribe(ROOM, signed));
        step("and the channel hears of it", "pusher:subscription_error", name(second.next()));
    }

    static void publications(Pusher backend, Socket first, Socket second) throws Exception {
        Map<String, String> hello = Map.of("text", "hello ☃");
        step("an event is taken", "200 {}", told(backend.trigger(NEWS, "headline", hello)));
        step("and arrives", event(NEWS, "headline", "{\"text\":\"hello ☃\"}"), first.next());
        step("an event for two channels is taken", "200 {}", told(backend.trigger(List.of(NEWS, CHAT), "both", 1)));
        step("and arrives on the one", event(NEWS, "both", "1"), first.next());
        step("and on the other", event(CHAT, "both", "1"), first.next());
        step("for everybody", event(CHAT, "both", "1"), second.next());
        Result others = backend.trigger(CHAT, "others", 2, first.id);
        step("an event that leaves one socket out is taken", "200 {}", told(others));
        step("and arrives at the others", event(CHAT, "others", "2"), second.next());
        List<Event> batch = List.of(new Event(NEWS, "first", 3), new Event(CHAT, "second", 4));
        step("a batch is taken", "200 {}", told(backend.trigger(batch)));
        step("and arrives, and what left this socket out does not", event(NEWS, "first", "3"), first.next());
        step("in order", event(CHAT, "second", "4"), first.next());
        step("for everybody", event(CHAT, "second", "4"), second.next());
        first.say("client-typing", Map.of("at", 5), CHAT);
        step("a client event arrives", event(CHAT, "client-typing", "{\"at\":5}"), second.next());
    }

    static void queries(Pusher backend) {
        JsonObject channels = json(backend.get("/channels").getMessage()).getAsJsonObject("channels");
        step("the list of channels has them", true, channels.keySet().containsAll(List.of(NEWS, CHAT, ROOM)));
        Map<String, String> some = Map.of("filter_by_prefix", ROOM, "info", "user_count");
        step("a prefix chooses among them, with how many users each has",
            "200 {\"channels\":{\"" + ROOM + "\":{\"user_count\":1}}}", told(backend.get("/channels", some)));
        Result chat = backend.get("/channels/" + CHAT, Map.of("info", "subscription_count"));
        step("a channel tells its subscriptions", "200 {\"occupied\":true,\"subscription_count\":2}", told(chat));
        Result nobody = backend.get("/channels/nobody" + RUN);
        step("an empty channel is not occupied", "200 {\"occupied\":false}", told(nobody));
        step("the users of a presence channel are named",
            "200 {\"users\":[{\"id\":\"" + ADA + "\"}]}", told(backend.get("/channels/" + ROOM + "/users")));
        step("a public channel has no users",
            Result.Status.CLIENT_ERROR, backend.get("/channels/" + NEWS + "/users").getStatus());
    }

    static void refusals(Pusher backend) {
        step("a wrong secret is refused",
            Result.Status.AUTHENTICATION_ERROR, backend("wrong").trigger(NEWS, "x", 1).getStatus());
        Result large = backend.trigger(NEWS, "x", "x".repeat(10_241));
        step("an event of more than 10,240 bytes is too much", 413, large.getHttpStatus());
    }

    /** The library knows no users yet: its signed calls are made by hand. */
    static void users(Pusher backend, Socket first) throws Exception {
        String user = new Gson().toJson(Map.of("id", ADA));
        String auth = KEY + ":" + signature(first.id + "::user::" + user);
        first.say("pusher:signin", Map.of("auth", auth, "user_data", user), null);
        step("a user signs in", "pusher:signin_success", name(first.next()));
        String own = "#server-to-user-" + ADA;
        step("and listens for what is meant for them", SUCCEEDED, first.subscribe(own, "{}"));
        String ping = new Gson().toJson(Map.of("name", "ping", "channels", List.of(own), "data", "6"));
        step("an event for a user is taken", "200 {}", told(backend.post("/events", ping)));
        step("and arrives", event(own, "ping", "6"), first.next());
        Result terminated = backend.post("/users/" + ADA + "/terminate_connections", "{}");
        step("a user's connections are terminated", "200 {}", told(terminated));
        step("and close with 4009", event(null, "closed", "4009"), first.next());
    }

    static void webhooks(BlockingQueue<JsonObject> webhooks, Socket first, Socket second) throws Exception {
        second.subscribe(MEMO, "{}");
        second.wire.sendClose(WebSocket.NORMAL_CLOSURE, "");
        Gson gson = new Gson();
        List<Map<String, Object>> expected = new ArrayList<>();
        for (String channel : List.of(NEWS, CHAT, ROOM, MEMO)) {
            expected.add(Map.of("name", "channel_occupied", "channel", channel));
            expected.add(Map.of("name", "channel_vacated", "channel", channel));
        }
        expected.add(Map.of("name", "member_added", "channel", ROOM, "user_id", ADA));
        expected.add(Map.of("name", "member_removed", "channel", ROOM, "user_id", ADA));
        expected.add(Map.of("name", "cache_miss", "channel", MEMO));
        expected.add(Map.of("name", "subscription_count", "channel", CHAT, "subscription_count", 2));
        expected.add(Map.of("name", "client_event", "channel", CHAT, "event", "client-typing", "data", "{\"at\":5}",
            "socket_id", first.id));
        List<JsonObject> missing = new ArrayList<>();
        expected.forEach(event -> missing.add(gson.toJsonTree(event).getAsJsonObject()));
        while (!missing.isEmpty()) {
            JsonObject event = webhooks.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
            if (event == null) {
                break;
            }
            missing.remove(event);
        }
        step("the webhooks are valid and tell all that happened", List.of(), missing);
    }

    /** Hands on every event of the webhooks that the library finds valid; any other ends the guest. */
    static void listenForWebhooks(Pusher backend, BlockingQueue<JsonObject> inbox) throws Exception {
        int colon = WEBHOOKS.lastIndexOf(':');
        int port = Integer.parseInt(WEBHOOKS.substring(colon + 1));
        HttpServer listener = HttpServer.create(new InetSocketAddress(WEBHOOKS.substring(0, colon), port), 0);
        listener.createContext("/", exchange -> {
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            String key = exchange.getRequestHeaders().getFirst("X-Pusher-Key");
            String signature = exchange.getRequestHeaders().getFirst("X-Pusher-Signature");
            Validity validity = backend.validateWebhookSignature(key, signature, body);
            if (validity != Validity.VALID) {
                fail("a webhook is valid", Validity.VALID, validity);
            }
            json(body).getAsJsonArray("events").forEach(event -> inbox.add(event.getAsJsonObject()));
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        listener.start();
    }

    static Pusher backend(String secret) {
        Pusher backend = new Pusher(setting("PUSHER_APP_ID", "1"), KEY, secret);
        backend.setHost(SERVER);
        backend.setEncrypted(false);
        return backend;
    }

    /** One browser: it says something, and looks at what comes, message by message. */
    static class Socket implements WebSocket.Listener {
        final BlockingQueue<JsonObject> inbox = new LinkedBlockingQueue<>();
        final StringBuilder partial = new StringBuilder();
        final WebSocket wire;
        final String id;

        Socket() throws Exception {
            URI server = URI.create("ws://" + SERVER + "/app/" + KEY + "?protocol=7");
            wire = HttpClient.newHttpClient().newWebSocketBuilder().buildAsync(server, this)
                .get(PATIENCE_SECONDS, TimeUnit.SECONDS);
            id = json(next().get("data").getAsString()).get("socket_id").getAsString();
        }

        @Override
        public CompletionStage<?> onText(WebSocket wire, CharSequence text, boolean last) {
            partial.append(text);
            if (last) {
                inbox.add(json(partial.toString()));
                partial.setLength(0);
            }
            wire.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket wire, int code, String reason) {
            inbox.add(event(null, "closed", String.valueOf(code)));
            return null;
        }

        void say(String event, Object data, String channel) throws Exception {
            JsonObject message = event(channel, event, null);
            message.add("data", new Gson().toJsonTree(data));
            wire.sendText(message.toString(), true).get(PATIENCE_SECONDS, TimeUnit.SECONDS);
        }

        /** Asks to join with what the library signed, and returns the name of the answer. */
        String subscribe(String channel, String signed) throws Exception {
            JsonObject data = json(signed);
            data.addProperty("channel", channel);
            say("pusher:subscribe", data, null);
            return name(next());
        }

        /** The next message, but for counts of subscriptions. */
        JsonObject next() throws InterruptedException {
            JsonObject message;
            do {
                message = inbox.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
            } while (message != null && name(message).equals("pusher_internal:subscription_count"));
            return message != null ? message : event(null, "nothing within " + PATIENCE_SECONDS + " s", null);
        }
    }

    static JsonObject event(String channel, String name, String data) {
        JsonObject event = new JsonObject();
        event.addProperty("event", name);
        if (channel != null) {
            event.addProperty("channel", channel);
        }
        if (data != null) {
            event.addProperty("data", data);
        }
        return event;
    }

    static String name(JsonObject message) {
        return message.get("event").getAsString();
    }

    static JsonObject json(String text) {
        return JsonParser.parseString(text).getAsJsonObject();
    }

    static String told(Result result) {
        return result.getHttpStatus() + " " + result.getMessage();
    }

    static String signature(String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(SECRET.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        StringBuilder hex = new StringBuilder();
        for (byte part : mac.doFinal(text.getBytes(StandardCharsets.UTF_8))) {
            hex.append(String.format("%02x", part));
        }
        return hex.toString();
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
