# Guests in PHP: they need the command line of PHP, with its own web server, and no library.

need() {
    command -v php >/dev/null || skip "there is no php"
}

setup() { :; }

start() {
    exec php "$guest/guest.php"
}
