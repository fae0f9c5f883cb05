<?php
// A backend as PHP's users write it, for `php -S`: it asks getallheaders() for the names as Pusher writes them.

$headers = getallheaders();
$body = file_get_contents('php://input');
$key = $headers['X-Pusher-Key'] ?? null;
$signature = $headers['X-Pusher-Signature'] ?? null;

if ($key !== getenv('PUSHER_APP_KEY')) {
    $verdict = 'there is no X-Pusher-Key of this app in: ' . implode(', ', array_keys($headers));
} elseif (!is_string($signature) || !hash_equals(hash_hmac('sha256', $body, getenv('PUSHER_APP_SECRET')), $signature)) {
    $verdict = 'X-Pusher-Signature is not that of the body';
} else {
    $verdict = 'valid ' . json_decode($body)->events[0]->name;
}
http_response_code(str_starts_with($verdict, 'valid') ? 200 : 401);
file_put_contents(getenv('GUEST_VERDICTS'), $verdict . "\n", FILE_APPEND | LOCK_EX);
