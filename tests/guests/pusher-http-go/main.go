// pusher-http-go: what a backend in Go publishes, asks, signs and is told (PC-174, PC-187).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pusher/pusher-http-go/v5"
)

const (
	patience  = 10 * time.Second
	succeeded = "pusher_internal:subscription_succeeded"
)

var (
	server = setting("PUSHER_HOST", "127.0.0.1") + ":" + setting("PUSHER_PORT", "8001")
	key    = setting("PUSHER_APP_KEY", "demo")

	// Part of every name, so that two visits to one server do not meet.
	run  = fmt.Sprintf("-%08x", rand.Uint32())
	news = "news" + run
	chat = "private" + run
	room = "presence" + run
	memo = "cache" + run
	ada  = "ada" + run
)

func main() {
	client := backend(setting("PUSHER_APP_SECRET", "demo-secret"))
	address := os.Getenv("GUEST_WEBHOOKS")
	inbox := make(chan pusher.WebhookEvent, 100)
	if address != "" {
		go listenForWebhooks(client, address, inbox)
	}
	first, second := connect(), connect()
	subscriptions(client, first, second)
	publications(client, first, second)
	counts(client, first)
	queries(client)
	refusals(client)
	users(client, first)
	if address != "" {
		webhooks(inbox, first, second)
	} else {
		fmt.Println("skip webhooks: GUEST_WEBHOOKS is not set")
	}
}

func subscriptions(client pusher.Client, first, second *socket) {
	step("a public channel is joined", succeeded, first.subscribe(news, nil))
	step("a signed private channel is joined", succeeded, first.subscribe(chat, private(client, chat, first)))
	step("another one joins it too", succeeded, second.subscribe(chat, private(client, chat, second)))
	member := pusher.MemberData{UserID: ada, UserInfo: map[string]string{"name": "Ada"}}
	signed := must(client.AuthorizePresenceChannel(request(room, first), member))
	step("a signed presence channel is joined", succeeded, first.subscribe(room, signed))
	step("a signature for another socket is refused", "pusher:error", second.subscribe(room, signed))
	step("and the channel hears of it", "pusher:subscription_error", second.next().Event)
}

func publications(client pusher.Client, first, second *socket) {
	hello := map[string]string{"text": "hello ☃"}
	step("an event is taken", nil, client.Trigger(news, "headline", hello))
	step("and arrives", message{"headline", news, `{"text":"hello ☃"}`}, first.next())
	step("an event for two channels is taken", nil, client.TriggerMulti([]string{news, chat}, "both", "1"))
	step("and arrives on the one", message{"both", news, "1"}, first.next())
	step("and on the other", message{"both", chat, "1"}, first.next())
	step("for everybody", message{"both", chat, "1"}, second.next())
	step("an event that leaves one socket out is taken", nil, client.TriggerExclusive(chat, "others", "2", first.id))
	step("and arrives at the others", message{"others", chat, "2"}, second.next())
	first.say(map[string]any{"event": "client-typing", "channel": chat, "data": map[string]int{"at": 3}})
	step("a client event arrives", message{"client-typing", chat, `{"at":3}`}, second.next())
	batch := []pusher.Event{{Channel: news, Name: "first", Data: "4"}, {Channel: chat, Name: "second", Data: "5"}}
	taken, err := client.TriggerBatch(batch)
	step("a batch is taken", nil, err)
	step("and answered with nothing that was not asked", 0, len(taken.Batch))
	step("and arrives, and what was not for this socket does not", message{"first", news, "4"}, first.next())
	step("in order", message{"second", chat, "5"}, first.next())
}

// Counts that an answer to a publication brings along.
func counts(client pusher.Client, first *socket) {
	info := "subscription_count,user_count"
	both := []string{chat, room}
	list := must(client.TriggerMultiWithParams(both, "counted", "6", pusher.TriggerParams{Info: &info}))
	step("a publication tells a channel's subscriptions", 2, orMinusOne(list.Channels[chat].SubscriptionCount))
	step("but no users where there are none", -1, orMinusOne(list.Channels[chat].UserCount))
	step("and a presence channel's users", 1, orMinusOne(list.Channels[room].UserCount))
	asking := pusher.Event{Channel: chat, Name: "counted", Data: "7", Info: &info}
	taken := must(client.TriggerBatch([]pusher.Event{asking, {Channel: news, Name: "not", Data: "8"}}))
	step("a batch that asks is answered event by event", 2, len(taken.Batch))
	step("with the count where it was asked", 2, orMinusOne(taken.Batch[0].SubscriptionCount))
	step("and without where it was not", -1, orMinusOne(taken.Batch[1].SubscriptionCount))
	// Each channel has an order; among channels there is none.
	heard := map[string]string{}
	for range 4 {
		arrived := first.next()
		heard[arrived.Channel] += arrived.Event + arrived.Data + " "
	}
	for channel, expected := range map[string]string{chat: "counted6 counted7 ", room: "counted6 ", news: "not8 "} {
		step("and all of "+channel+" arrives in order", expected, heard[channel])
	}
}

func queries(client pusher.Client) {
	all := must(client.Channels(pusher.ChannelsParams{}))
	for _, name := range []string{news, chat, room} {
		_, listed := all.Channels[name]
		step("the list of channels has "+strings.TrimSuffix(name, run), true, listed)
	}
	info := "user_count"
	some := must(client.Channels(pusher.ChannelsParams{FilterByPrefix: &room, Info: &info}))
	step("a prefix chooses among them", 1, len(some.Channels))
	step("with how many users each has", 1, some.Channels[room].UserCount)
	subscriptions := "subscription_count"
	channel := must(client.Channel(chat, pusher.ChannelParams{Info: &subscriptions}))
	step("a channel tells its subscriptions", pusher.Channel{Name: chat, Occupied: true, SubscriptionCount: 2}, *channel)
	channel = must(client.Channel("nobody"+run, pusher.ChannelParams{}))
	step("an empty channel is not occupied", false, channel.Occupied)
	members := must(client.GetChannelUsers(room))
	step("the users of a presence channel are named", "[{"+ada+"}]", fmt.Sprint(members.List))
	_, err := client.GetChannelUsers(news)
	step("a public channel has no users", "Status Code: 400", status(err))
}

func refusals(client pusher.Client) {
	stranger := backend("wrong")
	step("a wrong secret is refused", "Status Code: 401", status(stranger.Trigger(news, "x", "1")))
	client.OverrideMaxMessagePayloadKB = 100 // the library would refuse by itself
	large := strings.Repeat("x", 10_241)
	step("an event of 10,241 bytes is too much", "Status Code: 413", status(client.Trigger(news, "x", large)))
}

func users(client pusher.Client, first *socket) {
	signed := must(client.AuthenticateUser(request("", first), map[string]any{"id": ada}))
	first.say(map[string]any{"event": "pusher:signin", "data": json.RawMessage(signed)})
	step("a user signs in", "pusher:signin_success", first.next().Event)
	own := "#server-to-user-" + ada
	step("and listens for what is meant for them", succeeded, first.subscribe(own, nil))
	step("an event for a user is taken", nil, client.SendToUser(ada, "ping", "9"))
	step("and arrives", message{"ping", own, "9"}, first.next())
}

func webhooks(inbox chan pusher.WebhookEvent, first, second *socket) {
	second.subscribe(memo, nil)
	expected := []pusher.WebhookEvent{
		{Name: "client_event", Channel: chat, Event: "client-typing", Data: `{"at":3}`, SocketID: first.id},
		{Name: "cache_miss", Channel: memo},
		{Name: "member_added", Channel: room, UserID: ada},
		{Name: "member_removed", Channel: room, UserID: ada},
		{Name: "subscription_count", Channel: chat},
	}
	for _, channel := range []string{news, chat, room, memo} {
		expected = append(expected, pusher.WebhookEvent{Name: "channel_occupied", Channel: channel},
			pusher.WebhookEvent{Name: "channel_vacated", Channel: channel})
	}
	first.wire.Close()
	second.wire.Close()
	end := time.After(patience)
	for len(expected) > 0 {
		select {
		case event := <-inbox:
			expected = slices.DeleteFunc(expected, func(other pusher.WebhookEvent) bool { return other == event })
		case <-end:
			fail("the webhooks tell all that happened", "all of them", fmt.Sprintf("all but %+v", expected))
		}
	}
	fmt.Println("ok   the webhooks are valid and tell all that happened")
}

// Hands on every event of the webhooks that the library finds valid; any other ends the guest.
func listenForWebhooks(client pusher.Client, address string, inbox chan<- pusher.WebhookEvent) {
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body := must(io.ReadAll(request.Body))
		webhook, err := client.Webhook(request.Header, body)
		if err != nil {
			fail("a webhook is valid", "yes", err)
		}
		for _, event := range webhook.Events {
			inbox <- event
		}
	})))
}

func backend(secret string) pusher.Client {
	return pusher.Client{AppID: setting("PUSHER_APP_ID", "1"), Key: key, Secret: secret, Host: server}
}

// What a browser's library posts to be allowed to join a channel, or to sign in when there is none.
func request(channel string, by *socket) []byte {
	return []byte(url.Values{"socket_id": {by.id}, "channel_name": {channel}}.Encode())
}

func private(client pusher.Client, channel string, by *socket) []byte {
	return must(client.AuthorizePrivateChannel(request(channel, by)))
}

// One browser: it says something, and looks at what comes, message by message.
type socket struct {
	wire *websocket.Conn
	id   string
}

type message struct{ Event, Channel, Data string }

func connect() *socket {
	wire, _, err := websocket.DefaultDialer.Dial("ws://"+server+"/app/"+key+"?protocol=7", nil)
	if err != nil {
		fail("a socket connects", "a connection", err)
	}
	socket := &socket{wire: wire}
	var established struct {
		ID string `json:"socket_id"`
	}
	if err := json.Unmarshal([]byte(socket.next().Data), &established); err != nil {
		fail("a socket is established", "its id", err)
	}
	socket.id = established.ID
	return socket
}

func (s *socket) say(what any) {
	if err := s.wire.WriteJSON(what); err != nil {
		fail("a socket says something", "no error", err)
	}
}

// Asks to join, with what the library signed if it must, and returns the name of the answer.
func (s *socket) subscribe(channel string, signed []byte) string {
	data := map[string]string{}
	if signed != nil {
		if err := json.Unmarshal(signed, &data); err != nil {
			fail("the signature is JSON", "an object of strings", err)
		}
	}
	data["channel"] = channel
	s.say(map[string]any{"event": "pusher:subscribe", "data": data})
	return s.next().Event
}

// The next message, but for counts of subscriptions.
func (s *socket) next() message {
	s.wire.SetReadDeadline(time.Now().Add(patience))
	for {
		var raw struct {
			Event, Channel string
			Data           json.RawMessage
		}
		if err := s.wire.ReadJSON(&raw); err != nil {
			return message{Event: err.Error()}
		}
		if raw.Event != "pusher_internal:subscription_count" {
			data := string(raw.Data)
			json.Unmarshal(raw.Data, &data) // what is no string stays as it was
			return message{raw.Event, raw.Channel, data}
		}
	}
}

// The beginning of an error that tells the status, or all of it.
func status(err error) string {
	return strings.SplitN(fmt.Sprint(err), " - ", 2)[0]
}

func orMinusOne(count *int) int {
	if count == nil {
		return -1
	}
	return *count
}

func setting(name, usual string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return usual
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("a call", "an answer", err)
	}
	return value
}

func step(name string, expected, got any) {
	if got != expected {
		fail(name, expected, got)
	}
	fmt.Println("ok  ", name)
}

func fail(name string, expected, got any) {
	fmt.Printf("FAIL %s: expected %v, got %v\n", name, expected, got)
	os.Exit(1)
}
