# Guests in Java: the jars that pom.xml names, and a program of one file that java compiles as it starts it.

setup() {
    local tool
    for tool in mvn javac; do
        if ! command -v "$tool" >/dev/null; then
            echo "skipped: ${guest##*/}: there is no $tool"
            exit 77
        fi
    done
    mvn --batch-mode --quiet --file "$guest/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/lib"
}

start() {
    exec java -cp "$work/lib/*" "$guest/Guest.java"
}
