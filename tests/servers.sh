# Sourced by the scripts that run tests: a folder for all that they write, and the end of every server that a test
# has started and not stopped, whatever happens. Each server writes its process id there.

folder=$(mktemp -d)
mkdir "$folder/servers" "$folder/tmp"
# Servers that refuse to run as root have to get in.
chmod 711 "$folder" "$folder/tmp"
export TOWER_FLAGS_TEST_SERVERS="$folder/servers" TMPDIR="$folder/tmp"

end_servers() {
    local note process
    for note in "$folder"/servers/*.pid; do
        [ -e "$note" ] || continue
        process=$(cat "$note")
        # Its number may be somebody else's by now.
        tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null | grep -q 'redis-server\|valkey-server\|postgres' || continue
        # With those of its connections.
        kill -KILL $(pgrep -P "$process") "$process" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap end_servers EXIT
trap 'exit 130' INT TERM

# A test that leaves a server running is a defect.
no_server_is_left() {
    [ -z "$(ls "$folder/servers")" ] || { echo "servers were left running: $(ls "$folder/servers")" >&2; return 1; }
}
