# Guests in Python: a virtual environment with exactly the packages that requirements.txt names.

setup() {
    if ! python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 10)' 2>/dev/null; then
        echo "skipped: ${guest##*/}: there is no python3 of 3.10 or later with venv"
        exit 77
    fi
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --no-deps --requirement "$guest/requirements.txt"
}

start() {
    PYTHONPATH="$guest/../setup" exec "$work/venv/bin/python" -B "$guest/guest.py"
}
