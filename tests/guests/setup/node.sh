# Guests in JavaScript: npm installs what package-lock.json pins, node runs main.mjs.

need() {
    local tool
    for tool in node npm; do
        command -v "$tool" >/dev/null || skip "there is no $tool"
    done
    if grep -q '"playwright-core"' "$guest/package.json" && [ -z "$(chromium_path)" ]; then install_chromium; fi
}

setup() {
    cp "$guest"/package*.json "$work"
    npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
}

start() {
    # Imports are looked for beside the file that imports. Only what is newer: a run beside this one may be reading.
    flock "$work/.lock" cp -u "$guest"/*.mjs "$here"/setup/node/*.mjs "$work"
    CHROMIUM=$(chromium_path) exec node main.mjs
}

# Where a Chromium is; nothing when there is none.
chromium_path() {
    command -v chromium || command -v chromium-browser || command -v google-chrome || true
}

install_chromium() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then skip "there is no chromium"; fi
    {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium
    } >&2
}
