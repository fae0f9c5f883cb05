"""Shows who calls: the super admin of the tests, and for Pusher Channels a signature, as every server library makes it."""

import hashlib
import hmac
import os
import time
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import schemathesis
from requests.auth import AuthBase, HTTPBasicAuth


class Signature(AuthBase):
    def __call__(self, request):
        url = urlsplit(request.url)
        named = [(name, value) for name, value in parse_qsl(url.query, keep_blank_values=True)
                 if not name.lower().startswith("auth_") and name.lower() != "body_md5"]
        named += [("auth_key", os.environ["PUSHER_APP_KEY"]), ("auth_timestamp", str(int(time.time()))),
                  ("auth_version", "1.0")]
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        if body:
            named.append(("body_md5", hashlib.md5(body).hexdigest()))
        signed = "&".join(f"{name}={value}" for name, value in sorted((name.lower(), value) for name, value in named))
        text = f"{request.method}\n{url.path}\n{signed}"
        secret = os.environ["PUSHER_APP_SECRET"].encode()
        named.append(("auth_signature", hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()))
        request.url = urlunsplit(url._replace(query=urlencode(named)))
        return request


schemathesis.auth.set_from_requests(Signature()).apply_to(tag="Pusher Channels")
schemathesis.auth.set_from_requests(HTTPBasicAuth("account", "password")).skip_for(tag="Pusher Channels")
