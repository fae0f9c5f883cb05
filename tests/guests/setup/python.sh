# Guests in Python: a virtual environment with exactly what requirements.txt names. They run from the source tree, and
# leave no compiled files in it.

need() {
    python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null ||
        skip "there is no python3 of 3.11 or later with venv"
}

setup() {
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --no-deps --requirement "$guest/requirements.txt" >&2
}

start() {
    PYTHONPATH=$here/setup/python exec "$work/venv/bin/python" -B "$guest/guest.py"
}
