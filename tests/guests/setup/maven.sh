# Guests in Java: the jars that pom.xml names, and a program of one file that java compiles in memory as it starts it.

need() {
    local tool
    for tool in mvn javac; do
        command -v "$tool" >/dev/null || skip "there is no $tool"
    done
}

setup() {
    rm -rf "$work/lib"
    mvn --batch-mode --quiet --file "$guest/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/lib" >&2
}

start() {
    exec java -cp "$work/lib/*" "$guest/Guest.java"
}
