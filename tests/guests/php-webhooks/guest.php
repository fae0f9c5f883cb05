<?php
// PHP as a backend that is told by webhooks: PHP's own web server runs backend.php, and a client that this program plays
// occupies a channel.

const PATIENCE_SECONDS = 20;

function step(string $name, mixed $expected, mixed $got): void
{
    if ($got !== $expected) {
        echo "FAIL $name: expected ", json_encode($expected), ', got ', json_encode($got), "\n";
        exit(1);
    }
    echo "ok   $name\n";
}

/** A text frame of a client (RFC 6455), masked with zeros. */
function frame(string $text): string
{
    return "\x81" . chr(0x80 | strlen($text)) . "\0\0\0\0" . $text;
}

/** Waits until `$look` gives something else than null. */
function soon(callable $look): mixed
{
    for ($end = microtime(true) + PATIENCE_SECONDS; microtime(true) < $end; usleep(20_000)) {
        if (($found = $look()) !== null) {
            return $found;
        }
    }
    return null;
}

$webhooks = getenv('GUEST_WEBHOOKS');
if (!$webhooks) {
    echo "skip webhooks: GUEST_WEBHOOKS is not set\n";
    exit(0);
}
$verdicts = tempnam(sys_get_temp_dir(), 'gusher-php-');
putenv("GUEST_VERDICTS=$verdicts");
$quiet = [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], ['file', '/dev/null', 'w']];
$backend = proc_open([PHP_BINARY, '-S', $webhooks, __DIR__ . '/backend.php'], $quiet, $pipes);
register_shutdown_function(function () use ($backend, $verdicts) {
    proc_terminate($backend);
    unlink($verdicts);
});
step('PHP serves', true, soon(fn () => @stream_socket_client("tcp://$webhooks", timeout: 1) ? true : null));

$server = getenv('PUSHER_HOST') . ':' . getenv('PUSHER_PORT');
$client = stream_socket_client("tcp://$server", timeout: PATIENCE_SECONDS);
stream_set_timeout($client, PATIENCE_SECONDS);
fwrite($client, implode("\r\n", [
    'GET /app/' . getenv('PUSHER_APP_KEY') . '?protocol=7 HTTP/1.1',
    "Host: $server",
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: ' . base64_encode(random_bytes(16)),
    '',
    '',
]));
step('a client connects', "HTTP/1.1 101", substr((string) fgets($client), 0, 12));
$channel = 'php-' . bin2hex(random_bytes(4));
fwrite($client, frame(json_encode(['event' => 'pusher:subscribe', 'data' => ['channel' => $channel]])));
$first = soon(fn () => explode("\n", (string) file_get_contents($verdicts), 2)[1] ?? null);
step('a webhook arrives', true, $first !== null);
step('and holds what the PHP library asks for', 'valid channel_occupied', strtok(file_get_contents($verdicts), "\n"));
