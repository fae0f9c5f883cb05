# Guests in Go: the modules that go.sum names, in Go's own cache.

setup() {
    if ! command -v go >/dev/null; then
        echo "skipped: ${guest##*/}: there is no go"
        exit 77
    fi
    go -C "$guest" mod download
}

start() {
    cd "$guest"
    exec go run .
}
