# Guests in Go: the modules that go.sum names, in Go's own cache, and so is what is built of them.

need() {
    command -v go >/dev/null || skip "there is no go"
}

setup() {
    go -C "$guest" mod download >&2
}

start() {
    cd "$guest"
    exec go run .
}
